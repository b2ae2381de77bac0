"""What stays in the process is carried like what leaves it: the same results, the same errors."""

from __future__ import annotations

import collections
import csv
import io
import itertools
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fancypipe_core import Outputs, Session, errors
from tests.conformance import alike as a
from tests.conformance import liars
from tests.conformance.outcomes import raised, shares_memory


def shown(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (bytearray, collections.deque)):
        return list(value)
    return value


# ---- containers keep their kind, whatever is filled in ----

ref = a.one
KINDS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any], Any]] = {
    "dict": (lambda: a.Table(k=ref()), lambda v: (type(v), dict(v)), (a.Table, {"k": 1})),
    "list": (lambda: a.Stack([ref()]), lambda v: (type(v), list(v)), (a.Stack, [1])),
    "default": (
        lambda: collections.defaultdict(list, k=ref()),
        lambda v: (type(v), v.default_factory, v["k"]),
        (collections.defaultdict, list, 1),
    ),
    "ordered": (
        lambda: collections.OrderedDict(k=ref()),
        lambda v: v,
        collections.OrderedDict(k=1),
    ),
    "counter": (lambda: collections.Counter({"k": ref()}), type, collections.Counter),
    "deque": (
        lambda: collections.deque([ref()], maxlen=3),
        lambda v: v,
        collections.deque([1], maxlen=3),
    ),
    "named": (lambda: a.Pair(ref(), {ref(): 2}), lambda v: v, a.Pair(1, {1: 2})),
    "sets": (lambda: [{ref()}, frozenset([ref()])], lambda v: v, [{1}, frozenset([1])]),
    "dataclass": (lambda: a.Point(ref(), [ref()]), lambda v: v, a.Point(1, [1])),
    "frozen": (lambda: a.Frozen(a.Frozen(ref())), lambda v: v, a.Frozen(a.Frozen(1))),
    "slots": (lambda: a.Slotted(ref()), lambda v: (type(v), v.x), (a.Slotted, 1)),
    "object": (lambda: a.Plain({"a": ref()}), lambda v: (type(v), v.x), (a.Plain, {"a": 1})),
    "outputs": (lambda: Outputs(a=a.Stack([ref()])), lambda v: type(v.a), a.Stack),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_with_references(session: Session, kind: str) -> None:
    make, look, expected = KINDS[kind]
    value = make()
    assert look(session.run(a.same(value))) == expected
    assert look(session.run(a.composed(make()))) == expected
    assert look(session.run(make())) == expected, "also what was asked for itself"


def _circles() -> tuple[list[Any], dict[str, Any], a.Plain]:
    held: list[Any] = [None, a.one()]
    held[0] = held
    table: dict[str, Any] = {"n": a.one()}
    table["me"] = table
    thing = a.Plain([a.one()])
    thing.x.append(thing)
    return held, table, thing


def test_circles_with_references(session: Session) -> None:
    for got in (session.run(a.same(_circles())), session.run(_circles())):
        held, table, thing = got
        assert held[0] is held
        assert held[1] == 1
        assert table["me"] is table
        assert table["n"] == 1
        assert thing.x[1] is thing
        assert thing.x[0] == 1


def test_the_same_twice_stays_one(session: Session) -> None:
    held = [a.one()]
    shared = session.run(a.seen({"a": held, "b": [held]}, lambda v: v["a"] is v["b"][0]))
    assert shared is True
    made = a.makes("list")
    assert session.run(a.seen([made, made], lambda v: v[0] is v[1])) is True


def test_what_was_asked_for_keeps_the_objects_of_the_caller(session: Session) -> None:
    mine, array = a.Plain(1), np.zeros(9)
    got = session.run({"mine": mine, "array": array, "ref": a.one()})
    assert got["mine"] is mine
    assert got["array"] is array


def test_very_deep_references_work_or_say_so(session: Session) -> None:
    """How deep is too deep depends on the version of Python."""
    deep: Any = a.one()
    for _ in range(2000):
        deep = [deep]
    for target in (a.same(deep), deep):
        try:
            found = session.run(target)
        except errors.EncodeError as error:
            found = str(error)
            assert len(found) < 400
        while isinstance(found, list):
            (found,) = found
        assert found == 1 or "nested too deeply" in str(found)
    assert session.run(a.one()) == 1


# ---- what one task changes, no other sees ----


@pytest.mark.parametrize("what", a.MUTABLE)
def test_tasks_change_what_is_their_own(session: Session, what: str) -> None:
    mine = a.MUTABLE[what]()
    before = shown(getattr(a.MUTABLE[what](), "x", a.MUTABLE[what]()))
    after = shown(a.adds.main(a.MUTABLE[what]()))
    assert after != before
    got = session.run([a.adds(mine), a.adds(mine), a.adds_and_fails_once(mine)])
    assert [shown(one) for one in got] == [after] * 3
    assert shown(getattr(mine, "x", mine)) == before, "the caller's"
    made = a.makes(what)
    got = session.run([a.adds(made), a.adds(made), a.adds_and_fails_once(made), made])
    assert [shown(getattr(one, "x", one)) for one in got] == [after, after, after, before]


def test_read_only_arrays_are_not_copied_where_memory_is_shared(session: Session) -> None:
    array = np.zeros(20_000)
    array.flags.writeable = False
    got = session.run(a.same(array))
    assert not got.flags.writeable
    assert np.shares_memory(got, array) == shares_memory(session)


def test_what_cannot_be_copied_is_shared_or_refused(session: Session) -> None:
    guarded = a.Guarded([0])
    if shares_memory(session):
        assert session.run([a.same({"a": [guarded]}), a.same(guarded)])[0]["a"][0] is guarded
        got = session.run(a.same(a.Point(guarded, [a.one()])))
        assert (got.x is guarded, got.y) == (True, [1])
        return
    with pytest.raises(errors.EncodeError, match="lock"):
        session.run(a.same({"a": [guarded]}))


# ---- what can be read only once ----


@pytest.mark.parametrize(
    ("what", "make"),
    [
        ("map", lambda: map(abs, [0, -1, -2, -3])),
        ("zip", lambda: map(sum, zip([0, 1], [3, 2], strict=True))),
        ("iterator", lambda: iter([1, 2, 3])),
        ("views", {1: 2, 5: 6}.keys),
        ("range", lambda: range(4)),
        ("reversed", lambda: reversed([1, 2, 3])),
    ],
)
def test_iterators_are_the_same_for_all_or_refused(
    session: Session, what: str, make: Callable[[], Any]
) -> None:
    values = make()
    targets = a.total(values), a.total(values), a.total_in_two_attempts(values)
    if what == "views" and not shares_memory(session):
        with pytest.raises(errors.EncodeError, match="inputs\\['values'\\]"):
            session.run(*targets)
    else:
        assert session.run(*targets) == (6, 6, 6)
    assert sum(values) == 6, "the caller's is not used up"


def _file() -> Any:
    return open(os.devnull, encoding="utf-8")


async def _coroutine() -> int:
    return 1


@pytest.mark.parametrize(
    ("what", "make"),
    [
        ("generator", a.numbers),
        ("file", _file),
        ("coroutine", _coroutine),
        ("csv", lambda: csv.reader(io.StringIO("a,b"))),
        ("filter", lambda: filter(lambda n: n, a.numbers())),
        ("islice", lambda: itertools.islice(a.numbers(), 3)),
        ("object", lambda: a.Plain(a.numbers())),
    ],
)
def test_what_is_read_only_once_is_refused(
    session: Session, what: str, make: Callable[[], Any]
) -> None:
    value = make()
    try:
        for target in (a.total(value), a.total({"a": [1, (value,)]})):
            with pytest.raises(errors.EncodeError) as caught:
                session.run(target, a.one())
            assert caught.value.path.startswith("inputs['values']")
            assert "make a list of it" in str(caught.value) or "inside the task" in str(
                caught.value
            )
    finally:
        if hasattr(value, "close"):
            value.close()
    assert session.run(a.one()) == 1


def test_a_result_that_is_read_only_once_is_refused(session: Session) -> None:
    error = raised(session, [a.seen(a.returns_generator(), list)])
    assert isinstance(error, errors.EncodeError)
    assert "result['a'][0]" in str(error)
    assert "make a list of it" in str(error)


# ---- objects that are not what they say ----


@pytest.mark.parametrize("liar", liars.LIARS)
def test_a_liar_is_carried_or_named(session: Session, liar: str) -> None:
    value = liars.LIARS[liar]()
    targets = liars.kind_of(1, value), liars.kind_of(1, liars.makes(liar))
    for target, named in zip(targets, ("inputs['second']", "result"), strict=True):
        said = ""
        try:
            assert session.run([target, liars.one()]) == [type(value).__name__, 1]
        except errors.CodecError as error:
            said = str(error)
        assert not said or (named in said and type(value).__name__ in said)
        assert not said or not shares_memory(session)
    assert session.run(liars.one()) == 1
