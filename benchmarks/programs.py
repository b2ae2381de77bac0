"""Whole programs: what starting, importing and asking for help cost."""

from __future__ import annotations

import shutil
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import ALL, installed

__all__ = ["PROGRAMS", "Program"]

Commands = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Program:
    """Commands that are run from their start to their end.

    Attributes:
        title: What they do.
        commands: Makes them, by contender, given the number of workers and a
            folder for files.
    """

    title: str
    commands: Callable[[int, Path], Commands]


_OURS = """\
from fancypipe_core import run, task


@task
def noop(value):
    return value


if __name__ == "__main__":
    assert run(noop(1), backend="{backend}", workers={workers}) == 1
"""

_EXECUTOR = """\
from {module} import {name}


def noop(value):
    return value


if __name__ == "__main__":
    with {name}({workers}) as pool:
        assert pool.submit(noop, 1).result() == 1
"""

_POOL = """\
from multiprocessing import Pool


def noop(value):
    return value


if __name__ == "__main__":
    with Pool({workers}) as pool:
        assert pool.apply_async(noop, (1,)).get() == 1
"""

_DASK = """\
from dask.{module} import get


def noop(value):
    return value


if __name__ == "__main__":
    assert get({{"k": (noop, 1)}}, "k", num_workers={workers}) == 1
"""

_JOBLIB = """\
from joblib import Parallel, delayed


def noop(value):
    return value


if __name__ == "__main__":
    assert Parallel({workers}, backend="{backend}")([delayed(noop)(1)]) == [1]
"""

_SOURCES: dict[str, tuple[str, dict[str, str]]] = {
    "inline": ("def noop(value):\n    return value\n\n\nassert noop(1) == 1\n", {}),
    "serial": (_OURS, {"backend": "serial"}),
    "threads": (_OURS, {"backend": "threads"}),
    "procs": (_OURS, {"backend": "procs"}),
    "ThreadPoolExecutor": (
        _EXECUTOR,
        {"module": "concurrent.futures", "name": "ThreadPoolExecutor"},
    ),
    "ProcessPoolExecutor": (
        _EXECUTOR,
        {"module": "concurrent.futures", "name": "ProcessPoolExecutor"},
    ),
    "Pool": (_POOL, {}),
    "dask-threads": (_DASK, {"module": "threaded"}),
    "dask-processes": (_DASK, {"module": "multiprocessing"}),
    "joblib-threads": (_JOBLIB, {"backend": "threading"}),
    "joblib-loky": (_JOBLIB, {"backend": "loky"}),
    "loky": (_EXECUTOR, {"module": "loky", "name": "ProcessPoolExecutor"}),
}


def _start(workers: int, folder: Path) -> Commands:
    commands = {}
    for name in ALL:
        source, words = _SOURCES[name]
        file = folder / f"start_{name.replace('-', '_')}.py"
        file.write_text(source.format(workers=workers, **words), encoding="utf-8")
        commands[name] = [sys.executable, str(file)]
    return commands


_IMPORTS = {
    "pass": "",
    "import fancypipe_core": "",
    "from fancypipe_core import task, module": "",
    "from fancypipe_core import task, module, run": "",
    "import concurrent.futures.thread, concurrent.futures.process": "",
    "import multiprocessing.pool": "",
    "import dask.threaded": "dask-threads",
    "import joblib": "joblib-loky",
    "import loky": "loky",
}


def _import(_workers: int, _folder: Path) -> Commands:
    return {
        code: [sys.executable, "-c", code]
        for code, needs in _IMPORTS.items()
        if not needs or installed(needs)
    }


def _help(_workers: int, _folder: Path) -> Commands:
    script = shutil.which("fancypipe", path=sysconfig.get_path("scripts"))
    ours = (
        [script]
        if script
        else [sys.executable, "-c", "from fancypipe_core.cli import main; main()"]
    )
    return {
        "pass": [sys.executable, "-c", "pass"],
        "fancypipe --help": [*ours, "--help"],
    }


PROGRAMS: dict[str, Program] = {
    "start": Program("a whole process: start, one no-op, end", _start),
    "import": Program("a process that imports and ends", _import),
    "help": Program("a process that shows help and ends", _help),
}
