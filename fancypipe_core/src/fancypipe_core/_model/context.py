"""What a running task or module may ask for."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

from fancypipe_core import errors
from fancypipe_core._model.progress import Meter
from fancypipe_core._model.scope import scope

if TYPE_CHECKING:
    from pathlib import Path

    from fancypipe_core._model.carriage import FileRecord
    from fancypipe_core._model.ref import Ref
    from fancypipe_core.backend import Job

__all__ = [
    "Context",
    "Copies",
    "TaskScope",
    "current",
    "stop_tasks",
    "stopped_by",
    "stoppers",
]

_TOLD = 4000  # characters of what a program has written


def current() -> Context:
    """Return the context of the task that runs here.

    Raises:
        UsageError: No task runs here.
    """
    here = scope.get()
    context: Context | None = here.context() if here is not None else None
    if context is None:
        raise errors.UsageError(
            "current() was called where no task runs: call it inside a task "
            "(a module composes, it has no folder or progress of its own)"
        )
    return context


stoppers: dict[int, tuple[str, Callable[[], None]]] = {}
"""What ends what tasks do in threads, with the folder of the session of each."""


@contextmanager
def stopped_by(stop: Callable[[], None]) -> Iterator[None]:
    """During the block, what the task of this thread does can be ended by calling this.

    For what outlives a thread that cannot be killed, such as programs.
    """
    here = scope.get()
    directory = here.directory if here is not None else ""
    stoppers[id(stop)] = directory, stop
    try:
        yield
    finally:
        del stoppers[id(stop)]


def stop_tasks(directory: str) -> None:
    """End what can be ended of the tasks that a session, known by its folder, runs in threads."""
    for owner, stop in list(stoppers.values()):
        if owner == directory:
            stop()


class Copies(Protocol):
    """Copies of files of a client whose folder is not seen here."""

    def find(self, record: FileRecord) -> tuple[str, str]:
        """Return where a file is here, and why not if it is not."""

    def origin(self, path: str) -> str:
        """Return where the client has what this is a copy of; empty if it is none."""


class TaskScope:
    """The scope of one worker; it goes from job to job.

    Args:
        directory: The session's folder for temporary files.
        notify: Takes a job's note: the job, the note's stream, its text.
        run_inline: Runs a reference in this thread, with a folder for temporary files.
    """

    __slots__ = (
        "_context", "_run_inline", "apart", "cache", "copies", "directory", "element", "folder",
        "in_fork", "job", "landed", "meter", "notify", "sent",
        "within",
    )  # fmt: skip

    def __init__(
        self,
        directory: str,
        notify: Callable[[Job, str, str], None],
        run_inline: Callable[[Ref[Any], str], Any],
    ) -> None:
        self.directory = directory
        self.notify = notify
        self._run_inline = run_inline
        # That of the job that waits for those of this one inside its own code.
        self.within: TaskScope | None = None
        self.cache = True  # whether what the job gives may be kept for later runs
        self.job: Job | None = None
        self.element: int | None = None  # the index of the one that runs, in a map
        self._context: Context | None = None
        self.folder = ""  # the folder that the job made; empty if it made none
        self.meter: Meter | None = None  # while the job says how far it is
        self.in_fork = False  # whether this process is a fork that the job made
        self.apart = False  # whether nobody else sees the folder
        self.copies: Copies | None = None  # of files, where somebody keeps them
        self.landed = ""  # where files came to with their content; empty if none did
        self.sent: list[str] = []  # files of the job's own whose content went with its result

    def begin(self, job: Job) -> None:
        """A job begins."""
        self.job = job
        self._context = None
        self.folder = ""
        self.cache = True

    def runs_each_time(self) -> None:
        """The job has waited for a task that is to run each time, and so is it."""
        one: TaskScope | None = self
        while one is not None:
            one.cache = False
            one = one.within

    def end_meter(self) -> None:
        """What said how far it is has ended."""
        if self.meter is not None:
            self.meter.end()
            self.meter = None

    def end(self) -> str:
        """The job has ended, and nothing of it is kept; return the folder that it made."""
        if self.meter is not None:
            self.end_meter()
        self.job = self._context = self.element = None
        return self.folder

    def context(self) -> Context | None:
        context = self._context
        if self.job is not None and (context is None or context.index != self.element):
            context = self._context = Context(self.job, self)
        return context

    def resolve(self, ref: Ref[Any]) -> Any:
        assert self.job is not None, "user code runs in jobs only"
        own = self.own_folder(self.job)
        try:
            return self._run_inline(ref, own)
        finally:
            if os.path.isdir(own):  # the value names a folder of what was run
                self.folder = own

    def carries(self, path: str) -> bool:
        return self.apart or bool(self.landed and path.startswith(self.landed))

    def went(self, path: str) -> None:
        if self.job is not None and f"{path}{os.sep}".startswith(
            self.own_folder(self.job) + os.sep
        ):
            self.sent.append(path)

    def copy(self, record: FileRecord) -> tuple[str, str]:
        return (record.path, "") if self.copies is None else self.copies.find(record)

    def origin(self, path: str) -> str:
        return "" if self.copies is None else self.copies.origin(path)

    def landing(self) -> str:
        if not self.landed and self.job is not None:
            self.landed = f"{self.own_folder(self.job)}-given"
        return self.landed

    def remove_landed(self) -> None:
        """The job has ended, and what names files that had come has their content."""
        import shutil  # few jobs are given any

        shutil.rmtree(self.landed, ignore_errors=True)
        self.landed = ""

    def remove_sent(self, job: Job) -> None:
        """Those who need what the job has made have it with its content, and not from here.

        Other files of the job's stay: a path that is a text may name them.
        """
        import shutil  # few jobs make any

        own = self.own_folder(job)
        for path in self.sent:
            if os.path.isdir(path):
                shutil.rmtree(path, ignore_errors=True)
            with suppress(OSError):  # a folder is gone, as is what was named twice
                os.unlink(path)
            above = path
            with suppress(OSError):
                while above != own:
                    above = os.path.dirname(above)
                    os.rmdir(above)

    def own_folder(self, job: Job) -> str:
        """Return the path of a job's folder for temporary files.

        Its own name is ASCII and not a part of any other's: it is looked for in values.
        """
        task, attempt = job.id
        safe = re.sub(r"[^A-Za-z0-9_.-]+", "_", job.call.label)[:60]
        return os.path.join(self.directory, f"{safe}-{task}.{attempt}")


class Context:
    """The context of a running task: who it is, its temporary files, its messages."""

    def __init__(self, job: Job, scope: TaskScope) -> None:
        self._job = job
        self._scope = scope
        self._element = scope.element
        self._folder = ""
        self._meter: Meter | None = None

    @property
    def name(self) -> str:
        """The task's name."""
        return self._job.call.label

    @property
    def number(self) -> int:
        """The task's number in the session."""
        return self._job.id[0]

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1."""
        return self._job.id[1]

    @property
    def index(self) -> int | None:
        """Which element of a map this is, from 0; None in any other task."""
        return self._element

    @property
    def cpus(self) -> int:
        """How many cores the task was promised: 1, or what its `needs` say."""
        needs = self._job.needs
        return needs.cpus if needs is not None else 1

    @property
    def devices(self) -> tuple[str, ...]:
        """The names of the devices that the task has to itself, as many as its `needs` say.

        On processes its environment names them too; threads share one environment, so there
        they stand here, and in the environment of programs that `Exec` starts.
        """
        return self._job.devices

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables that say so, for programs that the task starts."""
        from fancypipe_core._base.grants import task_variables  # few tasks ask

        return task_variables(self._job.needs, self._job.devices)

    def tempdir(self, name: str = "") -> Path:
        """Return a folder for temporary files, made on first use.

        Args:
            name: A folder below the task's own; empty for the task's own.

        It goes when the task has ended, unless what the task returns names it (or
        a file in it), as a path or in any text: then the task's own folder lives, with
        all that is in it, as long as a value that names it.
        """
        from pathlib import Path  # a good part of what starting would cost

        if not self._folder:
            folder = self._scope.folder = self._scope.own_folder(self._job)
            os.makedirs(folder, mode=0o700, exist_ok=True)
            if self._element is not None:
                folder = os.path.join(folder, str(self._element))
                os.makedirs(folder, exist_ok=True)
            self._folder = folder
        if not name:
            return Path(self._folder)
        path = Path(self._folder, name)
        os.makedirs(path, exist_ok=True)
        return path

    def tempfile(self, name: str = "", suffix: str = "") -> Path:
        """Return a path in the task's temporary folder.  The file is not made.

        Args:
            name: The file's name; by default one that is not used yet.
            suffix: Appended to the name, such as `.nii.gz`.
        """
        return self.tempdir() / f"{name or os.urandom(6).hex()}{suffix}"

    def log(self, text: object) -> None:
        """Show a line to the user, under the task's name."""
        self._scope.notify(self._job, "log", str(text))

    def log_command(self, text: str, folder: str = "") -> None:
        """Write down the command line of a program that the task starts.

        Journal and page have it, and observers of notes as `command`; it is not shown.

        Args:
            text: The command line.
            folder: Where the program runs; told as `folder`.
        """
        self._scope.notify(self._job, "command", text)
        if folder:
            self._scope.notify(self._job, "folder", folder)

    def log_exit(self, how: str, stdout: str = "", stderr: str = "") -> None:
        """Write down how the program ended whose command line was logged last, as `exit`.

        Args:
            how: Its exit code, or the signal that ended it.
            stdout: What it wrote, of which the last 4,000 characters are told as
                `program-stdout`.
            stderr: Likewise.
        """
        self._scope.notify(self._job, "exit", how)
        for stream, text in (("program-stdout", stdout), ("program-stderr", stderr)):
            if text:
                cut = f"...{text[-_TOLD:]}" if len(text) > _TOLD else text
                self._scope.notify(self._job, stream, cut)

    def progress(self, done: float, total: float | None = None) -> None:
        """Say how far the task is: shown in the live line, and passed on to observers.

        It may be called as often as is convenient: at most ten times a second
        something is sent, and what was said last is always among it.

        Args:
            done: What is done, in any unit.
            total: All there is to do, in the same unit; None if not known.

        Raises:
            TypeError: One of them is no number.
            ValueError: One of them is a text that is no number.
        """
        if self._meter is None:
            self._meter = Meter(self._tell_progress)
            if self._scope.job is self._job:  # else the task has ended
                self._scope.meter = self._meter
        self._meter.say(float(done), None if total is None else float(total))

    def _tell_progress(self, text: str) -> None:
        # A late thread of the task, or a process that it has forked, has nothing to say.
        if self._scope.job is self._job and not self._scope.in_fork:
            self._scope.notify(self._job, "progress", text)
