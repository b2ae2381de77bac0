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


@pytest.mark.parametrize("kind", ["raise", "sys.exit"])
@pytest.mark.parametrize("point", POINTS)
def test_an_exception_is_an_answer(bench: Bench, point: str, kind: str) -> None:
    """The job is done, with an error; no worker is lost."""
    if point != "running":
        bench.needs_encoding("nothing is read or written there")
    with bench.rig() as rig:
        good = [j.same(number) for number in range(10)]
        ends = rig.end(*rig.submit(*good, POINTS[point](kind), *good))
        end = ends.pop(len(good))
        assert isinstance(end, Done), broken(3, f"a job that raised ended with {short(end)}")
        assert isinstance(end.reply, Err), broken(3, f"a job that raised ended with {short(end)}")
        assert [rig.value(end) for end in ends] == [*range(10), *range(10)]


@pytest.mark.parametrize("kind", j.CRASHES)
@pytest.mark.parametrize("point", POINTS)
def test_a_crash_is_certified_and_neighbours_are_unharmed(
    bench: Bench, point: str, kind: str
) -> None:
    """The job is lost with a certificate that says how; jobs before and behind it are done."""
    bench.needs_isolation(WHY)
    with bench.rig() as rig:
        good = [j.same(number) for number in range(10)]
        ends = rig.settle(*good, POINTS[point](kind), *good)
        why = certificate(ends.pop(len(good)))
        for end in ends:
            assert isinstance(end, Done), broken(6, f"a neighbour ended with {short(end)}")
    assert j.CRASHES[kind] in why.detail, broken(
        6, f"the worker died of {j.CRASHES[kind]}, and the certificate says {why.detail!r}"
    )
    assert why.started, broken(6, f"the job had begun, and the certificate denies it: {why!r}")
    assert why.guilty, broken(6, f"the job did it, and the certificate acquits it: {why!r}")


@pytest.mark.parametrize("kind", j.CRASHES)
def test_a_crash_after_the_result_takes_nothing_back(
    bench: Bench, tmp_path: Path, kind: str
) -> None:
    """The job is done.  What runs in that worker later may be lost, and is tried again."""
    bench.needs_isolation(WHY)
    go = tmp_path / "go"
    with bench.rig() as rig:
        assert rig.run(j.dies_later(kind, str(go)))[0] > 0
        go.touch()
        jobs = [j.span(0.01) for _ in range(20)]
        for end in rig.settle(*jobs, losses=2):
            assert isinstance(end, Done), broken(6, f"a job that does no harm: {short(end)}")


@pytest.mark.parametrize("kind", j.CRASHES)
def test_a_crash_at_exit_harms_nobody(bench: Bench, kind: str) -> None:
    """The job is done, and so is what comes after it; the end is clean."""
    bench.needs_isolation(WHY)
    before = holdings()
    with bench.rig() as rig:
        assert rig.run(j.dies_at_exit(kind))[0] > 0
        assert rig.run(*[j.same(number) for number in range(10)]) == list(range(10))
    left = holdings().more_than(before)
    assert not left, broken(9, f"left are: {', '.join(left)}")


@pytest.mark.parametrize("point", POINTS)
def test_a_job_that_hangs_is_killed_at_its_limit(bench: Bench, point: str, tmp_path: Path) -> None:
    """Wherever it hangs; who cannot kill says so, and then it hangs on."""
    if point != "running":
        bench.needs_encoding("nothing is read or written there")
    bench.needs_another_thread("a job that hangs there holds up everything")
    gate = tmp_path / "gate"
    with bench.rig() as rig:
        slow = rig.job(POINTS[point](str(gate)), 0.5)
        good = [rig.job(j.same(number), 600.0) for number in range(10)]
        first, *ids = rig.submit(slow, *good)
        warned = rig.recorder.warnings

        def over() -> bool:
            return first in rig.recorder.ends or bool(warned())

        rig.wait(over, 10, "neither was a job killed at its limit nor was it said that none is")
        gate.touch()
        end, *ends = rig.settled([slow, *good], [first, *ids])
        assert [rig.value(end) for end in ends] == list(range(10))
    if isinstance(end, Lost):
        assert end.why.reason == "timeout", broken(10, f"it was killed, and says {end.why!r}")
    else:
        assert warned(), broken(10, f"a job that hangs until it is let go: {short(end)}")


@pytest.mark.parametrize("kind", j.CRASHES)
def test_the_user_is_told(bench: Bench, kind: str) -> None:
    """The run ends with `TaskLost`, which names the task and how its worker died."""
    bench.needs_isolation(WHY)
    with (
        Session(bench.plugin.name, bench.workers, max_losses=1) as session,
        pytest.raises(errors.TaskLost, match=j.CRASHES[kind]) as caught,
    ):
        session.run([j.same(1), j.dies(kind)])
    assert "dies" in str(caught.value)
