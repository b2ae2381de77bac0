"""Which elements of a map go together, and how a span that went wrong is cut.

`World` runs a map without any of the engine: workers do spans as they like, and each element
must come to exactly one end, in a bounded number of deaths.  Each of `BUGS` is found by it.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from fancypipe_core._engine import spans

SOURCE = Path(spans.__file__)
LOSSES = 3  # deaths that an element is allowed, once it is alone


def changed(old: str, new: str) -> ModuleType:
    """Return the module with something in it replaced."""
    source = SOURCE.read_text("utf-8")
    assert source.count(old) == 1, f"there are {source.count(old)} of:\n{old}"
    spec = util.spec_from_loader("spans_changed", None)
    assert spec is not None
    module = util.module_from_spec(spec)
    exec(compile(source.replace(old, new), "<spans, changed>", "exec"), module.__dict__)
    return module


class World:
    """A map of elements, some of which fail and some of which kill their workers."""

    def __init__(self, module: Any, count: int, bad: set[int], deadly: set[int]) -> None:
        self.module = module
        self.count = count
        self.bad = bad
        self.deadly = deadly
        self.ends: dict[int, str] = {}
        self.deaths: dict[int, int] = {}  # of workers that had this element among others
        self.losses: dict[int, int] = {}  # of workers that had it alone

    def end(self, span: Any, how: str) -> None:
        for index in range(span.start, span.start + span.count):
            assert 0 <= index < self.count, f"{index} is none of {self.count} elements"
            assert index not in self.ends, f"{index} ends twice: {self.ends[index]}, {how}"
            self.ends[index] = how

    def run(self, size: int, stops: Callable[[int], int]) -> None:
        """Run all elements in spans of this size; `stops` says after how many a worker stops."""
        module = self.module
        todo = [module.Span(at, min(size, self.count - at)) for at in range(0, self.count, size)]
        turns = 0
        while todo:
            turns += 1
            assert turns < 100 * (self.count + 1), "it does not end"
            span = todo.pop()
            assert span.count >= 1
            elements = range(span.start, span.start + span.count)
            if self.deadly.intersection(elements):
                todo += self.die(span)
                continue
            at = next((n for n, index in enumerate(elements) if index in self.bad), None)
            stop = stops(span.count)
            if at is None and stop >= span.count:
                self.end(span, "done")
                continue
            failed = at is not None and at < stop
            cut = module.after_a_stop(span, at if failed else stop, failed)
            if cut.done is not None:
                self.end(cut.done, "done")
            if cut.culprit is not None:
                assert cut.culprit.count == 1
                self.end(cut.culprit, "failed")
            if cut.rest is not None:
                todo.append(cut.rest)
        assert set(self.ends) == set(range(self.count)), "an element is lost"
        for index, how in self.ends.items():
            right = "dead" if index in self.deadly else "failed" if index in self.bad else "done"
            assert how == right, f"{index} is {how}"

    def die(self, span: Any) -> list[Any]:
        if span.count == 1:
            self.losses[span.start] = self.losses.get(span.start, 0) + 1
            if self.losses[span.start] < LOSSES:
                return [span]
            self.end(span, "dead")
            return []
        for index in range(span.start, span.start + span.count):
            self.deaths[index] = self.deaths.get(index, 0) + 1
            assert self.deaths[index] <= 2, "too many workers die before the element is known"
        parts: list[Any] = self.module.pieces(span)
        assert all(part.count < span.count for part in parts), "it is cut into itself"
        return parts


def _search(module: Any) -> None:
    @hypothesis.settings(
        max_examples=150,
        derandomize=True,
        database=None,
        report_multiple_bugs=False,
        phases=[hypothesis.Phase.generate],
    )
    @hypothesis.given(
        count=st.integers(0, 300),
        size=st.one_of(st.integers(1, 300), st.just(spans.MOST)),
        bad=st.sets(st.integers(0, 299), max_size=6),
        deadly=st.sets(st.integers(0, 299), max_size=3),
        stop=st.integers(1, 300),
    )
    def search(count: int, size: int, bad: set[int], deadly: set[int], stop: int) -> None:
        World(module, count, bad, deadly).run(size, lambda _count: stop)

    search()
    # The largest that there may be.
    World(module, spans.MOST, {7}, {0, spans.MOST - 1}).run(spans.MOST, lambda count: count)


def test_each_element_comes_to_its_end() -> None:
    _search(spans)


BUGS = {
    "the element that failed is run again": (
        "    rest = at + failed\n",
        "    rest = at\n",
    ),
    "the one after it is forgotten": (
        "    rest = at + failed\n",
        "    rest = at + 1\n",
    ),
    "the last of the rest is forgotten": (
        "Span(span.start + rest, span.count - rest) if rest < span.count else None",
        "Span(span.start + rest, span.count - rest - 1) if rest + 1 < span.count else None",
    ),
    "another is blamed": (
        "Span(span.start + at, 1) if failed",
        "Span(span.start + at - 1, 1) if failed",
    ),
    "what was done is done again": (
        "Span(span.start, at) if at else None",
        "None",
    ),
    "parts overlap": (
        "Span(a, b - a)",
        "Span(a, min(b - a + 1, span.count - 1))",
    ),
    "a part is lost": (
        "zip(edges, edges[1:], strict=False)",
        "zip(edges[1:], edges[2:], strict=False)",
    ),
    "parts are counted from the beginning of the map": (
        "span.start + span.count * part // parts",
        "span.count * part // parts",
    ),
    "each death halves": (
        "parts = min(span.count, most)",
        "parts = min(span.count, 2)",
    ),
}


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bugs_are_found(bug: str) -> None:
    with pytest.raises(AssertionError):
        _search(changed(*BUGS[bug]))


@pytest.mark.parametrize(("at", "failed"), [(5, False), (0, False), (-1, True), (6, True)])
def test_a_span_cannot_stop_behind_its_end(at: int, failed: bool) -> None:
    """What the other end says is not believed."""
    with pytest.raises(ValueError, match="cannot stop"):
        spans.after_a_stop(spans.Span(10, 5), at, failed)


# ---- how many go together ----


def learned(seconds: float, limit: float | None = None, singly: bool = False) -> spans.Pace:
    pace = spans.Pace(limit, singly)
    for _ in range(20):
        pace.learn(10, 10 * seconds)
    return pace


def test_what_nobody_knows_goes_singly() -> None:
    assert spans.Pace().size(2, None) == 1


def test_the_window_opens_as_spans_end() -> None:
    assert [spans.Pace.window(2, 1000, ended) for ended in (0, 1, 50, 5000)] == [4, 5, 54, 66]
    assert spans.Pace.window(2, 0, 5000) == 4


def test_short_elements_go_together_and_long_ones_singly() -> None:
    assert learned(1e-6).size(2, None) == 4000
    assert learned(1e-9).size(2, None) == spans.MOST
    assert 30 <= learned(1e-4).size(2, None) <= 40
    assert learned(0.01).size(2, None) == 1


def test_one_long_element_is_believed_at_once() -> None:
    pace = learned(1e-6)
    pace.learn(1, 0.5)
    assert pace.size(2, None) == 1


def test_the_end_is_shared_by_all_workers() -> None:
    pace = learned(1e-5)
    assert pace.size(2, 100_000) == pace.size(2, None)
    assert pace.size(4, 800) == 100, "each of four workers gets two"
    assert pace.size(4, 16) == 16, "but nothing is gained by spans of no time"
    assert pace.size(4, 1) == 1


def test_a_time_limit_is_that_of_one_element() -> None:
    pace = learned(1e-4, limit=0.002)
    assert pace.size(2, None) * 1e-4 <= 0.002 / 4
    assert learned(1e-6, singly=True).size(2, 1000) == 1


@hypothesis.given(
    seconds=st.floats(1e-9, 100),
    limit=st.one_of(st.none(), st.floats(0.001, 100)),
    slots=st.integers(1, 64),
    left=st.one_of(st.none(), st.integers(1, 10**7)),
)
def test_sizes_are_possible(
    seconds: float, limit: float | None, slots: int, left: int | None
) -> None:
    pace = learned(seconds, limit)
    size = pace.size(slots, left)
    assert 1 <= size <= spans.MOST
    assert left is None or size <= left
    assert size == 1 or size * seconds <= 0.0041
    assert size == 1 or limit is None or size * seconds <= limit / 4 * 1.01
