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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from fancypipe_core import Session, errors, run
from tests.conformance import faulty as f

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
    "plain": Case(f.raises_plain, "ValueError: plain", ValueError, "raise ValueError"),
    "nested": Case(f.raises_nested, "KeyError: 'innermost'", KeyError, "raise KeyError"),
    "two arguments": Case(
        f.raises_two_arguments, "TwoArguments: two (7)", f.TwoArguments, "raise TwoArguments"
    ),
    "holds a lock": Case(
        f.raises_holding_lock, "HoldsLock: ('it holds a lock', 5)", f.HoldsLock, "raise HoldsLock"
    ),
    "holds a socket": Case(
        f.raises_holding_socket,
        f"HoldsSocket: ('it holds a socket', {CLOSED})",
        f.HoldsSocket,
        "raise error",
    ),
    "has no text": Case(
        f.raises_without_text,
        "NoText: (its text cannot be shown: __str__ raised RuntimeError)",
        f.NoText,
        "raise NoText",
    ),
    "exits for its text": Case(
        f.raises_what_exits_for_text,
        "ExitsForText: (its text cannot be shown: __str__ raised SystemExit)",
        f.ExitsForText,
        "raise ExitsForText",
    ),
    "raises when read": Case(
        f.raises_what_raises_back,
        "RaisesBack: raises back",
        f.RaisesBack,
        "raise RaisesBack",
        travels=False,
    ),
    "exits when read": Case(
        f.raises_what_exits_back,
        "ExitsBack: exits back",
        f.ExitsBack,
        "raise ExitsBack",
        travels=False,
    ),
    "is something else when read": Case(
        f.raises_what_is_other_back, "OtherBack: other", f.OtherBack, "raise Other", travels=False
    ),
    "has a metaclass": Case(f.raises_with_meta, "HasMeta: meta", f.HasMeta, "raise type.__call__"),
    "has slots": Case(f.raises_slotted, "Slotted: slotted", f.Slotted, "raise Slotted"),
    "chain": Case(f.raises_chain, "RuntimeError: outer", RuntimeError, "raise RuntimeError"),
    "chain with a lock": Case(
        f.raises_chain_with_lock, "RuntimeError: outer", RuntimeError, "raise RuntimeError"
    ),
    "long chain": Case(f.raises_long_chain, "ValueError: number 2999", ValueError, "from last"),
    "system exit": Case(
        lambda: f.raises_kind(SystemExit, 3), "SystemExit: 3", SystemExit, "raise kind", False
    ),
    "sys.exit": Case(f.exits, "SystemExit: it is over", SystemExit, "sys.exit(", False),
    "interrupt": Case(
        lambda: f.raises_kind(KeyboardInterrupt),
        "KeyboardInterrupt: (no message)",
        KeyboardInterrupt,
        "raise kind",
        False,
    ),
    "generator exit": Case(
        lambda: f.raises_kind(GeneratorExit),
        "GeneratorExit: (no message)",
        GeneratorExit,
        "raise kind",
        False,
    ),
    "cancelled": Case(
        lambda: f.raises_kind(asyncio.CancelledError, "enough"),
        "CancelledError: enough",
        asyncio.CancelledError,
        "raise kind",
        False,
    ),
    "no exception": Case(
        lambda: f.raises_kind(f.OddBase, "odd"), "OddBase: odd", f.OddBase, "raise kind", False
    ),
    "stop iteration": Case(
        lambda: f.raises_kind(StopIteration, 3), "StopIteration: 3", StopIteration, "raise kind"
    ),
    "memory": Case(
        f.raises_for_memory, "MemoryError: (no message)", MemoryError, "bytearray(1 << 62)"
    ),
    "recursion": Case(
        f.recurses,
        "RecursionError: maximum recursion depth exceeded",
        RecursionError,
        "return deeper(n + 1)",
    ),
    "operating system": Case(
        lambda: f.raises_kind(FileNotFoundError, 2, "not there", "a name"),
        "FileNotFoundError: [Errno 2] not there: 'a name'",
        FileNotFoundError,
        "raise kind",
    ),
    "more than its class says": Case(
        lambda: f.raises_kind(UnicodeDecodeError, "utf8", b"x", 0, 1, "bad"),
        "UnicodeDecodeError: 'utf8' codec can't decode byte 0x78 in position 0: bad",
        UnicodeDecodeError,
        "raise kind",
    ),
}


