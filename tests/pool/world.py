"""A world for the pool machine: workers that die, freeze, hang, arrive late and leave.

`World` plays the engine, the shell and the workers, on a clock of its own, and holds every
action against what it knows of them.  It shares no code with the machine but its table.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest

from fancypipe_core.backend import Job, JobId, Live, Needs
from fancypipe_core.toolkit.pool.states import Cancel, Joined, Recall, RoundTrip, Submit, Up
from fancypipe_core.toolkit.pool.workers import Rules
from tests.pool.process import Process
from tests.pool.shell import Shell
from tests.pool.watched import Watched
from tests.pool.workers import CALLS

__all__ = ["World"]


class World(Shell):
    """The engine, the shell and the workers.

    Args:
        watched: The machine.
        rnd: Makes all choices.
        rules: Of the workers; `workers` is 0 for those that come by themselves.
    """

    def __init__(self, watched: Watched, rnd: Random, rules: Rules) -> None:
        self.next_job = 0
        self.next_worker = 0
        self.has_needs = False
        super().__init__(watched, rnd, rules)

    def submit(
        self,
        count: int,
        *,
        alone: bool = False,
        limit: float | None = None,
        needs: Needs | None = None,
    ) -> None:
        jobs = []
        there = self.open_jobs
        for _ in range(count):
            self.next_job += 1
            id = (self.next_job, 1)
            after = () if self.is_whole or alone else self._some_needs(there)
            job = Job(id, self.rnd.choice(CALLS), Live(None), limit, alone, after, needs)
            self.jobs[id] = job
            jobs.append(job)
            there.append(id)
        self.do(self.pool.ask(Submit(jobs), self.now))
        self.pool.check()
        self._submit_again()

    def _some_needs(self, jobs: Sequence[JobId]) -> tuple[JobId, ...]:
        """Return what a job follows."""
        if not jobs or self.rnd.random() < 0.6:
            return ()
        return tuple(dict.fromkeys(self.rnd.choices(jobs[-5:], k=self.rnd.choice((1, 1, 2)))))

    def unwant(self, ids: Sequence[JobId], *, stop: bool) -> None:
        for id in ids:
            self.cancelled[id] = self.cancelled.get(id, False) or stop
            if stop:
                self.cancelled_at.setdefault(id, self.lived)
        self.do(self.pool.ask(Cancel(ids) if stop else Recall(ids), self.now))
        self.pool.check()
        self._submit_again()

    def join(self) -> None:
        """A worker comes by itself."""
        self.next_worker += 1
        process = Process(self.next_worker, self.rnd.randint(1, 3), self.lived, in_order=False)
        self.processes[process.number] = process
        if self.rnd.random() < 0.5:
            process.wire.append(Joined(process.number, self.rules.start))
        else:
            self.come_up(process)
        self.read_all()

    def share(self) -> None:
        """Others want slots of a worker, or have left; and the way to it is measured."""
        if not self.alive:
            return
        process = self.rnd.choice(self.alive)
        share = self.rnd.randint(0, process.slots)
        if process.up:
            process.wire.append(Up(process.number, share, share == process.slots))
        process.wire.append(RoundTrip(process.number, self.rnd.choice((0.0001, 0.1, 3.0))))

    def go_on(self, process: Process, *, patient: bool = True) -> bool:
        """Let a worker do the next thing that it would; tell whether there was anything.

        Args:
            process: Who.
            patient: Whether a job that hangs goes on to hang.
        """
        if process.stopped and not process.killed:
            return False
        if process.killed and not process.unkillable:
            self.die(process)
        elif process.killed:
            return False
        elif process.dismissed or process.hung_up:
            self.die(process)
        elif not process.up:
            self.come_up(process)
        elif process.recalled and not process.deaf:
            self.answer(process)
        elif process.next and len(process.running) < process.slots and not process.recalled:
            self.begin(process)
        elif process.running and not (process.hangs and patient):
            self.finish(process)
        elif process.ended and not (process.running and self.rules.in_order):
            self.report(process)
        else:
            return bool(process.wire)
        return True

    def settle(self) -> None:
        """Let the world behave from now on, but for who is stopped; all jobs must end."""
        self.startable = True
        if not self.rules.kills:
            for process in self.alive:
                if process.stopped:
                    self.die(process)  # others see that, and say so
                elif process.up and self.comes:
                    process.wire.append(Up(process.number, process.slots))  # others have left
        begin = self.now
        for _ in range(100_000):
            if not self.open_jobs:
                return
            assert self.now < begin + 2000.0, self._why()
            if not self.rules.workers and not self.alive:
                self.join()
            # What hangs for a minute is a long task, and no fault.
            patient = self.now < begin + 60.0
            busy = [self.go_on(process, patient=patient) for process in list(self.alive)]
            if any(busy):
                self.now += 0.0001
                self.read_all()
            elif patient and not self.pool.due:
                self.now = begin + 60.0
            else:
                assert self.pool.due is not None, self._why()
                self.tick()
        pytest.fail(self._why())

    def _why(self) -> str:
        return "; ".join(self.pool.explain(id) for id in self.open_jobs[:5]) + " for ever"
