"""The conformance kit on the real engines: some of it always, all of it by `nox -s engines`."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from fancypipe_core.testing.pytest_plugin import KIT

# The modules without which an engine cannot be tried.
ENGINES = {"dask": ("fancypipe_dask", "distributed"), "ray": ("fancypipe_ray", "ray")}
# What an engine's own ways break first: stopping, and the end.
CHOSEN = "nothing_is_left_after_stop or cancelled_jobs_end_once"


def kit(engine: str, folder: Path, *words: str, limit: float) -> str:
    """Run the kit on an engine as an author does; return the report."""
    for module in ENGINES[engine]:
        if find_spec(module) is None:
            pytest.skip(f"the engine {engine} cannot be tried: {module} is not installed")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--pyargs", KIT]
    over = subprocess.run(
        [*command, "--backend", engine, *words],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=limit,
        stdin=subprocess.DEVNULL,
    )
    assert over.returncode == 0, over.stdout[-8000:] + over.stderr[-2000:]
    return over.stdout


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_the_chosen_part_passes(engine: str, tmp_path: Path) -> None:
    assert "2 passed" in kit(engine, tmp_path, "-k", CHOSEN, limit=170)


@pytest.mark.engines
@pytest.mark.parametrize("engine", ENGINES)
def test_all_of_it_passes(engine: str, tmp_path: Path) -> None:
    report = kit(engine, tmp_path, limit=1700)
    print(report)  # noqa: T201 - it is asked for: what was skipped, and what is left
    assert " passed" in report
