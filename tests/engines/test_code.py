"""Each client's own code runs on an engine, whoever was there before: on the real ones."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.engines.starting import start
from tests.meta.repo import ROOT

RUN = """
import sys, time
from fancypipe_core import run, task
import helper

HERE = {here}


@task
def values(seconds):
    time.sleep(seconds)
    return HERE, helper.VALUE


if __name__ == "__main__":
    found = run([values({nap}) for _ in range(10)], backend="dask", address=sys.argv[1])
    print(*set(found))
"""
IN_ONE_PROCESS = """
import importlib, os, sys
from pathlib import Path
import ray
from fancypipe_core import Session

folder = Path(__file__).parent
os.environ["PYTHONPATH"] = str(folder / "site")  # of ray's processes
sys.path.insert(0, str(folder / "code"))
ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, configure_logging=False)
for value in (1, 22):
    (folder / "code" / "steps.py").write_text(
        f"VALUE = {value}\\n"
        "from fancypipe_core import task\\n@task\\ndef value():\\n    return VALUE\\n"
        "@task\\ndef home():\\n    return __file__\\n"
    )
    sys.modules.pop("steps", None)
    importlib.invalidate_caches()
    steps = importlib.import_module("steps")
    with Session("ray", 1) as session:
        print(session.run(steps.value()), session.run(steps.home()))
ray.shutdown()
"""
HIDE = """
import sys
sys.path.append({root!r})
from tests.core.engines import hide
hide({folder!r})
"""


def write(folder: Path, here: int, helper: int, nap: float = 0.0) -> Path:
    """Write a client's script and modules, of which one is large; return the script."""
    folder.mkdir(exist_ok=True)
    (folder / "helper.py").write_text(f"import large\nVALUE = {helper}\n", encoding="utf-8")
    (folder / "large.py").write_text(f"TEXT = '{os.urandom(2**21).hex()}'\n", encoding="utf-8")
    script = folder / "run.py"
    script.write_text(RUN.format(here=here, nap=nap), encoding="utf-8")
    return script


@contextmanager
def cluster(temporary: Path, *hidden: Path) -> Iterator[str]:
    """Start a cluster; return its address."""
    temporary.mkdir()
    for module in ("fancypipe_dask", "distributed"):
        if find_spec(module) is None:
            pytest.skip(f"dask cannot be tried: {module} is not installed")
    command = [sys.executable, "-m", "tests.engines.cluster", *map(str, hidden)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait(60)
    assert not list(temporary.glob("fancypipe-*")), "it leaves no code behind"


def said(script: Path, address: str) -> str:
    over = start(str(script), address)
    assert over.returncode == 0, over.stderr[-3000:]
    return over.stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize("is_seen", [True, False], ids=["seen", "hidden"])
def test_a_cluster_that_lives_on_runs_what_there_is_now(is_seen: bool, tmp_path: Path) -> None:
    """Of the script and of a module; then somebody else's of the same names."""
    project, other = tmp_path / "project", tmp_path / "other"
    with cluster(tmp_path / "temporary", *[] if is_seen else [project, other]) as address:
        assert said(write(project, 1, 2), address) == "(1, 2)"
        assert said(write(project, 1, 33), address) == "(1, 33)"
        assert said(write(project, 44, 33), address) == "(44, 33)"
        assert said(write(other, 5, 6), address) == "(5, 6)"


@pytest.mark.slow
def test_clients_that_are_there_at_once_have_each_their_own(tmp_path: Path) -> None:
    with cluster(tmp_path / "temporary") as address:
        clients = [
            subprocess.Popen(
                [sys.executable, str(write(tmp_path / str(n), n, n, 0.1)), address],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for n in range(3)
        ]
        over = [client.communicate(timeout=150) for client in clients]
    assert [out.strip() for out, _ in over] == ["(0, 0)", "(1, 1)", "(2, 2)"], over


@pytest.mark.slow
@pytest.mark.parametrize("is_seen", [True, False], ids=["seen", "hidden"])
def test_ray_has_what_has_changed_between_two_sessions(is_seen: bool, tmp_path: Path) -> None:
    for module in ("fancypipe_ray", "ray"):
        if find_spec(module) is None:
            pytest.skip(f"ray cannot be tried: {module} is not installed")
    (tmp_path / "code").mkdir()
    (tmp_path / "site").mkdir()
    if not is_seen:
        hook = HIDE.format(root=str(ROOT), folder=f"{tmp_path}/code/")
        (tmp_path / "site" / "sitecustomize.py").write_text(hook, encoding="utf-8")
    (tmp_path / "run.py").write_text(IN_ONE_PROCESS, encoding="utf-8")
    over = subprocess.run(
        [sys.executable, str(tmp_path / "run.py")],
        check=False,
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert over.returncode == 0, over.stderr[-3000:]
    first, home, second, other = over.stdout.split()
    assert (first, second) == ("1", "22")
    assert is_seen == (home == other == f"{tmp_path}/code/steps.py")
