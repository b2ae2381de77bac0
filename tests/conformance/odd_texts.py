"""Tasks whose texts are no UTF-8: names as `os.listdir` gives them.  Workers import this."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from fancypipe_core import current, task

NAME = os.fsdecode(b"r\xe9sultat \xc3\xa9.txt")  # Latin-1 and UTF-8


@task
def gives(prefix: str = "") -> str:
    return prefix + NAME


@task
def length(text: str) -> int:
    return len(text)


@task
def fails(kind: str) -> None:
    if kind == "message":
        raise ValueError(NAME)
    if kind == "file":
        open(f"/nowhere/{NAME}")  # noqa: SIM115 - it raises
    if kind == "notes":
        error = KeyError(NAME)
        error.__notes__ = [NAME]
        raise error
    if kind == "code":
        exec(compile("raise OSError(1)", NAME, "exec"))
    if kind == "exit":
        sys.exit(NAME)


@task
def logs() -> int:
    current().log(f"looked at {NAME}")
    return 1


@task
def prints() -> int:
    os.write(1, os.fsencode(NAME) + b"\n")
    return 1


@task
def writes() -> Path:
    folder: Path = current().tempdir(NAME)
    (folder / NAME).write_text("1")
    return folder / NAME


@task
def reads(path: Path) -> str:
    return path.read_text()


@task(name="t\udce9")
def named(fail: bool) -> Any:
    if fail:
        raise ValueError("v")
    return current().name


@task
def unfolds() -> Any:
    return [named(False), length(gives("x"))]


@task
def dies() -> None:
    os.write(2, os.fsencode(NAME) + b"\n")
    os._exit(3)
