"""Runs the conformance kit: by the command that authors give, or in a fork of what has it ready.

As a program it is what is forked: it has imported what each run of the kit imports, and a run is
then a child of it.  That is for the tests which plant a bug and run the kit each: to start an
interpreter takes longer than most of them, and is not what they are about.
"""

from __future__ import annotations

import json
import os
import runpy
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

__all__ = ["KIT", "LIMIT", "PLUGIN", "Forks", "Over", "forks", "kit"]

KIT = "fancypipe_core.testing.conformance"
PLUGIN = "fancypipe_core.testing.pytest_plugin"
# What a run imports of ours, but for what pytest rewrites when it imports it.
READY = (
    "pytest",
    "fancypipe_core.testing._jobs",
    "fancypipe_core.testing._rig",
    "fancypipe_core.testing._rules",
    "fancypipe_procs",
    "fancypipe_threads",
)
LIMIT = 170.0  # seconds

Over = subprocess.CompletedProcess[str]


def words_of(*words: str, by_name: bool = False) -> list[str]:
    """Return the command line, from `pytest` on."""
    load = [] if by_name else ["-p", PLUGIN]
    return [
        "pytest", *load, "--pyargs", KIT, *words, "-p", "no:cacheprovider", "-rfEs"
    ]  # fmt: skip


def environment_of(path: Sequence[Path], *, by_name: bool = False) -> dict[str, str]:
    """Return the environment; by name, pytest itself finds what is installed for it.

    That takes longer to import than the kit.
    """
    own = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    if not by_name:
        own["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    return {**own, "PYTHONPATH": os.pathsep.join(map(str, path))}


def kit(
    folder: Path,
    *words: str,
    by_name: bool = False,
    path: Sequence[Path] = (),
    more: Mapping[str, str] | None = None,
    limit: float = LIMIT,
) -> Over:
    """Run the kit as an author does, in a folder of its own.

    Args:
        folder: The current folder.
        words: What the command line has besides.
        by_name: Whether pytest finds the kit's plugin by its entry point.
        path: Further folders of modules.
        more: More variables of the environment.
        limit: Seconds that it may take.
    """
    return subprocess.run(
        [sys.executable, "-m", *words_of(*words, by_name=by_name)],
        cwd=folder,
        env={**environment_of([folder, *path], by_name=by_name), **(more or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
    )


class Forks:
    """A process that has the kit ready; each run of the kit is a fork of it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def kit(self, folder: Path, *words: str, path: Sequence[Path] = ()) -> Over:
        """Run the kit in a folder, as the function of this name does."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        files = [folder.with_name(f"{folder.name}.{name}") for name in ("out", "err")]
        line = words_of(*words)
        asked = [str(folder), *map(str, files), [str(folder), *map(str, path)], line]
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        if not select.select([self._process.stdout], [], [], LIMIT)[0]:
            raise subprocess.TimeoutExpired(line, LIMIT, *(file.read_bytes() for file in files))
        code = int(self._process.stdout.readline())
        return subprocess.CompletedProcess(line, code, *(file.read_text() for file in files))


@contextmanager
def forks() -> Iterator[Forks]:
    """Have the kit ready, and end that after use."""
    with subprocess.Popen(
        [sys.executable, "-m", __name__],
        env=environment_of([Path(__file__).parents[2]]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield Forks(process)
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # its group: a run that took too long is in it


def serve() -> None:
    """Fork for each line, and say how that ended; in a fork, return when there is a run."""
    for name in READY:
        import_module(name)
    assert threading.active_count() == 1, "a fork has the thread that forks, and no other"
    for line in sys.stdin:
        child = os.fork()
        if not child:
            return become(*json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201 - it answers
    return None


def become(folder: str, out: str, err: str, path: list[str], words: list[str]) -> None:
    """Be what `python -m pytest` is in a folder."""
    for number, file, mode in (
        (0, os.devnull, os.O_RDONLY),
        (1, out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (2, err, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        opened = os.open(file, mode)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(folder)
    os.environ["PYTHONPATH"] = os.pathsep.join(path)
    sys.path[:1] = [folder, *path]
    sys.argv[:] = words
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    serve()
