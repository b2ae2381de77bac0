"""What observers ask for they get, and what nobody asks for is not made."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from fancypipe_core import Session, current, module, run, task
from fancypipe_core._base import processes
from fancypipe_core._engine.run_info import argv_in_words
from fancypipe_core._plugins import event_stream
from fancypipe_core._settings.table import Table, lines_of
from fancypipe_core._wire import messages
from fancypipe_core._worker import inline
from fancypipe_core.backend import Done, Err, Ok, Payload, Usage
from fancypipe_core.errors import ProtocolError
from fancypipe_core.hooks import (
    EventField,
    EventKind,
    Outcome,
    RunInfo,
    TaskEvent,
    TaskNote,
    Wants,
    hookimpl,
    setting,
)
from tests.core.test_cost import _calls

BACKENDS = ["serial", "threads", "procs"]
ALL: tuple[EventField, ...] = (
    "path", "inputs", "where", "needs", "usage", "bytes", "traceback", "value",
)  # fmt: skip


class Asks:
    """Asks for something, and keeps what it is given."""

    def __init__(self, *kinds: EventKind, fields: Sequence[EventField] = ()) -> None:
        self.asks = Wants(kinds, fields) if kinds else Wants(fields=fields)
        self.events: list[TaskEvent] = []

    @hookimpl
    def fancypipe_wants(self) -> Wants:
        return self.asks

    @hookimpl
    def fancypipe_task_events(self, events: Sequence[TaskEvent]) -> None:
        self.events += events

    def one(self, name: str, kind: str) -> TaskEvent:
        (found,) = [one for one in self.events if (one.name, one.kind) == (name, kind)]
        return found


class RunsOnly:
    """Wants no events of tasks."""

    def __init__(self) -> None:
        self.told: list[RunInfo] = []

    @hookimpl
    def fancypipe_run_started(self, run: RunInfo) -> None:
        self.told.append(run)

    @hookimpl
    def fancypipe_run_over(self, run: RunInfo, outcome: Outcome) -> None:
        self.told.append(run)


@task
def number(x: int) -> int:
    return x


@task
def plus(a: int, b: int) -> int:
    return a + b


@task
def busy(seconds: float) -> bytes:
    """Keep a core busy, and 40 MB of memory."""
    held = bytearray(40_000_000)
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        held[0] ^= 1
    return bytes(1000)


@task
def sleeps(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@task(retries=1)
def fails(x: int) -> int:
    raise ValueError(f"no {x}")


@task
def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@module
def outer(x: int) -> Any:
    return plus(number(x), 1)


# ---- kinds ---------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_observer_gets_the_kinds_that_it_named(backend: str) -> None:
    ends, begins, everything = Asks("done", "failed"), Asks("added"), Asks()
    with pytest.raises(ValueError, match="no 3"):
        run([number(2), fails(3)], backend=backend, observers=[ends, begins, everything])
    assert {event.kind for event in ends.events} <= {"done", "failed"}
    assert {event.kind for event in begins.events} == {"added"}
    assert ends.one("fails", "failed").attempt == 2
    assert [e for e in everything.events if e.kind == "added"] == begins.events
    assert {"added", "submitted", "retried", "failed"} <= {e.kind for e in everything.events}


def test_what_nobody_wants_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def make(kind: str, *args: Any, **others: Any) -> TaskEvent:
        made.append(kind)
        return TaskEvent(kind, *args, **others)  # type: ignore[arg-type]

    monkeypatch.setattr(event_stream, "TaskEvent", make)
    with Session("serial", observers=[Asks("failed"), RunsOnly()]) as session:
        session.run([number(n) for n in range(50)])
    assert made == []
    with Session("serial", observers=[RunsOnly()]) as session:
        session.run([number(n) for n in range(50)])
    assert made == []


def test_who_wants_no_events_costs_a_task_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    # On a slow machine a burst is over after few tasks, and there are more turns of the loop.
    monkeypatch.setattr(inline, "_BURST", 1000.0)
    targets = [number(n) for n in range(500)]
    with Session("serial") as session:
        session.run([number(1)])
        without = _calls(lambda: session.run(targets))
    targets = [number(n) for n in range(500)]
    watch = RunsOnly()
    with Session("serial", observers=[watch]) as session:
        session.run([number(1)])
        beside = _calls(lambda: session.run(targets))
    assert len(watch.told) == 4
    assert beside < without + 250  # of the run; a call for each task would be 500 more


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda: 3, "it returned 3, which is no Wants"),
        (lambda: Wants(("finished",)), "'finished' is none of the kinds of events: added"),  # type: ignore[arg-type]
        (lambda: Wants(fields=("colour",)), "'colour' is none of the fields that can be wanted"),  # type: ignore[arg-type]
    ],
)
@pytest.mark.fault(80)
def test_a_wrong_wish_is_said_once_and_its_observer_left_out(
    answer: Any, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    class Odd(Asks):
        @hookimpl
        def fancypipe_wants(self) -> Wants:
            return answer()  # type: ignore[no-any-return]

    odd, good = Odd(), Asks()
    assert run(number(2), backend="serial", observers=[odd, good]) == 2
    said = capsys.readouterr().err
    assert said.count("observer Odd failed in fancypipe_wants and is not called again") == 1
    assert text in said
    assert odd.events == []
    assert good.events


# ---- fields --------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_fields_say_where_a_task_comes_from_and_what_it_needs(backend: str) -> None:
    asks = Asks(fields=ALL)
    before = time.time()
    assert run(outer(4), backend=backend, workers=1, observers=[asks]) == 5
    made, inner, first = (asks.one(name, "added") for name in ("outer", "plus", "number"))
    assert (made.parent, inner.parent, first.parent) == (0, made.task, made.task)
    file, line = inner.where.rsplit(":", 1)
    assert file.endswith("test_wants.py")
    assert int(line) == outer.main.__code__.co_firstlineno + 2
    assert asks.one("plus", "submitted").needs == (first.task,)
    assert asks.one("outer", "unfolded").needs == (inner.task,)
    assert inner.path == "outer/plus"
    assert inner.inputs == "a=<number>, b=1"
    assert before <= made.clock <= inner.clock <= time.time()
    done = asks.one("plus", "done")
    assert (done.value, done.attempt, done.error) == ("5", 1, "")
    assert done.waited is not None
    assert 0 <= done.waited <= done.at - asks.one("plus", "submitted").at


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_a_task_uses_is_measured_where_it_runs(backend: str) -> None:
    asks = Asks(fields=["usage", "bytes"])
    run([busy(0.1), sleeps(0.2)], backend=backend, workers=1, observers=[asks])
    worked, slept = asks.one("busy", "done"), asks.one("sleeps", "done")
    assert worked.cpu is not None
    assert slept.cpu is not None
    assert worked.seconds is not None
    # What is imported for it may start threads, which count: no more than there are cores.
    assert 0.1 <= worked.cpu <= worked.seconds * (os.cpu_count() or 1) + 0.05
    assert slept.cpu < 0.1
    assert 40e6 < worked.memory < 1e12
    if backend == "procs":
        # Encoded values: a thousand bytes came, and the number of seconds went.
        assert worked.bytes_out is not None
        assert 1000 <= worked.bytes_out < 1100
        assert worked.bytes_in is not None
        assert 0 < worked.bytes_in < 100
        assert worked.worker == slept.worker != ""
        assert str(os.getpid()) not in worked.worker.split()
    else:
        assert (worked.bytes_in, worked.bytes_out) == (None, None)
        assert worked.worker.split()[1] == str(os.getpid())


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_was_not_asked_for_is_not_told(backend: str) -> None:
    asks = Asks()
    with pytest.raises(ValueError, match="no 1"):
        run([busy(0.01), fails(1)], backend=backend, observers=[asks])
    for event in asks.events:
        assert (event.cpu, event.memory, event.bytes_in, event.bytes_out) == (None, 0, None, None)
        assert (event.value, event.traceback, event.needs, event.where) == ("", "", (), "")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_failure_is_told_with_its_class_and_traceback(backend: str) -> None:
    asks = Asks("retried", "failed", fields=ALL)
    with pytest.raises(ValueError, match="no 1"):
        run(fails(1), backend=backend, observers=[asks])
    assert [(e.kind, e.attempt, e.error, e.message) for e in asks.events] == [
        ("retried", 1, "ValueError", "ValueError: no 1"),
        ("failed", 2, "ValueError", "ValueError: no 1"),
    ]
    for event in asks.events:
        assert 'raise ValueError(f"no {x}")' in event.traceback
        assert event.seconds is not None
        assert event.certificate == ""


def test_a_death_is_told_with_its_certificate() -> None:
    asks = Asks("lost", "failed")
    with pytest.raises(Exception, match="dies"):
        run(dies(), backend="procs", workers=1, observers=[asks], max_losses=1)
    assert [(e.kind, e.attempt, e.error) for e in asks.events] == [
        ("lost", 1, "WorkerDied"), ("failed", 1, "WorkerDied"),
    ]  # fmt: skip
    for event in asks.events:
        assert event.certificate.startswith("signal: SIGKILL (host ")


@dataclass(frozen=True)
class Point:
    x: int


@task
def gives(what: str) -> Any:
    return {"number": 17, "text": "x" * 500, "point": Point(3), "list": [1, 2, 3, 4]}[what]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_value_is_told_in_few_words(backend: str) -> None:
    asks = Asks("done", fields=["value"])
    for what in ("number", "text", "point", "list"):
        run(gives(what), backend=backend, workers=1, observers=[asks])
    said = [event.value for event in asks.events]
    assert (said[0], said[3]) == ("17", "[1, 2, 3, ...]")
    assert said[1].startswith("'xxxxx")
    assert len(said[1]) < 90
    # Nothing of a user's class is run in the client for it.
    assert said[2] == ""


# ---- notes ---------------------------------------------------------------------


@task
def says(x: int) -> int:
    print("out", x)  # noqa: T201
    print("err", x, file=sys.stderr)  # noqa: T201
    current().log(f"logged {x}")
    return x


class Hears(Asks):
    """Keeps what is said, too."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[TaskNote] = []

    @hookimpl
    def fancypipe_notes(self, notes: Sequence[TaskNote]) -> None:
        self.notes += notes


