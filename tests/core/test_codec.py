"""Values as bytes and back, and what is said of those that cannot travel."""

from __future__ import annotations

import builtins
import dataclasses
import os
import pickle
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancypipe_core import Outputs, errors, task
from fancypipe_core._codec.assembly import assemble
from fancypipe_core._codec.pickler import Encoder, Packed
from fancypipe_core._codec.unpickler import decode
from fancypipe_core._codec.values import EncodedValues, LiveValues
from fancypipe_core.backend import Encoded, Live


def encode(value: Any) -> Packed:
    return Encoder().encode_result(value)


def back(value: Any) -> Any:
    packed = encode(value)
    assert not isinstance(packed.body, Live)
    return decode(packed.body)


@dataclasses.dataclass
class Box:
    content: Any
    other: Any = None


@task
def one() -> int:
    return 1


@task
def two() -> int:
    return 2


leaves = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(values)
def test_plain_values_come_back(value: Any) -> None:
    assert back(value) == value


def filled(values_of: Any, value: Any, given_: dict[str, Any]) -> Any:
    """Pack a value, fill its references, open it: the way from task to task."""
    packed = values_of.pack_result(value)
    known = {name: values_of.pack_result(v).body for name, v in given_.items()}
    bodies = [known[instance._definition.name] for instance in packed.wants]
    if isinstance(values_of, LiveValues):
        bodies = [body.value for body in bodies]
    return values_of.open(values_of.fill(packed, bodies))


shapes = st.recursive(
    st.sampled_from(["one", "two"]) | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.integers(), inner, max_size=3)
        | st.builds(Box, inner, inner)
        | st.builds(lambda v: Outputs(a=v), inner)
    ),
    max_leaves=12,
)


@given(shapes)
def test_references_are_filled_alike_both_ways(shape: Any) -> None:
    refs = {"one": one(), "two": two()}
    results = {"one": [1], "two": {"deep": 2}}

    def put(shape: Any, leaves: dict[str, Any]) -> Any:
        if isinstance(shape, str):
            return leaves[shape]
        if isinstance(shape, (list, tuple)):
            return type(shape)(put(item, leaves) for item in shape)
        if isinstance(shape, dict):
            return {key: put(item, leaves) for key, item in shape.items()}
        if isinstance(shape, Box):
            return Box(put(shape.content, leaves), put(shape.other, leaves))
        if isinstance(shape, Outputs):
            return Outputs(a=put(shape.a, leaves))
        return shape

    expected = put(shape, results)
    assert filled(EncodedValues(), put(shape, refs), results) == expected
    assert filled(LiveValues(), put(shape, refs), results) == expected


def test_large_arrays_are_not_copied() -> None:
    array = np.arange(100_000.0)
    packed = encode({"a": array, "small": np.ones(3)})
    assert not isinstance(packed.body, Live)
    (payload,) = packed.body
    assert len(payload.head) < 2000
    assert len(payload.buffers) == 1
    assert np.shares_memory(np.frombuffer(payload.buffers[0]), array)


def test_one_output_is_had_without_the_others() -> None:
    values_of = EncodedValues()
    big = np.ones(100_000)
    outputs: Encoded = values_of.fill(values_of.pack_result(Outputs(big=big, small=1)), [])
    wanted = values_of.pack_result([one()["small"]])
    taken = values_of.fill(wanted, [outputs])
    assert sum(len(payload.buffers) for payload in taken) == 0
    assert values_of.open(taken) == [1]
    with pytest.raises(errors.GraphError, match="it has: big, small"):
        values_of.fill(values_of.pack_result(one()["smal"]), [outputs])


def test_assembling_resolves_what_only_points() -> None:
    values_of = EncodedValues()
    inner = values_of.pack_result(5).body
    pointing = values_of.pack_result(one()).body
    assert not isinstance(pointing, Live)
    assert not isinstance(inner, Live)
    assert assemble(pointing, [inner]) is inner


def lambda_in_list() -> Any:
    return [1, lambda x: x]


@pytest.mark.parametrize(
    ("value", "path", "says"),
    [
        ({"x": [1, 2, 3, Box(threading.Lock())]}, "result['x'][3].content", "lock"),
        ([socket.socket], None, ""),
        ((i for i in range(3)), "result", "make a list of it"),
        ({"a": Outputs(b=iter([threading.Lock()]))}, "result['a']['b']", "list_iterator"),
        (sys._getframe(), "result", "frame"),
    ],
)
@pytest.mark.fault(5)
def test_what_cannot_travel_is_found(value: Any, path: str | None, says: str) -> None:
    if path is None:
        assert back(value) == value
        return
    with pytest.raises(errors.EncodeError) as caught:
        encode(value)
    assert caught.value.path.startswith(path)
    assert says in str(caught.value)


