"""A worker process behind its channel: each of its threads dies or stands still."""

from __future__ import annotations

from pathlib import Path

import pytest

from fancypipe_core import Session, errors, task
from fancypipe_core.toolkit.server import _DEAF
from tests.faults.conftest import Plan


@task
def square(x: int) -> int:
    return x * x


@pytest.mark.fault(31)
@pytest.mark.parametrize("action", ["raise", "kill", "exit"])
@pytest.mark.parametrize("point", ["serve.turn", "child.report", "serve.listen"])
def test_a_worker_that_dies_costs_nothing(
    point: str, action: str, plan_for_children: Plan, tmp_path: Path
) -> None:
    plan_for_children(f"{point}={action}!{tmp_path / 'fault'}")
    with Session("procs", 2, debug=True) as session:
        assert session.run([square(i) for i in range(300)]) == [i * i for i in range(300)]
    assert (tmp_path / "fault").exists()


@pytest.mark.fault(31)
def test_workers_that_are_deaf_end_with_the_reason(plan_for_children: Plan) -> None:
    plan_for_children("serve.listen=raise")
    # It dies before or after it has begun its first task; either way that is the reason.
    with (
        pytest.raises((errors.TaskLost, errors.BackendStartError), match=f"exit code {_DEAF}"),
        Session("procs", 1, max_losses=1) as session,
    ):
        session.run(square(2))


@pytest.mark.fault(31)
def test_a_control_thread_that_stands_still_holds_up_nothing(plan_for_children: Plan) -> None:
    plan_for_children("serve.listen=freeze")
    with Session("procs", 2, debug=True) as session:
        assert session.run([square(i) for i in range(3000)]) == [i * i for i in range(3000)]
