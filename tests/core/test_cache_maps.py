"""Elements of maps are kept one by one: only those run of which something has changed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fancypipe_core import File, Session, current, errors, run, task
from fancypipe_core._engine import kept_elements
from fancypipe_core.hooks import CacheEvent, hookimpl
from tests.core.test_resume import Store
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("loaded_long_ago")

RAN: list[Any] = []
"""Which elements ran, in this process."""

Way = dict[str, Any]


@pytest.fixture(autouse=True)
def _fresh() -> None:
    RAN.clear()


@pytest.fixture(params=["serial", "threads"])
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Way:
    """How runs are made that share results."""
    return {
        "backend": request.param,
        "workers": 2,
        "resume": True,
        "cache": tmp_path / "cache",
        "tempdir": tmp_path,
    }


def ran(target: Any, **way: Any) -> tuple[Any, list[Any]]:
    """Run a target; return its value, and which elements ran for that."""
    RAN.clear()
    value = run(target, **way)
    return value, sorted(RAN)


@task
def half(n: int) -> float:
    RAN.append(n)
    return n / 2


@task
def listed(n: int, more: Any = None) -> Any:
    RAN.append(n)
    return {"n": [n], "more": more}


@task
def fails_at(n: int, bad: tuple[int, ...] = ()) -> int:
    RAN.append(n)
    if n in bad:
        raise ValueError(n)
    return n


@task
def wide(n: int) -> Any:
    RAN.append(n)
    return np.full(50_000, n)


@task
def first(xs: Any) -> Any:
    return xs[0]


def elements(store: Store) -> list[tuple[int, list[tuple[int, int]]]]:
    told = [one for one in store.events if one.kind == "elements"]
    return [(one.there, [*one.ran]) for one in told]


def test_one_of_100_000_that_changed_runs_alone(way: Way) -> None:
    numbers = list(range(100_000))
    ran(half.map(numbers), **way)
    numbers[70_123] = -8
    store = Store()
    values, which = ran(half.map(numbers), observers=[store], **way)
    assert which == [-8]
    assert values[70_122:70_125] == [35061.0, -4.0, 35062.0]
    assert len(values) == 100_000
    assert elements(store) == [(99_999, [(70_123, 1)])]
    entries = [one for one in Path(way["cache"]).rglob("*") if one.is_file()]
    assert len(entries) < 200  # and not one for each element


def test_what_moves_is_found(way: Way) -> None:
    ran(listed.map(range(50)), **way)
    values, which = ran(listed.map([90, *range(49, -1, -1), 91]), **way)
    assert which == [90, 91]
    assert [one["n"] for one in values] == [[90], *([n] for n in range(49, -1, -1)), [91]]


def test_values_are_nobody_elses(way: Way) -> None:
    ran(listed.map(range(3)), **way)
    values, which = ran(listed.map(range(4)), **way)
    assert which == [3]
    values[0]["n"].append(7)
    again, _ = ran(listed.map(range(5)), **way)
    assert again[0]["n"] == [0]


def test_inputs_by_name_and_versions_count(way: Way) -> None:
    assert ran(listed.map([1, 2], more="a"), **way)[1] == [1, 2]
    assert ran(listed.map([1, 2, 3], more="b"), **way)[1] == [1, 2, 3]
    assert ran(listed.map([2, 1, 4], more="a"), **way)[1] == [4]
    versioned = listed.map([1, 2], more="a").with_options(version="2")
    assert ran(versioned, **way)[1] == [1, 2]
    # An input that differs from element to element, and one that does not, are not the same.
    assert ran(listed.map([1], ["a"]), **way)[1] == [1]


def test_kinds_of_inputs_are_told_apart(way: Way) -> None:
    ran(first.map([[1], [True]]), **way)
    for odd in ([1.0], [np.int64(1)], [b"1"], ["1"], [1, ()]):
        value, _ = ran(first.map([odd, [1]]), **way)
        assert type(value[0]) is type(odd[0])


def test_a_generator_is_looked_up_as_it_comes(way: Way) -> None:
    def numbers(most: int) -> Iterator[int]:
        yield from range(most)

    ran(half.map(numbers(20)), **way)
    assert ran(half.map(numbers(25)), **way) == ([n / 2 for n in range(25)], [*range(20, 25)])


def test_elements_that_refer_to_tasks(way: Way) -> None:
    ran(half.map([half(2), half(3), 4]), **way)
    value, which = ran(half.map([half(2), half(5), 4]), **way)
    assert (value, which) == ([0.5, 1.25, 2.0], [2.5, 5])


def test_a_map_of_a_reference(way: Way) -> None:
    ran(half.map(first([[2, 4]])), **way)
    assert ran(half.map(first([[2, 4, 6]])), **way)[1] == [6]


def test_one_that_fails_does_not_cost_the_others(way: Way) -> None:
    with pytest.raises(errors.FancyPipeError):
        run(fails_at.map(range(30), [()] * 20 + [(20,)] + [()] * 9), keep_going=True, **way)
    assert ran(fails_at.map(range(30), [()] * 30), **way)[1] == [20]


def test_large_results_are_kept_once(way: Way) -> None:
    ran(wide.map(range(8)), **way)
    size = sum(one.stat().st_size for one in Path(way["cache"]).rglob("*") if one.is_file())
    assert size < 1.5 * 8 * 50_000 * 8
    values, which = ran(wide.map(range(8)), **way)
    assert which == []
    assert [int(one[-1]) for one in values] == [*range(8)]


@task
def makes_file(n: int, *, plain: bool = False) -> Any:
    RAN.append(n)
    path = current().tempfile(".txt")
    Path(path).write_text(str(n))
    return str(path) if plain else path


@task
def file_of(n: int) -> File:
    RAN.append(n)
    path = Path(current().tempfile(".txt"))
    path.write_text(str(n))
    return path  # type: ignore[return-value]  # what is annotated is made of it


def test_files_are_kept_with_their_content(way: Way) -> None:
    ran(file_of.map(range(3)), **way)
    with Session(**way) as session:
        RAN.clear()
        values = session.run(file_of.map(range(5)))
        assert [Path(one).read_text() for one in values] == ["0", "1", "2", "3", "4"]
    assert sorted(RAN) == [3, 4]
    store = Store()
    for _ in range(2):
        assert ran(makes_file.map([1], plain=True), observers=[store], **way)[1] == [1]
    assert "names temporary files" in store.why()


@task
def more_of(n: int) -> Any:
    RAN.append(n)
    return half(n)


def test_elements_that_unfold(way: Way) -> None:
    ran(more_of.map([2, 4]), **way)
    assert ran(more_of.map([2, 4, 6]), **way) == ([1.0, 2.0, 3.0], [6, 6])


def test_a_stream_takes_and_keeps_elements(way: Way) -> None:
    for most, wanted in ((20, [*range(20)]), (25, [*range(20, 25)])):
        RAN.clear()
        with Session(**way) as session:
            assert [*session.stream(half.map(range(most)))] == [n / 2 for n in range(most)]
        assert sorted(RAN) == wanted


def test_a_pack_that_is_gone_or_broken_is_computed(way: Way) -> None:
    store = Store()
    del way["cache"]
    way["observers"] = [store]
    ran(half.map(range(10)), **way)
    for key, kept in list(store.kept.items()):
        if kept.startswith(b"fppacks1"):
            for cut in (7, 20, len(kept) // 2, len(kept) - 1):
                store.kept[key] = kept[:cut]
                assert ran(half.map(range(9)), **way)[0] == [n / 2 for n in range(9)]
                store.kept = {k: v for k, v in store.kept.items() if v[:8] in _OF_ELEMENTS}
                store.kept[key] = kept
            store.kept[key] = b""
    store.kept = {key: one for key, one in store.kept.items() if one[:8] in _OF_ELEMENTS}
    assert ran(half.map(range(11)), **way)[0] == [n / 2 for n in range(11)]


_OF_ELEMENTS = (b"fppacks1", b"fpindex1")


class Rival(Store):
    """Another run writes a chapter of the index again, right after ours, as it was for that."""

    def __init__(self, others: dict[str, bytes]) -> None:
        super().__init__()
        self.others = others
        self.overwritten = 0

    @hookimpl
    def fancypipe_cache_put(self, key: str, value: Sequence[Any], about: Any) -> bool:
        kept: bool = super().fancypipe_cache_put(key, value, about)
        if key in self.others and not self.overwritten:
            self.overwritten += 1
            self.kept.update(self.others)
        return kept


def test_two_runs_on_one_index_lose_nothing(tmp_path: Path) -> None:
    way: Way = {"backend": "serial", "resume": True, "tempdir": tmp_path}
    first_run = Store()
    ran(half.map(range(10)), observers=[first_run], **way)
    store = Rival(first_run.kept)
    ran(half.map(range(10, 20)), observers=[store], **way)
    assert store.overwritten
    assert ran(half.map(range(21)), observers=[store], **way)[1] == [20]


def test_the_index_is_cut_into_chapters(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_elements, "_CHAPTER", 100)
    store = Store()
    del way["cache"]
    way["observers"] = [store]
    for most in range(2, 32, 3):
        assert ran(half.map(range(most)), **way)[1] == [*range(max(0, most - 3), most)][-3:]
    assert ran(half.map(range(30)), **way)[1] == [29]
    assert sum(one.startswith(b"fpindex1") for one in store.kept.values()) > 3


CHILD = """
import sys, time
from fancypipe_core import run, task

