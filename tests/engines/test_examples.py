"""The example backends on engines of others, as they stand on the page, on the real engines."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.engines.starting import start, use
from tests.meta.repo import ROOT
from tests.system.test_third_party import lay_down

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

EXAMPLES = ROOT / "examples" / "backends"
# The module without which a backend cannot be tried, and what is tried with it.
ENGINES = {
    "parsl": ("parsl", ["nested", "failed", "killed", "deadly"]),
    "executorlib": ("executorlib", ["nested", "failed", "killed", "deadly", "limited"]),
    "submitit": ("submitit", ["few", "failed", "limited", "cluster=local"]),
    "mpi": ("mpi4py", ["nested", "failed"]),  # with a worker the whole program dies
}
PYPROJECT = tomllib.loads((EXAMPLES / "pyproject.toml").read_text("utf-8"))


def test_all_examples_are_tried() -> None:
    project = PYPROJECT["project"]
    files = {path.name for path in EXAMPLES.glob("*.py")}
    assert {f"on_{engine}.py" for engine in ENGINES} == files
    assert set(PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]) == files
    assert project["entry-points"]["fancypipe.backends"] == {
        engine: f"on_{engine}:plugin" for engine in ENGINES
    }
    for engine, (module, _) in ENGINES.items():
        (need,) = project["optional-dependencies"][engine]
        assert need.partition(">=")[0] == module


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment in which the examples are installed, and the engines' commands found."""
    site = tmp_path / "site"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(EXAMPLES, site, ignore=ignored)
    project = PYPROJECT["project"]
    lay_down(site, project["name"], project["entry-points"])
    scripts = sysconfig.get_path("scripts")
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)]),
        "PATH": os.pathsep.join([scripts, os.environ["PATH"]]),
        # Open MPI does not start for root, nor with more workers than cores, unless it is told so.
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
    }


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_an_example_does_as_serial_does(engine: str, tmp_path: Path, env: dict[str, str]) -> None:
    module, words = ENGINES[engine]
    if find_spec(module) is None:
        pytest.skip(f"the engine {engine} cannot be tried: {module} is not installed")
    if engine == "mpi" and start("-c", "import mpi4py.MPI", env=env).returncode:
        pytest.skip("the engine mpi cannot be tried: mpi4py finds no MPI")
    use(engine, tmp_path, *words, env=env)
