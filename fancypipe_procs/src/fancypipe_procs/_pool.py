"""A pool of worker processes: who gets which jobs, and what happens when one dies.

It lives in the engine's thread, which waits here for the workers' reports: no
hand-over between threads, and a write to an idle worker happens inside
`submit`.  Jobs wait here and not at the workers, as far as they are long; short
ones travel by the hundred.  A worker that has nothing to do makes the pool call
back what others have not begun.
"""

from __future__ import annotations

import os
import selectors
from collections import deque
from collections.abc import Sequence
from time import monotonic
from typing import NamedTuple

from fancypipe_core.backend import (
    BackendOptions,
    Certificate,
    Done,
    Event,
    Job,
    JobId,
    Lost,
    Pace,
    Sink,
    Slots,
)
from fancypipe_core.errors import BackendStartError, ConnectionLost, ProtocolError
from fancypipe_procs._output import Output
from fancypipe_procs._worker import Worker

__all__ = ["ProcsBackend"]


class _Reader(NamedTuple):
    """What the selector knows of a worker's output."""

    worker: Worker
    output: Output


_CALL_BACK_AFTER = 0.002  # seconds of silence of a worker while another is idle
_TAKE_BACK_AFTER = 0.02  # seconds in which a worker should have answered a call back
_KILL_AFTER = 0.1  # seconds that a cancelled job has before its worker is killed
_MOST_BAD_STARTS = 3
_MOST_LAST_READS = 1000  # of 64 KiB, of what a dead worker left in its pipes


