"""What the pool knows of each worker, and what must be true of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from enum import Enum
from typing import NamedTuple

from fancypipe_core.backend import Equipment, Job, JobId
from fancypipe_core.toolkit.pool.states import UP, State

__all__ = ["Clock", "Rules", "Worker", "check_worker"]


class Rules(NamedTuple):
    """What a kind of worker can do, and how long anything may take.  All times are seconds.

    Attributes:
        workers: How many workers the pool starts at most; 0 if they come by themselves.
        slots: How many jobs each worker that the pool starts runs at the same time; 0 if
            only it can tell, once it is up.
        kills: Whether the pool ends what takes too long or is cancelled by killing the
            worker; if not, workers do that themselves.
        in_order: Whether a worker runs one job at a time, in the order in which it was
            sent them.  Then those behind the one that it began last have not begun.
        fresh: Whether a suspect gets a worker that has not run anything, to itself.  With
            several slots that is one of a single slot.
        ahead: How much work each slot has waiting at least.
        most_ahead: How much it has at most: twice the measured way to the worker and
            back, between these two.
        next: One job waits for each slot if what the slot has is thought to take less than this:
            the way to the worker and back costs less than a hundredth of what is longer.
        together: How much work travels together, where workers take batches.
        least_ahead: How many jobs wait for each slot at least, however long they take.
        start: That a worker has to come up; an interpreter on a slow network disk takes
            tens.
        bad_starts: So many starts in a row that fail are no accident: the run is given up.
        first_pause: Between a failed start and the next; doubles.
        longest_pause: Where the doubling ends.
        frozen: That a worker may be stopped, or have jobs and run none; a loaded machine
            may forget a process for some.
        hung_up: Between the end of a worker's channel and its death, if it is dying.
        farewell: That a worker which ends in good order has for what its tasks
            registered for that.
        unkillable: After which a killed worker that does not die, since it hangs in the
            kernel, is given up.
        silence: Of a worker while another is idle, before jobs of it are recalled.
        answer: In which a recall should be answered, since a store in shared memory takes
            nanoseconds; then the worker is looked at.
        cancel: That a cancelled job has to end by itself.
        first: Until one of those that come by themselves is up, at the beginning; None
            for no limit.
        away: Without any worker that is up, and has somebody to run jobs, while jobs wait:
            until the run is given up; None for no limit.
        say_away: The same, until that is told to the user, of workers that the pool starts.
        unmet: With workers of which none can ever have what a job needs, until the run is
            given up; None for no limit.
        equipment: What the machine of the workers that the pool starts has; asked once, when
            a job needs more than one core.  Of workers that come by themselves each has its
            own, and this only says that needs are the pool's affair.  None if they are not.
        spared: So many deaths of whole workers are not held against a task that may have
            run there, for they are more likely to be the machine's.
    """

    workers: int
    slots: int = 1
    kills: bool = True
    in_order: bool = True
    fresh: bool = True
    ahead: float = 0.005
    most_ahead: float = 0.005
    next: float = 0.0
    together: float = 0.002
    least_ahead: int = 0
    start: float = 60.0
    bad_starts: int = 5
    first_pause: float = 0.1
    longest_pause: float = 5.0
    frozen: float = 20.0
    hung_up: float = 1.0
    farewell: float = 10.0
    unkillable: float = 10.0
    silence: float = 0.002
    answer: float = 0.02
    cancel: float = 0.1
    first: float | None = None
    away: float | None = None
    say_away: float = 5.0
    unmet: float | None = None
    spared: int = 0
    equipment: Callable[[], Equipment] | None = None


class Clock(Enum):
    """What a worker, or the pool, waits for."""

    START = "to be up"
    LIMIT = "the end of a job's time limit"
    CANCEL = "the end of a cancelled job"
    ALIVE = "the next look at whether it lives"
    ANSWER = "the answer to a recall"
    END = "its end"
    DEATH = "its death, once it was killed"
    BALANCE = "the moment to recall jobs for an idle worker"
    BACKOFF = "the next start, after one that failed"
    NOBODY = "any worker at all"
    ABSENCE = "the moment to say that nobody is there"
    UNMET = "a worker that has what a job needs"

    __hash__ = object.__hash__


class Worker:
    """One worker.

    Attributes:
        id: Its number.
        state: Where it is.
        slots: How many jobs it runs at the same time.
        waits: Whether more jobs than these may wait there.
        manned: Whether anybody is there to run them.
        gone: The jobs that it has returned since an input was not there for it.
        refusals: How often in a row it returned jobs that were not recalled, and ran none.
        round_trip: Seconds to it and back, as the shell has measured.
        budget: For so many seconds each of its slots has work, so that it never waits.
        jobs: What it was sent and has not reported, in the order of sending.
        tied: Those of them that follow others of them: for each, how many.
        work: How long these are thought to take together, in seconds.
        alone: Whether it has a suspect, which must have no other beside it.
        single: Whether it was started with one slot, for suspects only.
        retiring: Whether it gets nothing more, so that it can be replaced.
        equipment: What its machine has, if that is its own.
        promised: Whether it has a job with needs, which is to have nothing beside it.
        kept: Whether its slots are kept for one.
        extra: Slots that its jobs with needs take, beyond one for each.
        begun: Whether it is known to have begun a job, ever.
        orderly: Whether its end is in order.
        asked: Jobs that were recalled from it, and whose end it has not reported.
        doomed: Jobs that are cancelled, and end with the worker if they run on.
        born: When it was started.
        heard: When it last reported, or got work while it had none.
        looked: When it was last looked at.
        stopped: Whether a signal had stopped it at the last look.
        silent: For how long it has been stopped, or has had jobs and run none.
        limited: The job whose time limit its clock was set for last.
        due: When each of its clocks is over.
        questions: The clocks on account of which it is to be looked at now.
        end: The reason, and a phrase, that it is killed for if it does not end.
    """

    __slots__ = (
        "_followers", "alone", "asked", "begun", "born", "budget", "doomed", "due", "end",
        "equipment", "extra", "gone", "heard", "heard_at_look", "id", "jobs", "kept", "limited",
        "looked", "manned", "orderly", "promised", "questions", "refusals", "retiring",
        "round_trip", "silent", "single", "slots", "state", "stopped", "tied", "waits", "work",
    )  # fmt: skip

    def __init__(self, id: int, slots: int, now: float, budget: float) -> None:
        self.id = id
        self.state = State.STARTING
        self.slots = slots
        self.waits = self.manned = True
        self.round_trip = 0.0
        self.budget = budget
        self.jobs: dict[JobId, Job] = {}
        self.tied: dict[JobId, int] = {}
        self._followers: dict[JobId, list[JobId]] = {}
        self.work = 0.0
        self.alone = self.retiring = self.begun = self.orderly = False
        self.single = self.stopped = self.promised = self.kept = False
        self.equipment: Equipment | None = None
        self.extra = 0
        self.asked: set[JobId] = set()
        self.doomed: set[JobId] = set()
        self.born = self.heard = self.looked = now
        self.heard_at_look = -1.0
        self.silent = 0.0
        self.refusals = 0
        self.gone: set[JobId] = set()
        self.limited: JobId | None = None
        self.due: dict[Clock, float] = {}
        self.questions: set[Clock] = set()
        self.end = ("", "")

    def take(self, jobs: Sequence[Job]) -> None:
        """It is sent these jobs."""
        self.jobs.update([(job.id, job) for job in jobs])
        for job in [job for job in jobs if job.after]:
            needs = [id for id in job.after if id in self.jobs]
            for id in needs:
                self._followers.setdefault(id, []).append(job.id)
            if needs:
                self.tied[job.id] = len(needs)

    def drop(self, id: JobId) -> Job | None:
        """It does not have a job any more; return that, None if it had not."""
        job = self.jobs.pop(id, None)
        if self.tied:
            self.untie(id)
        return job

    def untie(self, id: JobId) -> None:
        """It does not have this job any more; to be called if any are tied."""
        tied = self.tied
        tied.pop(id, None)
        for follower in self._followers.pop(id, ()):
            left = tied.get(follower, 0) - 1
            if left > 0:
                tied[follower] = left
            else:
                tied.pop(follower, None)
        if not tied:
            self._followers.clear()

    def family(self, heads: Collection[JobId]) -> list[JobId]:
        """Return these jobs, and those that follow nobody here but them, in order."""
        if not self.tied:
            return list(heads)
        mine = set(heads)
        for id in self.tied:  # in the order of sending
            if all(need in mine for need in self.jobs[id].after if need in self.jobs):
                mine.add(id)
        return [id for id in self.jobs if id in mine]

    @property
    def takes_more(self) -> bool:
        """Whether it may be given jobs of the queue that any worker may run."""
        return not (self.alone or self.single or self.retiring or self.promised or self.kept)

    @property
    def spare(self) -> list[JobId]:
        """The jobs that it cannot have begun if it does what it should, in order."""
        return list(self.jobs)[self.slots if self.state is not State.STARTING else 0 :]

    @property
    def movable(self) -> list[JobId]:
        """Those of `spare` that another could run, but for their followers."""
        return [id for id in self.spare if id not in self.tied]

    def behind(self, running: JobId | None) -> list[JobId]:
        """Return the jobs that it has not begun, for one that runs them in order."""
        ids = list(self.jobs)
        # If the job that it began last has been reported, none of these has begun.
        return ids if running not in self.jobs else ids[ids.index(running) + 1 :]

    def __str__(self) -> str:
        jobs = f", {len(self.jobs)} jobs" if self.jobs else ""
        alone = ", which must have no other beside it" if self.alone and self.jobs else ""
        waits = "; waits for " + ", ".join(clock.value for clock in self.due) if self.due else ""
        return f"worker {self.id} {self.state.value}{jobs}{alone}{waits}"


def check_worker(worker: Worker, rules: Rules) -> None:
    """Verify what must be true of a worker.

    Raises:
        AssertionError: Something is not; the text names the worker.
    """
    name, state, due = f"worker {worker.id}", worker.state, worker.due
    assert state is not State.GONE, f"{name} is gone, and still here"
    if state is State.IDLE:
        assert not worker.jobs, f"{name} is idle, and has {list(worker.jobs)}"
    if state is State.BUSY:
        assert worker.jobs, f"{name} is busy with nothing"
    if state in UP:
        assert worker.retiring == (state is State.RETIRING), f"{name}: retiring and {state.name}"
    assert not worker.alone or len(worker.jobs) <= 1, f"{name}: a suspect has company"
    assert worker.work >= 0.0, f"{name}: less than no work"
    assert worker.doomed <= set(worker.jobs), f"{name}: killed for what it has not"
    before: set[JobId] = set()
    for id, job in worker.jobs.items():
        needs = len(before.intersection(job.after))
        assert worker.tied.get(id) == (needs or None), f"{name}: {id} follows {needs} of its jobs"
        before.add(id)
    assert worker.tied.keys() <= worker.jobs.keys(), f"{name}: tied, and not there"
    assert not worker.questions, f"{name}: a look was not answered"
    if state is State.LEAVING:
        assert Clock.END in due, f"{name} may take for ever to leave"
    if state is State.KILLED:
        assert Clock.DEATH in due, f"{name} may take for ever to die"
    if state is State.STARTING:
        assert Clock.START in due, f"{name} may take for ever to come up"
    if rules.kills and state in UP and (worker.jobs or worker.asked):
        assert Clock.ALIVE in due, f"{name} may be frozen for ever"
    if rules.in_order and state is State.RECALLED:
        assert Clock.ANSWER in due, f"{name} may never answer"
