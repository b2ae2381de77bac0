"""Inputs that need no pickle of their own, and those that do all the same."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from fancypipe_core import Task, task
from fancypipe_core._codec import unpickler
from fancypipe_core._codec.assembly import fill_in
from fancypipe_core._codec.row import Coming, row_of, written_row_of
from fancypipe_core._codec.values import EncodedValues, LiveValues
from fancypipe_core._model.ref import Instance
from fancypipe_core.backend import Live, Payload


@task
def anything(*args: Any, **kwargs: Any) -> None:
    pass


def value_of(values: LiveValues, value: Any) -> Any:
    """Return a task's value as a node keeps it."""
    packed = values.pack_result(value)
    assert isinstance(packed.body, Live)
    return packed.body.value


def filled(instance: Instance[Any], *given: Any) -> Any:
    values = LiveValues()
    packed = values.pack_inputs(instance)
    assert len(packed.wants) == len(given)
    return values.fill(packed, [value_of(values, one) for one in given])


def test_plain_inputs_and_outputs_are_put_together_as_they_are() -> None:
    a, b = anything(), anything()
    assert filled(anything(a, 2, b, x=3, y=a), 1, "b", 1) == ((1, 2, "b"), {"x": 3, "y": 1}, None)


def test_what_may_change_is_made_anew_for_each_task() -> None:
    value, a = [1], anything()
    values = LiveValues()
    kept = value_of(values, value)
    opened = []
    for _ in range(2):
        packed = values.pack_inputs(anything(a, x=2))
        opened.append(values.open(values.fill(packed, [kept])))
    assert opened == [(([1],), {"x": 2}, None)] * 2
    assert opened[0][0][0] is not opened[1][0][0]
    assert opened[0][0][0] is not value


def test_an_output_that_is_given_twice_is_one_object() -> None:
    a = anything()
    (first, second), kwargs, _ = LiveValues().open(filled(anything(a, a, x=a), [1], [1], [1]))
    # Each is the same value of the same task; here they were made apart.
    assert first == second == kwargs["x"] == [1]
    values = LiveValues()
    kept = value_of(values, [1])
    packed = values.pack_inputs(anything(a, a, x=a))
    (first, second), kwargs, _ = values.open(values.fill(packed, [kept] * 3))
    assert first is second is kwargs["x"]


@pytest.mark.parametrize("value", [7, [7]])
def test_what_is_still_being_made_is_put_in_when_it_is_there(value: Any) -> None:
    values, a, b = LiveValues(), anything(), anything()
    packed = values.pack_inputs(anything(a, 2, b))
    inputs = Live(values.fill(packed, [Coming(0), "b"], 1))
    come = fill_in(inputs, [Live(value_of(values, value))])
    assert isinstance(come, Live)
    assert values.open(come.value) == ((value, 2, "b"), {}, None)


@pytest.mark.parametrize("arg", [[1], {"a": 1}, anything(1)["x"], (anything(1),)])
def test_what_else_there_may_be_goes_by_pickle(arg: Any) -> None:
    assert row_of(anything(arg)) is None
    assert row_of(anything(1, x=arg)) is None


def written(instance: Instance[Any], *given: Any) -> Any:
    """Return the inputs of an instance as a worker reads them, with these values in them."""
    values = EncodedValues()
    packed = values.pack_inputs(instance)
    outputs: list[Any] = [values.pack_result(value).body for value in given]
    small = [body[0].head for body in outputs]
    inputs = values.open(values.fill(packed, small))
    assert inputs == values.open(values.fill(packed, outputs))  # as those of larger values
    return inputs


def test_outputs_and_plain_inputs_are_sent_without_a_pickle_of_their_own() -> None:
    a, b = anything(), anything()
    packed = written_row_of(anything(b, 1, a, "x"))
    assert packed is not None
    assert [id(one) for one in packed.wants] == [id(b), id(a)]
    assert written(anything(b, 1, a, "x"), [2], 3) == (([2], 1, 3, "x"), {}, None)
    assert written(anything(a), None) == ((None,), {}, None)


def test_an_output_that_is_sent_twice_is_one_object() -> None:
    a, b = anything(), anything()
    (first, other, second), _, _ = written(anything(a, b, a), [1], [1])
    assert first is second
    assert first is not other


def test_what_a_row_comes_to_is_what_its_pickle_says() -> None:
    for head, count in unpickler.ROWS.items():
        found = list(range(count))
        assert unpickler.loads(head, (), found) == (tuple(found), {}, None)
        holes = tuple((index, None) for index in range(count))
        payloads = [Payload(pickle.dumps(one)) for one in found]
        assert unpickler.decode((*payloads, Payload(head, (), holes))) == (tuple(found), {}, None)


def test_one_value_in_two_nodes_stays_one_object() -> None:
    values = EncodedValues()
    packed = values.pack_inputs(anything(anything(), anything()))
    shared = pickle.dumps([1], 5)
    (first, second), _, _ = values.open(values.fill(packed, [shared, shared]))
    assert first is second


class Kept(Task):
    width: int

    def main(self, *args: Any) -> None:
        pass


def test_what_else_is_sent_goes_by_pickle() -> None:
    a = anything()
    assert written_row_of(anything(a[0])) is None
    assert written_row_of(anything([a])) is None
    assert written_row_of(anything(a, name=1)) is None
    assert written_row_of(anything(*[a] * 13)) is None
    assert written(anything(*[a] * 13), 5) == ((5,) * 13, {}, None)
    kept = Kept(a)
    assert written_row_of(kept) is not None
    kept.width = 3
    assert written_row_of(kept) is None
    assert written(kept, 5) == ((5,), {}, {"width": 3})