@pytest.fixture(scope="module")
def alone(backend: str) -> Iterator[Session]:
    """One worker: what one task leaves behind, the next one meets."""
    with Session(backend, 1, debug=True, grace=5.0) as session:
        session.run(f.good(0))
        yield session


@pytest.fixture
def unharmed(alone: Session, request: pytest.FixtureRequest) -> Iterator[None]:
    """Check that the same worker goes on with its work."""
    worker = alone.run(f.pid())
    yield
    assert alone.run([f.good(i) for i in range(20)]) == list(range(20))
    if "memory" not in request.node.name:  # a process that was out of memory may be replaced
        assert alone.run(f.pid()) == worker, "a worker was lost"


def shares_memory(session: Session) -> bool:
    return session.settings.backend != "procs"


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
    assert str(error) == f"task {task} failed: {case.said} (at {error.where})"
    assert error.task == task
    assert error.attempt == 1
    assert error.host == socket.gethostname()
    assert (error.pid == HERE) == shares_memory(alone)
    file, _, line = error.where.rpartition(":")
    assert file == f.__file__
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


def raised(session: Session, instance: Any) -> errors.TaskError:
    with pytest.raises(errors.TaskError) as caught:
        session.run(instance)
    return caught.value


@pytest.mark.fault(2, 3)
@pytest.mark.usefixtures("unharmed")
def test_attributes_of_exceptions_come_along(alone: Session) -> None:
    two: Any = raised(alone, f.raises_two_arguments())
    assert (two.code, two.args) == (7, ("two (7)",))
    lock: Any = raised(alone, f.raises_holding_lock())
    assert (lock.code, lock.args) == (7, ("it holds a lock", 5))
    assert hasattr(lock, "lock") == shares_memory(alone), "only what can travel does"
    sock: Any = raised(alone, f.raises_holding_socket())
    assert sock.args[0] == "it holds a socket"
    assert str(sock.args[1]) == CLOSED, "what cannot travel is there in words"
    assert raised(alone, f.raises_slotted()).code == 9  # type: ignore[attr-defined]
    missing: Any = raised(alone, f.raises_kind(FileNotFoundError, 2, "not there", "a name"))
    assert (missing.errno, missing.filename) == (2, "a name")


@pytest.mark.fault(4)
@pytest.mark.usefixtures("unharmed")
def test_a_chain_is_kept(alone: Session) -> None:
    outer = raised(alone, f.raises_chain()).__cause__
    assert type(outer) is RuntimeError
    between = outer.__context__
    assert type(between) is f.TwoArguments
    assert between.code == 8
    assert type(between.__cause__) is KeyError
    outer = raised(alone, f.raises_chain_with_lock()).__cause__
    assert outer is not None
    assert type(outer.__cause__) is f.HoldsLock
    assert outer.__cause__.code == 7
    outer = raised(alone, f.raises_chain_that_cannot_be_read()).__cause__
    assert outer is not None
    cause = outer.__cause__
    if shares_memory(alone):
        assert type(cause) is f.ExitsBack
    else:
        assert type(cause) is errors.RemoteError
        assert str(cause) == "ExitsBack: below"


@pytest.mark.fault(4)
@pytest.mark.usefixtures("unharmed")
def test_a_class_without_a_name_comes_back_as_itself(alone: Session) -> None:
    error = raised(alone, f.raises_local())
    assert isinstance(error, ValueError)
    assert type(error.__cause__).__name__ == "Local"
    assert "failed: raises_local.<locals>.Local: local (at " in str(error)


@pytest.mark.fault(4)
@pytest.mark.skipif(not GROUPS, reason="Python 3.11 brought notes and groups")
@pytest.mark.usefixtures("unharmed")
def test_notes_and_groups_are_kept(alone: Session) -> None:
    noted = raised(alone, f.raises_noted())
    assert isinstance(noted, ValueError)
    assert noted.__cause__.__notes__ == ["this was on a Tuesday"]  # type: ignore[union-attr]
    assert "this was on a Tuesday" in noted.traceback
    for make, second in [(f.raises_group, f.TwoArguments), (f.raises_group_with_lock, f.HoldsLock)]:
        error = raised(alone, make())
        assert type(error) is errors.TaskError, "a group needs `except*`"
        assert "failed: ExceptionGroup: several (2 sub-exceptions) (at " in str(error)
        assert [type(one) for one in error.__cause__.exceptions] == [ValueError, second]  # type: ignore[union-attr]
        assert "ValueError: one" in error.traceback


