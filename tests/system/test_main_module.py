"""Whoever imports what, and when: the main module is the user's, and its names are found."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import util
from pathlib import Path

import pytest

HELPER = """
from fancypipe_core import task

@task
def same(x):
    import multiprocessing
    return x

@task
def unpickled(data):
    import pickle
    return type(pickle.loads(data)).__name__
"""

SCRIPT = """
import enum, functools, pickle, typing
{early}
import helper
from fancypipe_core import Task, module, run, task

class Missing:
    def __reduce__(self):
        return "MISSING"

MISSING = Missing()
T = typing.TypeVar("T")
Name = typing.NewType("Name", str)
Pair = typing.NamedTuple("Pair", [("a", int), ("b", int)])
Flat = enum.Enum("Flat", ["ONE", "TWO"])
imported = 0

@functools.lru_cache
def double(x):
    return 2 * x

class Outer:
    class Inner:
        @staticmethod
        def still(x):
            return x

    @functools.lru_cache
    def kept(self):
        return 1

THINGS = [MISSING, double, T, Name, Pair, Flat.ONE, Outer.Inner, Outer.Inner.still, Outer.kept]

@task
def things():
    return THINGS

@task
def named(x):
    global imported
    imported += 1
    import __main__
    assert __main__.imported == imported
    return __name__, Outer.Inner.__module__, type(x).__module__, repr(Outer), double.__module__

@task
def written(path):
    with open(path, "wb") as file:
        pickle.dump([Outer(), Pair(1, 2), Outer.Inner.still], file)
    return path

@module
def main():
    @task
    def local(x):
        return x is MISSING, Outer.Inner
    return [local(MISSING), things(), [helper.same(x) for x in THINGS], named(Outer()),
            helper.unpickled(pickle.dumps(Outer.Inner()))]

@module
def checked(path: str = "written"):
    import concurrent.futures
    alone = helper.unpickled(pickle.dumps(Outer.Inner())).result()  # nothing else loads the script
    local, got, same, names, inner = helper.same(main()).result()
    assert local == (True, Outer.Inner), local
    for mine, first, second in zip(THINGS, got, same):
        assert mine is first is second, (mine, first, second)
    outer = "<class '__main__.Outer'>"
    assert names == ("__main__", "__main__", "__main__", outer, "__main__"), names
    assert alone == inner == "Inner"
    with open(written(path).result(), "rb") as file:
        outer, pair, still = pickle.load(file)
    assert type(outer) is Outer and type(pair) is Pair and still is Outer.Inner.still
    return helper.same("all is right")

if __name__ == "__main__":
    print(run(checked()))
"""

WAYS = {
    "file": [sys.executable, "script.py"],
    "module": [sys.executable, "-m", "script"],
    "command": [sys.executable, "-m", "fancypipe_core", "script.py:checked"],
}

EARLY = "import multiprocessing, concurrent.futures, dill"


def start(words: list[str], folder: Path, backend: str = "procs") -> str:
    done = subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, "FANCYPIPE_BACKEND": backend, "FANCYPIPE_WORKERS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("way", "early"), [("file", EARLY), ("module", ""), ("command", ""), ("command", EARLY)]
)
def test_every_global_of_the_main_script_is_found(tmp_path: Path, way: str, early: str) -> None:
    (tmp_path / "helper.py").write_text(HELPER)
    (tmp_path / "script.py").write_text(SCRIPT.format(early=early))
    assert "all is right" in start(WAYS[way], tmp_path)
    if way == "command":
        assert "all is right" in start(WAYS[way], tmp_path, "serial")


POOLS = """
import concurrent.futures, multiprocessing
from fancypipe_core import module, run, task
{early}

class Box:
    def __init__(self, x):
        self.x = x

def double(box):
    assert type(box) is Box
    return Box(2 * box.x)

@task
def spawned(n):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return [box.x for box in pool.map(double, [Box(i) for i in range(n)])]

@task
def executed(n):
    context = multiprocessing.get_context("forkserver")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return [box.x for box in pool.map(double, [Box(i) for i in range(n)])]

@task
def joined(n):
    import joblib
    made = joblib.Parallel(n_jobs=2)(joblib.delayed(double)(Box(i)) for i in range(n))
    joblib.externals.loky.get_reusable_executor().shutdown(wait=True)
    assert all(type(box) is Box for box in made), made
    return [box.x for box in made]

@module
def checked():
    for each in (spawned, executed, *[joined][:{joblib}]):
        assert each(4).result() == [0, 2, 4, 6], each
    return "all is right"

if __name__ == "__main__":
    print(run(checked()))
"""


@pytest.mark.parametrize(("way", "early"), [("file", ""), ("module", EARLY), ("command", EARLY)])
def test_pools_inside_a_task_find_what_the_script_defines(
    tmp_path: Path, way: str, early: str
) -> None:
    joblib = util.find_spec("joblib") is not None
    (tmp_path / "script.py").write_text(POOLS.format(early=early, joblib=int(joblib)))
    assert "all is right" in start(WAYS[way], tmp_path)
