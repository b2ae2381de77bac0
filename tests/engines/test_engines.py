"""Backends on engines of others, on the real ones: results, deaths, limits, the end."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.engines.use import PARTS

# What an engine is called, and the modules without which it cannot be tried.
ENGINES = {"dask": ("fancypipe_dask", "distributed"), "ray": ("fancypipe_ray", "ray")}
MORE = {"dask": ["shut"], "ray": ["hidden"]}  # what only this one is asked for


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_does_as_serial_does(engine: str, tmp_path: Path) -> None:
    """All in one session, for engines start slowly: see `tests.engines.use`."""
    for module in ENGINES[engine]:
        if find_spec(module) is None:
            pytest.skip(f"the engine {engine} cannot be tried: {module} is not installed")
    over = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-m",
            "tests.engines.use",
            engine,
            str(tmp_path),
            *PARTS,
            *MORE[engine],
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=170,
        stdin=subprocess.DEVNULL,
    )
    assert over.returncode == 0, over.stdout[-3000:] + over.stderr[-5000:]
    seen = json.loads((tmp_path / "seen.json").read_text("utf-8"))
    wrong = [f"{part}: {text}" for part, text in seen.items() if text]
    assert not wrong, "\n".join(wrong) + over.stderr[-3000:]