@pytest.mark.fault(4)
@pytest.mark.usefixtures("unharmed")
def test_a_long_message_is_cut_with_a_mark(alone: Session) -> None:
    error = raised(alone, f.raises_long())
    assert isinstance(error, ValueError)
    assert str(error).startswith("task raises_long failed: ValueError: beginxxxx")
    assert re.search(r"xxxx \.\.\. \(at .*faulty\.py:\d+\)$", str(error))
    assert len(str(error)) < 2000
    assert re.search(r"\n\.\.\. cut 99\d{5} characters \.\.\.\n", error.traceback)
    assert 60_000 < len(error.traceback) < 70_000
    assert error.traceback.endswith("xxxend\n")


@pytest.mark.fault(3)
def test_an_exception_whose_reading_kills(alone: Session) -> None:
    """Only a process can be killed by it; that it was, is told."""
    error = raised(alone, f.raises_what_dies_back(HERE))
    if shares_memory(alone):
        assert isinstance(error, f.DiesBack)
    else:
        assert isinstance(error, errors.TaskLost)
        assert error.certificate.detail == "exit code 4"
    assert alone.run([f.good(i) for i in range(20)]) == list(range(20))


@pytest.mark.fault(1)
@pytest.mark.usefixtures("unharmed")
def test_a_module_fails_as_a_task_does(alone: Session) -> None:
    for kind in (ValueError, SystemExit, GeneratorExit, asyncio.CancelledError, f.OddBase):
        error = raised(alone, f.composes_badly(kind))
        assert str(error) == f"task composes_badly failed: {kind.__name__}: bad (at {error.where})"
        assert type(error.__cause__) is kind


# ---- results and inputs ----

ELSE = "make it inside the task that uses it, or use the threads or serial backend"
MODULE = "tests.conformance.faulty"
UNWRITABLE: dict[str, tuple[Callable[[], Any], str]] = {
    "lock": (
        lambda: f.returns("lock"),
        (
            "result['deep'][1].lock cannot be sent to another process: it is a _thread.lock "
            f"(TypeError: cannot pickle '_thread.lock' object); {ELSE}"
        ),
    ),
    "generator": (
        lambda: f.returns("generator"),
        (
            "result cannot be sent to another process: it is a generator "
            "(TypeError: cannot pickle 'generator' object); make a list of it"
        ),
    ),
    "socket": (
        lambda: f.returns("a socket"),
        (
            "result[0] cannot be sent to another process: it is a socket.socket "
            f"(TypeError: cannot pickle 'socket' object); {ELSE}"
        ),
    ),
    "raises": (
        lambda: f.call(f.ReduceRaises),
        (
            f"result cannot be sent to another process: it is a {MODULE}.ReduceRaises "
            f"(ValueError: it does not want to be written); {ELSE}"
        ),
    ),
    "exits": (
        lambda: f.call(f.ReduceExits),
        (
            f"result cannot be sent to another process: it is a {MODULE}.ReduceExits "
            f"(SystemExit: 3); {ELSE}"
        ),
    ),
    "raises when read": (
        lambda: f.wraps(f.ReadingRaises),
        (
            "result['a'][1] can be written down, but not read back: it is a "
            f"{MODULE}.ReadingRaises (ValueError: it does not want to be read); "
            "look at its __reduce__, __setstate__ or __init__"
        ),
    ),
    "exits when read": (
        lambda: f.wraps(f.ReadingExits),
        (
            "result['a'][1] can be written down, but not read back: it is a "
            f"{MODULE}.ReadingExits (SystemExit: 3); "
            "look at its __reduce__, __setstate__ or __init__"
        ),
    ),
}


@pytest.mark.fault(5, 6)
@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("name", UNWRITABLE)
def test_a_result_that_cannot_travel(alone: Session, name: str) -> None:
    make, said = UNWRITABLE[name]
    instance = make()
    if shares_memory(alone):
        alone.run(instance)  # it need not travel
        return
    error = raised(alone, f.good(instance))
    assert isinstance(error, errors.EncodeError)
    assert str(error) == f"task {error.task} failed: EncodeError: {said} (at {error.where})"
    assert error.task == instance._definition.name
    assert error.where == instance._site(), "the task's own code is not to blame"
    assert error.path == said.split(" ca")[0]


