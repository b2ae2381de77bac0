"""The workers of a pool: birth, leave and death."""

from __future__ import annotations

import os
import selectors
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import NamedTuple

from fancypipe_core.backend import Certificate, Environment, Event, Job, usable_cores
from fancypipe_core.errors import BackendStartError, ConnectionLost
from fancypipe_procs._births import Births
from fancypipe_procs._limits import Limits
from fancypipe_procs._output import Output
from fancypipe_procs._strays import boot_clock, kill_strays
from fancypipe_procs._worker import Worker

__all__ = ["Crew", "Reader"]

_MOST_LAST_READS = 1000  # of 64 KiB, of what a dead worker left in its pipes
_NO_SENTINEL = 0.05  # seconds between two looks at a worker whose death nothing tells
_LAST_WAIT = 5.0  # seconds in which a killed worker must be gone at the end


class Reader(NamedTuple):
    """What the selector knows of a worker's output."""

    worker: Worker
    output: Output


class Crew:
    """Starts workers, lets them go and buries them; knows what to listen to.

    Args:
        count: How many there are at most, besides those on their way out.
        directory: The session's folder for temporary files.
        limits: How long anything may take.
        sink: Takes the workers' events.
        gave_back: Takes the jobs that a worker returned.

    Attributes:
        workers: Those that may be given jobs.
        leaving: Those on their way out, which are given nothing any more.
        selector: What to listen to: channels and sentinels (with their worker),
            outputs (with a `Reader`).
    """

    def __init__(
        self,
        count: int,
        directory: str,
        limits: Limits,
        sink: Callable[[Sequence[Event]], None],
        gave_back: Callable[[Worker, Sequence[Job]], None],
    ) -> None:
        self.workers: list[Worker] = []
        self.leaving: list[Worker] = []
        self.selector = selectors.DefaultSelector()
        self.births = Births(limits)
        self._count = count
        self._directory = directory
        self._limits = limits
        self._sink = sink
        self._gave_back = gave_back
        self._environment: Environment | None = None  # of the run; None before the first
        self._mark = os.urandom(8).hex()
        self._number = 0
        self._since_boot = boot_clock()

    @property
    def is_full(self) -> bool:
        """Whether there are as many workers as there may be."""
        return len(self.workers) >= self._count

    @property
    def is_starting(self) -> bool:
        """Whether a worker has been started that is not up yet."""
        return not all(worker.ready for worker in self.workers)

    # ---- birth ----

    def first(self) -> None:
        """Start the first worker.

        Raises:
            BackendStartError: It cannot be started.
        """
        try:
            self._add()
        except OSError as error:
            raise BackendStartError(f"no worker process could be started: {error}") from error

    def hire(self) -> Worker | None:
        """Start a worker, if it is time to.

        Raises:
            BackendStartError: None comes up, one start after the other.
        """
        now = monotonic()
        births = self.births
        if births.hopeless and not any(worker.ready for worker in self.workers):
            raise births.error()
        if not births.may(now, self.is_starting):
            return None
        try:
            return self._add()
        except OSError as error:
            births.failed(now, now, f"it could not be started: {error}")
            return None

    def _add(self) -> Worker:
        threads = max(1, usable_cores() // self._count)
        self._number += 1
        mark = f"{self._mark}.{self._number}"
        worker = Worker(
            self._directory, threads, mark, self._environment, self._sink, self._gave_back
        )
        self.workers.append(worker)
        self._listen(worker.link.channel.fileno(), worker)
        self._listen(worker.sentinel, worker)
        for output in worker.outputs:
            self._listen(output.descriptor, Reader(worker, output))
        return worker

    def _listen(self, descriptor: int, data: Worker | Reader) -> None:
        if descriptor >= 0:
            self.selector.register(descriptor, selectors.EVENT_READ, data)

    def forget(self, descriptor: int) -> None:
        """Do not listen to this any more."""
        with suppress(KeyError, ValueError):
            self.selector.unregister(descriptor)

    def adapt(self, environment: Environment) -> None:
        """Let the tasks that are sent from now on find this, also in workers to come."""
        self._environment = environment
        for worker in self.workers:
            with suppress(ConnectionLost):  # its death is seen by its sentinel
                worker.adapt(environment)

    # ---- leave ----

    def dismiss(self, worker: Worker) -> None:
        """Ask an idle worker to end; another may take its place at once."""
        worker.may_end = True
        with suppress(ConnectionLost):
            worker.link.ask_to_stop()
        self.let_go(worker, self._limits.farewell)

    def let_go(self, worker: Worker, seconds: float, reason: str = "", why: str = "") -> None:
        """A worker is on its way out; its jobs stay its own.

        Args:
            worker: Who.
            seconds: In which it must be gone.
            reason: What it is killed for if it is not, and what it is then said to
                have died of.
            why: As for `Worker.kill`.
        """
        if worker in self.workers:
            self.workers.remove(worker)
            self.leaving.append(worker)
            self.forget(worker.link.channel.fileno())
            worker.gone_by = monotonic() + seconds
            worker.gone_reason = reason, why

    def due(self) -> float | None:
        """Return when to look at those that are leaving; None if never."""
        times = [worker.gone_by for worker in self.leaving if worker.gone_by is not None]
        if any(worker.sentinel < 0 for worker in self.leaving):
            times.append(monotonic() + _NO_SENTINEL)
        return min(times, default=None)

    def overdue(self) -> list[Worker]:
        """Kill who should be gone; return who is dead and has nothing to tell it by."""
        now = monotonic()
        for worker in self.leaving:
            if worker.gone_by is not None and now >= worker.gone_by:
                worker.gone_by = None
                reason, why = worker.gone_reason
                worker.kill(reason or "exit", why)
        return [worker for worker in self.leaving if worker.sentinel < 0 and worker.is_dead()]

    # ---- death ----

    def bury(self, worker: Worker) -> Certificate:
        """Take a dead worker out, with all that its tasks have left; say what it died of.

        One that hangs in the kernel is given up.
        """
        worker.kill()  # what is left of its group
        kill_strays(worker.mark, worker.since_boot)
        why = worker.bury()
        for group in (self.workers, self.leaving):
            if worker in group:
                group.remove(worker)
        self.forget(worker.link.channel.fileno())
        self.forget(worker.sentinel)
        for output in worker.outputs:
            self.forget(output.descriptor)
        worker.close()
        return why

    def stop(self, grace: float, read: Callable[[Reader], bool]) -> list[Certificate]:
        """End all workers.

        Args:
            grace: Seconds that tasks have which nobody waits for any more.
            read: Reads on: what they print must not hold them up.

        Returns:
            What is known of those that could not be ended.
        """
        everybody = [*self.workers, *self.leaving]
        for worker in everybody:
            self.forget(worker.link.channel.fileno())
            self.forget(worker.sentinel)
            with suppress(ConnectionLost):  # it is dead already, or was asked before
                worker.link.ask_to_stop()
        until = monotonic() + grace
        # What their tasks registered for the end of the process takes its time.
        calm = monotonic() + max(grace, 1.0)
        left = []
        for worker in everybody:
            if worker.load:
                self._wait(worker, until, read)
            elif worker.ready:
                self._wait(worker, calm, read)
            worker.kill("exit")
        last = monotonic() + _LAST_WAIT
        kill_strays(self._mark, self._since_boot)
        for worker in everybody:
            self._wait(worker, last, read)
            self.read_to_the_end(worker, read)
            if not worker.is_dead():
                left.append(worker.bury())
            else:
                worker.bury()
            for output in worker.outputs:
                self.forget(output.descriptor)
            worker.close()
        self.workers.clear()
        self.leaving.clear()
        self.selector.close()
        return left

    def forget_all(self) -> None:
        """This process is a fork of theirs: close what it holds of them."""
        for worker in [*self.workers, *self.leaving]:
            worker.process.returncode = 0  # it is nothing to wait for
            worker.close()
        self.workers.clear()
        self.leaving.clear()
        self.selector.close()

    def _wait(self, worker: Worker, until: float, read: Callable[[Reader], bool]) -> None:
        """Wait for a worker to end."""
        self._listen(worker.sentinel, worker)
        while not worker.is_dead() and (left := until - monotonic()) > 0:
            for key, _ in self.selector.select(min(left, 0.1)):
                if isinstance(key.data, Reader):
                    read(key.data)
        self.forget(worker.sentinel)

    @staticmethod
    def read_to_the_end(worker: Worker, read: Callable[[Reader], bool]) -> None:
        """Take what a dead worker's tasks printed, as far as it has come."""
        for output in worker.outputs:
            for _ in range(_MOST_LAST_READS):
                if output.descriptor < 0 or not read(Reader(worker, output)):
                    break
