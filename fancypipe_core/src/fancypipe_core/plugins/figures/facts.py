"""What a journal tells of each task, as far as figures are made of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

__all__ = ["Fact", "Facts", "Line", "facts_of", "read_lines"]

_LARGEST = 200 << 20  # bytes of a journal that is read for figures; more would take seconds


class Line(msgspec.Struct, gc=False):
    """A line of a journal, with those of its keys that count here."""

    kind: str = ""
    name: str = ""
    task: int = 0
    tasks: list[int] | str = ""
    at: float = 0.0
    parent: int = 0
    needs: tuple[int, ...] = ()
    seconds: float | None = None
    took: list[int] = []
    target: str = ""
    argv: tuple[str, ...] = ()
    workers: int = 1
    unit: str = "worker"


_decoder = msgspec.json.Decoder(Line)


class Fact:
    """What is known of a task.

    Attributes:
        name: Its name.
        parent: The task that made it; 0 for none.
        needs: The tasks whose values it takes.
        waits: Those whose values its own value takes, since it returned references to them.
        seconds: How long its last attempt ran; None while that is not known.
        lost: The seconds of attempts that came to nothing.
        failures: How many these were.
        sent: When its last attempt was sent.
    """

    __slots__ = ("failures", "lost", "name", "needs", "parent", "seconds", "sent", "waits")

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.parent = 0
        self.needs: Sequence[int] = ()
        self.waits: Sequence[int] = ()
        self.seconds: float | None = None
        self.lost = 0.0
        self.failures = 0
        self.sent: float | None = None


class Facts:
    """What is known of the tasks of a run.

    Attributes:
        tasks: By number.
        target: The name of what was asked for.
        argv: The command line.
    """

    def __init__(self) -> None:
        self.tasks: dict[int, Fact] = defaultdict(Fact)
        self.target = ""
        self.argv: tuple[str, ...] = ()

    @property
    def work(self) -> float:
        """The seconds that all tasks ran, those of attempts that came to nothing left out."""
        return sum(fact.seconds or 0.0 for fact in self.tasks.values())

    def by_name(self) -> dict[str, tuple[int, float]]:
        """Return for each name how many tasks have it, and how long one of them runs."""
        counts: dict[str, int] = defaultdict(int)
        spans: dict[str, list[float]] = defaultdict(list)
        for fact in self.tasks.values():
            counts[fact.name] += 1
            if fact.seconds is not None:
                spans[fact.name].append(fact.seconds)
        return {
            name: (count, sum(spans[name]) / len(spans[name]))
            for name, count in counts.items()
            if spans[name]
        }


def facts_of(lines: Iterable[Line]) -> Facts:
    """Return what the lines of a journal say of tasks."""
    facts = Facts()
    tasks = facts.tasks
    for line in lines:
        kind = line.kind
        if kind == "run":
            facts.target, facts.argv = line.target, line.argv
        elif kind in ("note", "over", "progress"):
            continue
        elif line.tasks:
            _of_many(tasks, line)
        else:
            _of_one(tasks[line.task], line)
    return facts


def _of_many(tasks: dict[int, Fact], line: Line) -> None:
    about = line.tasks
    if isinstance(about, str):
        first, _, last = about.partition("-")
        about = list(range(int(first), int(last) + 1))
    if line.kind == "added":
        for task in about:
            tasks[task].name, tasks[task].parent = line.name, line.parent
    elif line.kind == "done":
        for task, micros in zip(about, line.took, strict=False):
            tasks[task].seconds = micros / 1e6


def _of_one(fact: Fact, line: Line) -> None:
    kind = line.kind
    if kind == "added":
        fact.name, fact.parent = line.name, line.parent
    elif kind == "submitted":
        fact.needs, fact.sent = line.needs, line.at
    elif kind == "unfolded":
        fact.waits, fact.seconds = line.needs, line.seconds
    elif kind == "done":
        fact.seconds = line.seconds if line.seconds is not None else fact.seconds
    elif kind in ("retried", "failed", "lost") and fact.sent is not None:
        # That an attempt is lost, and that it is tried again, are two lines.
        fact.failures += 1
        fact.lost += line.seconds if line.seconds is not None else max(line.at - fact.sent, 0.0)
        fact.sent = None


def read_lines(journal: Path) -> list[Line]:
    """Read a journal, also one that was cut short; one that is very large is not read.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no journal, or too large.
    """
    with journal.open("rb") as file:
        text = file.read(_LARGEST + 1)
    if len(text) > _LARGEST:
        raise ValueError(f"{journal} is larger than {_LARGEST} bytes")
    return _decoder.decode_lines(text[: text.rfind(b"\n") + 1])
