"""The inputs of a task in a few words."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fancypipe_core import errors, module, run, task
from fancypipe_core._model.input_summary import brief, brief_of


class Colour(enum.Enum):
    RED = 1


class Loud:
    """Says what it must not be asked."""

    def __repr__(self) -> str:
        raise AssertionError

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


class Text(str):
    __slots__ = ()

    def __repr__(self) -> str:
        raise AssertionError


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (17, "17"),
        pytest.param(10**5000, "<int of 16610 bits>", id="large"),
        (2.5, "2.5"),
        (None, "None"),
        ("a\x1b\n", r"'a\x1b\n'"),
        ("x" * 1000, f"'{'x' * 30}'..."),
        (b"x" * 1000, f"b'{'x' * 30}'..."),
        pytest.param(Text("x"), "<Text>", id="text"),
        ([1, "a", None, 4], "[1, 'a', None, ...]"),
        ((1,), "(1)"),
        ([[[[1]]]], "[[[...]]]"),
        ({"a": [1]}, "{'a': [1]}"),
        (Path("/a/b"), "'/a/b'"),
        (Path("a" * 50 + ".nii"), f"'...{'a' * 26}.nii'"),
        (Colour.RED, "Colour.RED"),
        pytest.param(Loud(), "<Loud>", id="loud"),
        (np.zeros((3, 4)), "<ndarray 3x4>"),
        (np.float64(2.5), "2.5"),
        (len, "len"),
        (Colour, "Colour"),
        (lambda: 1, "<lambda>"),
        (object(), "<object>"),
    ],
)
def test_a_value(value: object, text: str) -> None:
    assert brief(["x"], [value], {}) == f"x={text}"
    assert brief([], [], {"y": value}) == f"y={text}"


def test_of_many_some() -> None:
    text = brief(list("abcdefgh"), ["x" * 20] * 20, {})
    assert text == f"a={'x' * 20!r}, b={'x' * 20!r}, c={'x' * 20!r}, ..."
    assert brief(["a"], [1, 2], {"k": 3}) == "a=1, 2, k=3"
    assert brief([], [], {}) == ""


@task
def inner(i: int, scale: float = 1.0) -> float:
    if i == 17:
        raise ValueError("no")
    return i * scale


@task
def makes(n: int) -> Any:
    return [inner(i, scale=2.0) for i in range(n)]


@module
def study() -> Any:
    return [inner(i) for i in range(20)]


@task
def dies(i: int) -> None:
    import os

    os._exit(i)


def test_references_are_named() -> None:
    assert brief_of(inner(study()[3], scale=inner(1))) == "i=<study>, scale=<inner>"


@pytest.mark.parametrize("backend", ["serial", "threads", "procs"])
def test_errors_say_the_inputs_beside_the_path(backend: str) -> None:
    # The eighteenth of its kind is the one with 17.
    for target, path, inputs in [
        (study(), "study/inner[18]", "i=17"),
        (makes(18), "makes/inner[18]", "i=17, scale=2.0"),  # made by a worker
        (inner(makes(17)[16] - 15), "inner", "i=17.0"),  # the value, where there was a reference
    ]:
        with pytest.raises(errors.TaskError) as caught:
            run(target, backend=backend, workers=1)
        assert (caught.value.task, caught.value.inputs) == (path, inputs)
        assert str(caught.value).startswith(f"task {path} ({inputs}) failed: ValueError: no (at ")


def test_errors_of_lost_tasks_say_them_too() -> None:
    with pytest.raises(errors.TaskLost, match=r"^task dies \(i=3, made at .*py:\d+\) was given up"):
        run(dies(3), backend="procs", workers=1, max_losses=1)
