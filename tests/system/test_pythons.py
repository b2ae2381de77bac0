"""The other Pythons that we support: how a run starts, ends and is interrupted, on each.

What differs between Pythons is above all how they begin and end. So the tests marked
`every_python` are run again by each other interpreter that is installed here, in a bare
environment with the packages as they stand in this repository. `nox -s tests` runs all tests
on all of them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.meta.repo import CORE, ROOT

_HERE = Path(__file__)
FILES = sorted(
    str(path.relative_to(ROOT))
    for path in _HERE.parent.glob("test_*.py")
    if path != _HERE and "mark.every_python" in path.read_text("utf-8")
)
PACKAGES = ["fancypipe-core", "fancypipe-threads", "fancypipe-procs"]
OURS = ".".join(map(str, sys.version_info[:2]))
CLASSIFIERS = re.findall(r"Python :: (3\.\d+)\"", (ROOT / CORE / "pyproject.toml").read_text())
OTHERS = [version for version in CLASSIFIERS if version != OURS]


def interpreter(version: str) -> str:
    """Return the file of an interpreter; skip if there is none."""
    # Where one command stands for several Pythons, this variable says which is meant.
    env = {**os.environ, "PYENV_VERSION": version}
    name = f"python{version}"
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    ask = [name, "-c", "import sys, venv; print(sys.executable)"]
    over = subprocess.run(
        ask, env=env, capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip
    if over.returncode:
        pytest.skip(f"{name} does not start: {over.stderr.strip() or over.returncode}")
    return over.stdout.strip()


def needed() -> list[str]:
    """Return what the packages and these tests need, beside the packages themselves."""
    found = {"pytest"}
    for package in PACKAGES:
        for text in metadata.requires(package) or []:
            requirement = Requirement(text)
            if not requirement.name.startswith("fancypipe") and "extra" not in text:
                found.add(text)
    return sorted(found)


@pytest.fixture
def bare(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The interpreter of an environment for one of the other Pythons."""
    place = tmp_path / "venv"
    file = interpreter(request.param)
    subprocess.run([file, "-m", "venv", "--without-pip", str(place)], check=True, timeout=60)
    python = str(place / "bin" / "python")
    # Our own pip installs for it: none has to be made there, and nothing is built.
    command = [
        sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-compile",
        "--disable-pip-version-check", "--only-binary=:all:", "--retries=1", *needed(),
    ]  # fmt: skip
    try:
        over = subprocess.run(command, capture_output=True, text=True, timeout=80, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("pip takes too long to install what is needed")
    if over.returncode:
        pytest.skip(f"pip could not install what is needed: {over.stderr.strip()[-500:]}")
    (site,) = place.glob("lib/python*/site-packages")
    sources = [ROOT / package.replace("-", "_") / "src" for package in PACKAGES]
    (site / "ours.pth").write_text("".join(f"{source}\n" for source in sources))
    for package in PACKAGES:
        # Its entry points, which say which backends there are.
        info = Path(str(metadata.distribution(package).locate_file(""))).glob(
            f"{package.replace('-', '_')}-*.dist-info"
        )
        for folder in info:
            shutil.copytree(folder, site / folder.name)
    try:
        yield python
    finally:
        shutil.rmtree(place, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.parametrize("bare", OTHERS, indirect=True)
def test_starts_ends_and_signals(bare: str) -> None:
    own = {name: text for name, text in os.environ.items() if not name.startswith("PYTEST_")}
    over = subprocess.run(
        [bare, "-m", "pytest", "-q", "-m", "every_python", "-p", "no:cacheprovider", *FILES],
        cwd=ROOT, env=own, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert over.returncode == 0, f"{over.stdout[-8000:]}\n{over.stderr[-2000:]}"
