"""Folders that really cannot be written, not even by root: mounted so, for one program."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.system.place import FANCYPIPE, Place

_STUDY = """
from pathlib import Path

from fancypipe_core import File, current, module, task


@task
def square(x: int) -> int:
    return x * x


@task
def report(numbers: list[int]) -> File:
    path = Path(current().tempfile("report.txt"))
    path.write_text(str(sum(numbers)))
    return File(path)


@module
def study(n: int = 5) -> File:
    return report([square(x) for x in range(n)])


@module
def numbers(n: int = 5) -> list[int]:
    return [square(x) for x in range(n)]
"""
# In a namespace of its own the mount ends with the program; and it stood under it before.
_MOUNT = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && cd "$PWD" && exec "$@"'


@cache
def why_not() -> str:
    """Return why no folder can be mounted here; empty if one can."""
    if sys.platform != "linux":
        return "it takes namespaces of Linux"
    try:
        tried = subprocess.run(
            ["unshare", "-m", "sh", "-c", _MOUNT, "/proc", "true"], capture_output=True, check=False
        )
    except FileNotFoundError:
        return "unshare is not installed"
    return "" if tried.returncode == 0 else "who runs the tests may mount nothing"


@pytest.fixture
def project(tmp_path: Path) -> Place:
    """A folder with a pipeline, where it ran once and its results are kept."""
    if why := why_not():
        pytest.skip(why)
    place = Place(tmp_path)
    place.write("study.py", _STUDY)
    over = place.fancypipe("study.py:numbers -workertype=S -resume")
    assert over.returncode == 0, over.stderr
    return place


def ran(project: Place, folder: Path, *words: str) -> tuple[int, str, str]:
    """Run the command line where a folder cannot be written: exit code, output, what was said."""
    mounting = ("unshare", "-m", "sh", "-c", _MOUNT, str(folder))
    over = project.call(*mounting, *FANCYPIPE, *words)
    assert "Traceback" not in over.stderr
    return over.returncode, over.stdout, over.stderr


def test_a_project_that_cannot_be_written(project: Place) -> None:
    words = ("study.py:numbers", "-workertype=S", "-resume", "-n")
    code, output, said = ran(project, project.folder, *words, "5")
    assert (code, output) == (0, "[0, 1, 4, 9, 16]\n")
    assert "1 task done" in said, "what is kept is taken"
    assert "1 of them cached" in said
    assert said.count("this run has no journal: ") == 1
    assert "cannot be made (Read-only file system)" in said
    code, output, said = ran(project, project.folder, *words, "6")
    assert (code, output) == (0, "[0, 1, 4, 9, 16, 25]\n")
    assert "the store 'Cache' cannot keep results: " in said
    assert "the run goes on" in said


def test_a_cache_that_cannot_be_written(project: Place) -> None:
    words = ("study.py:numbers", "-workertype=S", "-resume", "-n", "6")
    store = project.folder / ".fancypipe" / "cache"
    before = sorted(store.rglob("*"))
    code, output, said = ran(project, store, *words)
    assert (code, output) == (0, "[0, 1, 4, 9, 16, 25]\n")
    assert "5 of them cached" in said
    assert said.count("the store 'Cache' cannot keep results: ") == 1
    assert "has no journal" not in said
    assert sorted(store.rglob("*")) == before


def test_a_folder_for_results_that_cannot_be_written(project: Place) -> None:
    place = project.folder / "place"
    place.mkdir()
    code, output, said = ran(project, place, "study.py:study", "-workertype=S", "-outdir=place")
    assert code == 2
    assert not output
    assert said == f"fancypipe: outdir: the folder {place} cannot be written\n"


def test_a_folder_for_temporary_files_that_cannot_be_written(project: Place) -> None:
    place = project.folder / "place"
    place.mkdir()
    mounting = ("unshare", "-m", "sh", "-c", _MOUNT, str(place))
    for words, expected in (("study.py:numbers", 0), ("study.py:study", 1)):
        over = project.call(*mounting, *FANCYPIPE, words, "-numworkers=1", "-tempdir", "place")
        assert over.returncode == expected, "who needs none has a result"
        assert f"the folder for temporary files, {place}, cannot be written: " in over.stderr
        assert "name another one: -tempdir" in over.stderr
    assert f"why:   OSError: [Errno 30] Read-only file system: '{place}/" in over.stderr
