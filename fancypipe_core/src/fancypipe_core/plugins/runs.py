"""Reads the journals that runs leave: which runs there are, and how each ended."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

from fancypipe_core._base.processes import is_alive
from fancypipe_core.hooks import ENDS
from fancypipe_core.plugins.journal import NAME

__all__ = [
    "Run",
    "State",
    "find_run",
    "find_runs",
    "paths_of",
    "read_journal",
    "summary_of",
    "tasks_of",
]

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

    A line that is about many tasks comes as one for each of them.

    Args:
        journal: The file, or the run's folder.

    Yields:
        Its lines, in order.  What is no whole line is left out, as are lines that are no
        JSON objects with a `kind`.

    Raises:
        OSError: It cannot be read.
    """
    each = _Each()
    for line in _read_lines(journal):
        yield from each.of(line)


def _read_lines(journal: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    path = Path(journal)
    with (path / NAME if path.is_dir() else path).open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            with suppress(ValueError):
                told = json.loads(line)
                if isinstance(told, dict) and isinstance(told.get("kind"), str):
                    yield told


class _Each:
    """Makes a line for each task of those that are about many."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._sent: dict[int, float] = {}  # when, until they have ended

    def of(self, line: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield a line, or those that it stands for."""
        kind, about = line["kind"], tasks_of(line)
        if kind == "added":
            self._names.update(dict.fromkeys(about, line.get("name", "")))
        elif kind == "submitted":
            self._sent.update(dict.fromkeys(about, _number(line.get("at"))))
        if "tasks" not in line:
            if kind in ENDS and about:
                self._sent.pop(about[0], None)
            yield line
            return
        shared = {key: value for key, value in line.items() if key not in ("tasks", "took", "name")}
        took, at = line.get("took"), _number(line.get("at"))
        spans = took if isinstance(took, list) and len(took) == len(about) else ()
        left = sum(map(_number, spans)) / 1e6
        for place, task in enumerate(about):
            one = {**shared, "task": task, "name": self._names.get(task, "")}
            if spans:
                # One after the other, but none before it was sent.
                seconds, sent = _number(spans[place]) / 1e6, self._sent.pop(task, 0.0)
                left -= seconds
                one["at"] = ended = max(at - left, sent + seconds)
                one["seconds"] = seconds
                if sent:
                    one["waited"] = max(ended - seconds - sent, 0.0)
            yield one


def tasks_of(line: Mapping[str, Any]) -> Sequence[int]:
    """Return the numbers of the tasks that a line of a journal is about."""
    many = line.get("tasks")
    if isinstance(many, str):
        first, _, last = many.partition("-")
        if first.isdecimal() and last.isdecimal():
            return range(int(first), int(last) + 1)
    elif isinstance(many, list):
        return [task for task in many if isinstance(task, int)]
    one = line.get("task")
    return (one,) if isinstance(one, int) else ()


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


def find_run(word: str, base: str | os.PathLike[str]) -> tuple[Path | None, list[str]]:
    """Return the folder of the run that is meant.

    Args:
        word: Its folder, or its journal; or below `base` its folder's name, its id, or what one of
            these begins with.
        base: Where the folders of runs are.

    Returns:
        The folder, None if none or several may be meant; and then the names of these, or of all.
    """
    path = Path(word)
    if path.name == NAME:
        path = path.parent
    if (path / NAME).is_file():
        return path, []
    runs = find_runs(base)
    for fits in (str.__eq__, str.startswith):
        found = [
            run
            for run in runs
            if fits(run.name, word)
            or ((match := _FOLDER.fullmatch(run.name)) and fits(match[1], word))
        ]
        if word and len(found) == 1:
            return found[0], []
        if word and found:
            return None, [run.name for run in found]
    return None, [run.name for run in runs]


def paths_of(journal: str | os.PathLike[str]) -> dict[int, str]:
    """Return the paths of the tasks in a journal, by their numbers, as messages print them.

    Raises:
        OSError: It cannot be read.
    """
    names: dict[int, tuple[int, str]] = {}
    paths: dict[int, str] = {}
    for line in read_journal(journal):
        tasks = tasks_of(line)
        if line["kind"] == "added":
            made = int(_number(line.get("parent"))), str(line.get("name", ""))
            names.update(dict.fromkeys(tasks, made))
        if isinstance(path := line.get("path"), str):
            paths.update(dict.fromkeys(tasks, path))
    counts: Counter[tuple[int, str]] = Counter()
    for task in sorted(names):
        parent, name = names[task]
        counts[parent, name] += 1
        ordinal = counts[parent, name]
        step = name if ordinal == 1 else f"{name}[{ordinal}]"
        if task not in paths:
            above = paths.get(parent)
            paths[task] = f"{above}/{step}" if above else step
    return paths


def _begin(folder: Path) -> tuple[str, float]:
    """Return when a run began: its folder's name tells the second, its journal the rest."""
    with suppress(OSError):
        for line in _read_lines(folder):
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
    for line in _read_lines(folder):
        kind = line["kind"]
        kinds[kind] += len(tasks_of(line))
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
