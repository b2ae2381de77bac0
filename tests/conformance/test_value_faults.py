"""Inputs and results that cannot travel, on every backend: which, why, and nobody else is hurt."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fancypipe_core import Session, errors, run
from tests.conformance import faulty as f
from tests.conformance import odd_values as v
from tests.conformance.outcomes import raised, shares_memory

HERE = os.getpid()


ELSE = "make it inside the task that uses it, or use the threads or serial backend"
MODULE = "tests.conformance.odd_values"
UNWRITABLE: dict[str, tuple[Callable[[], Any], str]] = {
    "lock": (
        lambda: v.returns("lock"),
        (
            "result['deep'][1].lock cannot be sent to another process: it is a _thread.lock "
            f"(TypeError: cannot pickle '_thread.lock' object); {ELSE}"
        ),
    ),
    "generator": (
        lambda: v.returns("generator"),
        (
            "result cannot be sent to another process: it is a generator "
            "(TypeError: cannot pickle 'generator' object); make a list of it"
        ),
    ),
    "socket": (
        lambda: v.returns("a socket"),
        (
            "result[0] cannot be sent to another process: it is a socket.socket "
            f"(TypeError: cannot pickle 'socket' object); {ELSE}"
        ),
    ),
    "raises": (
        lambda: v.call(v.ReduceRaises),
        (
            f"result cannot be sent to another process: it is a {MODULE}.ReduceRaises "
            f"(ValueError: it does not want to be written); {ELSE}"
        ),
    ),
    "exits": (
        lambda: v.call(v.ReduceExits),
        (
            f"result cannot be sent to another process: it is a {MODULE}.ReduceExits "
            f"(SystemExit: 3); {ELSE}"
        ),
    ),
    "raises when read": (
        lambda: v.wraps(v.ReadingRaises),
        (
            "result['a'][1] can be written down, but not read back: it is a "
            f"{MODULE}.ReadingRaises (ValueError: it does not want to be read); "
            "look at its __reduce__, __setstate__ or __init__"
        ),
    ),
    "exits when read": (
        lambda: v.wraps(v.ReadingExits),
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
    if shares_memory(alone) and name != "generator":  # that is read only once, anywhere
        alone.run(instance)  # it need not travel
        return
    error = raised(alone, f.good(instance))
    assert isinstance(error, errors.EncodeError)
    who = f"task {error.task} ({error.inputs})"
    assert str(error) == f"{who} failed: EncodeError: {said} (at {error.where})"
    assert error.task == instance._definition.name
    assert error.where == instance._site(), "the task's own code is not to blame"
    assert error.path == said.split(" ca")[0]


@pytest.mark.fault(6)
@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize(
    ("kind", "said"),
    [(v.ReadingRaisesIn, "ValueError: not in this process"), (v.ReadingExitsIn, "SystemExit: 3")],
)
def test_a_result_that_cannot_be_read_where_it_is_asked_for(
    alone: Session, kind: type, said: str
) -> None:
    """The worker can read it and the client cannot: the task that made it is named."""
    made = v.call(kind, HERE)
    if shares_memory(alone):
        assert isinstance(alone.run(made), kind)
        return
    error = raised(alone, [f.good(1), made])
    assert isinstance(error, errors.DecodeError)
    assert str(error) == (
        f"task call (function={kind.__name__}, {HERE!r}) failed: DecodeError: its result cannot be "
        f"read in the client: {said} "
        f"(made at {error.where})"
    )
    assert error.where == made._site()
    assert alone.run(v.takes(made)) == kind.__name__, "in a worker it is of use"
    error = raised(alone, v.composes(made))
    assert isinstance(error, errors.DecodeError)
    assert str(error).startswith(
        "task composes (x=<call>) failed: DecodeError: its inputs cannot be read in the client: "
        f"{said}; in them are the results of: call (at "
    )


@pytest.mark.fault(6)
def test_a_result_that_the_client_cannot_read_stops_nobody(tmp_path: Path) -> None:
    good = [f.touches(str(tmp_path / str(i))) for i in range(20)]
    bad = v.call(v.ReadingRaisesIn, HERE)
    with Session("procs", 1, keep_going=True) as session:
        error = raised(session, [bad, *good])
    assert isinstance(error, errors.DecodeError)
    assert error.task == "call"
    assert len(list(tmp_path.iterdir())) == 20


@pytest.mark.fault(6)
def test_a_result_that_is_never_read_to_its_end() -> None:
    """It is read back in the worker, on the task's own time."""
    with Session("procs", 1, debug=True) as session:
        assert session.run(f.good(1)) == 1  # the process is up
        error = raised(session, v.loops_when_read(HERE))
        assert isinstance(error, errors.TaskTimeout)
        assert error.task == "loops_when_read"
        assert session.run(f.good(1)) == 1


@pytest.mark.fault(6, 7)
@pytest.mark.usefixtures("unharmed")
def test_a_result_that_cannot_be_read_where_it_is_used(alone: Session) -> None:
    v._readings[0] = 0
    instance = v.takes(v.call(v.ReadingRaisesSecond))
    error = raised(alone, instance)
    assert isinstance(error, errors.DecodeError)
    assert str(error) == (
        f"task takes ({error.inputs}) failed: DecodeError: the inputs of task takes could not be "
        "read by the worker "
        f"on host {socket.gethostname()}: ValueError: not a second time; "
        "in them are the results of: call "
        f"(at {error.where})"
    )
    assert error.attempt == 1, "trying again cannot help"


@pytest.mark.fault(5)
@pytest.mark.usefixtures("unharmed")
def test_inputs_that_cannot_travel_are_refused(alone: Session) -> None:
    for culprit, said in [
        (v.ReduceExits(), "SystemExit: 3"),
        (v.ReduceRaises(), "ValueError: it does not want to be written"),
    ]:
        instance = v.takes([culprit])
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
    bad = v.takes(v.ReduceExits())
    with pytest.raises(errors.RunFailed) as caught:
        run([bad, *good], backend="procs", workers=1, keep_going=True)
    assert len(list(tmp_path.iterdir())) == 20
    (failure,) = caught.value.failures
    assert isinstance(failure, errors.EncodeError)
    assert failure.task == "takes"
    assert failure.where == bad._site()


@pytest.mark.usefixtures("unharmed")
def test_odd_values_are_values(alone: Session) -> None:
    made = alone.run(v.call(ValueError, "returned, not raised"))
    assert type(made) is ValueError
    assert made.args == ("returned, not raised",)
    for value in (v.LockInside, os, v.numbers, None, NotImplemented, ..., [NotImplemented]):
        assert alone.run(f.good(value)) == value


@pytest.mark.usefixtures("unharmed")
def test_a_result_with_a_task_of_nobody(alone: Session) -> None:
    """A reference that was made elsewhere is run where it turns up."""
    assert alone.run(v.returns_old()) == [49]


def test_inputs_are_not_shared(alone: Session) -> None:
    mine = [1]
    assert alone.run(v.appends(mine)) == [1, 4]
    assert mine == [1]
