"""What a run's events come to: on models, against what is plain to see."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fancypipe_core import module, run, task
from fancypipe_core.plugins.figures.critical_path import critical_path
from fancypipe_core.plugins.figures.estimate import Left, Pace, expected, remaining, with_workers
from fancypipe_core.plugins.figures.facts import Fact, Facts, Line, facts_of, read_lines
from fancypipe_core.plugins.figures.said import summary_lines
from fancypipe_core.plugins.runs import find_runs


def fact(seconds: float, *needs: int, parent: int = 0, waits: tuple[int, ...] = ()) -> Fact:
    made = Fact("t")
    made.seconds, made.needs, made.parent, made.waits = seconds, needs, parent, waits
    return made


# ---- the longest chain -----------------------------------------------------------


def test_the_longest_chain_goes_by_what_tasks_need() -> None:
    tasks = {1: fact(1.0), 2: fact(5.0), 3: fact(1.0, 1, 2), 4: fact(4.0), 5: fact(0.5, 3)}
    assert critical_path(tasks) == (6.5, [2, 3, 5])
    assert critical_path({}) == (0.0, ())


def test_it_goes_through_modules_to_what_they_made() -> None:
    # 1 makes 2 and 3, and returns 3, which needs 2; 4 needs the value of 1.
    tasks = {
        1: fact(0.5, waits=(3,)),
        2: fact(2.0, parent=1),
        3: fact(1.0, 2, parent=1),
        4: fact(1.0, 1),
    }
    assert critical_path(tasks) == (4.5, [1, 2, 3, 4])


def test_a_long_chain_is_no_recursion_and_a_circle_no_loop() -> None:
    chain = {number: fact(1.0, number - 1) for number in range(2, 20_000)} | {1: fact(1.0)}
    seconds, tasks = critical_path(chain)
    assert (seconds, len(tasks)) == (19_999.0, 19_999)
    circle = {1: fact(1.0, 2), 2: fact(1.0, 1), 3: fact(1.0, 99)}
    assert critical_path(circle).seconds >= 1.0


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(0, 2**32))
def test_it_is_the_longest_of_all_ways(count: int, seed: int) -> None:
    chance = random.Random(seed)
    tasks: dict[int, Fact] = {}
    for number in range(1, count + 1):
        before = list(tasks)
        tasks[number] = fact(
            float(chance.randrange(10)),
            *chance.sample(before, min(len(before), chance.randrange(3))),
            parent=chance.choice([0, *before]),
        )
    for number, one in tasks.items():
        later = range(number + 1, count + 1)
        # Of these only such as do not need it, by any way: here those that it has made.
        made = [n for n in later if tasks[n].parent == number and not tasks[n].needs]
        one.waits = tuple(made[:2])

    on_the_way: set[tuple[int, bool]] = set()

    @cache
    def when(number: int, value: bool) -> float:
        """Return when a task has run, or has its value."""
        assert (number, value) not in on_the_way
        on_the_way.add((number, value))
        one = tasks[number]
        if value:
            found = max([when(number, False), *(when(need, True) for need in one.waits)])
        else:
            ready = [when(need, True) for need in one.needs]
            ready += [when(one.parent, False)] if one.parent else []
            found = max(ready, default=0.0) + (one.seconds or 0.0)
        on_the_way.discard((number, value))
        return found

    path = critical_path(tasks)
    assert path.seconds == max(when(number, True) for number in tasks)
    assert sum(tasks[number].seconds or 0.0 for number in path.tasks) == path.seconds


# ---- how long it still takes -------------------------------------------------------


def test_the_pace_follows_what_ended_last() -> None:
    pace = Pace(100.0)
    assert (pace.mean, pace.spent) == (100.0, 0.0)
    pace.add(1.0)
    assert pace.mean == 1.0  # an earlier run knows less than this one
    pace.add(3.0)
    assert pace.mean == 2.0
    for _ in range(200):
        pace.add(10.0)
    assert pace.mean == pytest.approx(10.0, rel=0.01)
    many = Pace()
    many.add(20.0, 10)
    assert (many.mean, many.spent) == (2.0, 20.0)
    many.add(4000.0, 1000)
    assert many.mean == pytest.approx(4.0, rel=0.01)


def test_what_is_left_is_shared_as_work_was_until_now() -> None:
    left = [Left(10, 2, 4.0), Left(5, 0, None)]
    # 44 s of the first kind, and 5 of which nobody knows anything: as long as the others.
    assert remaining(left, 0.0, 0.0, 4) == pytest.approx(64.0 / 4)
    assert remaining(left, 60.0, 30.0, 4) == pytest.approx(64.0 / 2)  # two were busy
    assert remaining(left, 900.0, 30.0, 4) == pytest.approx(64.0 / 4)  # no more than there are
    assert remaining([Left(3, 0, None)], 1.0, 1.0, 2) is None
    assert remaining([], 1.0, 1.0, 2) is None
    assert remaining([Left(0, 0, 1.0)], 1.0, 1.0, 2) == 0.0


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 8),
    st.lists(st.tuples(st.integers(1, 40), st.floats(0.1, 9)), min_size=1, max_size=4),
)
def test_an_estimate_of_a_run_in_the_middle_is_near(
    workers: int, kinds: list[tuple[int, float]]
) -> None:
    """Tasks of one kind always take as long; workers take the next one whenever they are free."""
    queue = [(kind, seconds) for kind, (count, seconds) in enumerate(kinds) for _ in range(count)]
    random.Random(1).shuffle(queue)
    free = [0.0] * workers
    ends = []
    for kind, seconds in queue:
        at = min(range(workers), key=free.__getitem__)
        ends.append((free[at], free[at] + seconds, kind, seconds))
        free[at] += seconds
    whole = max(free)
    now = whole / 2
    paces = [Pace(seconds) for _, seconds in kinds]  # as the run before has said
    left = []
    for kind, (_, seconds) in enumerate(kinds):
        mine = [(begin, end) for begin, end, which, _ in ends if which == kind]
        for _, end in mine:
            if end <= now:
                paces[kind].add(seconds)
        busy = sum(begin <= now < end for begin, end in mine)
        left.append(Left(sum(begin > now for begin, _ in mine), busy, paces[kind].mean))
    told = remaining(left, sum(pace.spent for pace in paces), now, workers)
    assert told is not None
    longest = max(seconds for _, seconds in kinds)
    # Nobody knows how far the running ones are, nor that the last ones leave workers idle.
    if sum(end <= now for _, end, _, _ in ends) >= 4 * workers:
        assert abs(told - (whole - now)) <= 0.5 * whole + 2 * longest


def test_there_will_be_as_many_tasks_as_last_time() -> None:
    assert (expected(3, None), expected(3, 10), expected(12, 10)) == (3, 10, 12)


def test_more_workers_help_up_to_the_longest_chain() -> None:
    # 80 s of work, of which 10 one after the other; two workers took 44 s, a tenth over the least.
    found = with_workers(80.0, 10.0, 44.0, 2, (4, 8, 100))
    assert found[4] == pytest.approx(22.0)
    assert found[8] == found[100] == pytest.approx(11.0)
    assert with_workers(0.0, 0.0, 5.0, 2, (4,)) == {}


# ---- what is read -------------------------------------------------------------------


def test_facts_are_read_from_lines() -> None:
    facts = facts_of(
        [
            Line("run", target="study", argv=("study.py",)),
            Line("added", "point", tasks="2-4", parent=1),
            Line("submitted", tasks="2-4", at=5.0),
            Line("done", tasks=[3, 2], took=[200, 300]),
            Line("added", "fit", 5),
            Line("submitted", "fit", 5, at=10.0, needs=(2, 3)),
            Line("lost", "fit", 5, at=12.0),
            Line("retried", "fit", 5, at=12.0),
            Line("submitted", "fit", 5, at=12.0, needs=(2, 3)),
            Line("retried", "fit", 5, at=13.0, seconds=0.5),
            Line("submitted", "fit", 5, at=13.0, needs=(2, 3)),
            Line("done", "fit", 5, at=15.0, seconds=2.0),
            Line("note", task=5),
            Line("later", task=5),
            Line("over", at=16.0),
        ]
    )
    fit = facts.tasks[5]
    assert (fit.seconds, fit.lost, fit.failures, fit.needs) == (2.0, 2.5, 2, (2, 3))
    assert [facts.tasks[number].seconds for number in (2, 3, 4)] == [300e-6, 200e-6, None]
    assert facts.work == pytest.approx(2.0005)
    assert facts.by_name() == {"point": (3, pytest.approx(250e-6)), "fit": (1, 2.0)}
    assert (facts.target, facts.argv) == ("study", ("study.py",))
    assert critical_path(facts.tasks).tasks == [2, 5]


@task(retries=1)
def shaky(x: int, gate: str) -> int:
    if not Path(gate).exists():
        Path(gate).touch()
        raise OSError("not yet")
    return x


@task
def plus(*values: int) -> int:
    return sum(values)


@module
def study(n: int, gate: str) -> Any:
    return plus(plus(*(plus(x) for x in range(n))), shaky(1, gate))


@pytest.mark.parametrize("backend", ["serial", "procs"])
def test_the_journal_of_a_run_tells_all_of_it(backend: str, tmp_path: Path) -> None:
    target = study(300, str(tmp_path / "gate"))
    run(target, backend=backend, workers=1, journal=True, page=False, tempdir=str(tmp_path))
    (folder,) = find_runs(tmp_path)
    text = (folder / "journal.jsonl").read_bytes()
    facts = facts_of(read_lines(folder / "journal.jsonl"))
    assert {name: count for name, (count, _) in facts.by_name().items()} == {
        "study": 1, "plus": 302, "shaky": 1,
    }  # fmt: skip
    assert sum(fact.failures for fact in facts.tasks.values()) == 1
    path = critical_path(facts.tasks)
    assert facts.tasks[path.tasks[-1]].name == "plus"
    assert 0 < path.seconds <= facts.work
    # A kill may leave half a line.
    (folder / "journal.jsonl").write_bytes(text[:-20])
    assert len(read_lines(folder / "journal.jsonl")) == text.count(b"\n") - 1
    (folder / "journal.jsonl").write_text(json.dumps({"kind": 3}) + "\n")
    with pytest.raises(ValueError, match="kind"):
        read_lines(folder / "journal.jsonl")


# ---- in words -------------------------------------------------------------------------


def test_a_summary_says_what_took_the_time() -> None:
    facts = Facts()
    names = {1: "load", 2: "align", 3: "align", 4: "merge"}
    for number, made in {
        1: fact(12.0), 2: fact(184.0, 1), 3: fact(90.0, 1), 4: fact(356.0, 2, 3),
    }.items():  # fmt: skip
        made.name = names[number]
        facts.tasks[number] = made
    facts.tasks[4].failures, facts.tasks[4].lost = 2, 42.0
    assert list(summary_lines(facts, 560.0, 8, "worker")) == [
        "slowest: merge 5:56, align 3:04, align 90 s",
        "longest chain: 9:12 of 9:20: load 12 s > align 3:04 > merge 5:56",
        "more workers would not have made it quicker: that chain would",
        "lost to failures: 42 s of work in 2 attempts",
    ]
    wide = Facts()
    wide.tasks.update({number: fact(10.0) for number in range(1, 101)})
    assert list(summary_lines(wide, 500.0, 2, "slot")) == [
        "slowest: t 10 s, t 10 s, t 10 s",
        "longest chain: 10 s of 8:20: t 10 s",
        "with 4 slots it would have taken about 4:10",
    ]
    assert list(summary_lines(Facts(), 5.0, 2, "slot")) == []


def test_a_chain_of_many_is_told_in_few_words() -> None:
    facts = Facts()
    for number in range(1, 31):
        made = fact(30.0 if number % 5 == 0 else 1.0, number - 1)
        made.name = "long" if number % 5 == 0 else "short"
        facts.tasks[number] = made
    (line,) = [
        one for one in summary_lines(facts, 300.0, 1, "worker") if "chain" in one and "of" in one
    ]
    assert line.startswith("longest chain: 3:24 of 5:00: ... > long 30 s > ... > long 30 s")
    facts.tasks = {1: fact(0.001), 2: fact(3.0, 1), 3: fact(0.001, 2)}
    for number, name in enumerate(("outer", "work", "end"), 1):
        facts.tasks[number].name = name
    (line,) = [
        one for one in summary_lines(facts, 3.1, 1, "worker") if "of" in one and "chain: " in one
    ]
    assert line == "longest chain: 3 s of 3.1 s: work 3 s"