@pytest.mark.fault(6)
@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize(
    ("kind", "said"),
    [(f.ReadingRaisesIn, "ValueError: not in this process"), (f.ReadingExitsIn, "SystemExit: 3")],
)
def test_a_result_that_cannot_be_read_where_it_is_asked_for(
    alone: Session, kind: type, said: str
) -> None:
    """The worker can read it and the client cannot: the task that made it is named."""
    made = f.call(kind, HERE)
    if shares_memory(alone):
        assert isinstance(alone.run(made), kind)
        return
    error = raised(alone, [f.good(1), made])
    assert isinstance(error, errors.DecodeError)
    assert str(error) == (
        f"task call failed: DecodeError: its result cannot be read in the client: {said} "
        f"(made at {error.where})"
    )
    assert error.where == made._site()
    assert alone.run(f.takes(made)) == kind.__name__, "in a worker it is of use"
    error = raised(alone, f.composes(made))
    assert isinstance(error, errors.DecodeError)
    assert str(error).startswith(
        f"task composes failed: DecodeError: its inputs cannot be read in the client: {said}; "
        "in them are the results of: call (at "
    )


@pytest.mark.fault(6)
def test_a_result_that_is_never_read_to_its_end() -> None:
    """It is read back in the worker, on the task's own time."""
    with Session("procs", 1, debug=True) as session:
        error = raised(session, f.loops_when_read(HERE))
        assert isinstance(error, errors.TaskTimeout)
        assert error.task == "loops_when_read"
        assert session.run(f.good(1)) == 1


@pytest.mark.fault(6, 7)
@pytest.mark.usefixtures("unharmed")
def test_a_result_that_cannot_be_read_where_it_is_used(alone: Session) -> None:
    instance = f.takes(f.call(f.ReadingRaisesSecond))
    if shares_memory(alone):
        assert alone.run(instance) == "ReadingRaisesSecond"
        return
    error = raised(alone, instance)
    assert isinstance(error, errors.DecodeError)
    assert str(error) == (
        "task takes failed: DecodeError: the worker could not read the task takes or its inputs: "
        "ValueError: not a second time; in them are the results of: call "
        f"(at {error.where})"
    )
    assert error.attempt == 1, "trying again cannot help"


@pytest.mark.fault(5)
@pytest.mark.usefixtures("unharmed")
def test_inputs_that_cannot_travel_are_refused(alone: Session) -> None:
    for culprit, said in [
        (f.ReduceExits(), "SystemExit: 3"),
        (f.ReduceRaises(), "ValueError: it does not want to be written"),
    ]:
        instance = f.takes([culprit])
        if shares_memory(alone):
            assert alone.run(instance) == "list"
            continue
        with pytest.raises(errors.EncodeError) as caught:
            alone.run(instance)
        assert str(caught.value) == (
            "inputs['x'][0] cannot be sent to another process: it is a "
            f"{MODULE}.{type(culprit).__name__} ({said}); {ELSE} "
            f"(task takes, made at {instance._site()})"
        )


@pytest.mark.fault(5)
def test_inputs_that_cannot_travel_stop_nobody_with_keep_going(tmp_path: Path) -> None:
    good = [f.touches(str(tmp_path / str(i))) for i in range(20)]
    bad = f.takes(f.ReduceExits())
    with pytest.raises(errors.RunFailed) as caught:
        run([bad, *good], backend="procs", workers=1, keep_going=True)
    assert len(list(tmp_path.iterdir())) == 20
    (failure,) = caught.value.failures
    assert isinstance(failure, errors.EncodeError)
    assert failure.task == "takes"
    assert failure.where == bad._site()


@pytest.mark.usefixtures("unharmed")
def test_odd_values_are_values(alone: Session) -> None:
    made = alone.run(f.call(ValueError, "returned, not raised"))
    assert type(made) is ValueError
    assert made.args == ("returned, not raised",)
    for value in (f.LockInside, os, f.numbers, None, NotImplemented, ..., [NotImplemented]):
        assert alone.run(f.good(value)) == value


@pytest.mark.usefixtures("unharmed")
def test_a_result_with_a_task_of_nobody(alone: Session) -> None:
    """A reference that was made elsewhere is run where it turns up."""
    assert alone.run(f.returns_old()) == [49]


def test_inputs_are_shared_where_memory_is(alone: Session) -> None:
    mine = [1]
    assert alone.run(f.appends(mine)) == [1, 4]
    assert mine == ([1, 4] if shares_memory(alone) else [1])


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
    assert isinstance(error, f.TwoArguments)
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
