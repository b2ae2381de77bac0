"""Reads the journals that runs leave: which runs there are, and how each ended."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

from fancypipe_core._base.processes import is_alive
from fancypipe_core.plugins.journal import NAME

__all__ = ["Run", "State", "find_runs", "read_journal", "summary_of"]

_FOLDER = re.compile(r"\d{8}-\d{6}-([0-9a-f]+)")
_SECOND = len("20260131-235959")  # of a folder's name

State = Literal["done", "failed", "running", "killed", "unknown"]


class Run(NamedTuple):
    """What a journal says of a run in short.

    Attributes:
        id: The run's id.
        folder: Its folder.
        state: `done` or `failed` if it has an end; `running` if the process that drives it is
            there, `killed` if it is not; `unknown` where that cannot be told from this machine.
        began: When, in seconds since 1970.
        seconds: How long it took, or has been told of so far.
        target: The name of what was asked for.
        tasks: How many tasks it has met.
        done: How many of these are done.
        failed: How many failed.
        message: Why it failed, in a line.
        host: The machine.
        pid: The process.
    """

    id: str
    folder: Path
    state: State
    began: float
    seconds: float
    target: str
    tasks: int
    done: int
    failed: int
    message: str
    host: str
    pid: int


def read_journal(journal: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """Read a journal, also one that is being written, or that a kill has cut short.

    Args:
        journal: The file, or the run's folder.

    Yields:
        Its lines, in order.  What is no whole line is left out, as are lines that are no
        JSON objects with a `kind`.

    Raises:
        OSError: It cannot be read.
    """
    path = Path(journal)
    with (path / NAME if path.is_dir() else path).open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            with suppress(ValueError):
                told = json.loads(line)
                if isinstance(told, dict) and isinstance(told.get("kind"), str):
                    yield told


def find_runs(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the folders of runs below a folder, the earliest first."""
    found = []
    with suppress(OSError), os.scandir(folder) as entries:
        found = [
            Path(entry.path)
            for entry in entries
            if _FOLDER.fullmatch(entry.name) and os.path.isfile(os.path.join(entry.path, NAME))
        ]
    return sorted(found, key=_begin)


def _begin(folder: Path) -> tuple[str, float]:
    """Return when a run began: its folder's name tells the second, its journal the rest."""
    with suppress(OSError):
        for line in read_journal(folder):
            return folder.name[:_SECOND], _number(line.get("at"))
    return folder.name[:_SECOND], 0.0


def summary_of(folder: Path) -> Run:
    """Return what the journal in a folder says in short.

    Raises:
        OSError: It cannot be read.
    """
    head: dict[str, Any] = {}
    over: dict[str, Any] | None = None
    kinds: Counter[str] = Counter()
    last = 0.0
    for line in read_journal(folder):
        kind = line["kind"]
        kinds[kind] += 1
        if kind == "run":
            head = line
        elif kind == "over":
            over = line
        at = line.get("at")
        last = at if isinstance(at, (int, float)) else last
    began = _number(head.get("at"))
    pid = int(_number(head.get("pid")))
    match = _FOLDER.fullmatch(folder.name)
    return Run(
        id=str(head.get("run") or (match[1] if match else folder.name)),
        folder=folder,
        state=_state(head, over, pid),
        began=began,
        seconds=_number(over.get("seconds")) if over else max(last - began, 0.0),
        target=str(head.get("target", "")),
        tasks=kinds["added"],
        done=kinds["done"],
        failed=kinds["failed"],
        message=str(over.get("message", "")) if over else "",
        host=str(head.get("host", "")),
        pid=pid,
    )


def _state(head: dict[str, Any], over: dict[str, Any] | None, pid: int) -> State:
    if over is not None:
        return "done" if over.get("ok") else "failed"
    if not head:
        return "unknown"
    alive = is_alive(pid, str(head.get("pid_began", "")))
    if alive is None:
        return "unknown"
    return "running" if alive else "killed"


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0
