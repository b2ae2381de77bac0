"""The table of crashes: at which point a worker dies, and how."""

from __future__ import annotations

from typing import Any

import pytest

from fancypipe_core import Session, errors
from fancypipe_core.backend import Done
from fancypipe_core.testing import _jobs as j
from fancypipe_core.testing._leaks import holdings
from fancypipe_core.testing._rig import certificate, short
from fancypipe_core.testing._rules import broken
from fancypipe_core.testing.conformance.conftest import Bench

WHY = "a crash there is the end of the program"

POINTS = {
    "unpickling-inputs": lambda kind: j.same(j.CrashWhenRead(kind)),
    "running": j.dies,
    "pickling-result": j.dies_writing,
}


@pytest.mark.parametrize("kind", j.CRASHES)
@pytest.mark.parametrize("point", POINTS)
def test_a_crash_is_certified_and_neighbours_are_unharmed(
    bench: Bench, point: str, kind: str
) -> None:
    """The job is lost with a certificate that says how; jobs before and behind it are done."""
    bench.needs_isolation(WHY)
    make: Any = POINTS[point]
    with bench.rig() as rig:
        good = [j.same(number) for number in range(10)]
        ends = rig.settle(*good, make(kind), *good)
        why = certificate(ends.pop(len(good)))
        for end in ends:
            assert isinstance(end, Done), broken(6, f"a neighbour ended with {short(end)}")
    assert j.CRASHES[kind] in why.detail, broken(
        6, f"the worker died of {j.CRASHES[kind]}, and the certificate says {why.detail!r}"
    )
    assert why.started, broken(6, f"the job had begun, and the certificate denies it: {why!r}")
    assert why.guilty, broken(6, f"the job did it, and the certificate acquits it: {why!r}")


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