@task
def slow(n):
    with open(sys.argv[1], "a") as log:
        log.write(f"{n}\\n")
    time.sleep(0.05)
    return n

if __name__ == "__main__":
    way = dict(backend=sys.argv[3], workers=2, resume=True, cache=sys.argv[2])
    assert run(slow.map(range(150)), **way) == [*range(150)]
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["serial", "procs"])
def test_killed_in_the_middle_of_a_map(backend: str, tmp_path: Path) -> None:
    script, log = tmp_path / "script.py", tmp_path / "log"
    script.write_text(CHILD)
    log.touch()
    command = [sys.executable, str(script), str(log), str(tmp_path / "cache"), backend]
    with subprocess.Popen(command, start_new_session=True) as child:
        try:
            wait_until(lambda: len(log.read_text().splitlines()) >= 90)
        finally:
            os.killpg(child.pid, signal.SIGKILL)
    had = len(log.read_text().splitlines())
    subprocess.run(command, check=True, timeout=100)
    lines = log.read_text().splitlines()
    twice = len(lines) - 150
    assert {*map(int, lines)} == {*range(150)}
    # What took a second of work is not kept yet, nor what was under way; so much ran again.
    assert twice <= 20 + 32 < had


def test_what_is_told(way: Way) -> None:
    store = Store()
    ran(half.map([1, 2]), observers=[store], **way)
    (event,) = [one for one in store.events if one.kind == "elements"]
    assert isinstance(event, CacheEvent)
    assert (event.path, event.there, event.ran) == ("half.map", 0, ((0, 2),))
