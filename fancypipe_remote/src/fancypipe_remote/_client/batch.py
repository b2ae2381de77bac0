"""Jobs of a batch system in which workers run: what is said to it, and how many there are to be."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from typing import Literal, NamedTuple

from fancypipe_core.errors import BackendError

__all__ = ["BatchJob", "BatchSystem", "Fleet", "JobState", "Plan"]

_LIMIT = 60.0  # seconds that a command may take
_FAILURES = 3  # jobs, one after the other, that fail before a worker in them could be used

JobState = Literal["waits", "runs", "leaves", "ended", "failed"]
"""It is in the queue, runs, is about to end, has ended as jobs do (also when it was preempted, or
its time was up), or has failed."""


class BatchJob(NamedTuple):
    """A job of a batch system.

    Attributes:
        id: Its name there.
        state: See `JobState`.
        about: A sentence with the batch system's own words: where it runs, why it waits or failed.
    """

    id: str
    state: JobState
    about: str


class BatchSystem:
    """What is said to a batch system, by its commands.  All but `abort` is called in one thread.

    A package for one is derived from this.
    """

    _running: subprocess.Popen[str] | None = None
    _aborted = False

    def submit(self) -> None:
        """Submit a job that runs a worker.

        Raises:
            BackendError: It was rejected; the text says why in the batch system's own words.
        """
        raise NotImplementedError

    def jobs(self) -> Sequence[BatchJob]:
        """Return the jobs of this session, the oldest first; also those that ended lately.

        Raises:
            BackendError: That could not be found out.
        """
        raise NotImplementedError

    def withdraw(self, ids: Sequence[str]) -> None:
        """Take jobs out of the queue, or tell those that run to end by a SIGTERM.

        Raises:
            BackendError: It was rejected.
        """
        raise NotImplementedError

    def call(self, *command: str, text: str = "") -> str:
        """Return what a command writes.

        Args:
            command: The command's words.
            text: What it reads.

        Raises:
            BackendError: It is not there, takes too long, fails or was aborted.
        """
        try:
            with subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,  # the terminal's Ctrl-C is not for it
            ) as self._running:
                if self._aborted:
                    self._running.kill()
                try:
                    out, words = self._running.communicate(text, _LIMIT)
                except subprocess.TimeoutExpired:
                    self._running.kill()
                    raise BackendError(f"{command[0]} did not end within {_LIMIT:g} s") from None
        except OSError as error:
            raise BackendError(f"{command[0]} cannot be used: {error}") from None
        if self._running.returncode:
            lines = [line.removeprefix(f"{command[0]}: error: ") for line in words.splitlines()]
            said = "; ".join(filter(None, lines)) or f"exit code {self._running.returncode}"
            raise BackendError(f"{command[0]} failed: {said} (it was {shlex.join(command)})")
        return out

    def abort(self) -> None:
        """Let no command go on, now or later.  Called from any thread."""
        self._aborted = True
        if self._running is not None:
            with suppress(OSError):
                self._running.kill()


class Plan(NamedTuple):
    """What is to be done.

    Attributes:
        start: How many jobs to submit.
        withdraw: Which jobs to take out of the queue, or to end.
        remarks: What to tell the user.
        hopeless: Why nothing more can be done; empty if something can.
    """

    start: int
    withdraw: list[str]
    remarks: list[str]
    hopeless: str = ""


class Fleet:
    """Decides how many jobs there are to be; it has no clock, no thread and no batch system.

    Args:
        slots: How many tasks a job runs at the same time.
        least: How many jobs there are without work.
        most: How many jobs there are at most.
    """

    def __init__(self, slots: int, least: int, most: int) -> None:
        self.slots = slots
        self.least = least
        self.most = max(least, most)
        self._ended: dict[str, None] = {}  # those that are known to have
        self._withdrawn: set[str] = set()
        self._failures = 0
        self._last = ""

    def wanted(self, work: float) -> int:
        """Return how many jobs so many tasks at the same time are worth."""
        return int(min(self.most, max(self.least, -(-work // self.slots))))

    def look(
        self, jobs: Sequence[BatchJob], wanted: int, *, works: bool, idle: bool = False
    ) -> Plan:
        """Say what is to be done: who waits in vain is withdrawn; who runs, only if all are idle.

        Args:
            jobs: Those that there are, and that ended lately.
            wanted: How many there are to be.
            works: Whether a worker could be used since the last time.
            idle: Whether nothing has been to do for long.
        """
        remarks = []
        if works:
            self._failures = 0
        for job in jobs:
            if job.state not in ("ended", "failed") or job.id in self._ended:
                continue
            self._ended[job.id] = None
            if job.state == "failed" and job.id not in self._withdrawn:
                self._failures += not works
                self._last = job.about
                remarks.append(job.about)
        living = [job for job in jobs if job.state in ("waits", "runs")]
        if self._failures >= _FAILURES:
            if living:
                return Plan(0, [], remarks)  # maybe one of these is better
            why = f"{self._failures} jobs failed before a worker in them could be used; the last: "
            return Plan(0, [], remarks, why + self._last)
        vain = [job.id for job in living if job.state == "waits"][::-1]
        if idle:
            vain += [job.id for job in living if job.state == "runs"][::-1]
        withdraw = vain[: max(0, len(living) - wanted)]
        self._withdrawn.update(withdraw)
        return Plan(max(0, wanted - len(living)), withdraw, remarks)
