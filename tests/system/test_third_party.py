"""Packages of strangers beside ours: a backend, an observer, and one that is broken in all ways."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import zipfile
from importlib import util
from pathlib import Path
from typing import Any

import pytest

from tests.meta.repo import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

EXAMPLES = ROOT / "examples" / "plugins"
NAMES = ("pool", "timeline")

PIPELINE = """\
from fancypipe_core import module, task

@task
def square(x: float) -> float:
    return x * x

@task
def add(a: float, b: float) -> float:
    return a + b

@module
def sum_of_squares(x1: float = 3, x2: float = 4):
    return add(square(x1), square(x2))
"""

BROKEN = {
    "broken_import.py": "import no_such_module_anywhere\n",
    "broken_exit.py": "import sys\nsys.exit('leave me alone')\n",
    "broken_other.py": "plugin = 'a string'\n",
    "broken_old.py": (
        "from fancypipe_core.backend import BackendPlugin\n"
        "plugin = BackendPlugin('old', ('O',), '', lambda options: None, api=999)\n"
    ),
    "broken_hook.py": (
        "from fancypipe_core.hooks import hookimpl\n"
        "class Odd:\n"
        "    @hookimpl\n"
        "    def fancypipe_no_such_hook(self): ...\n"
        "class Raises:\n"
        "    @hookimpl\n"
        "    def fancypipe_run_started(self, run): raise SystemExit('a bad observer')\n"
    ),
}
BACKENDS = {
    "aaa-import": "broken_import:plugin",
    "aaa-exit": "broken_exit:plugin",
    "aaa-other": "broken_other:plugin",
    "aaa-old": "broken_old:plugin",
    "aaa-missing": "broken_nowhere:plugin",
    "aaa-name": "broken_old:no_such_name",
}
OBSERVERS = {
    "bad-import": "broken_import:x",
    "bad-exit": "broken_exit:x",
    "bad-hook": "broken_hook:Odd",
    "bad-raises": "broken_hook:Raises",
}


def lay_down(target: Path, name: str, points: dict[str, dict[str, str]]) -> None:
    """Do what an installer does for the files that tell what a distribution has."""
    info = target / f"{name.replace('-', '_')}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n")
    lines = [f"[{g}]\n" + "".join(f"{k} = {v}\n" for k, v in e.items()) for g, e in points.items()]
    (info / "entry_points.txt").write_text("\n".join(lines))


def project_of(example: str) -> dict[str, Any]:
    text = (EXAMPLES / example / "pyproject.toml").read_text("utf-8")
    project: dict[str, Any] = tomllib.loads(text)["project"]
    return project


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the three packages, for PYTHONPATH."""
    target = tmp_path_factory.mktemp("site")
    for example in NAMES:
        project = project_of(example)
        package = project["name"].replace("-", "_")
        source = EXAMPLES / example / "src" / package
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, target / package, ignore=ignored)
        lay_down(target, project["name"], project["entry-points"])
    for file, text in BROKEN.items():
        (target / file).write_text(text)
    points = {"fancypipe.backends": BACKENDS, "fancypipe.plugins": OBSERVERS}
    lay_down(target, "fancypipe-broken", points)
    return target


