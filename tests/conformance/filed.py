"""Tasks with files as inputs and outputs.  Workers import this."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import fancypipe_core
from fancypipe_core import Dir, File, Outputs, Ref, Task, current, module, task


@task
def writes(text: str, name: str = "one.txt") -> File:
    path = current().tempfile(name)
    path.write_text(text)
    return path  # type: ignore[return-value]  # made a File


@task
def names_one(text: str, other: str) -> str:
    """Return the path of a second file as a text; the first goes by way of another task."""
    path = current().tempfile("other.txt")
    path.write_text(other)
    return str(path)


@task
def writes_and_fails(text: str) -> File:
    current().tempfile("failed.txt").write_text(text)
    raise ValueError(text)


@task
def fills(*texts: str) -> Dir:
    folder = current().tempdir("filled")
    for at, text in enumerate(texts):
        (folder / str(at)).write_text(text)
    return Dir(folder)


@task
def reads(file: fancypipe_core.File) -> str:
    assert type(file) is File
    return f"{file.name}: {file.read_text()}"


@task
def lists(folder: Dir) -> list[str]:
    return sorted(one.read_text() for one in folder.iterdir())


@task
def joins(files: list[File], more: dict[str, File] | None = None, *rest: File) -> str:
    given = [*files, *(more or {}).values(), *rest]
    assert {type(one) for one in given} == {File}
    return "".join(one.read_text() for one in given)


@task
def several() -> tuple[File, list[File]]:
    paths = [current().tempfile(f"{at}.txt") for at in range(3)]
    for at, path in enumerate(paths):
        path.write_text(str(at))
    return paths[0], paths[1:]  # type: ignore[return-value]  # as above


@task
def outputs() -> dict[str, File]:
    path = current().tempfile("named.txt")
    path.write_text("named")
    return {"first": path}  # type: ignore[dict-item]  # as above


@task
def either(value: File | str | None = None) -> str:
    return type(value).__name__


@task
def returns(path: Any) -> File:
    return path  # type: ignore[no-any-return]


@task
def spoils(file: File) -> File:
    file.write_text("more than it was")
    return file


@task
def unspoilt(file: File, after: Any) -> str:
    return file.read_text()


def shouting(function: Any) -> Any:
    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs) + "!"

    return wrapped


@task
@shouting
def shouts(file: File) -> str:
    assert type(file) is File
    return file.read_text()


@task
def has_defaults(n: int = 1, file: File = Path(__file__), *, folder: Dir | None = None) -> str:  # type: ignore[assignment]  # made a File
    return f"{type(file).__name__} {file.name} {folder}"


@module
def copies(file: File) -> Ref[File]:
    assert type(file) is File
    return writes(file.read_text() + "!")


class Reads(Task):
    """As a class."""

    def main(self, file: File) -> str:
        assert type(file) is File
        return file.read_text()


@task
def kinds(file: File) -> Outputs:
    return Outputs(
        parent=type(file.parent).__name__,
        joined=type(file / "x").__name__,
        text=f"{file}" == os.fspath(file) == str(file),
        equal=file == Path(file),
        digest=file.digest,
    )


@task
def tree(folder: Dir) -> list[tuple[str, str]]:
    found = []
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file():
            found.append((name, f"{path.read_text()} {path.stat().st_mode & 0o777:o}"))
        else:
            found.append((name, f"link {os.readlink(path)}" if path.is_symlink() else "folder"))
    return found


@task
def moves(text: str, files: list[File], proof: str) -> tuple[bool, File]:
    """Read files that others have made, and make one; tell whether the client's folder is seen."""
    assert {file.read_text() for file in files} <= {text}
    path = current().tempfile("moved.txt")
    path.write_text(text)
    return os.path.exists(proof), File(path)