def test_what_tasks_say_is_told_as_notes() -> None:
    hears = Hears()
    assert run(says(7), backend="procs", workers=1, observers=[hears]) == 7
    told = {note.stream: note for note in hears.notes}
    assert told["stdout"].text.strip() == "out 7"
    assert told["stderr"].text.strip() == "err 7"
    assert told["log"].text == "logged 7"
    assert (told["log"].task, told["log"].attempt) == (hears.one("says", "done").task, 1)
    assert told["log"].name == "says"
    assert abs(told["log"].clock - time.time()) < 600


def test_a_warning_of_the_engine_is_a_note_too(capsys: pytest.CaptureFixture[str]) -> None:
    class HearsOnly:
        notes: list[TaskNote] = []  # noqa: RUF012

        @hookimpl
        def fancypipe_notes(self, notes: Sequence[TaskNote]) -> None:
            self.notes.extend(notes)

    slow = task(timeout=100.0)(number.main)
    assert run(slow(1), backend="serial", observers=[HearsOnly()]) == 1
    (note,) = HearsOnly.notes
    assert (note.stream, note.task) == ("warning", 0)
    assert "timeouts are not enforced" in note.text
    assert note.text in capsys.readouterr().err


# ---- the run -------------------------------------------------------------------


def test_a_run_says_who_it_is() -> None:
    watch = RunsOnly()
    before = time.time()
    with Session("serial", observers=[watch], keep_going=True) as session:
        session.run(outer(1))
        session.run([number(1), number(2)])
    info = watch.told[0]
    assert info.session == session.id == watch.told[2].session
    assert info.id != watch.told[2].id
    assert (info.target, watch.told[2].target) == ("outer", "2 targets")
    assert before <= info.began <= time.time()
    assert (info.pid, info.argv) == (os.getpid(), tuple(sys.argv))
    assert info.folder == os.getcwd()
    assert info.settings["keep_going"] == "true"
    assert info.versions["python"] == sys.version.split()[0]
    assert info.versions["fancypipe"][0].isdigit()
    assert processes.is_alive(info.pid, info.pid_began) is True


