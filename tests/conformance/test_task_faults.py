"""What tasks do wrong, on every backend: a clear outcome, and the neighbours are unharmed."""

from __future__ import annotations

import asyncio
import linecache
import logging
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from fancypipe_core import Session, errors
from tests.conformance import faulty as f
from tests.conformance import raising as r
from tests.conformance.outcomes import raised, shares_memory

HERE = os.getpid()
GROUPS = sys.version_info >= (3, 11)


class Case(NamedTuple):
    """A task that fails.

    Attributes:
        make: Makes the instance.
        said: What the error says, after `task NAME failed: ` and before the place.
        kind: The class of what the task raised.
        line: A part of the line of the user's code that the error points to.
        joined: Whether the error is of that class, too.
        travels: Whether the exception can come from another process.
    """

    make: Callable[[], Any]
    said: str
    kind: type[BaseException]
    line: str
    joined: bool = True
    travels: bool = True


CLOSED = "<socket.socket [closed] fd=-1, family=2, type=1, proto=0>"

RAISING = {
    "plain": Case(r.raises_plain, "ValueError: plain", ValueError, "raise ValueError"),
    "nested": Case(r.raises_nested, "KeyError: 'innermost'", KeyError, "raise KeyError"),
    "two arguments": Case(
        r.raises_two_arguments, "TwoArguments: two (7)", r.TwoArguments, "raise TwoArguments"
    ),
    "holds a lock": Case(
        r.raises_holding_lock, "HoldsLock: ('it holds a lock', 5)", r.HoldsLock, "raise HoldsLock"
    ),
    "holds a socket": Case(
        r.raises_holding_socket,
        f"HoldsSocket: ('it holds a socket', {CLOSED})",
        r.HoldsSocket,
        "raise error",
    ),
    "has no text": Case(
        r.raises_without_text,
        "NoText: (its text cannot be shown: __str__ raised RuntimeError)",
        r.NoText,
        "raise NoText",
    ),
    "exits for its text": Case(
        r.raises_what_exits_for_text,
        "ExitsForText: (its text cannot be shown: __str__ raised SystemExit)",
        r.ExitsForText,
        "raise ExitsForText",
    ),
    "raises when read": Case(
        r.raises_what_raises_back,
        "RaisesBack: raises back",
        r.RaisesBack,
        "raise RaisesBack",
        travels=False,
    ),
    "exits when read": Case(
        r.raises_what_exits_back,
        "ExitsBack: exits back",
        r.ExitsBack,
        "raise ExitsBack",
        travels=False,
    ),
    "is something else when read": Case(
        r.raises_what_is_other_back, "OtherBack: other", r.OtherBack, "raise Other", travels=False
    ),
    "has a metaclass": Case(r.raises_with_meta, "HasMeta: meta", r.HasMeta, "raise type.__call__"),
    "has slots": Case(r.raises_slotted, "Slotted: slotted", r.Slotted, "raise Slotted"),
    "chain": Case(r.raises_chain, "RuntimeError: outer", RuntimeError, "raise RuntimeError"),
    "chain with a lock": Case(
        r.raises_chain_with_lock, "RuntimeError: outer", RuntimeError, "raise RuntimeError"
    ),
    "long chain": Case(r.raises_long_chain, "ValueError: number 2999", ValueError, "from last"),
    "system exit": Case(
        lambda: r.raises_kind(SystemExit, 3), "SystemExit: 3", SystemExit, "raise kind", False
    ),
    "sys.exit": Case(r.exits, "SystemExit: it is over", SystemExit, "sys.exit(", False),
    "interrupt": Case(
        lambda: r.raises_kind(KeyboardInterrupt),
        "KeyboardInterrupt in `raise kind(*args)`",
        KeyboardInterrupt,
        "raise kind",
        False,
    ),
    "generator exit": Case(
        lambda: r.raises_kind(GeneratorExit),
        "GeneratorExit in `raise kind(*args)`",
        GeneratorExit,
        "raise kind",
        False,
    ),
    "cancelled": Case(
        lambda: r.raises_kind(asyncio.CancelledError, "enough"),
        "CancelledError: enough",
        asyncio.CancelledError,
        "raise kind",
        False,
    ),
    "no exception": Case(
        lambda: r.raises_kind(r.OddBase, "odd"), "OddBase: odd", r.OddBase, "raise kind", False
    ),
    "stop iteration": Case(
        lambda: r.raises_kind(StopIteration, 3), "StopIteration: 3", StopIteration, "raise kind"
    ),
    "memory": Case(
        r.raises_for_memory,
        "MemoryError in `bytearray(1 << 62)`",
        MemoryError,
        "bytearray(1 << 62)",
    ),
    "recursion": Case(
        r.recurses,
        "RecursionError: maximum recursion depth exceeded",
        RecursionError,
        "return deeper(n + 1)",
    ),
    "operating system": Case(
        lambda: r.raises_kind(FileNotFoundError, 2, "not there", "a name"),
        "FileNotFoundError: [Errno 2] not there: 'a name'",
        FileNotFoundError,
        "raise kind",
    ),
    "more than its class says": Case(
        lambda: r.raises_kind(UnicodeDecodeError, "utf8", b"x", 0, 1, "bad"),
        "UnicodeDecodeError: 'utf8' codec can't decode byte 0x78 in position 0: bad",
        UnicodeDecodeError,
        "raise kind",
    ),
}


