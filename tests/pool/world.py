"""A world for the pool machine: workers that die, freeze, hang, arrive late and leave.

`World` plays the shell and the workers, on a clock of its own, and holds every
action against what it knows of them.  It shares no code with the machine but its
table.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Mapping, Sequence
from importlib import util
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any
from unittest.mock import patch

import pytest
from msgspec.structs import replace

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
    Needs,
    Ok,
    Slots,
)
from fancypipe_core.toolkit.pool import states
from fancypipe_core.toolkit.pool.states import (
    TRANSITIONS,
    Action,
    Cancel,
    CancelJobs,
    Died,
    Dismiss,
    Ended,
    Event,
    GiveUp,
    HungUp,
    Joined,
    Kill,
    Look,
    NotStarted,
    Recall,
    RecallJobs,
    RoundTrip,
    Seen,
    Send,
    Start,
    State,
    Submit,
    Tell,
    Up,
)
from fancypipe_core.toolkit.pool.workers import Rules

__all__ = ["Process", "Watched", "World"]

SOURCE = Path(states.__file__).parents[1]
# In the order in which they import each other.
PARTS = (
    "account", "clock", "workers", "clocks", "queue", "start_backoff", "roster", "promises",
    "dispatcher", "blame", "returns", "deaths", "machine",
)  # fmt: skip
CALLS = [Call(f"task{n}", Live(None)) for n in range(3)]
TYPICAL = (0.00001, 0.003, 0.2)  # seconds that jobs of these take
OK = Ok(Live(None))
BAD = Err("E", "it failed", "", "", None, "h", 1)
SLACK = 1e-6
MACHINE = Equipment(3, 100, ("0", "1"))  # of a worker that comes by itself


class Watched:
    """The machine's modules, compiled anew.

    Args:
        changes: For a module's name, what to replace in its source by what.

    Attributes:
        steps: The transitions that workers have made.
    """

    def __init__(self, changes: Mapping[str, Sequence[tuple[str, str]]] | None = None) -> None:
        self.steps: set[tuple[State, State]] = set()
        parts: dict[str, ModuleType] = {}
        for name in PARTS:
            where = name if name in ("account", "clock") else f"pool.{name}"
            source = SOURCE.joinpath(*where.split(".")).with_suffix(".py").read_text("utf-8")
            for old, new in (changes or {}).get(name, ()):
                assert source.count(old) == 1, f"{name} has {source.count(old)} times:\n{old}"
                source = source.replace(old, new)
            spec = util.spec_from_loader(f"fancypipe_core.toolkit.{where}", None)
            assert spec is not None
            part = util.module_from_spec(spec)
            with patch.dict(sys.modules, parts):
                exec(compile(source, f"<{name}, changed>", "exec"), part.__dict__)
            if name == "workers":
                vars(part)["Worker"] = self._watch(part.Worker)
            parts[part.__name__] = part
        self.module = parts["fancypipe_core.toolkit.pool.machine"]

    def _watch(self, worker: Any) -> Any:
        steps, slot = self.steps, worker.state

        def write(self: Any, state: State) -> None:
            before = slot.__get__(self) if hasattr(self, "slots") else None
            if before not in (None, state):
                assert state in TRANSITIONS[before], f"from {before.name} to {state.name}"
                steps.add((before, state))
            slot.__set__(self, state)

        return type("Worker", (worker,), {"__slots__": (), "state": property(slot.__get__, write)})


class Process:
    """A worker as it really is.

    Attributes:
        inbox: The jobs that it has and has not begun.
        cell: The job that it began last.
        running: The jobs that it runs.
        made: The jobs whose values are there.
        ended: Jobs that are over and not reported.
        wire: What it has said and nobody has read.
        recalled: What was recalled from it, and it has not obeyed yet; it begins nothing before.
        hangs: Whether what it runs does not end.
    """

    def __init__(self, number: int, slots: int, now: float, in_order: bool) -> None:
        self.number = number
        self.in_order = in_order
        self.slots = slots
        self.share = slots  # how many of them are for us, as far as the machine was told
        self.waits = True  # whether more may wait there
        self.born = now
        self.up = self.dead = self.stopped = self.killed = self.hung_up = False
        self.unkillable = self.deaf = self.hangs = False
        self.told_dead = False
        self.dismissed = False
        self.inbox: deque[Job] = deque()
        self.recalled: set[JobId] = set()
        self.running: dict[JobId, Job] = {}
        self.cell: JobId | None = None
        self.begun = False
        self.made: set[JobId] = set()
        self.unreported: list[JobId] = []
        self.ended: list[Done | Lost] = []
        self.wire: list[Event] = []
        self.woke = 0.0
        self.wrong = ""  # what the looks at it have shown, without a break, since when
        self.wrong_since = 0.0
        self.single = False  # it was started for a suspect
        self.alone: JobId | None = None
        self.reason: tuple[str, str] | None = None
        self._devices: tuple[str, ...] = ()

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices of the job that it has, as far as anybody knows."""
        waits = any(id not in self.recalled for id in self.waiting)
        return self._devices if waits or self.unreported else ()

    @devices.setter
    def devices(self, names: tuple[str, ...]) -> None:
        self._devices = names

    @property
    def is_ending(self) -> bool:
        """Whether the machine knows that it is about to end."""
        return self.dismissed or self.killed or self.hung_up

    @property
    def has_suspect(self) -> bool:
        """Whether it has a job that must have no other beside it."""
        waits = self.alone not in self.recalled and self.alone in self.waiting
        return waits or self.alone in self.unreported

    @property
    def waiting(self) -> list[JobId]:
        """The jobs that it has not begun."""
        return [job.id for job in self.inbox]

    @property
    def last(self) -> JobId | None:
        """What a look at the cell tells: the last that began, if nobody has read of its end."""
        return self.cell if self.cell in self.unreported else None

    @property
    def unread(self) -> list[JobId]:
        """The jobs of whose end it has said something that nobody has read."""
        said = [event for event in self.wire if isinstance(event, Ended)]
        return [end.id for event in said for end in event.events if isinstance(end, (Done, Lost))]

    @property
    def next(self) -> Job | None:
        """What it begins next, or gives back; a follower waits for what it needs."""
        if self.in_order:
            return self.inbox[0] if self.inbox else None
        here = {*self.waiting, *self.running}
        return next((job for job in self.inbox if here.isdisjoint(job.after)), None)


