"""References, tasks and modules before anything runs."""

from __future__ import annotations

import asyncio
import copy
import json
import math
import operator
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fancypipe_core import Module, Outputs, Ref, Task, errors, module, run, task
from fancypipe_core._model.ref import _BINARY, _COMPARE
from fancypipe_core._model.task import definition_of, is_definition


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


def _pure(x: float, /, y: float) -> float:
    return x + y


pure = task(_pure)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (area, "missing: 'width'"),
        (lambda: area(height=1), "missing: 'width'"),
        (lambda: area(1, 2, 3), "it takes 2 inputs by position, not 3"),
        (lambda: area(1, hight=2), "there is no input 'hight'; did you mean height?"),
        (lambda: area(y=1), "there is no input 'y'; missing: 'width'"),
        (lambda: area(with_=1), "there is no input 'with_'; did you mean width?; missing: 'width'"),
        (lambda: area(1, width=2), "the input 'width' is given twice, by position and by name"),
        (Volume, "missing: 'width'"),
        (lambda: Volume(1, 2, 3), "it takes 2 inputs by position, not 3"),
        (lambda: Volume(dept=3), "there is no input 'dept'; did you mean depth?; missing: 'width'"),
        (lambda: pure(x=1, y=2), "the input 'x' can be given by position only; missing: 'x'"),
    ],
)
def test_wrong_inputs_are_told_where_the_task_is_called(make: Callable[[], Any], says: str) -> None:
    with pytest.raises(TypeError) as caught:
        make()
    text = str(caught.value)
    assert text.endswith(f": {says}")
    assert re.match(r"task (area|volume)\(width: |task _pure\(x: ", text)


def test_task_takes_any_option_that_it_says_it_takes() -> None:
    @task
    def loose(first: int, *rest: int, **options: int) -> int:
        return first

    assert isinstance(loose(1, 2, 3, any=4), Ref)
    with pytest.raises(TypeError, match=r"missing: 'first'"):
        loose(any=4)


async def _await(ref: Any) -> None:
    await ref


async def _async_for(ref: Any) -> None:
    async for _ in ref:
        pass


async def _async_with(ref: Any) -> None:
    async with ref:
        pass


def _with(ref: Any) -> None:
    with ref:
        pass


def _unpack(ref: Any) -> None:
    _a, _b = ref


def _increase(ref: Any) -> None:
    array = np.ones(3)
    array += ref