@pytest.mark.fault(1, 2, 3, 4, 11, 14)
@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("name", RAISING)
def test_what_a_task_raises_is_told_in_full(alone: Session, name: str) -> None:
    case = RAISING[name]
    instance = case.make()
    with pytest.raises(errors.TaskError) as caught:
        alone.run(f.good(instance))
    error = caught.value
    task = instance._definition.name
    inputs = f" ({error.inputs})" if error.inputs else ""
    assert str(error) == f"task {task}{inputs} failed: {case.said} (at {error.where})"
    assert error.task == task
    assert error.attempt == 1
    assert error.host == socket.gethostname()
    assert (error.pid == HERE) == shares_memory(alone)
    file, _, line = error.where.rpartition(":")
    assert file == r.__file__
    assert case.line in linecache.getline(file, int(line))
    assert f'File "{file}", line {line}, in ' in error.traceback
    assert "fancypipe_core" not in error.traceback, "frames of the engine are of no use"
    if case.travels or shares_memory(alone):
        assert isinstance(error, case.kind) == case.joined
        assert type(error.__cause__) is case.kind
        assert error.__cause__.__traceback__ is not None
    else:
        assert type(error.__cause__) is errors.RemoteError
        assert str(error.__cause__) == case.said
        assert error.__cause__.traceback == error.traceback


@pytest.mark.fault(1, 2, 3, 4, 11, 14)
def test_all_of_them_at_once_beside_good_ones(backend: str, tmp_path: Path) -> None:
    bad = [case.make() for case in RAISING.values()]
    good = [f.touches(str(tmp_path / str(i))) for i in range(100)]
    mixed = [*good[:50], *bad, *good[50:]]
    with (
        Session(backend, 2, debug=True, keep_going=True) as session,
        pytest.raises(errors.RunFailed) as caught,
    ):
        session.run([f.good(instance) for instance in mixed])
    assert len(list(tmp_path.iterdir())) == 100
    assert caught.value.skipped == len(bad)
    said = sorted(str(failure).split(" failed: ")[1] for failure in caught.value.failures)
    expected = sorted(case.said for case in RAISING.values())
    assert [text.rpartition(" (at ")[0] for text in said] == expected


