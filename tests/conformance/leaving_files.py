"""Tasks that return paths of temporary files, in all ways that there are.  Workers import this."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from fancypipe_core import Exec, Outputs, current, module, task


@dataclasses.dataclass
class Found:
    path: Any


class Holder:
    def __init__(self, path: Any) -> None:
        self.inner = [path]


def _array(path: Path, length: int) -> Any:
    return np.array([str(path)] * length)


WAYS: dict[str, Callable[[Path], Any]] = {
    "pathlib": lambda path: path,
    "str": str,
    "bytes": os.fsencode,
    "joined": lambda path: os.path.join(path.parent, path.name),
    "path of str": lambda path: Path(str(path.parent)) / path.name,
    "f-string": lambda path: f"--in={path}",
    "command": lambda path: ["cat", f"--in={path}"],
    "folder": lambda path: path.parent,
    "glob": lambda path: sorted(path.parent.glob("*.txt")),
    "with suffix": lambda path: path.with_suffix(".log").with_suffix(".txt"),
    "prefix": lambda path: str(path)[:-6],
    "relative": os.path.relpath,
    "uri": lambda path: path.as_uri(),
    "json": lambda path: json.dumps({"x": str(path)}),
    "dict": lambda path: {"x": [(1, str(path))]},
    "key": lambda path: {str(path): 1},
    "set": lambda path: {path},
    "dataclass": lambda path: Found(str(path)),
    "object": Holder,
    "outputs": lambda path: Outputs(n=1, x=str(path)),
    "array": lambda path: _array(path, 1),
    "large array": lambda path: _array(path, 1000),
    "array of bytes": lambda path: np.array([os.fsencode(path)] * 1000),
    "array of objects": lambda path: np.array([path], dtype=object),
    "exception": lambda path: FileExistsError(17, "there", str(path)),
}


with suppress(ImportError):
    import pandas as pd  # type: ignore[import-untyped]

    WAYS["table"] = lambda path: pd.DataFrame({"x": [str(path)]})


def path_in(value: Any) -> Path:
    """Return the path in a value that one of the ways gave."""
    if isinstance(value, Found):
        value = value.path
    elif isinstance(value, Holder):
        value = value.inner[0]
    elif type(value).__name__ == "DataFrame":
        value = value["x"].iloc[0]
    elif isinstance(value, OSError):
        value = value.filename
    elif isinstance(value, np.ndarray):
        value = value[0]
    while isinstance(value, (list, tuple, set, dict, Outputs)):
        if isinstance(value, (dict, Outputs)):
            value = value.get("x") or next(iter(value))
        value = list(value)[-1] if not isinstance(value, (str, bytes, Path)) else value
    text = os.fsdecode(value).removeprefix("--in=").removeprefix("file://")
    if text.startswith("{"):
        text = json.loads(text)["x"]
    if os.path.isdir(text):
        return Path(text, "one.txt")
    return Path(text if text.endswith(".txt") else f"{text}ne.txt")


@task
def leaves(way: str) -> Any:
    path = current().tempdir() / "one.txt"
    path.write_text("1")
    return WAYS[way](path)


@task
def leaves_nothing() -> int:
    current().tempfile().write_text("1")
    return 1


@task
def passes(value: Any) -> Any:
    """Another task's file, by another name."""
    return {"x": str(path_in(value))}


@task
def reads(value: Any) -> str:
    return path_in(value).read_text()


@task
def folder_of(value: Any) -> str:
    return path_in(value).parent.name.upper()


@module
def composes(value: Any) -> Any:
    return reads(f"--in={path_in(value)}")


@module
def waits() -> Any:
    return reads(f"--in={path_in(leaves('str').result())}")


@task
def waits_in_a_task() -> Any:
    return f"{leaves('str').result()}"


@task
def unfolds(way: str) -> Any:
    """Its file is an input of what it returns, in words of its own."""
    path = current().tempdir() / "one.txt"
    path.write_text("1")
    return reads(passes(passes(f"--in={path}")))


@task(retries=1)
def fails_once() -> Any:
    path = current().tempdir() / "one.txt"
    assert not path.exists()
    path.write_text("1")
    if current().attempt == 1:
        raise OSError(f"busy: {path}")
    return str(path)


@module
def programs(n: int) -> Any:
    names = [Exec("sh", "-c", "echo $0 > own; sleep 0.05; cat own", i, files={}) for i in range(n)]
    return [one["stdout"] for one in names]