@pytest.mark.parametrize(
    ("use", "instead"),
    [
        (bool, "decide inside a task"),
        (list, "take them by key"),
        (next, "take them by key"),
        (reversed, "take them by key"),
        (_unpack, "take them by key"),
        (lambda ref: asyncio.run(_async_for(ref)), "take them by key"),
        (dict, "use them inside a task"),
        (lambda ref: dict(**ref), "use them inside a task"),
        (len, "make a task that returns it"),
        (str, "format it inside a task"),
        (print, "format it inside a task"),
        (lambda ref: f"{ref}", "format it inside a task"),
        (lambda ref: f"{ref:.2f}", "format it inside a task"),
        (lambda ref: "%s" % ref, "format it inside a task"),  # noqa: UP031
        (lambda ref: "%d" % ref, "convert it inside a task"),  # noqa: UP031
        (bytes, "use them inside a task"),
        (lambda ref: 1 in ref, "ask inside a task"),
        (int, "convert it inside a task"),
        (float, "convert it inside a task"),
        (complex, "convert it inside a task"),
        (round, "convert it inside a task"),
        (lambda ref: divmod(ref, 2), "convert it inside a task"),
        (lambda ref: divmod(2, ref), "convert it inside a task"),
        (math.sqrt, "convert it inside a task"),
        (math.floor, "convert it inside a task"),
        (math.trunc, "convert it inside a task"),
        (lambda ref: [1, 2][ref], "index inside a task"),
        (range, "index inside a task"),
        (open, "open it inside a task"),
        (_with, "open it inside a task"),
        (lambda ref: asyncio.run(_async_with(ref)), "open it inside a task"),
        (lambda ref: asyncio.run(_await(ref)), r"it runs by run\(\) or .result\(\)"),
        (np.asarray, "compute inside a task"),
        (np.array, "compute inside a task"),
        (lambda ref: np.array([ref, ref]), "(take them by key|compute inside a task)"),
        (np.sin, r"what numpy.sin gives for .* call it inside a task"),
        (np.add.reduce, r"what numpy.add gives for .* call it inside a task"),
        (_increase, r"what numpy.add gives for .* call it inside a task"),
        (np.mean, r"what numpy.mean gives for .* call it inside a task"),
        (lambda ref: np.concatenate([ref, ref]), "what numpy.concatenate gives for"),
        (np.linalg.norm, "what numpy.linalg.norm gives for"),
        (lambda ref: ref(), "call it inside a task"),
        (lambda ref: ref.shape, r"the attribute 'shape' of .* or write .result\(\).shape"),
        (lambda ref: ref.mean(), r"the attribute 'mean' of .* or write .result\(\).mean"),
        (lambda ref: ref["mask"].shape, "the attribute 'shape' of"),
        (lambda ref: setattr(ref, "shape", 3), "make a task that returns a changed copy"),
        (lambda ref: setattr(ref["a"], "shape", 3), "make a task that returns a changed copy"),
        (lambda ref: delattr(ref, "shape"), "make a task that returns a changed copy"),
        (lambda ref: ref.__setitem__(0, 1), "make a task that returns a changed copy"),
        (lambda ref: ref.__delitem__(0), "make a task that returns a changed copy"),
        (lambda ref: 1 < ref < 2, "decide inside a task"),
        (lambda ref: max(ref, 2), "decide inside a task"),
        (lambda ref: sorted([ref, ref]), "decide inside a task"),
    ],
)
def test_what_needs_the_value_is_refused(use: Callable[[Any], Any], instead: str) -> None:
    with pytest.raises(errors.GraphError, match=instead) as caught:
        use(area(3))
    assert re.search(r"task (area|gt|lt), made at .*test_ref\.py:\d+", str(caught.value))


def test_what_no_class_can_refuse_calls_it_a_reference() -> None:
    for use in (json.dumps, "".join):
        with pytest.raises(TypeError, match="Reference"):
            use([area(3)])  # type: ignore[list-item]


def test_an_object_in_its_own_main_is_no_reference() -> None:
    class Forgetful(Task):
        def main(self) -> Any:
            return self.width  # type: ignore[attr-defined]

    with pytest.raises(AttributeError, match="'Forgetful' object has no attribute 'width' "):
        run(Forgetful(), backend="serial")
    made: Any = Forgetful()
    assert not hasattr(made, "width")
    made.width = 3
    assert run(made, backend="serial") == 3


@pytest.mark.parametrize("make", [lambda a, r: a + r, lambda a, r: np.float64(2) * r + a])
def test_arrays_leave_operators_to_the_reference(make: Callable[[Any, Any], Any]) -> None:
    array = np.ones(3)
    assert isinstance(area(1) @ array, Ref)
    made = make(array, area(1))
    assert isinstance(made, Ref)
    assert run(made, backend="serial").tolist() == make(array, 2.0).tolist()


@pytest.mark.parametrize("name", [*_BINARY, *_COMPARE])
def test_every_operator_of_an_array_makes_a_task(name: str) -> None:
    operation = getattr(operator, name)
    array = np.array([5, 6]) if name != "pow" else np.array([5.0, 6.0])
    made = operation(array, pair())
    assert isinstance(made, Ref)
    assert np.array_equal(run(made, backend="serial"), operation(array, np.array([2, 3])))


@task
def pair() -> Any:
    return np.array([2, 3])


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