class World:
    """The shell, the workers and the engine.

    Args:
        watched: The machine.
        rnd: Makes all choices.
        rules: Of the workers; `workers` is 0 for those that come by themselves.
    """

    def __init__(self, watched: Watched, rnd: Random, rules: Rules) -> None:
        self.rnd = rnd
        self.rules = rules
        self.now = 0.0
        self.paused = 0.0  # seconds that the shell itself did not run
        self.late = False  # whether it has not read for long
        self.read = 0.0  # when it read again after that
        self.pool = watched.module.Pool(rules)
        self.processes: dict[int, Process] = {}
        self.next_job = 0
        self.next_worker = 0
        self.jobs: dict[JobId, Job] = {}
        self.ended: dict[JobId, Done | Lost] = {}
        self.begun: dict[JobId, int] = {}
        self.begun_at: dict[JobId, float] = {}
        self.cancelled: dict[JobId, bool] = {}
        self.cancelled_at: dict[JobId, float] = {}
        self.slots: Slots | None = None
        self.gave_up = self.failures = self.deaths = 0
        self.startable = True
        # A pool of workers that dies as a whole, and nobody can tell which job it was.
        self.is_whole = bool(rules.workers) and not rules.in_order
        self.comes = not rules.workers  # workers come by themselves
        self.followed = self.returned = 0  # followers that began, and that came back
        self.has_needs = False
        self.machine = rules.equipment() if rules.equipment and rules.workers else None
        self.suspects: set[int] = set()
        self.losses: dict[int, int] = {}  # deaths of workers under a task
        self.again: list[Job] = []  # what the engine tries again
        self.do(self.pool.open(self.now))

    @property
    def lived(self) -> float:
        """The time in which the shell ran."""
        return self.now - self.paused

    def pause(self, seconds: float) -> None:
        """The shell does not run; the workers do."""
        if seconds >= 1.0:
            self.late = True
        self.now += seconds
        due = self.pool.due
        if due is not None and self.now > due + 1.0:
            self.paused += self.now - due

    # ---- the machine ----

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

    # ---- what workers do ----

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

    def die(self, process: Process) -> None:
        """Die, and let the machine hear of it."""
        events: list[Event] = []
        self._die(process, events)
        self.handle(*events)

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

    def hang_up(self, process: Process) -> None:
        """Close the channel: what was said before is read."""
        events = self._read(process)
        if self.rules.in_order and not process.last:
            process.inbox.clear()  # it ends, and begins nothing more
        process.hung_up = True
        events.append(HungUp(process.number, process.last, process.begun, "spoilt"))
        self.handle(*events)

    # ---- what the engine does ----

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

    @property
    def open_jobs(self) -> list[JobId]:
        return [id for id in self.jobs if id not in self.ended]

    @property
    def alive(self) -> list[Process]:
        return [process for process in self.processes.values() if not process.told_dead]

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
