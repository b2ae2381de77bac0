"""Rule 12: jobs that come with devices."""

from __future__ import annotations

import pytest

from fancypipe_core.backend import Job, Needs
from fancypipe_core.testing import _jobs as j
from fancypipe_core.testing._rig import Rig
from fancypipe_core.testing._rules import broken


@pytest.fixture(autouse=True)
def _there_are_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a backend of this machine have devices that it could hand out."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")


def test_rule_12_a_job_that_comes_with_devices_keeps_them(rig: Rig) -> None:
    """Also by names that nobody knows, and also where others have all that are there."""
    given = [(f"left-{n}", f"right-{n}") for n in range(4)]
    made = [rig.job(j.has_devices()) for _ in given]
    two = Needs(gpu=2)
    jobs = [
        Job(job.id, job.call, job.inputs, needs=two, devices=names)
        for job, names in zip(made, given, strict=True)
    ]
    ends = rig.end(*rig.submit(*jobs), rule=12)
    for names, found in zip(given, map(rig.value, ends), strict=True):
        assert found == names, broken(12, f"it was given {names}, and had {found}")
