"""The table of crashes: at which point a job does harm, and how.

| | while its code is read | its inputs | running | while its result is written | after that |
|---|---|---|---|---|---|
| it raises, or calls `sys.exit()` | an answer | an answer | an answer | an answer | |
| its process dies | lost | lost | lost | lost | done |
| it hangs | lost | lost | lost | lost | |
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fancypipe_core import Session, errors
from fancypipe_core.backend import Done, Err, Lost
from fancypipe_core.testing import _jobs as j
from fancypipe_core.testing._leaks import holdings
from fancypipe_core.testing._rig import certificate, short
from fancypipe_core.testing._rules import broken
from fancypipe_core.testing.conformance.conftest import Bench

WHY = "a crash there is the end of the program"

POINTS: dict[str, Callable[[str], Any]] = {
    "reading-the-task": j.dies_loading,
    "reading-inputs": lambda kind: j.same(j.CrashWhenRead(kind)),
    "running": j.dies,
    "writing-the-result": j.dies_writing,
}


@pytest.fixture
def points(bench: Bench) -> dict[str, Callable[[str], Any]]:
    """The points that there are: where values are passed as they are, nothing is read."""
    return {"running": j.dies} if bench.plugin.shares_memory else POINTS


@pytest.mark.parametrize("kind", ["raise", "sys.exit"])
def test_an_exception_is_an_answer(
    bench: Bench, points: dict[str, Callable[[str], Any]], kind: str
) -> None:
    """The job is done, with an error; no worker is lost."""
    with bench.rig() as rig:
        good = rig.submit(*[j.same(number) for number in range(10)])
        bad = rig.submit(*[make(kind) for make in points.values()])
        good += rig.submit(*[j.same(number) for number in range(10)])
        for point, end in zip(points, rig.end(*bad), strict=True):
            answered = isinstance(end, Done) and isinstance(end.reply, Err)
            assert answered, broken(3, f"a job that does {kind} ({point}) ended with {short(end)}")
        assert [rig.value(end) for end in rig.end(*good)] == [*range(10), *range(10)]


@pytest.mark.parametrize("kind", j.CRASHES)
def test_a_crash_is_certified_and_neighbours_are_unharmed(bench: Bench, kind: str) -> None:
    """The jobs are lost with certificates that say how; those between them are done."""
    bench.needs_isolation(WHY)
    with bench.rig() as rig:
        jobs = []
        for make in POINTS.values():
            jobs += [make(kind), *[j.same(number) for number in range(5)]]
        ends = rig.settle(*jobs)
    for number, end in enumerate(ends):
        if number % 6:
            assert isinstance(end, Done), broken(6, f"a neighbour ended with {short(end)}")
    for point, end in zip(POINTS, ends[::6], strict=True):
        why = certificate(end)
        exact = bench.plugin.certificates == "exact"
        assert j.CRASHES[kind] in why.detail or not exact, broken(
            6, f"{point}: the worker died of {j.CRASHES[kind]}, the certificate says {why.detail!r}"
        )
        assert why.started, broken(6, f"{point}: the job had begun, the certificate denies it")
        assert why.guilty, broken(6, f"{point}: the job did it, the certificate acquits it")


def test_a_crash_after_the_result_takes_nothing_back(bench: Bench, tmp_path: Path) -> None:
    """The job is done.  What runs in that worker later may be lost, and is tried again."""
    bench.needs_isolation(WHY)
    with bench.rig() as rig:
        for kind in j.CRASHES:
            go = tmp_path / kind
            assert rig.run(j.dies_later(kind, str(go)))[0] > 0
            go.touch()
            for end in rig.settle(*[j.span(0.01) for _ in range(20)], losses=2):
                assert isinstance(end, Done), broken(6, f"a job that does no harm: {short(end)}")


@pytest.mark.parametrize("kind", j.CRASHES)
def test_a_crash_at_exit_harms_nobody(bench: Bench, kind: str) -> None:
    """The job is done, and so is what comes after it; the end is clean."""
    bench.needs_isolation(WHY)
    before = holdings()
    with bench.rig() as rig:
        assert rig.run(j.dies_at_exit(kind))[0] > 0
        assert rig.run(*[j.same(number) for number in range(10)]) == list(range(10))
    left = bench.left(before)
    assert not left, broken(9, f"left are: {', '.join(left)}")


def test_a_job_that_hangs_is_killed_at_its_limit(
    bench: Bench, points: dict[str, Callable[[str], Any]], tmp_path: Path
) -> None:
    """Wherever it hangs; who cannot kill says so, and then it hangs on."""
    bench.needs_another_thread("a job that hangs there holds up everything")
    gate = tmp_path / "gate"
    with bench.rig() as rig:
        slow = [rig.job(make(str(gate)), 0.5) for make in points.values()]
        good = [rig.job(j.same(number), 600.0) for number in range(10)]
        ids = rig.submit(*slow, *good)
        warned = rig.recorder.warnings

        def over() -> bool:
            return bool(warned()) or all(id in rig.recorder.ends for id in ids[: len(slow)])

        rig.wait(over, 10, "neither were jobs killed at their limits, nor was it said that none is")
        if warned():
            gate.touch()
        # Where one is killed with its neighbours, these come back, and hang once more.
        ends = rig.settled([*slow, *good], ids)
        assert [rig.value(end) for end in ends[len(slow) :]] == list(range(10))
    for point, end in zip(points, ends, strict=False):
        if isinstance(end, Lost):
            assert end.why.reason == "timeout", broken(
                10, f"{point}: it was killed at its limit, and the certificate says {end.why!r}"
            )
        else:
            assert warned(), broken(10, f"{point}: a job that hangs ended with {short(end)}")


def test_the_user_is_told(bench: Bench) -> None:
    """The run ends with `TaskLost`, which names the task and how its worker died."""
    bench.needs_isolation(WHY)
    with Session(bench.plugin.name, bench.workers, max_losses=1) as session:
        for kind, name in j.CRASHES.items():
            with pytest.raises(errors.TaskLost) as caught:
                session.run([j.same(1), j.dies(kind)])
            assert "dies" in str(caught.value)
            assert name in str(caught.value) or bench.plugin.certificates == "vague"
