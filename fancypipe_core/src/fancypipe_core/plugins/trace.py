"""A run's journal as a trace that Perfetto and Chrome show: `ui.perfetto.dev`, `chrome://tracing`.

The format is that of Chrome's trace events: JSON, times in microseconds.  A host is a process
of the trace and a worker a thread of it, with further ones where it ran several attempts at the
same time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from fancypipe_core.plugins.runs import read_journal, tasks_of

__all__ = ["NAME", "trace_of", "write_trace"]

NAME = "trace.json"
"""The trace's name in a run's folder."""

_CLIENT = "client"
_ENDS = ("unfolded", "done", "failed", "retried", "lost")  # of an attempt
_CLOCKS = 0.005  # seconds by which the ends of attempts are told late, as times go
_MOST_ARROWS = 20_000
_COLOURS = {"failed": "terrible", "lost": "terrible", "retried": "bad"}


class _Slice(NamedTuple):
    """An attempt: when it ran, and in which row."""

    begin: float
    end: float
    process: int
    thread: int


class _Rows:
    """Rows in which nothing overlaps: one for each worker, or several."""

    def __init__(self) -> None:
        self._hosts: dict[str, int] = {}
        self._free: dict[str, list[tuple[float, int]]] = {}  # by worker: each row's end, and number
        self._count = 0
        self.names: list[dict[str, Any]] = []

    def place(self, worker: str, begin: float, end: float) -> _Slice:
        """Find a row for an attempt; what overlaps by no more than clocks tell is moved."""
        host = worker.partition(" ")[0]
        if host not in self._hosts:
            self._hosts[host] = len(self._hosts) + 1
            self._name("process_name", self._hosts[host], 0, host)
        process = self._hosts[host]
        rows = self._free.setdefault(worker, [])
        slack = min(_CLOCKS, (end - begin) / 2)
        for at, (until, thread) in enumerate(rows):
            if until <= begin + slack:
                rows[at] = end, thread
                return _Slice(max(begin, until), end, process, thread)
        self._count += 1
        rows.append((end, self._count))
        shown = worker if len(rows) == 1 else f"{worker} ({len(rows)})"
        self._name("thread_name", process, self._count, shown)
        return _Slice(begin, end, process, self._count)

    def _name(self, kind: str, process: int, thread: int, name: str) -> None:
        told = {"ph": "M", "name": kind, "pid": process, "tid": thread, "args": {"name": name}}
        self.names.append(told)


def trace_of(run: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """Yield the events of a trace.

    Args:
        run: The run's folder, or its journal; it may be under way.

    Raises:
        OSError: It cannot be read.
    """
    rows = _Rows()
    names: dict[int, str] = {}
    needs: dict[int, list[int]] = {}
    began: dict[int, float] = {}
    ran: dict[int, _Slice] = {}
    unfolded: set[int] = set()
    first = 0.0
    for line in read_journal(run):
        kind, tasks, at = line["kind"], tasks_of(line), line.get("at")
        if not isinstance(at, (int, float)):
            continue
        first = first or at
        if kind == "added":
            names.update(dict.fromkeys(tasks, str(line.get("name", ""))))
        elif kind == "submitted" and isinstance(line.get("needs"), list):
            needs.update(dict.fromkeys(tasks, line["needs"]))
        elif kind == "started":
            began.update(dict.fromkeys(tasks, at))
        elif kind in _ENDS and not (kind == "done" and not unfolded.isdisjoint(tasks)):
            if kind == "unfolded":
                unfolded.update(tasks)
            for task, begin, end in _times(line, tasks, at, began):
                where = rows.place(str(line.get("worker") or _CLIENT), begin, end)
                ran[task] = where
                yield _slice(line, task, names.get(task, str(line.get("name", ""))), where, first)
    yield from rows.names
    arrows = ((need, task) for task, all_of in needs.items() for need in all_of)
    for number, (need, task) in enumerate(arrows):
        if number >= _MOST_ARROWS:
            return
        if need in ran and task in ran:
            yield from _arrow(number, ran[need], ran[task], first)


def _times(
    line: Mapping[str, Any], tasks: Any, at: float, began: dict[int, float]
) -> Iterator[tuple[int, float, float]]:
    """Yield when each attempt ran that a line tells the end of."""
    took = line.get("took")
    if isinstance(took, list) and len(took) == len(tasks):
        end = at - sum(took) / 1e6 if line.get("worker") else at
        for task, micros in zip(tasks, took, strict=True):
            begin = end if line.get("worker") else at - micros / 1e6
            end = begin + micros / 1e6
            yield task, begin, end
        return
    for task in tasks:
        seconds = line.get("seconds")
        known = began.pop(task, None)
        if isinstance(seconds, (int, float)):
            begin = at - seconds if known is None else min(known, at - seconds)
            yield task, begin, begin + seconds
        elif known is not None:  # its worker has died
            yield task, known, at


def _micros(at: float, first: float) -> float:
    return round((at - first) * 1e6, 1)


def _slice(
    line: Mapping[str, Any], task: int, name: str, where: _Slice, first: float
) -> dict[str, Any]:
    keys = ("attempt", "path", "inputs", "value", "waited", "cpu", "memory", "error", "message")
    told = {key: line[key] for key in keys if line.get(key)}
    made = {
        "ph": "X",
        "name": name,
        "cat": line["kind"],
        "pid": where.process,
        "tid": where.thread,
        "ts": _micros(where.begin, first),
        "dur": max(round((where.end - where.begin) * 1e6, 1), 0.1),
        "args": {"task": task, **told},
    }
    if line["kind"] in _COLOURS:
        made["cname"] = _COLOURS[line["kind"]]
    return made


def _arrow(number: int, need: _Slice, task: _Slice, first: float) -> Iterator[dict[str, Any]]:
    """From the end of what a task needs to its beginning."""
    for ph, place, at in (("s", need, need.end), ("f", task, task.begin)):
        # Within the slice: one that only touches it belongs to no slice.
        inside = _micros(at, first) + (-0.05 if ph == "s" else 0.05)
        ends = {"bp": "e"} if ph == "f" else {}
        yield {
            "ph": ph, "id": number, "name": "value", "cat": "value", "pid": place.process,
            "tid": place.thread, "ts": inside, **ends,
        }  # fmt: skip


def write_trace(run: str | os.PathLike[str], file: str | os.PathLike[str] | None = None) -> Path:
    """Write the trace of a run.

    Args:
        run: As for `trace_of`.
        file: Where to; None for `trace.json` beside the journal.

    Returns:
        The file.

    Raises:
        OSError: It cannot be read or written.
    """
    folder = Path(run) if Path(run).is_dir() else Path(run).parent
    target = Path(file) if file is not None else folder / NAME
    part = target.with_name(f".{target.name}.part")
    try:
        with part.open("w", encoding="ascii") as stream:
            _write(stream, run)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return target


def _write(stream: TextIO, run: str | os.PathLike[str]) -> None:
    stream.write('{"displayTimeUnit":"ms","traceEvents":[')
    comma = ""
    for event in trace_of(run):
        stream.write(f"{comma}\n{json.dumps(event)}")
        comma = ","
    stream.write("\n]}\n")
