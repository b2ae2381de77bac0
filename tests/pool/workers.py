"""The workers of the pool's world, as they really are."""

from __future__ import annotations

from collections import deque
from random import Random

from fancypipe_core.backend import (
    NOT_BEGUN,
    Call,
    Certificate,
    Done,
    Equipment,
    Err,
    Job,
    JobId,
    Live,
    Lost,
    Ok,
)
from fancypipe_core.toolkit.pool.states import Died, Ended, Event, Up
from fancypipe_core.toolkit.pool.workers import Rules
from tests.pool.process import Process

__all__ = ["CALLS", "MACHINE", "Workers"]

CALLS = [Call(f"task{n}", Live(None)) for n in range(3)]
TYPICAL = (0.00001, 0.003, 0.2)  # seconds that jobs of these take
OK = Ok(Live(None))
BAD = Err("E", "it failed", "", "", None, "h", 1)
MACHINE = Equipment(3, 100, ("0", "1"))  # of a worker that comes by itself


class Workers:
    """What workers do, and what they have done.

    Args:
        rnd: Makes all choices.
        rules: Of the workers; `workers` is 0 for those that come by themselves.
    """

    def __init__(self, rnd: Random, rules: Rules) -> None:
        self.rnd = rnd
        self.rules = rules
        self.now = 0.0
        self.paused = 0.0  # seconds that the shell itself did not run
        self.read = 0.0  # when it read again after it had not for long
        self.processes: dict[int, Process] = {}
        self.jobs: dict[JobId, Job] = {}
        self.ended: dict[JobId, Done | Lost] = {}
        self.begun: dict[JobId, int] = {}
        self.begun_at: dict[JobId, float] = {}
        self.cancelled: dict[JobId, bool] = {}
        self.cancelled_at: dict[JobId, float] = {}
        self.failures = self.deaths = 0
        # A pool of workers that dies as a whole, and nobody can tell which job it was.
        self.is_whole = bool(rules.workers) and not rules.in_order
        self.comes = not rules.workers  # workers come by themselves
        self.followed = 0  # followers that began

    @property
    def lived(self) -> float:
        """The time in which the shell ran."""
        return self.now - self.paused

    @property
    def open_jobs(self) -> list[JobId]:
        return [id for id in self.jobs if id not in self.ended]

    @property
    def alive(self) -> list[Process]:
        return [process for process in self.processes.values() if not process.told_dead]

    def stop_or_continue(self, process: Process) -> None:
        """Stop a worker by a signal, or let it go on."""
        process.stopped = not process.stopped
        if not process.stopped:
            process.woke = self.lived

    def come_up(self, process: Process) -> None:
        process.up = True
        machine = MACHINE._replace(cpus=process.slots) if self.comes else None
        process.wire.append(Up(process.number, process.slots, equipment=machine))

    def begin(self, process: Process) -> None:
        """Begin the next job; a follower only if what it needs has values here."""
        job = process.next
        assert job is not None
        process.inbox.remove(job)
        if not process.made.issuperset(job.after):
            process.ended.append(Lost(job.id, NOT_BEGUN))
            self.report(process)
            return
        self.followed += bool(job.after)
        self.begun[job.id] = self.begun.get(job.id, 0) + 1
        self.begun_at[job.id] = self.lived
        assert self.begun[job.id] == 1, f"{job.id} runs twice"
        process.running[job.id] = job
        process.cell = job.id
        process.begun = True
        process.unreported.append(job.id)

    def finish(self, process: Process) -> None:
        """End a job that runs."""
        job = process.running.pop(next(iter(process.running)))
        if self.rules.kills and not process.killed:
            ran = self.lived - max(self.begun_at[job.id], process.woke, self.read)
            assert ran <= 2.0 * (job.time_limit or ran) + 4.0, f"{job.id} ran beyond its limit"
            if self.cancelled.get(job.id):
                assert min(ran, self.lived - self.cancelled_at[job.id]) < 2.0, "and ran on"
        seconds = TYPICAL[CALLS.index(job.call)] * self.rnd.choice((0.5, 1.0, 1.0, 20.0))
        reply = BAD if self.rnd.random() < 0.05 else OK
        if reply is OK:
            process.made.add(job.id)
        process.ended.append(Done(job.id, reply, seconds))

    def report(self, process: Process) -> None:
        """Tell what has ended; now and then once more what was told before."""
        if process.ended and self.ended and self.rnd.random() < 0.1:
            old = self.rnd.choice(list(self.ended.values()))
            process.ended.insert(0, Done(old.id, OK, 0.0))
        if process.ended:
            process.wire.append(Ended(process.number, process.ended))
            process.ended = []

    def answer(self, process: Process) -> None:
        """Answer a recall: what has ended is told, and what has not begun will not begin."""
        if self.rules.in_order:
            self.report(process)
        ids = [id for id in process.waiting if id in process.recalled]
        process.inbox = deque(job for job in process.inbox if job.id not in process.recalled)
        process.recalled.clear()
        if ids:
            process.wire.append(Ended(process.number, [Lost(id, NOT_BEGUN) for id in ids]))

    def _cancel(self, process: Process, ids: set[JobId]) -> None:
        why = Certificate("cancelled", "stopped there", "h", 1, guilty=False)
        dropped = [job.id for job in process.inbox if job.id in ids]
        dropped += [id for id in process.running if id in ids]
        process.inbox = deque(job for job in process.inbox if job.id not in ids)
        for id in dropped:
            process.running.pop(id, None)
        if dropped:
            process.wire.append(Ended(process.number, [Lost(id, why) for id in dropped]))

    def _read(self, process: Process) -> list[Event]:
        events, process.wire = process.wire, []
        if events and not process.stopped:
            process.wrong = ""  # it has said something
        for event in events:
            if isinstance(event, Up):
                process.share, process.waits = event.slots, event.waits
            if isinstance(event, Ended):
                for report in event.events:
                    if isinstance(report, (Done, Lost)) and report.id in process.unreported:
                        process.unreported.remove(report.id)
        return [] if process.told_dead or process.hung_up else events

    def _die(self, process: Process, events: list[Event]) -> None:
        process.dead = True
        self.deaths += 1
        events += self._read(process)
        if process.told_dead:
            return
        process.told_dead = True
        last = process.last
        reason, detail = process.reason or ("signal", "SIGSEGV")
        blames = self.rules.in_order or self.is_whole or self.comes
        if self.is_whole:  # one that runs or is about to
            last = self.rnd.choice([*process.unreported, *(job.id for job in process.inbox), None])
            last = process.alone if process.has_suspect else last
        guilty = last[0] if last is not None and blames else 0
        why = Certificate(reason, detail, "h", 1, guilty=blames, peak_memory=guilty)
        begun = process.up if self.is_whole else process.begun
        if not begun and not process.dismissed:
            self.failures += 1
        every = not self.rules.in_order and begun
        events.append(Died(process.number, why, last, begun, every))
