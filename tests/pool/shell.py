"""The shell of the pool's world: it carries out what the machine wants.

Every action is held against what is known of the workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from msgspec.structs import replace

from fancypipe_core.backend import Done, Job, JobId, Lost, Slots
from fancypipe_core.toolkit.pool.states import (
    Action,
    CancelJobs,
    Dismiss,
    Event,
    GiveUp,
    HungUp,
    Kill,
    Look,
    NotStarted,
    RecallJobs,
    Seen,
    Send,
    Start,
    Submit,
    Tell,
)
from fancypipe_core.toolkit.pool.workers import Rules
from tests.pool.process import Process
from tests.pool.watched import Watched
from tests.pool.workers import MACHINE, Workers

__all__ = ["Shell"]

SLACK = 1e-6


class Shell(Workers):
    """The machine, what carries out its actions, and the workers.

    Args:
        watched: The machine.
        rnd: Makes all choices.
        rules: Of the workers.
    """

    def __init__(self, watched: Watched, rnd: Random, rules: Rules) -> None:
        super().__init__(rnd, rules)
        self.pool = watched.module.Pool(rules)
        self.late = False  # whether the shell has not read for long
        self.slots: Slots | None = None
        self.gave_up = 0
        self.startable = True
        self.returned = 0  # followers that came back
        self.machine = rules.equipment() if rules.equipment and rules.workers else None
        self.suspects: set[int] = set()
        self.losses: dict[int, int] = {}  # deaths of workers under a task
        self.again: list[Job] = []  # what the engine tries again
        self.do(self.pool.open(self.now))

    def pause(self, seconds: float) -> None:
        """The shell does not run; the workers do."""
        if seconds >= 1.0:
            self.late = True
        self.now += seconds
        due = self.pool.due
        if due is not None and self.now > due + 1.0:
            self.paused += self.now - due

    def do(self, actions: Sequence[Action]) -> None:
        """Carry out what the machine wants."""
        answers: list[Event] = []
        for action in actions:
            self._carry_out(action, answers)
        if answers:
            self.do(self.pool.handle(answers, self.now))

    def handle(self, *events: Event) -> None:
        """Let the machine hear of something, with all that was said before."""
        self.do(self.pool.handle(events, self.now))
        self.pool.check()
        for process in self.alive:
            if not (process.waits or process.is_ending):
                most = max(0, process.share - len(process.unreported))
                assert len(process.inbox) <= most, "others wait for slots, and jobs wait there"
        self._submit_again()

    def _submit_again(self) -> None:
        while self.again:
            jobs, self.again = self.again, []
            self.do(self.pool.ask(Submit(jobs), self.now))
            self.pool.check()

    def say(self, process: Process, event: Event) -> None:
        """Let the machine hear something of a worker, after all that it said before."""
        self.handle(*self._read(process), event)

    def tick(self) -> None:
        """Go to the moment at which the machine wants to be called, and call it."""
        self.read_all()
        if self.pool.due is not None:
            self.now = max(self.now, self.pool.due)
            self.read_all()

    def read_all(self) -> None:
        """Read what all have said, as a shell does before it lets anybody be judged."""
        events: list[Event] = []
        for process in self.processes.values():
            events += self._read(process)
        if self.late:
            self.late, self.read = False, self.lived
        self.handle(*events)

    def die(self, process: Process) -> None:
        """Die, and let the machine hear of it."""
        events: list[Event] = []
        self._die(process, events)
        self.handle(*events)

    def hang_up(self, process: Process) -> None:
        """Close the channel: what was said before is read."""
        events = self._read(process)
        if self.rules.in_order and not process.last:
            process.inbox.clear()  # it ends, and begins nothing more
        process.hung_up = True
        events.append(HungUp(process.number, process.last, process.begun, "spoilt"))
        self.handle(*events)

    def _carry_out(self, action: Action, answers: list[Event]) -> None:
        if isinstance(action, Tell):
            self._hear(action)
        elif isinstance(action, GiveUp):
            if self.rules.workers:
                assert self.failures >= self.rules.bad_starts // 2, "given up too soon"
            else:
                up = [one for one in self.alive if one.up and not one.is_ending and not one.wire]
                assert not up, "given up, and somebody is there"
            self.gave_up += 1
        elif isinstance(action, Start):
            self._start(action, answers)
        else:
            self._do_to(self.processes[action.worker], action, answers)

    def _hear(self, action: Tell) -> None:
        for event in action.events:
            if isinstance(event, Slots):
                self.slots = event
            elif isinstance(event, (Done, Lost)):
                self._end(event)

    def _start(self, action: Start, answers: list[Event]) -> None:
        number = action.worker
        assert self.rules.workers, "started who comes by himself"
        slots = action.slots or self.rnd.randint(1, 3)
        process = self.processes[number] = Process(number, slots, self.lived, self.rules.in_order)
        process.single = slots == 1
        if not self.startable:
            process.told_dead = True
            self.failures += 1
            answers.append(NotStarted(number, "no more processes"))

    def _do_to(self, process: Process, action: Action, answers: list[Event]) -> None:
        if isinstance(action, Send):
            self._send(process, action.jobs)
        elif isinstance(action, RecallJobs):
            assert not process.is_ending, "asked who is about to end"
            asked = process.recalled.intersection(action.ids)
            assert asked.isdisjoint(process.waiting), "asked twice"
            process.recalled.update(action.ids)
            if not self.rules.in_order:
                self.answer(process)
        elif isinstance(action, CancelJobs):
            assert not self.rules.kills, "told to stop what is to be killed"
            assert all(self.cancelled.get(id) for id in action.ids), "nobody cancelled it"
            if self.is_whole:
                process.recalled.update(action.ids)
                self.answer(process)
            else:
                self._cancel(process, set(action.ids))
        elif isinstance(action, Look):
            works = bool(process.running)
            wrong = "stopped" if process.stopped else "" if works else "idle"
            if wrong != process.wrong:
                process.wrong, process.wrong_since = wrong, self.lived
            seen = Seen(process.number, process.last, process.begun, works, process.stopped)
            answers.append(seen)
        elif isinstance(action, Dismiss):
            assert not process.inbox, "dismissed with jobs"
            assert not process.unreported, "dismissed at work"
            process.dismissed = True
        elif isinstance(action, Kill):
            self._kill(process, action, answers)

    def _send(self, process: Process, jobs: Sequence[Job]) -> None:
        assert jobs, "sent nothing"
        assert process.up or not self.comes, "sent to who is not up"
        has = len(jobs) + len(process.inbox) + len(process.unreported)
        assert process.waits or has <= process.share, "more than its share"
        assert not process.is_ending, "sent to who is about to end"
        for job in jobs:
            assert job.id not in self.ended, f"{job.id} is sent, and has ended"
            assert not process.has_suspect, "a suspect gets company"
            assert job.id not in process.waiting, f"{job.id} is sent again, and was not answered"
            here = {*process.waiting, *process.unreported, *process.unread}
            assert process.told_dead or here.issuperset(job.after), f"{job.id} follows nobody here"
            if job.needs is not None:
                self._promised(process, job)
            elif self.machine is not None and not self._having(process):
                process.devices = ()
                self._one_more(process)
            if (job.alone or job.id[0] in self.suspects) and self.rules.fresh:
                assert not (job.alone and process.begun), "a suspect's worker is not fresh"
                assert process.single, "a suspect's worker may be killed by others"
                assert not process.unreported, "a suspect's worker runs another"
                assert not process.inbox, "a suspect's worker has others"
                process.alone = job.id
            if not process.told_dead:
                process.inbox.append(job)

    def _having(self, process: Process) -> list[Job]:
        """Return what a worker has, as far as the machine can know."""
        waiting = [id for id in process.waiting if id not in process.recalled]
        ids = [*waiting, *process.unreported]
        return [self.jobs[id] for id in dict.fromkeys(ids)]

    def _promised(self, process: Process, job: Job) -> None:
        """A job with needs is sent: there is all that it needs, and nothing beside it."""
        needs = job.needs
        assert needs is not None
        if self.machine is None:
            if self.comes:
                assert not MACHINE._replace(cpus=process.slots).lacks(needs), "never to be met"
                mine = [one.needs for one in self._having(process) if one.needs]
                assert needs.memory + sum(one.memory for one in mine) <= MACHINE.memory
                assert needs.gpu + sum(one.gpu for one in mine) <= len(MACHINE.devices)
            return
        assert not self._having(process), "a job with needs has another before it"
        devices = [name for one in self.alive for name in one.devices]
        assert len(job.devices) == needs.gpu, f"{job.devices} for {needs}"
        assert not set(devices) & set(job.devices), f"{job.devices} are another's"
        process.devices = job.devices
        mine = [one.needs for other in self.alive for one in self._having(other) if one.needs]
        assert needs.memory + sum(one.memory for one in mine) <= self.machine.memory, "memory"
        assert needs.cpus + self._cpus() <= self.machine.cpus, "more cores than there are"

    def _cpus(self) -> int:
        """Return how many cores the jobs of all workers have."""
        mine = [[job.needs for job in self._having(process)] for process in self.alive]
        return sum(max([one.cpus if one else 1 for one in needs], default=0) for needs in mine)

    def _one_more(self, process: Process) -> None:
        """An idle worker is sent plain jobs."""
        assert self.machine is not None
        if any(job.needs for other in self.alive for job in self._having(other)):
            dying = sum(bool(self._having(one)) for one in self.alive if one.is_ending)
            assert self._cpus() < self.machine.cpus + dying, "more cores than there are"

    def _kill(self, process: Process, action: Kill, answers: list[Event]) -> None:
        reason = action.reason
        if not reason:
            assert process.killed, "given up, and never killed"
            self._die(process, answers)
            return
        if reason == "start":
            assert not process.up or process.wire, "killed for its start, and was up"
            assert self.lived - process.born >= self.rules.start - SLACK
        elif reason == "frozen":
            assert process.stopped or not process.running, "killed, and was at work"
            # It is looked at once in a second; what it does in between, nobody can know.
            seen = self.lived - process.wrong_since
            assert process.wrong, "killed, and nothing was wrong at the last look"
            assert seen >= self.rules.frozen - 2.0, f"killed, and wrong for {seen} s only"
        elif reason == "timeout":
            job = self.jobs[process.last or (0, 0)]
            assert job.time_limit is not None, "killed without a limit"
            assert self.lived - self.begun_at[job.id] >= job.time_limit - 2.0, "killed too soon"
        elif reason == "cancelled":
            assert self.cancelled.get(process.last or (0, 0)), "nobody cancelled what ran"
        process.killed = True
        process.reason = (reason, action.why)

    def _end(self, event: Done | Lost) -> None:
        id = event.id
        assert id in self.jobs, f"{id} was never submitted"
        assert id not in self.ended, f"{id} ends twice"
        self.ended[id] = event
        if isinstance(event, Done):
            assert self.begun.get(id), f"{id} is done, and never began"
            needs = [need for need in self.jobs[id].after if need not in self.ended]
            assert not needs, f"{id} is told before {needs}, which it needs"
            self.suspects.discard(id[0])
            self.losses.pop(id[0], None)
        elif event.why.detail == "cancelled before it began":
            assert not self.begun.get(id), f"{id} is told as not begun, and it was"
            if id not in self.cancelled:
                self._send_again(id)
        else:
            assert self.begun.get(id) or not self.rules.in_order, f"{id} is lost, not begun"
            if event.why.reason == "cancelled" and event.why.detail == "SIGSEGV":
                assert self.cancelled.get(id), f"{id} died by itself, and is told as cancelled"
            if event.why.guilty:
                assert not self.cancelled.get(id), f"{id} is guilty, and nobody wanted it"
                own = self.comes or event.why.peak_memory == id[0]
                assert own, f"{id} is blamed for another's death"
            if self.comes and event.why.reason != "cancelled":
                deaths = self.losses[id[0]] = self.losses.get(id[0], 0) + 1
                assert event.why.guilty == (deaths > self.rules.spared), f"death {deaths} of {id}"
            if (self.is_whole or self.comes) and id not in self.cancelled:
                self._try_again(id, event.why.guilty)

    def _send_again(self, id: JobId) -> None:
        """A follower has come back: the engine sends it with all that it needs."""
        job = self.jobs[id]
        assert job.after, f"{id} is recalled, and nobody wanted that"
        del self.ended[id]
        self.returned += 1
        self.jobs[id] = replace(job, after=())
        self.again.append(self.jobs[id])

    def _try_again(self, id: JobId, guilty: bool) -> None:
        if not guilty and self.is_whole:
            self.suspects.add(id[0])
        elif id[1] > 3:
            return
        job = self.jobs[id]
        alone = guilty and self.is_whole
        again = replace(job, id=(id[0], id[1] + 1), alone=alone, after=())
        self.jobs[again.id] = again
        self.again.append(again)