@pytest.mark.fault(2, 3)
@pytest.mark.usefixtures("unharmed")
def test_attributes_of_exceptions_come_along(alone: Session) -> None:
    two: Any = raised(alone, r.raises_two_arguments())
    assert (two.code, two.args) == (7, ("two (7)",))
    lock: Any = raised(alone, r.raises_holding_lock())
    assert (lock.code, lock.args) == (7, ("it holds a lock", 5))
    assert hasattr(lock, "lock") == shares_memory(alone), "only what can travel does"
    sock: Any = raised(alone, r.raises_holding_socket())
    assert sock.args[0] == "it holds a socket"
    assert str(sock.args[1]) == CLOSED, "what cannot travel is there in words"
    assert raised(alone, r.raises_slotted()).code == 9  # type: ignore[attr-defined]
    missing: Any = raised(alone, r.raises_kind(FileNotFoundError, 2, "not there", "a name"))
    assert (missing.errno, missing.filename) == (2, "a name")


@pytest.mark.fault(4)
@pytest.mark.usefixtures("unharmed")
def test_a_chain_is_kept(alone: Session) -> None:
    outer = raised(alone, r.raises_chain()).__cause__
    assert type(outer) is RuntimeError
    between = outer.__context__
    assert type(between) is r.TwoArguments
    assert between.code == 8
    assert type(between.__cause__) is KeyError
    outer = raised(alone, r.raises_chain_with_lock()).__cause__
    assert outer is not None
    assert type(outer.__cause__) is r.HoldsLock
    assert outer.__cause__.code == 7
    outer = raised(alone, r.raises_chain_that_cannot_be_read()).__cause__
    assert outer is not None
    cause = outer.__cause__
    if shares_memory(alone):
        assert type(cause) is r.ExitsBack
    else:
        assert type(cause) is errors.RemoteError
        assert str(cause) == "ExitsBack: below"


@pytest.mark.fault(4)
@pytest.mark.usefixtures("unharmed")
def test_a_class_without_a_name_comes_back_as_itself(alone: Session) -> None:
    error = raised(alone, r.raises_local())
    assert isinstance(error, ValueError)
    assert type(error.__cause__).__name__ == "Local"
    assert "failed: raises_local.<locals>.Local: local (at " in str(error)


@pytest.mark.fault(4)
@pytest.mark.skipif(not GROUPS, reason="Python 3.11 brought notes and groups")
@pytest.mark.usefixtures("unharmed")
def test_notes_and_groups_are_kept(alone: Session) -> None:
    noted = raised(alone, r.raises_noted())
    assert isinstance(noted, ValueError)
    assert noted.__cause__.__notes__ == ["this was on a Tuesday"]  # type: ignore[union-attr]
    assert "this was on a Tuesday" in noted.traceback
    for make, second in [(r.raises_group, r.TwoArguments), (r.raises_group_with_lock, r.HoldsLock)]:
        error = raised(alone, make())
        assert type(error) is errors.TaskError, "a group needs `except*`"
        assert "failed: ExceptionGroup: several (2 sub-exceptions) (at " in str(error)
        assert [type(one) for one in error.__cause__.exceptions] == [ValueError, second]  # type: ignore[union-attr]
        assert "ValueError: one" in error.traceback


@pytest.mark.fault(4)
@pytest.mark.usefixtures("unharmed")
def test_a_long_message_is_cut_with_a_mark(alone: Session) -> None:
    error = raised(alone, r.raises_long())
    assert isinstance(error, ValueError)
    assert str(error).startswith("task raises_long failed: ValueError: beginxxxx")
    assert re.search(r"xxxx \.\.\. \(at .*raising\.py:\d+\)$", str(error))
    assert len(str(error)) < 2000
    assert re.search(r"\n\.\.\. cut 99\d{5} characters \.\.\.\n", error.traceback)
    assert 60_000 < len(error.traceback) < 70_000
    assert error.traceback.endswith("xxxend\n")


