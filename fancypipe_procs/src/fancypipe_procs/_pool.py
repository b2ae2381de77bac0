"""A pool of worker processes: who gets which jobs, and what happens when one dies.

It lives in the engine's thread, which waits here for the workers' reports: no
hand-over between threads, and a write to an idle worker happens inside
`submit`.  A worker that has nothing to do makes the pool call back what others
have not begun.  The parts: `_dealing` keeps the jobs, `_crew` the workers,
`_watch` the clocks.
"""

from __future__ import annotations

import os
import selectors
from collections.abc import Sequence
from time import monotonic

from fancypipe_core.backend import (
    BackendOptions,
    Certificate,
    Done,
    Environment,
    Event,
    Job,
    JobId,
    Lost,
    Note,
    Sink,
    Slots,
)
from fancypipe_core.errors import ConnectionLost, ProtocolError
from fancypipe_procs._crew import Crew, Reader
from fancypipe_procs._dealing import Queue
from fancypipe_procs._limits import Limits, ProcsSettings
from fancypipe_procs._watch import Watch, call_back
from fancypipe_procs._worker import SPOILT, Worker

__all__ = ["ProcsBackend"]


class ProcsBackend:
    """Runs jobs on processes.

    Args:
        options: How many processes, and the folder for temporary files.
        limits: How long anything may take.
    """

    def __init__(self, options: BackendOptions, limits: Limits | None = None) -> None:
        self._count = options.workers
        self._limits = limits or _chosen(options.settings)
        self._queue = Queue(self._count)
        self._watch = Watch(self._limits)
        self._crew = Crew(
            self._count, options.directory, self._limits, self._take_events, self._given_back
        )
        self._sink: Sink | None = None
        self._ahead = 0
        self._warned = False
        self._cancelled: set[JobId] = set()
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)

    # ---- the contract ----

    def start(self, sink: Sink) -> None:
        self._sink = sink
        self._crew.selector.register(self._wake_in, selectors.EVENT_READ, None)
        # One, while the client composes its graph; the others when they are needed.
        self._crew.first()
        self._say_slots()

    def adapt(self, environment: Environment) -> None:
        self._crew.adapt(environment)

    def submit(self, jobs: Sequence[Job]) -> None:
        self._queue.add(jobs)
        self._deal()

    def cancel(self, ids: Sequence[JobId]) -> None:
        self.recall(ids)
        at = monotonic() + self._limits.cancel
        for worker in self._everybody():
            for id in set(ids).intersection(worker.link.outstanding):
                worker.kill_at.setdefault(id, at)

    def recall(self, ids: Sequence[JobId]) -> None:
        unwanted = set(ids)
        waiting = self._queue.drop(unwanted)
        if waiting:
            self._report_cancelled(waiting)
        if not self._queue.alone:
            for worker in self._crew.workers:
                worker.retiring = False
        for worker in self._everybody():
            mine = unwanted.intersection(worker.link.outstanding)
            if mine:
                self._cancelled |= mine
                call_back(worker)

    def stop(self, grace: float) -> None:
        self._queue.clear()
        for why in self._crew.stop(grace, self._read_output):
            self._tell(Note(None, "warning", f"a worker process could not be ended: {why}"))
        self._sink = None
        for descriptor in (self._wake_in, self._wake_out):
            if descriptor >= 0:
                os.close(descriptor)
        self._wake_in = self._wake_out = -1

    def forget(self) -> None:
        self._sink = None
        self._crew.forget_all()
        for descriptor in (self._wake_in, self._wake_out):
            os.close(descriptor)
        self._wake_in = self._wake_out = -1

    def wake(self) -> None:
        try:
            os.write(self._wake_out, b"x")
        except (BlockingIOError, OSError):
            return  # it is full of wake-ups, or closed

    def drive(self, timeout: float | None) -> None:
        until = None if timeout is None else monotonic() + timeout
        while True:
            ready = self._crew.selector.select(self._patience(until))
            heard = self._serve(ready)
            heard = self._look_at_clocks() or heard
            self._deal()
            if heard or (until is not None and monotonic() >= until):
                return

    # ---- what the workers say ----

    def _serve(self, ready: Sequence[tuple[selectors.SelectorKey, int]]) -> bool:
        """Take what has come; return whether the engine must hear of it."""
        heard = False
        # First what was printed: it was written before the report that is there as well.
        for key, mask in sorted(ready, key=lambda event: not isinstance(event[0].data, Reader)):
            if key.data is None:
                self._drain_wake()
                heard = True
            elif isinstance(key.data, Reader):
                heard = self._read_output(key.data) or heard
            elif key.data in self._crew.workers or key.data in self._crew.leaving:
                if key.fd == key.data.sentinel:
                    self._died(key.data)
                else:
                    self._hear(key.data, mask)
                heard = True
        return heard

    def _hear(self, worker: Worker, mask: int) -> None:
        """A worker's channel has something to read, or room to write."""
        if worker in self._crew.leaving:
            return  # it was let go in this round
        worker.heard = monotonic()
        try:
            if mask & selectors.EVENT_WRITE:
                worker.link.channel.flush()
                self._watch_writes(worker)
            if mask & selectors.EVENT_READ:
                worker.link.read()
                worker.ready = True
                worker.alone = worker.alone and bool(worker.load)
                self._watch.begun(worker)
                running = worker.running
                for output in worker.outputs:
                    self._tell(*output.settle(running))
        except ConnectionLost:
            self._hung_up(worker)
        except ProtocolError:
            worker.kill("protocol", SPOILT)
            self._crew.let_go(worker, self._limits.hung_up)

    def _hung_up(self, worker: Worker) -> None:
        """A worker's channel has ended: it is dying, or ends in good order, or was harmed."""
        if worker.ready and worker.running is None:
            worker.may_end = worker.has_begun
            self._crew.let_go(worker, self._limits.farewell)
            self._take_back(worker.link.take(list(worker.link.outstanding)))
        else:
            self._crew.let_go(worker, self._limits.hung_up, "protocol", SPOILT)

    def _read_output(self, reader: Reader) -> bool:
        """Pass on what tasks print; return whether there was something to show."""
        worker, output = reader
        if output.descriptor < 0:
            return False
        notes, more = output.read(worker.running)
        if not more:
            self._crew.forget(output.descriptor)
            output.close()
        if notes and self._sink is not None:
            self._sink(notes)
        return bool(notes)

    def _drain_wake(self) -> None:
        try:
            os.read(self._wake_in, 4096)
        except BlockingIOError:
            return

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
            self._crew.births.succeeded()
            self._queue.pace.record(seconds, count)
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
        self._queue.take_back(jobs)

    def _given_back(self, worker: Worker, jobs: Sequence[Job]) -> None:
        """A worker has answered."""
        worker.called_back = None
        self._take_back(jobs)

    def _report_cancelled(self, ids: Sequence[JobId]) -> None:
        why = Certificate(
            "cancelled", "cancelled before it began", "", 0, started=False, guilty=False
        )
        self._tell(*[Lost(id, why) for id in ids])

    def _tell(self, *events: Event) -> None:
        if events and self._sink is not None:
            self._sink(events)

    def _say_slots(self) -> None:
        ahead = self._queue.pace.ahead * self._count * 2
        if not self._ahead or not self._ahead / 2 < ahead < self._ahead * 2:
            self._ahead = ahead
            self._tell(Slots(self._count, ahead))

    # ---- who gets what ----

    def _deal(self) -> None:
        """Give jobs to workers: evenly, and to each only so many as hide the latency."""
        queue = self._queue
        if queue.alone:
            self._deal_alone()
        while queue.jobs:
            worker = self._least_loaded()
            batch = queue.batch(worker.load) if worker is not None else []
            if worker is None or not batch:
                return
            self._give(worker, batch)

    def _least_loaded(self) -> Worker | None:
        """Return who should get the next jobs; a new worker if all are busy and there is room."""
        crew = self._crew
        free = [
            worker
            for worker in crew.workers
            if worker.called_back is None and not worker.alone and not worker.retiring
        ]
        best = min(free, key=lambda worker: (worker.load, not worker.ready), default=None)
        if crew.is_full or (best is not None and not best.load):
            return best
        return crew.hire() or best  # fewer than asked for, but the work goes on

    def _deal_alone(self) -> None:
        """Give the next suspect a fresh worker; one suspect at a time."""
        crew, alone = self._crew, self._queue.alone
        if any(worker.alone for worker in crew.workers):
            return
        fresh = next((w for w in crew.workers if not w.load and not w.has_begun), None)
        if fresh is None and crew.is_full:
            # Who is idle is replaced.  If nobody is, one gets nothing more until it is.
            idle = next((worker for worker in crew.workers if not worker.load), None)
            if idle is None:
                if not any(worker.retiring for worker in crew.workers):
                    victim = min(crew.workers, key=lambda worker: worker.load)
                    victim.retiring = True
                    if victim.load > 1:
                        call_back(victim)
                return
            crew.dismiss(idle)
        for worker in crew.workers:
            worker.retiring = False
        fresh = fresh or crew.hire()
        if fresh is not None:
            fresh.alone = True
            self._give(fresh, [alone.popleft()])

    def _give(self, worker: Worker, jobs: list[Job]) -> None:
        if not worker.load:
            worker.heard = monotonic()
        try:
            worker.link.submit(jobs)
            self._watch_writes(worker)
            self._watch.begun(worker)
        except ConnectionLost:
            self._hung_up(worker)

    def _watch_writes(self, worker: Worker) -> None:
        """Ask the selector for room in the socket only while something waits for it."""
        selector, channel = self._crew.selector, worker.link.channel
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if channel.pending else 0)
        if selector.get_key(channel).events != events:
            selector.modify(channel, events, worker)

    # ---- clocks ----

    def _everybody(self) -> list[Worker]:
        return [*self._crew.workers, *self._crew.leaving]

    def _may_call(self) -> bool:
        """Whether a worker is idle, and no job waits for it."""
        return not self._queue and any(w.ready and not w.load for w in self._crew.workers)

    def _patience(self, until: float | None) -> float | None:
        """Return for how long nothing needs to be looked at, in seconds."""
        crew = self._crew
        now = monotonic()
        times = [until, crew.due()]
        times.append(self._watch.next_look(self._everybody(), may_call=self._may_call()))
        if self._queue and crew.births.not_before > now:
            times.append(crew.births.not_before)
        known = [time for time in times if time is not None]
        return max(0.0, min(known) - now) if known else None

    def _look_at_clocks(self) -> bool:
        """Do what is due; return whether the engine must hear of it."""
        seen = self._watch.look(self._everybody(), may_call=self._may_call())
        if seen.taken_back:
            self._take_back(seen.taken_back)
        dead = [*seen.abandoned, *self._crew.overdue()]
        for worker in dead:
            self._died(worker)
        return bool(seen.taken_back or dead)

    # ---- death ----

    def _died(self, worker: Worker) -> None:
        """A worker is dead: account for its jobs.  `_deal` replaces it."""
        crew = self._crew
        worker.take_last_words()
        crew.read_to_the_end(worker, self._read_output)
        running, has_begun = worker.running, worker.has_begun
        why = crew.bury(worker)
        if not has_begun and not worker.may_end:
            self._stillborn(worker, why)
        lost: list[Event] = []
        kept: list[Job] = []
        for job in worker.link.outstanding.values():
            if job.id in self._cancelled:
                self._cancelled.discard(job.id)
                lost.append(Lost(job.id, _not_guilty(why, job is running)))
            elif job is running:
                lost.append(Lost(job.id, why))
            else:
                kept.append(job)
        self._queue.take_back(kept)
        self._tell(*lost)

    def _stillborn(self, worker: Worker, why: Certificate) -> None:
        """A worker has ended before its first job."""
        hung = worker.killed_for == "start"
        detail = why.detail if hung else f"it ended with {why.detail} before its first task"
        self._crew.births.failed(worker.born, monotonic(), detail, why.output, hung=hung)
        if self._crew.workers and not self._warned:
            self._warned = True
            text = f"a worker process did not start: {detail}; the other workers continue"
            self._tell(Note(None, "warning", text))


def _chosen(settings: ProcsSettings | None) -> Limits:
    limits = Limits()
    if settings is None:
        return limits
    return limits._replace(start=settings.start_limit, frozen=settings.frozen_limit)


def _not_guilty(why: Certificate, started: bool) -> Certificate:
    return Certificate("cancelled", why.detail, why.host, why.pid, started, guilty=False)
