"""Digests of values: the same in any process for the same value, and another for any other."""

from __future__ import annotations

import json
import math
import os
import pickle
import subprocess
import sys
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancypipe_core import File, task
from fancypipe_core._base.file_digests import FileDigests
from fancypipe_core._cache import values as _values
from fancypipe_core._cache.keys import Keys
from fancypipe_core._cache.parts import KeyParts, Uncacheable, differences, digest_of


@task
def take(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


@task
def named(x: Any, y: Any = 3, *, z: Any = 4) -> Any:
    return x, y, z


@dataclass(frozen=True)
class Point:
    x: float
    tags: frozenset[str] = field(default_factory=frozenset)


class Node:
    def __init__(self, name: str) -> None:
        self.name = name
        self.next: Node = self


class Named(set[str]):
    pass


class Other(set[str]):
    pass


def key(*args: Any, keys: Keys | None = None, **kwargs: Any) -> str:
    made = (keys or Keys(FileDigests(None))).of(take(*args, **kwargs), lambda _: "f" * 32)
    assert isinstance(made, KeyParts), made
    return digest_of(made)


def ring(*names: str) -> Node:
    nodes = [Node(name) for name in names]
    for at, node in enumerate(nodes):
        node.next = nodes[(at + 1) % len(nodes)]
    return nodes[0]


def examples() -> list[Any]:
    """Values that all differ."""
    numbers = np.arange(12.0).reshape(3, 4)
    return [
        *(None, True, 1, 1.0, 1j, 0.0, -0.0, "1", b"1", bytearray(b"1"), 2**100, math.nan, "é"),
        *([], (), {}, set(), frozenset(), [1], (1,), {1}, frozenset({1}), [[1]], [True], [1.0]),
        *({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": {"b": 1}}, OrderedDict(a=1), [{"a", "b"}]),
        *(
            {"a", "b"},
            {"a", "b", "c"},
            Named({"a", "b"}),
            Other({"a", "b"}),
            {("a", 1), frozenset({"b"})},
        ),
        *(Point(1.0), Point(1), Point(1.0, frozenset({"a", "b", "c"})), [Point(1.0), Point(2.0)]),
        *(numbers, numbers.T, numbers.astype("f4"), numbers.reshape(4, 3), numbers[0], numbers > 3),
        *(np.float64(1), np.float32(1), np.int64(1), np.array(1.0), np.zeros(0), np.zeros((0, 2))),
        *(np.zeros(2), np.zeros(2, "i8"), pickle.PickleBuffer(b"one"), pickle.PickleBuffer(b"two")),
        *(
            np.array(["a", "b"]),
            np.array(["a", None], dtype=object),
            np.array(["2026-01-01"], "M8"),
        ),
        *(
            np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]),
            np.ma.masked_array([1, 2], [False, True]),
        ),
        *(np.random.default_rng(1), np.random.default_rng(2), np.float64, np.add, np.dtype("f4")),
        *(ring("a"), ring("a", "b"), ring("b", "a"), Path("a"), Path("b"), len, int, math.sqrt),
        *(datetime(2026, 1, 1, tzinfo=timezone.utc), range(3), slice(1, 2), ..., "x" * 100_000),
        *(
            b"x" * 100_000,
            np.ones(100_000),
            np.frompyfunc(abs, 1, 1),
            "abc".upper,
            "abd".upper,
            [1, 2].append,
        ),
    ]


def test_values_that_differ_have_digests_that_differ() -> None:
    keys = Keys(FileDigests(None))
    found: dict[str, Any] = {}
    for value in examples():
        digest = key(value, keys=keys)
        assert digest not in found, f"{value!r} has the digest of {found[digest]!r}"
        found[digest] = value


def digests() -> list[str]:
    keys = Keys(FileDigests(None))
    return [key(value, keys=keys) for value in examples()]


def test_a_value_has_the_same_digest_in_any_process() -> None:
    code = (
        "from tests.core import test_cache_values as t; import json; print(json.dumps(t.digests()))"
    )
    for seed in ("1", "2"):
        over = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True, timeout=120, capture_output=True, text=True,
        )  # fmt: skip
        for value, here, there in zip(examples(), digests(), json.loads(over.stdout), strict=True):
            assert here == there, repr(value)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3), inner, max_size=4)
        | st.sets(st.integers() | st.text(max_size=3), max_size=4)
    ),
    max_leaves=12,
)


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are the same to a function that may look at them."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return pickle.dumps(one) == pickle.dumps(other)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one), list(other)) and same(list(one.values()), list(other.values()))
    if isinstance(one, set):
        return {(type(x), x) for x in one} == {(type(x), x) for x in other}
    return bool(one == other)


@given(PLAIN, PLAIN)
def test_digests_are_the_same_if_and_only_if_the_values_are(one: Any, other: Any) -> None:
    keys = Keys(FileDigests(None))
    assert (key(one, keys=keys) == key(other, keys=keys)) == same(one, other)


@given(PLAIN)
def test_which_parts_are_one_object_does_not_count(value: Any) -> None:
    keys = Keys(FileDigests(None))
    copy = pickle.loads(pickle.dumps(value))
    assert key([value, value], keys=keys) == key([value, copy], keys=keys)


def test_how_an_array_lies_in_memory_counts_only_if_numpy_can_tell() -> None:
    numbers = np.arange(24.0).reshape(4, 6)
    assert key(numbers[::2, ::2]) == key(numbers[::2, ::2].copy())
    assert key(numbers) == key(numbers.copy())
    assert key(numbers) != key(np.asfortranarray(numbers))


