"""Results as JSON, and in files."""

from __future__ import annotations

import collections
import dataclasses
import enum
import json
import math
import pickle
import stat
import threading
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancypipe_core import Outputs, errors
from fancypipe_core._cli.present import check_output, dumps, plain, save


class Color(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Point:
    x: float
    other: Any = None


class Pair(NamedTuple):
    a: int
    b: int


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def circle() -> list[Any]:
    items: list[Any] = [1]
    items.append(items)
    return items


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (25.0, "25.0"),
        (None, "null"),
        (True, "true"),
        (-3, "-3"),
        ("é", '"é"'),
        (math.nan, '"NaN"'),
        ([math.inf, -math.inf], '["Infinity", "-Infinity"]'),
        (1 + 2j, '{"real": 1.0, "imag": 2.0}'),
        ((1, (2, 3)), "[1, [2, 3]]"),
        ({3, 1, 2}, "[1, 2, 3]"),
        ({1, "a"}, '["a", 1]'),
        (range(3), "[0, 1, 2]"),
        (collections.deque([1]), "[1]"),
        ({"a": {1: 2}, None: 3}, '{"a": {"1": 2}, "null": 3}'),
        ({(1, 2): 4, Color.RED: 5}, '{"(1, 2)": 4, "RED": 5}'),
        ({1: 2, "1": 3}, '{"1": 2, "\'1\'": 3}'),
        (Color.RED, '"RED"'),
        (Path("a/b"), '"a/b"'),
        (date(2024, 2, 29), '"2024-02-29"'),
        (Decimal("1.50"), '"1.50"'),
        (b"hello", '{"bytes": {"length": 5, "hex": "68656c6c6f"}}'),
        (Point(1.0, Point(2.0)), '{"x": 1.0, "other": {"x": 2.0, "other": null}}'),
        (Pair(1, 2), '{"a": 1, "b": 2}'),
        (Outputs(mask=1, volume=[2]), '{"mask": 1, "volume": [2]}'),
        (np.float64(2), "2.0"),
        (np.float32(0.5), "0.5"),
        (np.int8(3), "3"),
        (np.bool_(True), "true"),
        (np.float32("nan"), '"NaN"'),
        (np.array(2.5), "2.5"),
        (np.str_("a"), '"a"'),
        (np.datetime64("2024-02-29"), '"2024-02-29"'),
        (np.zeros((0, 3)), '{"array": {"shape": [0, 3], "dtype": "float64", "values": []}}'),
        (circle(), '[1, "(contains itself)"]'),
        (Broken(), '"<Broken, whose repr raised RuntimeError>"'),
        (int, '"<class \'int\'>"'),
    ],
)  # fmt: skip
def test_what_is_written(value: Any, text: str) -> None:
    assert dumps(value) == text


def test_arrays_are_summarised() -> None:
    summary = plain(np.arange(100.0).reshape(10, 10))
    assert summary == {
        "array": {"shape": [10, 10], "dtype": "float64", "min": 0.0, "max": 99.0, "mean": 49.5}
    }
    holes = plain(np.array([1, np.nan, 3, np.inf]))["array"]
    assert (holes["min"], holes["max"], holes["mean"], holes["not_finite"]) == (1, 3, 2, 2)
    assert holes["values"] == [1.0, "NaN", 3.0, "Infinity"]
    assert plain(np.full(3, np.nan))["array"]["not_finite"] == 3
    yes = plain(np.array([True, False]))["array"]
    assert yes == {"shape": [2], "dtype": "bool", "values": [True, False], "true": 1}
    assert plain(np.array([object()]))["array"] == {"shape": [1], "dtype": "object"}


def test_long_lists_are_given_in_full_and_objects_in_lines() -> None:
    numbers = list(range(1000))
    assert json.loads(dumps(numbers)) == numbers
    assert "\n" not in dumps(numbers)
    table = [{"name": "a name that takes some room", "value": number} for number in range(4)]
    assert dumps({"table": table, "n": numbers}).splitlines() == [
        "{",
        '  "table": [',
        *[f"    {json.dumps(row)}{',' if row is not table[-1] else ''}" for row in table],
        "  ],",
        f'  "n": {numbers}',
        "}",
    ]


def test_what_is_nested_too_deep_ends_somewhere() -> None:
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    assert json.loads(dumps(deep))


def test_the_same_object_twice_is_no_circle() -> None:
    shared = [1]
    assert plain([shared, shared]) == [[1], [1]]


def test_very_long_numbers() -> None:
    assert json.loads(dumps(10**20)) == 10**20
    assert json.loads(dumps(10**5000)) in (hex(10**5000), 10**5000)


def test_other_encodings() -> None:
    assert dumps("é\ud800", ascii_only=True) == '"\\u00e9\\ud800"'


leaves = st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False)
values = st.recursive(
    leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@given(values)
def test_what_json_can_say_comes_back(value: Any) -> None:
    text = dumps(value)
    finite = json.dumps(value)
    if "Infinity" not in finite:
        assert json.loads(text) == value


@given(st.recursive(leaves | st.binary() | st.complex_numbers() | st.dates() | st.decimals(),
                    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(
                        st.integers() | st.text() | st.none(), inner), max_leaves=20))  # fmt: skip
def test_whatever_it_is_the_text_is_json(value: Any) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(word)

    json.loads(dumps(value), parse_constant=refuse)


@pytest.mark.parametrize(
    ("name", "load"), [("r.json", json.loads), ("r.pickle", pickle.loads), ("r.pkl", pickle.loads)]
)
def test_files(tmp_path: Path, name: str, load: Callable[[bytes], Any]) -> None:
    file = tmp_path / name
    file.write_text("before")
    check_output(str(file))
    save({"é": [1, 2.5]}, str(file))
    assert load(file.read_bytes()) == {"é": [1, 2.5]}
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    target = tmp_path / "target.json"
    link = tmp_path / "link.json"
    link.symlink_to(target)
    save(1, str(link))
    assert link.is_symlink()
    assert target.read_text() == "1\n"


def test_what_cannot_be_pickled_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "r.pkl"
    file.write_bytes(b"before")
    with pytest.raises(errors.EncodeError, match="the result cannot be pickled: TypeError"):
        save(threading.Lock(), str(file))
    assert file.read_bytes() == b"before"


def test_a_file_that_cannot_be_moved_into_place_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "r.json").mkdir()
    with pytest.raises(IsADirectoryError):
        save(1, str(tmp_path / "r.json"))
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]


def test_files_that_are_refused_before_anything_runs(tmp_path: Path) -> None:
    folder = tmp_path / "folder.json"
    folder.mkdir()
    for name, message in {
        "r.txt": "must be a file that ends in .json, .pickle or .pkl, not",
        "none/r.json": "there is no folder",
        "folder.json": "is a folder",
    }.items():
        with pytest.raises(errors.UsageError, match=message):
            check_output(str(tmp_path / name))


def test_the_file_has_the_usual_permissions(tmp_path: Path) -> None:
    file, usual = tmp_path / "r.json", tmp_path / "usual"
    usual.touch()
    save(1, str(file))
    assert stat.S_IMODE(file.stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)