@pytest.mark.fault(5)
def test_closures_are_searched_too() -> None:
    lock = threading.Lock()
    value = {"f": lambda: lock}
    assert callable(back(value)["f"]), "code gets a new lock"


@pytest.mark.fault(3, 4)
def test_exceptions_keep_what_they_have() -> None:
    class Odd(Exception):
        def __init__(self, a: int, b: int) -> None:
            super().__init__("odd")
            self.sum = a + b

    def fail() -> None:
        try:
            os.environ["NO_SUCH_VARIABLE"]  # a KeyError
        except KeyError as first:
            raise Odd(1, 2) from first

    with pytest.raises(Odd) as caught:
        fail()
    came = back(caught.value)
    assert type(came) is Odd
    assert came.sum == 3
    assert came.args == ("odd",)
    assert isinstance(came.__cause__, KeyError)
    shown = "".join(traceback.format_exception(type(came), came, came.__traceback__))
    assert 'os.environ["NO_SUCH_VARIABLE"]' in shown
    assert "raise Odd(1, 2) from first" in shown


def test_errors_of_ours_survive() -> None:
    plain = errors.TaskError("what happened", task="a/b", attempt=2, where="x.py:3")
    joined = errors.with_cause(plain, OSError(5, "no", "file"))
    assert isinstance(joined, OSError)
    assert joined.filename == "file"
    for error in (
        joined,
        errors.DependencyFailed("d", task="t"),
        errors.BackendNotFound("n", name="x", installed=["a"]),
        errors.RunFailed("r", failures=[plain], skipped=3),
        errors.EncodeError("e", path="p"),
        errors.RemoteError("r", type_name="T", traceback="tb"),
        errors.PluginError("p", plugin="x"),
    ):
        for came in (back(error), pickle.loads(pickle.dumps(error))):
            assert type(came).__name__ == type(error).__name__
            assert str(came) == str(error)
            assert isinstance(came, errors.FancyPipeError)
            assert came.exit_code == error.exit_code
    again = back(joined)
    assert isinstance(again, OSError)
    assert isinstance(again, errors.TaskError)
    assert again.task == "a/b"
    assert isinstance(again.__cause__, OSError)


@pytest.mark.parametrize(
    "cause",
    [
        SystemExit(3),
        KeyboardInterrupt(),
        *(
            [vars(builtins)["ExceptionGroup"]("g", [ValueError()])]
            if sys.version_info >= (3, 11)
            else []
        ),
    ],
)
def test_causes_that_are_not_joined(cause: BaseException) -> None:
    error = errors.with_cause(errors.TaskError("text"), cause)
    assert type(error) is errors.TaskError
    assert error.__cause__ is cause


@pytest.mark.parametrize(
    "cause",
    [
        ValueError("v"),
        KeyError("k"),
        OSError(2, "o"),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "u"),
        StopIteration(3),
        ImportError("i", name="n"),
        subprocess.CalledProcessError(2, ["cmd"]),
    ],
    ids=lambda cause: type(cause).__name__,
)
def test_causes_that_are_joined(cause: Exception) -> None:
    error = errors.with_cause(errors.TaskError("text", task="t"), cause)
    assert isinstance(error, type(cause))
    assert isinstance(error, errors.TaskError)
    assert str(error) == "text"
    assert error.args == cause.args


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[[str], str]:
    """Runs code in a fresh interpreter, as `python -c` and as a prompt would."""

    def run(code: str) -> str:
        done = subprocess.run(
            [sys.executable, "-"],
            input=code,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_code_without_a_file_as_in_a_notebook(fresh: Any) -> None:
    out = fresh(
        """
from fancypipe_core import Session, Task, module, task
import builtins
import dataclasses
offset = 10
class Mine(Exception): pass
@dataclasses.dataclass
class Point:
    x: float
def helper(x): return x + offset
@task
def shift(p): return Point(helper(p.x))
@task
def fib(n): return n if n < 2 else add(fib(n - 1), fib(n - 2))
@task
def add(a, b): return a + b
@task
def bad(): raise Mine("mine")
class Scaled(Task, name="scaled"):
    def main(self, x): return x * offset
@module
def both(n): return [fib(n), Scaled(n)]
with Session("procs", 1) as s:
    p = s.run(shift(Point(1)))
    print(type(p) is Point, p.x, s.run(both(7)))
    try: s.run(bad())
    except Mine as e: print("caught", e.__cause__.args)
    offset = 20
    print(s.run(Scaled(2)))
"""
    )
    assert out.splitlines() == ["True 11 [13, 70]", "caught ('mine',)", "40"]
