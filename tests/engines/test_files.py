"""Files go to workers that do not see the client's folder, and come back: on the real engines."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.engines.starting import start
from tests.engines.test_engines import need
from tests.waiting import wait_until


@contextmanager
def hidden_from(root: Path, *command: str, env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Start a program that sees an empty folder in the place of this one."""
    try:
        subprocess.run(["unshare", "--mount", "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine lets nobody have mounts of its own")
    shell = ["unshare", "--mount", "sh", "-c", f"mount -t tmpfs none '{root}' && exec \"$@\""]
    with subprocess.Popen(
        [*shell, "sh", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **env},
    ) as process:
        assert process.stdin is not None
        try:
            yield process
        finally:
            process.stdin.close()
            process.wait(60)


@pytest.mark.slow
def test_dask(tmp_path: Path) -> None:
    need("dask")
    root, temporary = tmp_path / "root", tmp_path / "temporary"
    root.mkdir()
    temporary.mkdir()
    command = [sys.executable, "-m", "tests.engines.cluster"]
    with hidden_from(root, *command, env={"TMPDIR": str(temporary)}) as cluster:
        assert cluster.stdout is not None
        address = cluster.stdout.readline().strip()
        over = start("-m", "tests.engines.files", "dask", str(root), address)
        assert over.returncode == 0, over.stdout[-3000:] + over.stderr[-5000:]
    wait_until(lambda: not list(temporary.glob("fancypipe-*")))


@pytest.mark.slow
def test_ray(tmp_path: Path) -> None:
    need("ray")
    root, temporary = tmp_path / "root", tmp_path / "temporary"
    root.mkdir()
    temporary.mkdir()
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp") as short:  # of its sockets' paths
        command = [sys.executable, "-m", "tests.engines.ray_cluster", short]
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        with hidden_from(root, *command, env={"TMPDIR": str(temporary), **token}) as cluster:
            assert cluster.stdout is not None
            address = cluster.stdout.readline().strip()
            over = start(
                "-m", "tests.engines.files", "ray", str(root), address, env={**os.environ, **token}
            )
            assert over.returncode == 0, over.stdout[-3000:] + over.stderr[-5000:]
        wait_until(lambda: not list(temporary.glob("fancypipe-*")))
