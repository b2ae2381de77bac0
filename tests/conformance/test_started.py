"""The same pipelines, however they are started and whatever is imported, early or late."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance import started
from tests.meta.repo import ROOT

WAYS = {
    "file": [sys.executable, "pkg/script.py"],
    "module": [sys.executable, "-m", "pkg.script"],
    "command": [
        *(sys.executable, "-m", "fancypipe_core", "-workertype=S", "pkg/script.py:checked")
    ],
}


@pytest.mark.parametrize(
    ("way", "early", "local"),
    # Each pair of two of them.
    [
        *(("file", True, False), ("module", False, False), ("command", False, False)),
        *(("file", False, True), ("module", True, True), ("command", True, True)),
    ],
    ids=str,
)
def test_the_users_main_module_is_the_users(
    tmp_path: Path, way: str, early: bool, local: bool
) -> None:
    script = tmp_path / "pkg" / "script.py"
    script.parent.mkdir()
    started.write(script, local=local, early=early)
    done = subprocess.run(
        WAYS[way],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-5000:]
    assert "are right" in done.stdout
