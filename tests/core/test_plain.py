"""Plain values are read by what cannot run code, and so is what is said to be plain."""

from __future__ import annotations

import fractions
import os
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fancypipe_core import Outputs, task
from fancypipe_core._codec import pickler, plain, unpickler
from fancypipe_core._codec.plain import NOT_PLAIN
from fancypipe_core.backend import Payload

PLAIN: list[Any] = [
    *(1, 1.5, None, True, "text", b"bytes", 2 + 3j, 10**40, bytearray(b"x")),
    *([1, "a"], (1, (2,)), {"a": [1]}, {1, 2}, frozenset({3}), "ci\x93" * 5, b"c" * 5000),
    *(np.arange(5), np.zeros((300, 300)), np.asfortranarray(np.ones((2, 3))), np.float64(1.5)),
    *(np.array(["a", "bc"]), np.zeros(3, [("a", "i4"), ("b", "f8")]), np.datetime64("2020-01-01")),
    *(np.array([None, 1, "x"], dtype=object), np.dtype("f4"), np.bool_(True), [np.int8(1)]),
    *(Path("/a/b"), Outputs(a=1, b=np.ones(3))),
]


@task
def one() -> int:
    return 1


class Own:
    """Of the user's."""


NOT: list[Any] = [
    *(
        Own(),
        Own,
        fractions.Fraction(1, 2),
        len,
        os.system,
        np.sin,
        np.mean,
        np.float64,
    ),
    *(ValueError("x"), [np.zeros(2), Own()], np.array([Own()], dtype=object), int, range(3)),
    *(np.ma.zeros(2), lambda: 1, os, one),
]


def written(value: Any) -> Any:
    body = pickler.Encoder().encode_result(value).body
    assert isinstance(body, tuple)
    return body


def opened(encoded: tuple[Payload, ...]) -> Any:
    return unpickler.decode(encoded, plain.load)


@pytest.mark.parametrize("value", PLAIN, ids=lambda value: type(value).__name__)
def test_what_is_plain_is_read_as_plain(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = written(value)
    assert not any(payload.head.endswith(NOT_PLAIN) for payload in encoded)
    monkeypatch.setattr(plain, "_SMALL", 0)  # all by the reader itself
    found = opened(encoded)
    assert type(found) is type(value)
    assert pickle.dumps(found) == pickle.dumps(value)


@pytest.mark.parametrize(
    "value", NOT, ids=lambda value: getattr(value, "__name__", str(value))[:20]
)
def test_all_else_is_marked_and_comes_through(value: Any) -> None:
    encoded = written(value)
    assert encoded[-1].head.endswith(b"." + NOT_PLAIN)
    assert type(opened(encoded)) is type(value)


class Evil:
    def __init__(self, function: Any, *args: Any) -> None:
        self.made = (function, args)

    def __reduce__(self) -> Any:
        return self.made


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("made", [(eval, "1 + 1"), (getattr, os, "system"), (os.getpid,), (Own,)])
def test_what_is_said_to_be_plain_and_is_not_is_refused(protocol: int, made: Any) -> None:
    if made[0] is getattr:
        made = (getattr, "x", "upper")
    head = pickle.dumps([Evil(*made), 1], protocol)
    for load in (plain.load,):
        with pytest.raises(pickle.UnpicklingError, match="said to be plain data, and names"):
            load(head, ())
    assert plain.load(head + NOT_PLAIN, ())[1] == 1


def test_what_names_something_has_one_of_the_codes_that_are_looked_for() -> None:
    naming = {"GLOBAL", "STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"}
    for code in pickletools.opcodes:
        found = plain._NAMING.search(code.code.encode("latin-1")) is not None
        assert found == (code.name in naming), code.name
