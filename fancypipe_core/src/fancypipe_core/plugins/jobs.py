"""Keeps the jobs of tasks that failed, so that `fancypipe replay` can run them again.

Each is a file `<number>.job` in the folder `jobs` of the run's: a line of JSON that tells
which task it is, then the job as the engine encodes it.  Its inputs may hold anything, so
nobody else may read it.  Temporary files that its inputs name are kept beside it, in
`<number>.files`, since those go with the session.

What is too much is left out, and that is said.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from fancypipe_core.errors import CodecError
from fancypipe_core.hooks import Outcome, RunInfo, TaskJob, Wants, hookimpl

__all__ = ["FOLDER", "MOST", "Jobs", "Kept", "kept_in", "left_out_of", "opened"]

FOLDER = "jobs"
"""The name of the folder, in a run's."""

MOST = 100
"""So many tasks that failed are kept of a run."""

_LEFT_OUT = "left-out.jsonl"
_LARGEST = 1 << 30  # bytes of one, with its files
_ALL = 4 << 30  # bytes of all
_FREE = 0.1  # of the disk is left alone


class Kept(NamedTuple):
    """A job that is kept.

    Attributes:
        task: Its number.
        name: The task's name.
        path: Its path, as messages print it.
        attempt: Which attempt it was.
        inputs: Its inputs in a few words.
        file: Where it is.
        folders: The temporary folders that its inputs name, each with where it is kept; "" for
            one that was not there, as on another machine.
    """

    task: int
    name: str
    path: str
    attempt: int
    inputs: str
    file: Path
    folders: dict[str, str]


class Jobs:
    """The observer.  It has to come after the one that writes the journal.

    Args:
        folder: Tells the run's folder; None if there is none.
        every: Whether to keep all jobs; else those of tasks that failed.

    Attributes:
        kept: The number of the task of each job that is kept of this run, by its path.
    """

    def __init__(self, folder: Callable[[], Path | None], *, every: bool = False) -> None:
        self._folder = folder
        self._every = every
        self.kept: dict[str, int] = {}
        self._run: Path | None = None
        self._bytes = 0
        self._left_out = 0
        self._why = ""

    @property
    def run(self) -> Path | None:
        """The folder of the run, if anything of it is kept."""
        return self._run if self.kept else None

    @hookimpl
    def fancypipe_wants(self) -> Wants:
        """No events; jobs."""
        return Wants((), (), jobs="all" if self._every else "failed")

    @hookimpl
    def fancypipe_run_started(self, run: RunInfo) -> None:
        """Begin."""
        self._run = self._folder()
        self.kept = {}
        self._bytes = self._left_out = 0
        self._why = ""

    @hookimpl
    def fancypipe_task_job(self, job: TaskJob) -> None:
        """Keep it, or say that it is not."""
        if self._run is None:
            return
        if not self._every and len(self.kept) >= MOST:
            self._left_out += 1  # where thousands fail, to say it once is enough
            self._why = self._why or f"of a run {MOST} tasks that failed are kept"
            return
        why = self._no_room(job.size or 0)
        try:
            if not why:
                self._keep(self._run / FOLDER, job)
                return
        except CodecError as error:
            why = f"it cannot be written down: {' '.join(str(error).split())}"
        except OSError as error:
            why = f"it cannot be written ({error.strerror or error})"
        self._left_out += 1
        self._why = self._why or why
        with suppress(OSError):
            _private(self._run / FOLDER)
            with open(_opened_anew(self._run / FOLDER / _LEFT_OUT, os.O_APPEND), "ab") as file:
                file.write(_line({"task": job.task, "path": job.path, "why": why}))

    @hookimpl
    def fancypipe_run_over(self, run: RunInfo, outcome: Outcome) -> None:
        """Say what is not kept."""
        if self._left_out and self._run is not None:
            many = "1 task" if self._left_out == 1 else f"{self._left_out:,} tasks"
            with suppress(OSError, ValueError, AttributeError):
                sys.stderr.write(
                    f"fancypipe: {many} cannot be run again with 'fancypipe replay', since not all "
                    f"was kept: {self._why}\n"
                )

    def _no_room(self, size: int) -> str:
        """Return why there is no room for so many bytes; empty if there may be."""
        assert self._run is not None
        if size > _LARGEST:
            return f"its inputs take {size / 1e9:.1f} GB, and of one {_LARGEST / 1e9:.1f} GB are"
        if self._bytes + size > _ALL:
            return f"of a run {_ALL / 1e9:.1f} GB are kept"
        disk = shutil.disk_usage(self._run)
        if disk.free - size < _FREE * disk.total:
            return f"the disk of {self._run} is nearly full"
        return ""

    def _keep(self, base: Path, job: TaskJob) -> None:
        """Write it.

        Raises:
            OSError: It cannot be written, or is too much.
            CodecError: It cannot be encoded.
        """
        data = job.encode()
        folders = [one for one in job.folders if os.path.isdir(one)]
        size = len(data) + sum(map(_size_of, folders))
        why = self._no_room(size)
        if why:
            raise OSError(None, why)
        _private(base)
        files = base / f"{job.task}.files"
        told = dict.fromkeys(job.folders, "")
        target = base / f"{job.task}.job"
        part = target.with_suffix(".part")
        try:
            for folder in folders:
                _private(files)
                name = os.path.basename(folder)
                # In the session they go as soon as nobody needs them: links are enough.
                shutil.copytree(folder, files / name, symlinks=True, copy_function=_link)
                told[folder] = str((files / name).relative_to(base))
            with open(_opened_anew(part, os.O_TRUNC), "wb") as file:
                head = {
                    "job": 1, "task": job.task, "name": job.name, "path": job.path,
                    "attempt": job.attempt, "inputs": job.inputs, "folders": told,
                }  # fmt: skip
                file.write(_line(head))
                file.write(data)
            os.replace(part, target)
        except OSError:
            part.unlink(missing_ok=True)
            shutil.rmtree(files, ignore_errors=True)
            raise
        self._bytes += size
        self.kept[job.path] = job.task


