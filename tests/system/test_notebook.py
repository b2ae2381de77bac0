"""In a real Jupyter kernel: cells that are run again, the stop button, the end of the kernel."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.meta.repo import ROOT, call


@pytest.mark.slow
def test_it_is_used_in_a_notebook(tmp_path: Path) -> None:
    for module in ("ipykernel", "jupyter_client"):
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    over = call(
        *(sys.executable, "-m", "tests.system.in_a_kernel", str(tmp_path)),
        env={**os.environ, "PYTHONPATH": str(ROOT), "IPYTHONDIR": str(tmp_path)},
        seconds=170,
    )
    assert over.returncode == 0, over.stdout[-2000:] + over.stderr[-4000:]
