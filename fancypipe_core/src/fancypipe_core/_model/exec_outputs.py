"""What a program is to make: found in its folder when it has ended, and told where it is not."""

from __future__ import annotations

import os
from collections.abc import Container, Mapping
from pathlib import Path

from fancypipe_core import errors
from fancypipe_core._base.resources import size
from fancypipe_core._model.files import Dir, File, FileOrDir

__all__ = ["Made", "check", "collect", "listing"]

Made = FileOrDir | list[FileOrDir]
"""One for a name, and a list for a pattern."""

_ITEMS = ("stdout", "stderr", "code", "folder")  # that the output has anyway
_WILD = "*?["
_SHOWN = 30  # entries of a folder


def check(outputs: Mapping[str, str]) -> None:
    """Raise if outputs are declared that cannot be, before anything runs.

    Raises:
        BadInput: A name is taken, or a pattern leads out of the folder.
    """
    for name, pattern in outputs.items():
        if name in _ITEMS:
            raise errors.BadInput(
                f"the output {name!r} has the name of what each program gives; take another"
            )
        parts = Path(pattern).parts
        if not parts or os.path.isabs(pattern) or os.pardir in parts:
            raise errors.BadInput(
                f"the output {name!r} must be a path or pattern below the folder where the "
                f"program runs, such as 'out/*.bam', not {pattern!r}"
            )


def collect(
    folder: Path, outputs: Mapping[str, str], given: Container[str]
) -> tuple[dict[str, Made], dict[str, str]]:
    """Return what is there of these outputs, and the patterns of those that are not.

    Args:
        folder: Where the program ran.
        outputs: Patterns by name.
        given: What was put there before it began: only a name finds that, and no pattern.
    """
    folder = Path(os.path.abspath(folder))
    found: dict[str, Made] = {}
    missing: dict[str, str] = {}
    for name, pattern in outputs.items():
        if any(sign in pattern for sign in _WILD):
            paths = [
                path
                for path in sorted(folder.glob(pattern))
                if os.path.relpath(path, folder) not in given
            ]
            if paths:
                found[name] = [_made(path) for path in paths]
                continue
        elif (path := folder / pattern).is_dir() or (path.exists() and pattern[-1] != "/"):
            found[name] = _made(path)
            continue
        missing[name] = pattern
    return found, missing


def _made(path: Path) -> FileOrDir:
    return Dir(path) if path.is_dir() else File(path)


def listing(folder: Path) -> str:
    """Return the files below a folder with their sizes, a line for each, the first of them."""
    lines: list[str] = []
    more = 0
    for here, folders, files in os.walk(folder):
        folders.sort()
        names = sorted(files) if files or folders or here == str(folder) else [""]
        for name in names:
            if len(lines) == _SHOWN:
                more += 1
                continue
            path = os.path.join(here, name)
            shown = os.path.relpath(path, folder) + ("" if name else "/")
            lines.append(f"\n  {shown}  {_size(path) if name else '(empty)'}")
    if not lines:
        return " nothing"
    return "".join(lines) + (f"\n  ... and {more} more" if more else "")


def _size(path: str) -> str:
    try:
        return size(os.stat(path).st_size)
    except OSError:
        return "(a link to what is not there)"
