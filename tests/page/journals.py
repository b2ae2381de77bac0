"""Journals of runs that never were: nested modules, failures, retries, deaths, output."""

from __future__ import annotations

import heapq
import json
import random
from collections.abc import Iterator
from typing import Any

Event = dict[str, Any]

BEGAN = 1_790_000_000.0
TRACEBACK = """\
Traceback (most recent call last):
  File "study.py", line 41, in fit
    return solve(design, data)
  File "study.py", line 17, in solve
    raise ValueError(f"the design has rank {rank} of {size}")
ValueError: the design has rank 3 of 4
"""
CERTIFICATE = """\
worker node3 4711 died: signal 9 (SIGKILL), after 12.4 s
probably the system had no memory left: it had 61 of 64 GiB in use
last lines of output:
  reading volume 17 of 40
"""


class Journal:
    """A run that is made up: tasks are made, and then run by workers as they are free.

    Args:
        workers: How many.
        seed: Of what is left to chance.
    """

    def __init__(self, workers: int = 4, seed: int = 1) -> None:
        self.events: list[Event] = []
        self._chance = random.Random(seed)
        self._free = [(BEGAN + 0.2, f"node{n % 3 + 1} {4711 + n}") for n in range(workers)]
        self._ended: dict[int, float] = {}
        self._made = 0
        self._unfolded = 0
        self._workers = workers
        heapq.heapify(self._free)

    def head(self, target: str = "study", **more: Any) -> Event:
        """Return the first line."""
        return {
            "kind": "run",
            "journal": 1,
            "run": "0a1b2c3d4e5f",
            "session": "k3x9",
            "at": BEGAN,
            "fancypipe": "0.1.0",
            "python": "3.11.9",
            "host": "node1",
            "pid": 4700,
            "folder": "studies/reading",
            "argv": ["study.py", "--subjects", "12"],
            "target": target,
            "backend": "procs",
            "workers": self._workers,
            "unit": "worker",
            "settings": {
                "backend": "procs",
                "numworkers": str(self._workers),
                "jobmanager": "***",
                "keep_jobs": '"failed"',
            },
            **more,
        }

    def add(self, name: str, parent: int = 0, where: str = "study.py:12", at: float = 0.0) -> int:
        """Make a task, and return its number."""
        self._made += 1
        event: Event = {"kind": "added", "at": at or BEGAN + 0.02, "task": self._made, "name": name}
        if parent:
            event["parent"] = parent
        self.events.append({**event, "where": where})
        return self._made

    def run(
        self, task: int, seconds: float, needs: tuple[int, ...] = (), end: str = "done", **more: Any
    ) -> float:
        """Let a task run once, after what it needs; return when it ended."""
        free, worker = heapq.heappop(self._free)
        ready = max([BEGAN + 0.1, *(self._ended.get(one, 0.0) for one in (task, *needs))])
        began = max(free, ready)
        seconds *= self._chance.uniform(0.6, 1.5)
        ended = began + seconds
        heapq.heappush(self._free, (ended + 0.002, worker))
        self._ended[task] = ended
        about: Event = {"task": task, "attempt": more.pop("attempt", 1)}
        self.events += [
            {"kind": "submitted", "at": ready, **about, "needs": list(needs)},
            {"kind": "started", "at": began, **about, "worker": worker},
            {
                "kind": end,
                "at": ended,
                **about,
                "worker": worker,
                "seconds": seconds,
                "waited": began - ready,
                "cpu": seconds * self._chance.uniform(0.5, 1.0),
                "memory": self._chance.randrange(30 << 20, 900 << 20),
                "bytes_in": self._chance.randrange(100, 1 << 22),
                "bytes_out": self._chance.randrange(100, 1 << 20),
                **more,
            },
        ]
        if end == "lost":  # as it is told
            self.events.append({"kind": "retried", "at": ended, **about, **more})
        return ended

    def unfold(self, task: int, needs: tuple[int, ...] = (), seconds: float = 0.004) -> None:
        """Let a module run in the client, one after the other; it waits for what it made."""
        at = BEGAN + 0.05 + 0.005 * self._unfolded
        self._unfolded += 1
        self.events += [
            {"kind": "submitted", "at": at, "task": task, "attempt": 1},
            {
                "kind": "unfolded",
                "at": at + seconds,
                "task": task,
                "attempt": 1,
                "seconds": seconds,
                "needs": list(needs),
            },
        ]

    def close(self, task: int, inner: tuple[int, ...], end: str = "done") -> float:
        """End a module when what it made is over."""
        at = max([BEGAN + 0.2, *(self._ended.get(one, 0.0) for one in inner)])
        self._ended[task] = at
        self.events.append({"kind": end, "at": at + 0.001, "task": task, "attempt": 1})
        return at

    def note(self, task: int | None, text: str, stream: str = "stdout") -> None:
        """Let a task write."""
        at = self._ended.get(task or 0, BEGAN + 0.3)
        about = {} if task is None else {"task": task}
        self.events.append({"kind": "note", "at": at, **about, "stream": stream, "text": text})

    def over(self, ok: bool = True, message: str = "") -> Event:
        """Return the last line."""
        at = max([BEGAN, *self._ended.values()]) + 0.05
        kinds = ("done", "failed", "skipped", "cancelled")
        counts = {kind: sum(event["kind"] == kind for event in self.events) for kind in kinds}
        return {
            "kind": "over",
            "at": at,
            "ok": ok,
            "seconds": at - BEGAN,
            "counts": counts,
            "message": message,
        }

    def lines(self, *ends: Event, **head: Any) -> Iterator[str]:
        """Yield the journal's lines, in the order of time, each with its end."""
        events = sorted(self.events, key=lambda event: float(event["at"]))
        for event in (self.head(**head), *events, *ends):
            yield json.dumps(event, separators=(",", ":")) + "\n"