class ProcsBackend:
    """Runs jobs on processes.

    Args:
        options: How many processes, and the folder for temporary files.
    """

    def __init__(self, options: BackendOptions) -> None:
        self._count = options.workers
        self._directory = options.directory
        self._jobs: deque[Job] = deque()
        self._workers: list[Worker] = []
        self._selector = selectors.DefaultSelector()
        self._sink: Sink | None = None
        self._pace = Pace()
        self._ahead = 0
        self._cancelled: set[JobId] = set()
        self._deadlines: dict[JobId, float] = {}
        self._bad_starts = 0
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)

    # ---- the contract ----

    def start(self, sink: Sink) -> None:
        self._sink = sink
        self._selector.register(self._wake_in, selectors.EVENT_READ, None)
        try:
            # One, while the client composes its graph; the others when they are needed.
            self._add_worker()
        except OSError as error:
            raise BackendStartError(f"no worker process could be started: {error}") from error
        self._say_slots()

    def submit(self, jobs: Sequence[Job]) -> None:
        self._jobs.extend(jobs)
        self._deal()

    def cancel(self, ids: Sequence[JobId]) -> None:
        unwanted = set(ids)
        waiting = [job.id for job in self._jobs if job.id in unwanted]
        if waiting:
            self._jobs = deque(job for job in self._jobs if job.id not in unwanted)
            self._report_cancelled(waiting)
        now = monotonic()
        for worker in self._workers:
            mine = unwanted.intersection(worker.link.outstanding)
            if not mine:
                continue
            self._cancelled |= mine
            self._call_back(worker)
            for id in mine:
                worker.kill_at.setdefault(id, now + _KILL_AFTER)

    def stop(self, grace: float) -> None:
        self._jobs.clear()
        for worker in self._workers:
            self._selector.unregister(worker.link.channel)
            if worker.sentinel >= 0:
                self._selector.unregister(worker.sentinel)
            try:
                worker.link.ask_to_stop()
            except ConnectionLost:
                continue  # dead already
        until = monotonic() + grace
        for worker in self._workers:
            if worker.load:
                # It is in a task that nobody waits for any more.
                self._wait_for_end(worker, until)
            elif worker.has_reported:
                # What its tasks registered for the end of the process takes its time.
                self._wait_for_end(worker, monotonic() + max(grace, 1.0))
            worker.kill("")
            worker.bury()
            self._read_to_the_end(worker)
            worker.close()
        self._workers.clear()
        self._selector.close()
        self._sink = None
        for descriptor in (self._wake_in, self._wake_out):
            if descriptor >= 0:
                os.close(descriptor)
        self._wake_in = self._wake_out = -1

    def _wait_for_end(self, worker: Worker, until: float) -> None:
        """Wait for a worker to end, and read on: what it prints must not hold it up."""
        if worker.sentinel >= 0:
            self._selector.register(worker.sentinel, selectors.EVENT_READ, worker)
        while worker.process.poll() is None and (left := until - monotonic()) > 0:
            for key, _ in self._selector.select(min(left, 0.1)):
                if isinstance(key.data, _Reader):
                    self._read_output(key.data)
        if worker.sentinel >= 0:
            self._selector.unregister(worker.sentinel)

    def wake(self) -> None:
        try:
            os.write(self._wake_out, b"x")
        except (BlockingIOError, OSError):
            return  # it is full of wake-ups, or closed

    def drive(self, timeout: float | None) -> None:
        until = None if timeout is None else monotonic() + timeout
        while True:
            limit = self._next_look(until)
            ready = self._selector.select(limit)
            heard = self._serve(ready)
            self._look_at_clocks()
            self._deal()
            if heard or (until is not None and monotonic() >= until):
                return

    # ---- what the workers say ----

    def _serve(self, ready: Sequence[tuple[selectors.SelectorKey, int]]) -> bool:
        """Take what has come; return whether the engine must hear of it."""
        heard = False
        # First what was printed: it was written before the report that is there as well.
        for key, mask in sorted(ready, key=lambda event: not isinstance(event[0].data, _Reader)):
            if key.data is None:
                self._drain_wake()
                heard = True
                continue
            if isinstance(key.data, _Reader):
                heard = self._read_output(key.data) or heard
                continue
            worker: Worker = key.data
            if worker not in self._workers:
                continue  # it died by another event of this round
            if key.fd == worker.sentinel:
                self._died(worker)
                heard = True
                continue
            try:
                if mask & selectors.EVENT_WRITE:
                    worker.link.channel.flush()
                    self._watch_writes(worker)
                if mask & selectors.EVENT_READ:
                    worker.link.read()
                    self._heard(worker)
                    heard = True
            except (ConnectionLost, ProtocolError):
                self._died(worker)
                heard = True
        return heard

    def _read_output(self, reader: _Reader) -> bool:
        """Pass on what tasks print; return whether there was something to show."""
        worker, output = reader
        if output.descriptor < 0:
            return False
        notes, more = output.read(worker.running)
        if not more:
            self._selector.unregister(output.descriptor)
            output.close()
        if notes and self._sink is not None:
            self._sink(notes)
        return bool(notes)

    def _drain_wake(self) -> None:
        try:
            os.read(self._wake_in, 4096)
        except BlockingIOError:
            return

    def _heard(self, worker: Worker) -> None:
        worker.heard = monotonic()
        worker.has_reported = True
        self._bad_starts = 0
        self._set_deadline(worker)
        running = worker.running
        notes = [note for output in worker.outputs for note in output.settle(running)]
        if notes and self._sink is not None:
            self._sink(notes)

    def _take_events(self, events: Sequence[Event]) -> None:
        """Events of a worker: learn the pace from them and pass them on."""
        seconds = 0.0
        count = 0
        for event in events:
            if type(event) is Done:
                seconds += event.seconds
                count += 1
                if self._cancelled:
                    self._cancelled.discard(event.id)
        if count:
            self._pace.record(seconds, count)
            self._say_slots()
        if self._sink is not None:
            self._sink(events)

    def _take_back(self, jobs: Sequence[Job]) -> None:
        """Jobs that a worker has not begun and will not begin."""
        dropped = [job.id for job in jobs if job.id in self._cancelled]
        if dropped:
            self._cancelled.difference_update(dropped)
            self._report_cancelled(dropped)
            jobs = [job for job in jobs if job.id not in set(dropped)]
        self._jobs.extendleft(reversed(jobs))

    def _given_back(self, worker: Worker, jobs: Sequence[Job]) -> None:
        """A worker has answered."""
        worker.called_back = None
        self._take_back(jobs)

    def _report_cancelled(self, ids: Sequence[JobId]) -> None:
        why = Certificate(
            "cancelled", "cancelled before it began", "", 0, started=False, guilty=False
        )
        if self._sink is not None:
            self._sink([Lost(id, why) for id in ids])

    def _say_slots(self) -> None:
        ahead = self._pace.ahead * self._count * 2
        if not self._ahead or not self._ahead / 2 < ahead < self._ahead * 2:
            self._ahead = ahead
            if self._sink is not None:
                self._sink([Slots(self._count, ahead)])

    # ---- who gets what ----

    def _deal(self) -> None:
        """Give jobs to workers: evenly, and to each only so many as hide the latency."""
        jobs = self._jobs
        while jobs:
            most = self._pace.ahead + (self._pace.seconds < 0.005)
            worker = self._least_loaded()
            if worker is None or worker.load >= most:
                return
            fair = -(-len(jobs) // self._count)
            batch = [jobs.popleft() for _ in range(min(len(jobs), most - worker.load, fair))]
            if not worker.load:
                worker.heard = monotonic()
            try:
                worker.link.submit(batch)
                self._watch_writes(worker)
                self._set_deadline(worker)
            except ConnectionLost:
                self._died(worker)

    def _least_loaded(self) -> Worker | None:
        """Return who should get the next jobs; a new worker if all are busy and there is room."""
        free = [worker for worker in self._workers if worker.called_back is None]
        best = min(free, key=lambda worker: worker.load, default=None)
        if len(self._workers) == self._count or (best is not None and not best.load):
            return best
        try:
            return self._add_worker()
        except OSError as error:
            if not self._workers:
                self._give_up(error)
            return best  # fewer than asked for, but the work goes on

    def _give_up(self, error: OSError) -> None:
        why = Certificate("start", f"no worker process could be started: {error}", "", 0, False)
        jobs, self._jobs = self._jobs, deque()
        if self._sink is not None:
            self._sink([Lost(job.id, why) for job in jobs])

    def _watch_writes(self, worker: Worker) -> None:
        """Ask the selector for room in the socket only while something waits for it."""
        events = selectors.EVENT_READ | (
            selectors.EVENT_WRITE if worker.link.channel.pending else 0
        )
        if self._selector.get_key(worker.link.channel).events != events:
            self._selector.modify(worker.link.channel, events, worker)

    def _call_back(self, worker: Worker) -> None:
        try:
            worker.call_back()
        except ConnectionLost:
            return  # its death is reported by its sentinel

    # ---- clocks ----

    def _set_deadline(self, worker: Worker) -> None:
        """The first job that a worker has is the one that it runs."""
        first = next(iter(worker.link.outstanding.values()), None)
        if first is not None and first.time_limit is not None:
            self._deadlines.setdefault(first.id, worker.heard + first.time_limit)

    def _next_look(self, until: float | None) -> float | None:
        """Return for how long nothing needs to be looked at, in seconds."""
        times = [] if until is None else [until]
        times += self._deadlines.values()
        idle = not self._jobs and any(not worker.load for worker in self._workers)
        for worker in self._workers:
            times += worker.kill_at.values()
            if worker.called_back is not None:
                if worker.load > 1:
                    times.append(worker.called_back + _TAKE_BACK_AFTER)
            elif idle and worker.load > 1:
                times.append(worker.heard + _CALL_BACK_AFTER)
        return max(0.0, min(times) - monotonic()) if times else None

    def _look_at_clocks(self) -> None:
        now = monotonic()
        idle = not self._jobs and any(not worker.load for worker in self._workers)
        for worker in list(self._workers):
            outstanding = worker.link.outstanding
            if worker.called_back is not None:
                if worker.load > 1 and now >= worker.called_back + _TAKE_BACK_AFTER:
                    self._take_back(worker.not_begun())
                    worker.called_back = now
            elif idle and worker.load > 1 and now >= worker.heard + _CALL_BACK_AFTER:
                self._call_back(worker)
            if worker.kill_at:
                worker.kill_at = {id: at for id, at in worker.kill_at.items() if id in outstanding}
                running = worker.running
                mine = worker.kill_at.get(running.id) if running is not None else None
                if mine is not None and now >= mine:
                    worker.kill("cancelled")
                    worker.kill_at.clear()
        for id, deadline in list(self._deadlines.items()):
            owner = next((w for w in self._workers if id in w.link.outstanding), None)
            if owner is None:
                del self._deadlines[id]
            elif now >= deadline:
                del self._deadlines[id]
                owner.kill("timeout")

    # ---- birth and death ----

    def _add_worker(self) -> Worker:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        threads = max(1, (cores or 1) // self._count)
        worker = Worker(self._directory, threads, self._take_events, self._given_back)
        self._workers.append(worker)
        self._selector.register(worker.link.channel, selectors.EVENT_READ, worker)
        if worker.sentinel >= 0:
            self._selector.register(worker.sentinel, selectors.EVENT_READ, worker)
        for output in worker.outputs:
            reader = _Reader(worker, output)
            self._selector.register(output.descriptor, selectors.EVENT_READ, reader)
        return worker

    def _remove_worker(self, worker: Worker) -> None:
        self._workers.remove(worker)
        self._selector.unregister(worker.link.channel)
        if worker.sentinel >= 0:
            self._selector.unregister(worker.sentinel)
        for output in worker.outputs:
            if output.descriptor >= 0:
                self._selector.unregister(output.descriptor)

    def _died(self, worker: Worker) -> None:
        """A worker is dead, or talks nonsense: account for its jobs.  `_deal` replaces it."""
        worker.take_last_words()
        self._read_to_the_end(worker)
        running = worker.running
        worker.kill("")
        why = worker.bury()
        self._remove_worker(worker)
        worker.close()
        jobs = list(worker.link.outstanding.values())
        if not worker.has_reported and running is None:
            self._bad_starts += 1
        lost: list[Event] = []
        for job in jobs:
            if job.id in self._cancelled:
                self._cancelled.discard(job.id)
                lost.append(Lost(job.id, _not_guilty(why, job is running)))
            elif job is running:
                lost.append(Lost(job.id, why))
            elif self._bad_starts >= _MOST_BAD_STARTS:
                detail = f"a worker process that did not come up ({why.detail})"
                lost.append(Lost(job.id, Certificate("start", detail, why.host, why.pid, False)))
            else:
                self._jobs.appendleft(job)
        if lost and self._sink is not None:
            self._sink(lost)

    def _read_to_the_end(self, worker: Worker) -> None:
        """Take what a dead worker's tasks printed, as far as it has come."""
        for output in worker.outputs:
            for _ in range(_MOST_LAST_READS):
                if output.descriptor < 0 or not self._read_output(_Reader(worker, output)):
                    break


def _not_guilty(why: Certificate, started: bool) -> Certificate:
    return Certificate("cancelled", why.detail, why.host, why.pid, started, guilty=False)
