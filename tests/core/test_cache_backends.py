"""What one backend has kept, another takes."""

from __future__ import annotations

from itertools import chain, permutations
from pathlib import Path
from typing import Any

import pytest

from fancypipe_core import Outputs, run, task
from fancypipe_core._cache.elements import pack_read
from fancypipe_core._codec.stored import restored
from fancypipe_core._codec.values import EncodedValues
from tests.core.test_resume import Store

pytestmark = pytest.mark.usefixtures("loaded_long_ago")


@task
def listed(n: int) -> list[int]:
    return list(range(n))


@task
def several(n: int) -> Any:
    return Outputs(low=[n], high={n: [n, n]})


@task
def doubled(xs: list[int]) -> list[int]:
    return xs + xs


def target() -> Any:
    one = several(3)
    return [listed(3), doubled(listed(2)), one["low"], one["high"], doubled.map([[1], [2]])]


VALUE = [[0, 1, 2], [0, 1, 0, 1], [3], {3: [3, 3]}, [[1, 1], [2, 2]]]


@pytest.mark.parametrize("backend", ["serial", "threads"])
def test_what_is_kept_is_a_value_and_not_how_it_was_carried(backend: str) -> None:
    store = Store()
    assert run(target(), backend=backend, observers=[store], resume=True) == VALUE
    kept = [memoryview(one) for one in store.kept.values() if not one.startswith(b"fpindex1")]
    singles = [one for one in kept if bytes(one[:8]) != b"fppacks1"]
    assert len(kept) == len(singles) + 1  # the elements of the map
    of_elements = [pack_read(one) for one in kept if bytes(one[:8]) == b"fppacks1"]
    each = [*singles, *chain(*of_elements)]
    values = [EncodedValues().open(restored(one)) for one in each]
    plain = {int, list, dict, Outputs}
    assert values
    assert {type(value) for value in values} <= plain


@pytest.mark.slow
def test_backends_take_each_others_results(tmp_path: Path) -> None:
    for first, second in permutations(["serial", "threads", "procs"], 2):
        way: dict[str, Any] = {"resume": True, "cache": tmp_path / first / second, "workers": 1}
        assert run(target(), backend=first, **way) == VALUE
        assert run(target(), backend=second, **way) == VALUE
        # And takes them as inputs.
        wanted = doubled(listed(3)), doubled(several(3)["low"])
        assert run(wanted, backend=second, **way) == ([0, 1, 2, 0, 1, 2], [3, 3])
        # And elements of a map.
        longer = doubled.map([[0], [1], [5], [2]])
        assert run(longer, backend=second, **way) == [[0, 0], [1, 1], [5, 5], [2, 2]]