def test_how_the_columns_of_a_table_lie_in_memory_does_not_count() -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"a": [1, 2], "b": ["x", None], "c": [1.5, np.nan]})
    assert key(table) == key(table.copy()) == key(pickle.loads(pickle.dumps(table)))
    assert key(table[["a", "c"]].iloc[:1]) == key(table[["a", "c"]].iloc[:1].copy())
    other = table.copy()
    other.loc[1, "c"] = 9
    others = [table, table[["b", "a", "c"]], table.set_index("a"), table.rename(columns={"a": "d"})]
    assert len({key(one) for one in [*others, other]}) == 5


def test_a_large_array_is_read_once_until_arrays_may_have_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = []
    before = _values._bytes_of

    def count(array: Any) -> Any:
        read.append(array)
        return before(array)

    monkeypatch.setattr(_values, "_bytes_of", count)
    keys = Keys(FileDigests(None))
    large = np.ones(100_000)
    digest = key(large, keys=keys)
    assert key(large, [large, large], keys=keys) != digest
    assert len(read) == 1
    large[0] = 2
    keys.forget()
    assert key(large, keys=keys) != digest


def test_an_array_in_the_place_of_one_that_is_gone_is_read() -> None:
    keys = Keys(FileDigests(None))
    assert len({key(np.full(100_000, at), keys=keys) for at in range(20)}) == 20


def test_what_would_explode_without_sharing_is_written_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_values, "_MOST", 1_000_000)
    value: list[Any] = ["x"]
    for _ in range(100):
        value = [value, value]
    assert key(value) == key(value)


def test_inputs_count_by_name_however_they_are_given() -> None:
    keys = Keys(FileDigests(None))

    def parts(ref: Any) -> KeyParts:
        made = keys.of(ref, lambda _: "f" * 32)
        assert isinstance(made, KeyParts)
        return made

    calls = [named(1, 2, z=3), named(z=3, y=2, x=1), named(1, z=3, y=2)]
    assert len({digest_of(parts(call)) for call in calls}) == 1
    one = parts(named(1, 2, z=3))
    assert differences(one, parts(named(1, 5))) == [
        "input `y` changed",
        "input `z` changed",
    ]
    # What is left out is the default.
    assert digest_of(parts(named(1, 2, z=4))) == digest_of(parts(named(1, 2)))
    assert digest_of(parts(named(1, 2, z=4.0))) != digest_of(parts(named(1, 2)))
    assert digest_of(parts(named(1, y=2))) != digest_of(parts(named(2, y=1)))
    # A function can see in which order these come.
    assert key(a=1, b=2) != key(b=2, a=1)


def test_a_reference_counts_by_the_key_of_its_task_and_the_path_in_it() -> None:
    asked = []

    def upstream(instance: Any) -> str:
        asked.append(instance)
        return "a" * 32 if instance is one else "b" * 32

    def found(*args: Any) -> str:
        made = keys.of(take(*args), upstream)
        assert isinstance(made, KeyParts)
        return digest_of(made)

    def said(was: Any, now: Any) -> list[str]:
        old, new = keys.of(was, upstream), keys.of(now, upstream)
        assert isinstance(old, KeyParts)
        assert isinstance(new, KeyParts)
        return differences(old, new)

    keys = Keys(FileDigests(None))
    one, other = take(1), take(2)
    wanted = [one, other, one["x"], one["y"], one["x"]["y"], [one], [other], {"x": one["x"]}]
    assert len({found(ref) for ref in wanted}) == len(wanted)
    assert found([one, 1]) == found([one, 1])
    made = keys.of(take(one["x"]), upstream)
    assert isinstance(made, KeyParts)
    assert made.inputs == {"0": f"task:{'a' * 32}['x']"}
    assert said(take(one), take(other)) == ["input `0`: the task that makes it changed"]
    assert said(take([one]), take([other])) == [
        "input `0`: a task that makes a part of it changed, or another part"
    ]
    assert said(take(one), take(1)) == said(take([1]), take([one])) == ["input `0` changed"]
    refused = keys.of(take(1, [other]), lambda _: None)
    assert isinstance(refused, Uncacheable)
    assert refused.why == "input `1` of take: it is what take gives, which has no key"


def test_an_input_without_a_digest_is_named() -> None:
    refused = Keys(FileDigests(None)).of(named(1, z=[open]), lambda _: None)
    assert isinstance(refused, KeyParts)
    with open(os.devnull, encoding="ascii") as file:
        refused = Keys(FileDigests(None)).of(named(1, z=[file]), lambda _: None)
    assert isinstance(refused, Uncacheable)
    assert refused.why.startswith("input `z` of named: it is a list, which has no digest (cannot")


@task
def reads(path: File) -> int:
    return path.stat().st_size


def test_a_file_counts_by_its_content_and_path_and_a_path_by_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(given: Any) -> str:
        made = Keys(FileDigests(None)).of(given, lambda _: "f" * 32)
        assert isinstance(made, KeyParts)
        return digest_of(made)

    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.txt"
    path.write_text("one", encoding="ascii")
    by_path, by_content = found(take(path)), found(reads(path))
    assert found(reads("a.txt")) == by_content
    assert found(take([File(path)])) != found(take([path]))
    path.write_text("two", encoding="ascii")
    assert found(take(path)) == by_path
    assert found(reads(path)) != by_content
    path.write_text("one", encoding="ascii")
    assert found(reads(path)) == by_content
    path.rename("b.txt")
    assert found(reads("b.txt")) != by_content
    gone = reads("b.txt")
    Path("b.txt").unlink()
    refused = Keys(FileDigests(None)).of(gone, lambda _: None)
    assert isinstance(refused, Uncacheable)
    assert "b.txt" in refused.why
    # A project that is moved as a whole keeps its keys.
    moved = tmp_path / "moved"
    moved.mkdir()
    monkeypatch.chdir(moved)
    Path("a.txt").write_text("one", encoding="ascii")
    assert found(reads("a.txt")) == by_content
