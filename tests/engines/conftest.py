"""Slurm for the tests of its backend: a stand-in for its commands, or one of this machine's own."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.daemons import COMMANDS, lacking, slurm_here

STAND_IN = Path(__file__).parent / "slurm" / "commands.py"


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
    # By this interpreter without its site: another `python3` may be slow to start, and wanting.
    start = shlex.join([sys.executable, "-I", "-S", str(STAND_IN)])
    for name in COMMANDS:
        command = tmp_path / "bin" / name
        command.write_text(f'#!/bin/sh\nexec {start} {name} "$@"\n', encoding="utf-8")
        command.chmod(0o700)
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
