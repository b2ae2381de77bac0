"""Worker processes: the shell around the pool machine.

It lives in the engine's thread, which waits here for the workers' reports: no
hand-over between threads, and a write to an idle worker happens inside
`submit`.  What is decided, the machine decides; here its actions are carried
out, and what the processes say and do is told to it.
"""

from __future__ import annotations

import os
import selectors
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import NamedTuple

from fancypipe_core.backend import (
    BackendOptions,
    Certificate,
    Environment,
    Job,
    Note,
    Sink,
)
from fancypipe_core.errors import BackendStartError, ConnectionLost, ProtocolError
from fancypipe_core.toolkit import boot_clock, kill_strays, setup_of, this_machine
from fancypipe_core.toolkit.driven import DrivenShell
from fancypipe_core.toolkit.pool import Rules
from fancypipe_core.toolkit.pool import states as to
from fancypipe_procs._limits import ProcsSettings
from fancypipe_procs._output import Output
from fancypipe_procs._process import SPOILT, Process
from fancypipe_procs._spawn import VARIABLE

__all__ = ["ProcsBackend"]

_MOST_LAST_READS = 1000  # of 64 KiB, of what a dead worker left in its pipes
_NO_SENTINEL = 0.05  # seconds between two looks at a worker whose death nothing tells
_LAST_WAIT = 5.0  # seconds in which a killed worker must be gone at the end
_LAST_LINES = 15  # of a worker that did not come up, in the error


class _Reader(NamedTuple):
    """What the selector knows of a worker's output."""

    process: Process
    output: Output


