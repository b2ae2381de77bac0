"""Slurm for the tests of its backend: a stand-in for its commands, or one of this machine's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.daemons import COMMANDS, lacking, slurm_here

STAND_IN = Path(__file__).parent / "slurm" / "sbatch"


@pytest.fixture
def slurm() -> Iterator[dict[str, str]]:
    """An environment with a Slurm of this machine's own, which ends with the test."""
    if why := lacking():
        pytest.skip(why)
    with slurm_here() as env:
        yield env


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment in which Slurm's commands are the stand-in's."""
    for folder in ("bin", "jobs"):
        (tmp_path / folder).mkdir()
    for name in COMMANDS:
        (tmp_path / "bin" / name).symlink_to(STAND_IN)
    return {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "SLURM_STAND_IN": str(tmp_path / "jobs"),
    }


@pytest.fixture(params=["env", "slurm"], ids=["stand-in", "slurm"])
def batch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Slurm's commands work in this process; the name says what they talk to."""
    for name, value in request.getfixturevalue(request.param).items():
        monkeypatch.setenv(name, value)
    return str(request.param)