def test_secrets_are_stars() -> None:
    @dataclass(frozen=True)
    class Settings:
        jobauth: str | None = setting(None, help="A secret.", secret=True)

    table = Table("far", Settings, lines_of(Settings, "far"))
    known = table.resolve({"jobauth": "open sesame"}, {})
    words = ["x.py", "-jobauth", "open sesame", "--jobauth=abc", "--key=<open sesame>", "-n", "3"]
    assert argv_in_words([*words, "--password"], [known]) == (
        "x.py", "-jobauth", "***", "--jobauth=***", "--key=<***>", "-n", "3", "--password",
    )  # fmt: skip


def test_the_dead_are_told_from_the_living() -> None:
    mine = processes.began()
    machine, boot, space, start = mine.split("-")
    assert processes.is_alive(os.getpid(), f"{machine}-{boot}-{space}-{int(start) + 1}") is False
    assert processes.is_alive(os.getpid(), f"{machine}-{boot[::-1]}x-{space}-{start}") is False
    assert processes.is_alive(os.getpid(), f"other-{boot}-{space}-{start}") is None
    assert processes.is_alive(os.getpid(), f"{machine}-{boot}-1-{start}") is None
    assert processes.is_alive(os.getpid(), "") is None


# ---- on the wire ---------------------------------------------------------------


def test_usage_goes_over_a_channel_and_is_read_with_care() -> None:
    reply = Ok((Payload(b"head"),))
    sent = [Done((1, 1), reply, 0.5, "", Usage(0.25, 99, "host\n 1")), Done((2, 1), reply, 0.5)]
    first, second = messages.Reports().read(messages.encode_report(sent))
    assert isinstance(first, Done)
    assert first.usage == Usage(0.25, 99, "host\\n 1")
    assert second == sent[1]
    odd = Done((1, 1), Err("E", "", "", "", None, "", 0), 0.5, "", Usage(-1.0, 0, ""))
    with pytest.raises(ProtocolError):
        messages.Reports().read(messages.encode_report([odd]))


def test_python_logging_is_left_alone() -> None:
    assert not logging.getLogger("fancypipe").handlers