def _private(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)


def _opened_anew(path: Path, how: int) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | how | getattr(os, "O_NOFOLLOW", 0), 0o600)


def _line(told: dict[str, Any]) -> bytes:
    return json.dumps(told).encode("ascii") + b"\n"


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


def _size_of(folder: str) -> int:
    size = 0
    for here, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                size += os.lstat(os.path.join(here, name)).st_size
    return size


# ---- what is kept ----


def kept_in(run: Path) -> list[Kept]:
    """Return the jobs that are kept of a run, in the order of their numbers."""
    found = []
    with suppress(OSError), os.scandir(run / FOLDER) as entries:
        for entry in entries:
            if entry.name.endswith(".job"):
                with suppress(OSError, ValueError, KeyError, TypeError):
                    found.append(_head(Path(entry.path)))
    return sorted(found)


def _head(file: Path) -> Kept:
    with file.open("rb") as stream:
        told = json.loads(stream.readline())
    base = file.parent
    return Kept(
        int(told["task"]),
        told["name"],
        told["path"],
        int(told["attempt"]),
        told["inputs"],
        file,
        {one: str(base / where) if where else "" for one, where in told["folders"].items()},
    )


def opened(kept: Kept) -> bytes:
    """Return a job that is kept, as the engine reads it.

    Raises:
        OSError: It cannot be read.
        PermissionError: It is somebody else's, and would run code of his.
    """
    with kept.file.open("rb") as stream:
        if os.fstat(stream.fileno()).st_uid != os.geteuid():
            raise PermissionError(None, "it is another user's, and running it runs his code")
        stream.readline()
        return stream.read()


def left_out_of(run: Path) -> Iterator[tuple[int, str, str]]:
    """Yield what is not kept of a run: the task's number, its path, and why."""
    with suppress(OSError), (run / FOLDER / _LEFT_OUT).open("rb") as file:
        for line in file:
            with suppress(ValueError, KeyError, TypeError):
                told = json.loads(line)
                yield int(told["task"]), told["path"], told["why"]
