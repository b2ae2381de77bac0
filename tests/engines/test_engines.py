"""Backends on engines of others, on the real ones: results, deaths, limits, the end."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.engines.starting import use
from tests.engines.use import PARTS

# What an engine is called, and the modules without which it cannot be tried.
ENGINES = {"dask": ("fancypipe_dask", "distributed"), "ray": ("fancypipe_ray", "ray")}
# What only this one is asked for.
MORE = {"dask": ["shut"], "ray": ["hidden", "interrupted"]}
LOST = {"dask": ["lost", "heavy", "deserted"], "ray": ["lost"]}


def need(engine: str) -> None:
    """Skip the test if the engine is not installed."""
    for module in ENGINES[engine]:
        if find_spec(module) is None:
            pytest.skip(f"the engine {engine} cannot be tried: {module} is not installed")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_does_as_serial_does(engine: str, tmp_path: Path) -> None:
    """All in one session, for engines start slowly: see `tests.engines.use`."""
    need(engine)
    use(engine, tmp_path, *PARTS, *MORE[engine])


@pytest.mark.slow
def test_workers_of_dask_stay_or_come_back(tmp_path: Path) -> None:
    need("dask")
    use("dask", tmp_path, "interrupted", "held", "given_up", "slow")


@pytest.mark.slow
def test_the_death_of_a_scheduler_of_dask_is_told(tmp_path: Path) -> None:
    need("dask")
    use("dask", tmp_path, "bereft")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_no_large_value_is_lost_with_a_worker(engine: str, tmp_path: Path) -> None:
    need(engine)
    use(engine, tmp_path, *LOST[engine])
