"""The conformance kit on the real engines: some of it always, all of it by `nox -s engines`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conformance_kit.commands import LIMIT, kit

# The modules without which an engine cannot be tried.
ENGINES = {"dask": ("fancypipe_dask", "distributed"), "ray": ("fancypipe_ray", "ray")}
# What an engine's own ways break first: stopping, and the end.
CHOSEN = "nothing_is_left_after_stop or cancelled_jobs_end_once"


def passes(engine: str, folder: Path, *words: str, limit: float = LIMIT) -> str:
    """Run the kit on an engine; return the report."""
    for module in ENGINES[engine]:
        if find_spec(module) is None:
            pytest.skip(f"the engine {engine} cannot be tried: {module} is not installed")
    over = kit(folder, "-q", "--backend", engine, *words, limit=limit)
    assert over.returncode == 0, over.stdout[-8000:] + over.stderr[-2000:]
    return over.stdout


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_the_chosen_part_passes(engine: str, tmp_path: Path) -> None:
    assert "2 passed" in passes(engine, tmp_path, "-k", CHOSEN)


@pytest.mark.engines
@pytest.mark.parametrize("engine", ENGINES)
def test_all_of_it_passes(engine: str, tmp_path: Path) -> None:
    report = passes(engine, tmp_path, limit=1700)
    print(report)  # noqa: T201 - it is asked for: what was skipped, and what is left
    assert " passed" in report
