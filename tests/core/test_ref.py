"""References, tasks and modules before anything runs."""

from __future__ import annotations

import copy
import math
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fancypipe_core import Module, Outputs, Ref, Task, errors, module, task
from fancypipe_core._task import definition_of, is_definition


@task
def area(width: float, height: float = 2, *, scale: float = 1) -> float:
    """An area."""
    return width * height * scale


class Volume(Task, name="volume", retries=2, timeout=3):
    """A volume."""

    def main(self, width: float, depth: float = 1) -> float:
        return width * depth


class Box(Module):
    def main(self, width: float) -> Any:
        return area(width)


def test_a_task_is_a_function_that_does_not_run() -> None:
    instance = area(3)
    assert isinstance(instance, Ref)
    assert re.fullmatch(r"<task area, made at .*test_ref\.py:\d+>", repr(instance))
    assert area.main(3) == 6
    assert area.__name__ == "area"
    assert area.__doc__ == "An area."
    assert repr(instance["key"][0]).startswith("<['key'][0] of task area, made at")


def test_definitions() -> None:
    definition = definition_of(Volume)
    assert (definition.name, definition.doc, definition.is_class) == ("volume", "A volume.", True)
    assert (definition.options.retries, definition.options.timeout) == (2, 3)
    assert definition_of(Box).is_module
    assert definition_of(area).where.endswith(f"test_ref.py:{definition_of(area).line}")
    assert is_definition(area)
    assert is_definition(Volume)
    assert not is_definition(Task)
    assert not is_definition(area(1))
    with pytest.raises(errors.GraphError, match="is not a task"):
        definition_of(len)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (area, "missing a required argument: 'width'"),
        (lambda: area(1, 2, 3), "too many positional arguments"),
        (lambda: area(1, hight=2), "unexpected keyword argument 'hight'"),
        (Volume, "missing a required argument: 'width'"),
        (lambda: Volume(1, 2, 3), "too many positional arguments"),
    ],
)
def test_wrong_inputs_are_told_where_the_task_is_called(make: Callable[[], Any], says: str) -> None:
    with pytest.raises(TypeError, match=says) as caught:
        make()
    assert "task area(width" in str(caught.value) or "task volume(width" in str(caught.value)


@pytest.mark.parametrize(
    ("use", "instead"),
    [
        (bool, "decide inside a task"),
        (list, "take them by key"),
        (len, "make a task that returns it"),
        (str, "format it inside a task"),
        (lambda ref: f"{ref}", "format it inside a task"),
        (lambda ref: 1 in ref, "ask inside a task"),
        (int, "convert it inside a task"),
        (float, "convert it inside a task"),
        (complex, "convert it inside a task"),
        (math.sqrt, "convert it inside a task"),
        (lambda ref: [1, 2][ref], "index inside a task"),
        (open, "open it inside a task"),
        (np.asarray, "compute inside a task"),
        (lambda ref: ref(), "call it inside a task"),
        (lambda ref: ref.__setitem__(0, 1), "make a task that returns a changed copy"),
        (lambda ref: ref.__delitem__(0), "make a task that returns a changed copy"),
        (lambda ref: 1 < ref < 2, "decide inside a task"),
    ],
)
def test_what_needs_the_value_is_refused(use: Callable[[Any], Any], instead: str) -> None:
    with pytest.raises(errors.GraphError, match=instead) as caught:
        use(area(3))
    assert re.search(r"task (area|gt), made at .*test_ref\.py:\d+", str(caught.value))


def test_arrays_leave_operators_to_the_reference() -> None:
    assert isinstance(np.ones(3) + area(1), Ref)
    assert isinstance(area(1) @ np.ones(3), Ref)


def test_a_reference_is_a_name() -> None:
    instance = area(1)
    assert copy.deepcopy([instance])[0] is instance
    assert copy.copy(instance) is instance
    assert hash(instance) == hash(instance)
    with pytest.raises(errors.GraphError, match="pass it to the task as an input"):
        pickle.dumps(instance)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: task(5), "must be a plain function"),  # type: ignore[call-overload]
        (lambda: task(Volume), "derive it from fancypipe_core.Task"),
        (lambda: module(Volume), "derive it from fancypipe_core.Module"),
        (lambda: task(area), "must be a plain function"),
        (lambda: task(retries=-1)(len), "retries must be"),
        (lambda: task(timeout=0)(len), "timeout must be"),
        (lambda: definition_of(type("Empty", (Task,), {})), "has no main()"),
    ],
)
def test_what_cannot_be_a_task(wrong: Callable[[], Any], says: str) -> None:
    with pytest.raises(errors.GraphError, match=re.escape(says)):
        wrong()


def test_generators_and_coroutines_are_refused() -> None:
    def generator() -> Any:
        yield 1

    async def coroutine() -> None: ...

    for function in (generator, coroutine):
        with pytest.raises(errors.GraphError, match="generator or coroutine"):
            task(function)


def test_methods_are_refused_when_used() -> None:
    class Holder:
        @task
        def method(self) -> None: ...

    with pytest.raises(errors.GraphError, match="is a method"):
        Holder().method()


def test_outputs() -> None:
    outputs = Outputs(mask=1, volume=[2])
    assert outputs["mask"] == outputs.mask == 1
    assert dict(outputs) == {"mask": 1, "volume": [2]}
    assert outputs == Outputs(mask=1, volume=[2])
    assert pickle.loads(pickle.dumps(outputs)) == outputs
    assert repr(outputs) == "Outputs(mask=1, volume=[2])"
    with pytest.raises(KeyError, match="there are: mask, volume"):
        outputs["msk"]
    with pytest.raises(AttributeError, match="there are: mask, volume"):
        outputs.msk  # noqa: B018
    with pytest.raises(AttributeError, match="read-only"):
        outputs.mask = 2
