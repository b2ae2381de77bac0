"""Large pickles are cut so that what they have in common can be told."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancypipe_core._wire.parts import LARGE, parts_of

LARGE_VALUES = [
    bytes(range(256)) * (16 * LARGE // 256),
    "z\u00fcrich " * LARGE,
    list(range(20 * LARGE)),
    {f"key {n}": float(n) for n in range(4 * LARGE)},
    [b"x" * 2 * LARGE, b"y" * 2 * LARGE, "z" * 2 * LARGE],
]


def cut(value: Any) -> list[bytes]:
    head = pickle.dumps(value, 5)
    parts = [bytes(part) for part in parts_of(head)]
    assert b"".join(parts) == head
    return parts


@pytest.mark.parametrize("value", LARGE_VALUES)
def test_what_two_pickles_have_in_common_is_told(value: Any) -> None:
    known = set(cut(((value, 1), {}, None)))
    for other in ((value, 2), (value, "b", 3.5), (7, value)):
        parts = cut((other, {}, None))
        new = sum(len(part) for part in parts if part not in known and len(part) >= LARGE)
        if other[0] is value:
            assert new <= 5 * LARGE, [len(part) for part in parts]
        else:  # what comes before may shift the cuts in it
            assert new <= sum(map(len, parts))


@given(st.binary(max_size=100).map(lambda data: data * 30))
def test_any_bytes_are_cut_somehow(data: bytes) -> None:
    assert b"".join(parts_of(data)) == data


@given(st.sampled_from([0x95, 0x8E, 0x8D, 0x96, 0x42]), st.binary(max_size=20))
def test_lengths_that_are_too_long_are_no_lengths(code: int, rest: bytes) -> None:
    data = b"\x80\x05" + bytes([code]) + rest + bytes(50)
    assert b"".join(parts_of(data)) == data