@pytest.mark.fault(3)
def test_an_exception_whose_reading_kills(alone: Session) -> None:
    """Only a process can be killed by it; that it was, is told."""
    error = raised(alone, r.raises_what_dies_back(HERE))
    if shares_memory(alone):
        assert isinstance(error, r.DiesBack)
    else:
        assert isinstance(error, errors.TaskLost)
        assert error.certificate.detail == "exit code 4"
    assert alone.run([f.good(i) for i in range(20)]) == list(range(20))


@pytest.mark.fault(1)
@pytest.mark.usefixtures("unharmed")
def test_a_module_fails_as_a_task_does(alone: Session) -> None:
    for kind in (ValueError, SystemExit, GeneratorExit, asyncio.CancelledError, r.OddBase):
        error = raised(alone, r.composes_badly(kind))
        assert str(error) == (
            f"task composes_badly (kind={kind.__name__}) failed: {kind.__name__}: bad "
            f"(at {error.where})"
        )
        assert type(error.__cause__) is kind


# ---- what a task does to its process ----


@pytest.mark.fault(13)
def test_a_limit_that_cannot_be_kept_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    with Session("serial", 1) as session:
        assert session.run([f.limited() for _ in range(3)]) == [1, 1, 1]
    assert capsys.readouterr().err == (
        "fancypipe: the serial backend cannot stop a task: timeouts are not enforced\n"
    )


@pytest.mark.fault(18)
def test_standard_input(backend: str) -> None:
    """A child reads the end at once and takes nothing away; in the client it is the user's."""
    script = (
        "import sys\n"
        "from fancypipe_core import run\n"
        "from tests.conformance import faulty as f\n"
        "if __name__ == '__main__':\n"
        f"    print(run(f.reads_line(), backend={backend!r}, workers=1), sys.stdin.readline())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        input="first\nsecond\n",
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
        env={**os.environ, "PYTHONPATH": str(Path(f.__file__).parents[2])},
    )
    assert done.stdout.split() == (["first", "second"] if backend != "procs" else ["first"])


@pytest.mark.fault(21)
@pytest.mark.usefixtures("unharmed")
def test_tasks_that_wait_for_tasks_in_one_slot(alone: Session) -> None:
    assert alone.run(f.nests(5)) == 5
    error = raised(alone, f.nests_and_fails(5))
    assert isinstance(error, r.TwoArguments)
    assert error.code == 5
    assert alone.run(f.catches(5)) == 5
    assert alone.run(f.runs(5)) == 5


@pytest.mark.fault(23)
@pytest.mark.usefixtures("unharmed")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a fork while threads run
def test_a_fork_that_comes_back_from_its_task_is_no_worker(
    alone: Session, capfd: pytest.CaptureFixture[str]
) -> None:
    assert alone.run(f.forks("returns")) == 0
    assert alone.run(f.forks("exits")) == 5
    assert alone.run(f.forks("raises")) == 1
    assert "ValueError: in the fork" in capfd.readouterr().err


@pytest.mark.fault(23)
def test_workers_start_while_another_thread_holds_locks() -> None:
    """They are no forks: a lock that is held here is free there."""
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with logging._lock:  # type: ignore[attr-defined]
            held.set()
            done.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert held.wait(60)
        with Session("procs", 2) as session:
            assert session.run([f.logs() for _ in range(20)]) == [1] * 20
    finally:
        done.set()
        holder.join()


@pytest.mark.fault(24)
def test_what_must_not_run_twice_does_not(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    with Session("procs", 1, max_losses=1) as session:
        error = raised(session, f.marks_and_dies(str(marks)))
        assert isinstance(error, errors.TaskLost)
        assert error.attempt == 1
    assert marks.read_text() == "x"


@pytest.mark.usefixtures("unharmed")
def test_warnings_and_logs_are_harmless(alone: Session, capfd: pytest.CaptureFixture[str]) -> None:
    if not shares_memory(alone):  # in this process pytest makes an exception of the warning
        assert alone.run(f.warns()) == 1
    assert alone.run(f.logs()) == 1