class ProcsBackend(DrivenShell):
    """Runs jobs on processes.

    Args:
        options: How many processes, and the folder for temporary files.
        rules: How long anything may take; by default as the settings say.
    """

    def __init__(self, options: BackendOptions, rules: Rules | None = None) -> None:
        super().__init__(rules or _rules(options))
        self._count = options.workers
        self._directory = options.directory
        self._measures, self._pictures = options.measures, options.pictures
        self._apart = options.apart
        self._processes: dict[int, Process] = {}
        self._untold: list[Process] = []  # whose death no sentinel tells
        self._selector = selectors.DefaultSelector()
        self._environment: Environment | None = None  # of the run; None before the first
        self._mark = os.urandom(8).hex()
        self._since_boot = boot_clock()
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)
        # The first worker comes up while the engine is imported and the graph composed; what
        # keeps it from being made is told when it is made again.
        with suppress(Exception):
            self._processes[1] = self._make(1)

    # ---- the contract ----

    @property
    def follows(self) -> bool:
        return True

    def start(self, sink: Sink) -> None:
        self._sink = sink
        self._selector.register(self._wake_in, selectors.EVENT_READ, None)
        # One worker; the others when they are needed.
        self._do(self._pool.open(monotonic()))
        if not self._processes:
            why = self._pool.last_failure.removeprefix("it could not be started: ")
            raise BackendStartError(f"no worker process could be started: {why}")

    def adapt(self, environment: Environment) -> None:
        self._environment = environment
        for process in self._processes.values():
            with suppress(ConnectionLost):  # its death is seen by its sentinel
                process.adapt(environment)

    def stop(self, grace: float) -> None:
        self._pool.forget_jobs()
        for why in self._end(grace):
            self._tell([Note(None, "warning", f"a worker process could not be ended: {why}")])
        self._sink = None
        for descriptor in (self._wake_in, self._wake_out):
            if descriptor >= 0:
                os.close(descriptor)
        self._wake_in = self._wake_out = -1

    def forget(self) -> None:
        self._sink = None
        for process in self._processes.values():
            process.forget()
        self._processes.clear()
        self._selector.close()
        for descriptor in (self._wake_in, self._wake_out):
            os.close(descriptor)
        self._wake_in = self._wake_out = -1

    def fileno(self) -> int:
        """As in `fancypipe_core.backend.Selectable`."""
        return self._selector.fileno()

    def wake(self) -> None:
        try:
            os.write(self._wake_out, b"x")
        except (BlockingIOError, OSError):
            return  # it is full of wake-ups, or closed

    def _alarms(self) -> Iterable[float]:
        if self._untold and any(process.is_ending for process in self._untold):
            return (monotonic() + _NO_SENTINEL,)
        return ()

    # ---- what the machine wants ----

    def _carry_out(self, action: to.Order, answers: list[to.Event]) -> None:
        if isinstance(action, to.GiveUp):
            said = "".join(f"\n  | {line}" for line in action.output[-_LAST_LINES:])
            raise BackendStartError(
                "no worker process starts, so the run stops; the last one: "
                f"{action.why}" + (f"; the last that it printed:{said}" if said else "")
            )
        if isinstance(action, to.Start):
            self._start(action.worker, answers)
        elif (process := self._processes.get(action.worker)) is not None:
            self._do_to(process, action, answers)

    def _do_to(self, process: Process, action: to.Order, answers: list[to.Event]) -> None:
        try:
            if isinstance(action, to.Send):
                process.connection.submit(action.jobs)
                self._watch_writes(process)
            elif isinstance(action, to.RecallJobs):
                process.recall(action.ids)
                self._watch_writes(process)
            elif isinstance(action, to.Dismiss):
                process.is_ending = True
                process.connection.ask_to_stop()
            elif isinstance(action, to.Look):
                answers.append(process.seen())
            elif isinstance(action, to.Kill):
                process.kill(action.reason, action.why)
                if not action.reason:
                    answers += self._died(process)
        except ConnectionLost:
            answers.append(self._hung_up(process))

    def _make(self, number: int) -> Process:
        mark = f"{self._mark}.{number}"
        return Process(
            number,
            setup_of(self._directory, self._measures, self._apart, self._pictures),
            self._count,
            mark,
            self._environment,
        )

    def _start(self, number: int, answers: list[to.Event]) -> None:
        try:
            process = self._processes.get(number) or self._make(number)
        except OSError as error:
            answers.append(to.NotStarted(number, str(error)))
            return
        self._processes[number] = process
        if process.sentinel < 0:
            self._untold.append(process)
        self._watch(process.connection.channel.fileno(), process)
        self._watch(process.sentinel, process)
        for output in process.outputs:
            self._watch(output.descriptor, _Reader(process, output))

    # ---- what the workers say ----

    def _watch(self, descriptor: int, data: Process | _Reader) -> None:
        if descriptor >= 0:
            self._selector.register(descriptor, selectors.EVENT_READ, data)

    def _forget(self, descriptor: int) -> None:
        """Do not listen to this any more."""
        with suppress(KeyError, ValueError):
            self._selector.unregister(descriptor)

    def _watch_writes(self, process: Process) -> None:
        """Ask the selector for room in the socket only while something waits for it."""
        channel = process.connection.channel
        if channel.pending is not process.wants_room and not process.has_hung_up:
            process.wants_room = channel.pending
            more = selectors.EVENT_WRITE if process.wants_room else 0
            self._selector.modify(channel, selectors.EVENT_READ | more, process)

    def _listen(self, seconds: float | None) -> tuple[bool, list[to.Event]]:
        ready = self._selector.select(seconds)
        woken = False
        events: list[to.Event] = []
        if len(ready) > 1:
            # First what was printed: it was written before the report that is there as well.
            ready.sort(key=lambda event: not isinstance(event[0].data, _Reader))
        for key, mask in ready:
            data = key.data
            if data is None:
                woken = True
                with suppress(BlockingIOError):
                    os.read(self._wake_in, 4096)
            elif isinstance(data, _Reader):
                self._read_output(data)
            elif key.fd == data.sentinel:
                events += self._died(data)
            elif not data.has_hung_up:
                events += self._hear(data, mask)
        for process in [one for one in self._untold if one.is_ending and one.is_dead()]:
            events += self._died(process)
        return woken, events

    def _hear(self, process: Process, mask: int) -> list[to.Event]:
        """A worker's channel has something to read, or room to write."""
        events: list[to.Event] = []
        try:
            if mask & selectors.EVENT_WRITE:
                process.connection.channel.flush()
                self._watch_writes(process)
            if mask & selectors.EVENT_READ:
                reported = process.reported
                process.take_reports(events)
                for output in process.outputs:
                    # What was printed before a report that came since we looked came, too.
                    if process.reported != reported and output.has_more():
                        ended = self._pool.job(process.number, process.reported)
                        self._read_output(_Reader(process, output), ended)
                    if output.is_unsettled:
                        self._tell(output.settle(self._running(process)))
        except ConnectionLost:
            events.append(self._hung_up(process))
        except ProtocolError:
            self._stop_listening(process)
            events.append(to.Spoilt(process.number, SPOILT))
        return events

    def _hung_up(self, process: Process) -> to.HungUp:
        """A worker's channel has ended: it is dying, or ends in good order, or was harmed."""
        self._stop_listening(process)
        return to.HungUp(process.number, process.last, process.has_begun, SPOILT)

    def _stop_listening(self, process: Process) -> None:
        if not process.has_hung_up:
            process.has_hung_up = process.is_ending = True
            self._forget(process.connection.channel.fileno())

    def _running(self, process: Process) -> Job | None:
        """Return the job that a worker began last, if it has not been reported."""
        last = process.last
        return None if last == process.reported else self._pool.job(process.number, last)

    def _read_output(self, reader: _Reader, job: Job | None = None) -> bool:
        """Pass on what tasks print; return whether there was something to show.

        Args:
            reader: Whose output.
            job: Of which it is; by default of the one that runs now.
        """
        process, output = reader
        if output.descriptor < 0:
            return False
        notes, more = output.read(job or self._running(process))
        if not more:
            self._forget(output.descriptor)
            output.close()
        self._tell(notes)
        return bool(notes)

    # ---- death ----

    def _died(self, process: Process) -> list[to.Event]:
        """A worker is dead, or given up: take its last words, and all that its tasks have left."""
        if self._processes.get(process.number) is not process:
            return []
        events: list[to.Event] = []
        # What it reported before its death counts.  Once is all: nobody writes any more, or
        # only a process that its tasks have forked, which holds the other end open.
        with suppress(ConnectionLost, ProtocolError):
            process.take_reports(events)
        self._read_to_the_end(process)
        process.kill()  # what is left of its group
        kill_strays(VARIABLE, process.mark, process.since_boot)
        last, begun = process.last, process.has_begun
        why = process.bury()
        del self._processes[process.number]
        if process in self._untold:
            self._untold.remove(process)
        self._let_go(process)
        return [*events, to.Died(process.number, why, last, begun)]

    def _let_go(self, process: Process) -> None:
        self._stop_listening(process)
        self._forget(process.sentinel)
        for output in process.outputs:
            self._forget(output.descriptor)
        process.close()

    def _read_to_the_end(self, process: Process) -> None:
        """Take what a dead worker's tasks printed, as far as it has come."""
        for output in process.outputs:
            for _ in range(_MOST_LAST_READS):
                if output.descriptor < 0 or not self._read_output(_Reader(process, output)):
                    break

    def _end(self, grace: float) -> list[Certificate]:
        """End all workers.

        Args:
            grace: Seconds that tasks have which nobody waits for any more.

        Returns:
            What is known of those that could not be ended.
        """
        processes = list(self._processes.values())
        for process in processes:
            self._stop_listening(process)
            self._forget(process.sentinel)
            with suppress(ConnectionLost):  # it is dead already, or was asked before
                process.connection.ask_to_stop()
        until = monotonic() + grace
        # What their tasks registered for the end of the process takes its time.
        calm = monotonic() + max(grace, 1.0)
        for process in processes:
            if self._pool.jobs(process.number):
                self._wait(process, until)
            elif process.is_up:
                self._wait(process, calm)
            process.kill("exit")
        last = monotonic() + _LAST_WAIT
        kill_strays(VARIABLE, self._mark, self._since_boot)
        left = []
        for process in processes:
            self._wait(process, last)
            self._read_to_the_end(process)
            is_left = not process.is_dead()
            why = process.bury()
            if is_left:
                left.append(why)
            self._let_go(process)
        self._processes.clear()
        self._selector.close()
        return left

    def _wait(self, process: Process, until: float) -> None:
        """Wait for a worker to end, and read on: what it prints must not hold it up."""
        self._watch(process.sentinel, process)
        while not process.is_dead() and (left := until - monotonic()) > 0:
            for key, _ in self._selector.select(min(left, 0.1)):
                if isinstance(key.data, _Reader):
                    self._read_output(key.data)
        self._forget(process.sentinel)


def _rules(options: BackendOptions) -> Rules:
    settings = options.settings or ProcsSettings()
    return Rules(
        options.workers,
        next=0.1,
        start=settings.start_limit,
        frozen=settings.frozen_limit,
        equipment=partial(this_machine, options.workers),
    )