def fancypipe(
    site: Path, folder: Path, *words: str, timeline: str = "timeline.csv"
) -> subprocess.CompletedProcess[str]:
    env = {name: text for name, text in os.environ.items() if not name.startswith("FANCYPIPE_")}
    env |= {"PYTHONPATH": str(site), "HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    env |= {"FANCYPIPE_TIMELINE_FILE": timeline}
    (folder / "pipeline.py").write_text(PIPELINE)
    return subprocess.run(
        [sys.executable, "-m", "fancypipe_core.cli", *words],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_all_backends_are_listed_and_the_broken_say_why(site: Path, tmp_path: Path) -> None:
    over = fancypipe(site, tmp_path, "backends")
    assert over.returncode == 0, over.stderr
    assert over.stderr == ""
    rows = {line.split()[0]: line for line in over.stdout.splitlines()}
    assert rows["pool"].split()[:6] == ["pool", "X", "fancypipe-example-pool", "0.1.0", "1", "ok:"]
    assert rows["pool"].endswith("ok: the process pool of the standard library; an example")
    assert " share memory " in rows["serial"]
    assert " kill, time limits " in rows["procs"]
    reasons = {
        "aaa-import": "ModuleNotFoundError: No module named 'no_such_module_anywhere'",
        "aaa-exit": "SystemExit: leave me alone",
        "aaa-other": "broken_other:plugin is not a BackendPlugin",
        "aaa-old": "is written for version 999 of the backend contract",
        "aaa-missing": "No module named 'broken_nowhere'",
        "aaa-name": "AttributeError",
    }
    for name, reason in reasons.items():
        assert "fancypipe-broken" in rows[name]
        assert "broken: " in rows[name]
        assert reason in rows[name]


@pytest.mark.fault(80)
@pytest.mark.parametrize("name", ["pool", "X", "x", "serial"])
def test_a_pipeline_runs_whatever_is_broken_beside_it(
    site: Path, tmp_path: Path, name: str
) -> None:
    over = fancypipe(site, tmp_path, f"-workertype={name}", "-q", "pipeline.py", "--x1", "5")
    assert over.returncode == 0, over.stderr
    assert over.stdout == "41.0\n"
    # Each broken observer is named once, and the broken backends are nobody's business here.
    told = [line for line in over.stderr.splitlines() if line.startswith("fancypipe: ")]
    assert [line.split()[2].strip("'") for line in told] == [
        "bad-exit", "bad-import", "bad-hook", "bad-raises",
    ]  # fmt: skip
    assert "aaa" not in over.stderr
    with (tmp_path / "timeline.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    tasks = [row for row in rows if row["sent"]]
    assert sorted(row["name"] for row in tasks) == ["add", "square", "square"]
    assert {row["end"] for row in rows} == {"done"}
    assert len({row["run"] for row in rows}) == 1
    assert all(float(row["sent"]) <= float(row["over"]) for row in tasks)


def test_the_settings_of_the_examples(site: Path, tmp_path: Path) -> None:
    run = ("-q", "-workertype=X", "pipeline.py")
    over = fancypipe(site, tmp_path, *run, "-start=forkserver", "-timeline-file=t", timeline="")
    assert (over.returncode, over.stdout) == (0, "25\n"), over.stderr
    assert (tmp_path / "t").exists()
    over = fancypipe(site, tmp_path, *run, "-no-plugins", "-start=fork", timeline="")
    assert (over.returncode, over.stdout) == (2, "")
    assert over.stderr == (
        "fancypipe: argument -start must be one of spawn, forkserver, not 'fork'\n"
    )
    over = fancypipe(site, tmp_path, "-no-plugins", *run, "-timeline-file=t")
    assert "belongs to the plugin 'timeline'; they are off" in over.stderr


def test_asking_for_a_broken_one_says_what_is_wrong(site: Path, tmp_path: Path) -> None:
    over = fancypipe(site, tmp_path, "-workertype=aaa-exit", "pipeline.py")
    assert over.returncode == 1
    assert over.stdout == ""
    assert "backend 'aaa-exit' (broken_exit:plugin) cannot be loaded: SystemExit" in over.stderr
    over = fancypipe(site, tmp_path, "-workertype=nosuch", "pipeline.py")
    assert over.returncode == 2
    assert "there is no backend 'nosuch'" in over.stderr


def test_the_timeline_is_written_only_when_asked_for(site: Path, tmp_path: Path) -> None:
    words = "-workertype=S", "-q", "-no-journal", "pipeline.py"
    over = fancypipe(site, tmp_path, *words, timeline="")
    assert over.stdout == "25\n"
    assert {path.name for path in tmp_path.iterdir()} <= {"pipeline.py", "__pycache__"}


UNFOLDS = """
import time
from fancypipe_core import task

@task
def inner():
    time.sleep(0.5)
    return 1

@task
def outer():
    return inner()
"""


def test_the_timeline_of_a_task_that_returns_references(site: Path, tmp_path: Path) -> None:
    (tmp_path / "unfolds.py").write_text(UNFOLDS)
    over = fancypipe(site, tmp_path, "-workertype=X", "-q", "unfolds.py:outer")
    assert over.stdout == "1\n", over.stderr
    with (tmp_path / "timeline.csv").open(newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert {name: row["end"] for name, row in rows.items()} == {
        "outer": "unfolded", "inner": "done",
    }  # fmt: skip
    # What it ran, not how long it waited for what it returned.
    took = float(rows["outer"]["seconds"]) + float(rows["inner"]["seconds"])
    assert 0.5 <= took <= float(rows["inner"]["over"]) - float(rows["outer"]["sent"])
    assert float(rows["outer"]["over"]) <= float(rows["inner"]["over"])


@pytest.mark.parametrize("example", NAMES)
def test_the_examples_are_short_and_can_be_built(example: str, tmp_path: Path) -> None:
    sources = list((EXAMPLES / example).rglob("*.py"))
    assert 0 < sum(len(source.read_text("utf-8").splitlines()) for source in sources) < 60
    if util.find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed")
    over = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=EXAMPLES / example,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert over.returncode == 0, over.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (points,) = (name for name in names if name.endswith("entry_points.txt"))
        text = archive.read(points).decode()
    package = project_of(example)["name"].replace("-", "_")
    assert f"{package}/__init__.py" in names
    for group, entries in project_of(example)["entry-points"].items():
        assert f"[{group}]" in text
        assert all(f"{name} = {value}" in text for name, value in entries.items())
