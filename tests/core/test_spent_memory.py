"""What only a task's result refers to is never there twice: it goes while it is written."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from pickle import PickleBuffer
from typing import Any

import pytest

from fancypipe_core import Outputs
from fancypipe_core._base import shared_memory
from fancypipe_core._base.spent_memory import is_spent
from fancypipe_core._codec.sharing import Sharer
from fancypipe_core._codec.values import EncodedValues

pytestmark = pytest.mark.skipif(
    not hasattr(os, "memfd_create"), reason="there is no such memory on this system"
)
np: Any = pytest.importorskip("numpy")

COUNT = 6 << 20  # numbers of 8 bytes: 48 MiB
kept: list[Any] = []


def fresh(step: int = 1) -> Any:
    return np.arange(0, COUNT * step, step, dtype=np.int64)


def also_kept(value: Any, what: Callable[[Any], Any] = lambda value: value) -> Any:
    kept.append(what(value))
    return value


def part_of_kept() -> Any:
    return also_kept(fresh())[1:]


class Owner:
    """Has an array, and is in a circle with itself."""

    def __init__(self) -> None:
        self.array, self.me = fresh(), self


SPENT: dict[str, Callable[[], Any]] = {
    "alone": fresh,
    "in containers": lambda: [fresh(), {"more": (fresh(3),)}],
    "of another shape": lambda: fresh().reshape(2, -1),
    "a part": lambda: fresh()[1:],
    "transposed": lambda: fresh().reshape(2, -1).T,
    "outputs": lambda: Outputs(one=fresh(), two=fresh(2)),
}
KEPT: dict[str, Callable[[], Any]] = {
    "by somebody": lambda: also_kept(fresh()),
    "with its container": lambda: also_kept([fresh()]),
    "as a whole": part_of_kept,
    "by a view": lambda: also_kept(fresh(), lambda array: array[5:]),
    "as bytes": lambda: also_kept(fresh(), memoryview),
    "weakly": lambda: also_kept(fresh(), weakref.ref),
    "by a circle": lambda: Owner().array,
    "in memory of somebody else's": lambda: np.frombuffer(bytearray(8 * COUNT), dtype=np.int64),
}


def buffers_of(packed: Any) -> list[Any]:
    return [buffer for payload in packed.body for buffer in payload.buffers]


@pytest.mark.parametrize(
    ("make", "spent"),
    [(make, True) for make in SPENT.values()] + [(make, False) for make in KEPT.values()],
    ids=[*SPENT, *KEPT],
)
def test_what_is_spent_is_what_nobody_else_can_reach(make: Any, spent: bool) -> None:
    values = EncodedValues(Sharer(remembers=False))
    packed = values.write_result(make())
    buffers = buffers_of(packed)
    assert [is_spent(buffer) for buffer in buffers] == [spent] * len(buffers)
    before = [bytes(buffer) for buffer in buffers]
    shared = values.share(packed)
    assert [bytes(handle.map()) for handle in buffers_of(shared)] == before
    after = [bytes(buffer) for buffer in buffers]
    assert (after == before) is not spent
    kept.clear()


def test_what_is_of_no_array_is_not_spent() -> None:
    assert not is_spent(PickleBuffer(bytearray(10)))
    assert not is_spent(PickleBuffer(b"bytes"))


def test_what_the_client_gives_stays() -> None:
    values = EncodedValues(Sharer(remembers=True))
    packed = values.write_result(fresh())
    (buffer,) = buffers_of(packed)
    values.share(packed)
    assert bytes(buffer) == fresh().tobytes()


def test_most_of_it_is_gone_before_the_rest_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    there: list[int] = []
    write = shared_memory._write

    def noted(descriptor: int, view: memoryview, at: int) -> int:
        there.append(anonymous())
        return write(descriptor, view, at)

    monkeypatch.setattr(shared_memory, "_write", noted)
    values = EncodedValues(Sharer(remembers=False))
    packed = values.write_result(fresh())
    before = anonymous()
    values.share(packed)
    assert len(there) >= 5
    assert there[-1] < before - 30 * (1 << 20)


def anonymous() -> int:
    """Return how many bytes of memory this process has to itself."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024
    pytest.skip("this system does not tell")


@pytest.mark.fault(90)
def test_where_there_is_no_room_for_all_of_it_it_is_whole_again() -> None:
    script = f"""
import resource, numpy as np
from fancypipe_core._codec.sharing import Sharer
from fancypipe_core._codec.values import EncodedValues
resource.setrlimit(resource.RLIMIT_FSIZE, (20 << 20, 20 << 20))
values = EncodedValues(Sharer(remembers=False))
packed = values.share(values.write_result(np.arange({COUNT})))
(buffer,) = packed.body[0].buffers
print(type(buffer).__name__, (values.open(packed.body) == np.arange({COUNT})).all())
"""
    said = partial(subprocess.run, capture_output=True, text=True, timeout=120, check=True)
    assert said([sys.executable, "-c", script]).stdout == "PickleBuffer True\n"
