"""The backend on Slurm: against a stand-in everywhere, and against Slurm itself where it runs."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.engines.starting import use
from tests.engines.use import PARTS

if find_spec("fancypipe_slurm") is None:
    pytest.skip("fancypipe-slurm is not installed", allow_module_level=True)


def use_slurm(tmp_path: Path, env: dict[str, str], *words: str) -> None:
    use("slurm", tmp_path, *words, f"folder={tmp_path}", "host=127.0.0.1", "wait=120", env=env)


@pytest.mark.slow
def test_it_does_as_serial_does(tmp_path: Path, env: dict[str, str]) -> None:
    use_slurm(tmp_path, env, *PARTS, "preempted")
    begun = len(list((tmp_path / "jobs").glob("*.job")))
    assert 1 < begun <= 6, "jobs come with the work, and those that died are replaced"
    assert not list(tmp_path.glob("fancypipe-*")), "secret and logs are gone"


@pytest.mark.slow
def test_slurm_itself_does_as_serial_does(tmp_path: Path, slurm: dict[str, str]) -> None:
    use_slurm(tmp_path, slurm, *PARTS, "preempted", "most=2")
    left = subprocess.run(["squeue", "--noheader"], env=slurm, capture_output=True, check=True)
    assert b" R " not in left.stdout, "jobs run on after the session"


def test_status_lists_the_jobs(tmp_path: Path, env: dict[str, str]) -> None:
    name = "fancypipe-0123"
    with subprocess.Popen(["sleep", "600"]) as job:
        (tmp_path / "jobs" / "7.job").write_text(f"{job.pid} {name}", encoding="utf-8")
        command = [sys.executable, "-m", "fancypipe_core.cli", "slurm"]
        said = subprocess.run(
            [*command, "status"], env=env, check=True, capture_output=True, text=True, timeout=60
        )
        wrong = subprocess.run(command, env=env, check=False, capture_output=True, timeout=60)
        job.kill()
    assert said.stdout.split()[:3] == ["7", name, "RUNNING"]
    assert said.stdout.endswith("1 jobs of Slurm for fancypipe\n")
    assert wrong.returncode == 2
    assert wrong.stderr.count(b"\n") == 1


def test_without_slurm_it_is_said_in_a_line(tmp_path: Path, env: dict[str, str]) -> None:
    script = tmp_path / "pipeline.py"
    script.write_text("from fancypipe_core import task\n@task\ndef one() -> int:\n    return 1\n")
    (tmp_path / "bin" / "sbatch").unlink()
    (tmp_path / "bin" / "sbatch").write_text("#!/bin/sh\necho no such partition >&2\nexit 1\n")
    (tmp_path / "bin" / "sbatch").chmod(0o700)
    command = [sys.executable, "-m", "fancypipe_core.cli", "-workertype=slurm", "pipeline.py"]
    over = subprocess.run(
        [*command, f"-folder={tmp_path}", "-host=127.0.0.1"],
        env=env,
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert over.returncode == 1
    assert "no such partition" in over.stderr
    assert "Traceback" not in over.stderr


@pytest.mark.slow
def test_the_kit_passes(tmp_path: Path, env: dict[str, str]) -> None:
    """Some of it: all takes minutes, and the same shell passes it whole as `remote`."""
    kit = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--pyargs"]
    place = {"FANCYPIPE_SLURM_FOLDER": str(tmp_path / "own"), "FANCYPIPE_SLURM_HOST": "127.0.0.1"}
    chosen = "rule_01 or rule_05 or rule_06 or rule_09"
    over = subprocess.run(
        [*kit, "fancypipe_core.testing.conformance", "--backend", "slurm", "-k", chosen],
        check=False,
        env={**env, **place},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=170,
        stdin=subprocess.DEVNULL,
    )
    assert over.returncode == 0, over.stdout[-5000:] + over.stderr[-2000:]
    assert " passed" in over.stdout