def study(subjects: int = 12, *, over: bool = True) -> str:
    """Return the journal of a study: modules in modules, and all that can go wrong."""
    journal = Journal()
    outermost = journal.add("study", where="study.py:88")
    means: list[int] = []
    parts: list[int] = []
    for subject in range(subjects):
        module = journal.add("subject", outermost, "study.py:60")
        load = journal.add("load", module, "study.py:22")
        journal.run(
            load, 0.8, inputs=f"path='sub-{subject:02}.nii'", value="array 64x64x33 float32"
        )
        journal.note(load, f"read sub-{subject:02}.nii: 33 slices\n")
        scans = [journal.add("smooth", module, "study.py:30") for _ in range(6)]
        for number, scan in enumerate(scans):
            if subject == 3 and number == 2:
                death = {"error": "TaskLost", "message": "its worker died: signal 9 (SIGKILL)"}
                journal.run(scan, 2.0, (load,), "lost", **death, certificate=CERTIFICATE)
                journal.run(scan, 2.0, (load,), attempt=2, inputs=f"scan={number}")
            elif subject == 5 and number == 1:
                again = {"error": "OSError", "message": "the disk is busy"}
                journal.run(scan, 0.3, (load,), "retried", **again, traceback="OSError: busy\n")
                journal.run(scan, 2.0, (load,), attempt=2, inputs=f"scan={number}")
            else:
                journal.run(scan, 2.0, (load,), inputs=f"scan={number}", value="array 64x64x33")
        fit = journal.add("fit", module, "study.py:38")
        if subject in (4, 9):
            failure = {"error": "ValueError", "message": f"the design has rank {subject - 1} of 4"}
            failure["path"] = f"study/subject[{subject + 1}]/fit"
            journal.run(fit, 1.0, tuple(scans), "failed", **failure, traceback=TRACEBACK,
                        inputs=f"subject={subject}")  # fmt: skip
            journal.note(fit, "warning: singular matrix\n", "stderr")
            end = "skipped"
        else:
            journal.run(fit, 3.0, tuple(scans), inputs=f"subject={subject}", value="Model(4)")
            end = "done"
            means.append(fit)
        journal.unfold(module, (fit,))
        journal.close(module, (load, *scans, fit), end)
        parts.append(module)
    mean = journal.add("mean", outermost, "study.py:95")
    journal.unfold(outermost, (mean,))
    if over:
        skipped = {"kind": "skipped", "at": journal.over()["at"], "attempt": 0}
        journal.events += [{**skipped, "task": task} for task in (mean, outermost)]
        ended = journal.over(ok=False, message="2 tasks failed, 4 were skipped")
        return "".join(journal.lines(ended))
    started = {"kind": "started", "attempt": 1, "worker": "node1 4711"}
    at = float(journal.over()["at"])
    journal.events.append({**started, "task": mean, "at": at})
    journal.events.append({"kind": "progress", "task": mean, "at": at + 1, "done": 3, "total": 10})
    return "".join(journal.lines())


def large(tasks: int) -> str:
    """Return the journal of a run of many tasks under one module."""
    journal = Journal(workers=16)
    outermost = journal.add("sweep", where="sweep.py:9")
    journal.unfold(outermost)
    for number in range(tasks // 2):
        point = journal.add("point", outermost, "sweep.py:20")
        journal.run(point, 0.05, inputs=f"i={number}", value=str(number * number))
        score = journal.add("score", outermost, "sweep.py:25")
        if number % 5000 == 4999:
            failure = {"error": "ValueError", "message": f"no score for {number}"}
            journal.run(score, 0.02, (point,), "failed", **failure, traceback=TRACEBACK)
        else:
            journal.run(score, 0.02, (point,), value="0.5")
    journal.close(outermost, tuple(range(2, tasks + 2)))
    return "".join(journal.lines(journal.over(), target="sweep"))
