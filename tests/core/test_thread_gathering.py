"""Jobs with needs on threads: threads that gather, in a simulation; and bugs planted in that."""

from __future__ import annotations

import random
from collections import deque
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fancypipe_core.backend import Call, Equipment, Job, JobId, Live, Needs
from fancypipe_threads import _gathering
from fancypipe_threads._limits import Worker

CALL = Call("test", Live(None))
MACHINE = Equipment(3, 100, ("0", "1"))
KINDS = (
    None, None, Needs(2), Needs(3), Needs(gpu=1), Needs(2, 0, 2), Needs(memory=40),
    Needs(memory=90), Needs(1, 30, 1), Needs(99, 999, 9),
)  # fmt: skip
SEEDS = 400


def gathering(*changes: tuple[str, str]) -> ModuleType:
    """Return the module, with something replaced in it."""
    source = Path(_gathering.__file__).read_text("utf-8")
    for old, new in changes:
        assert source.count(old) == 1, f"it is there {source.count(old)} times:\n{old}"
        source = source.replace(old, new)
    made = ModuleType("fancypipe_threads._gathering")
    exec(compile(source, "<gathering, changed>", "exec"), made.__dict__)
    made.this_machine = lambda _threads: MACHINE  # type: ignore[attr-defined]
    return made


class World:
    """Three threads, as the pool drives them; and what must be true whatever they do."""

    def __init__(self, module: Any, seed: int) -> None:
        self.random = random.Random(seed)
        self.seat = module.SEAT
        self.threads = 3
        self.made = module.Gathering(3, self.call)
        self.queue: deque[Job] = deque()
        self.free = [self.thread() for _ in range(3)]
        self.seated: list[Worker] = []
        self.runs: dict[JobId, tuple[Worker, Job]] = {}
        self.left: dict[JobId, Job] = {}  # in the order of coming
        self.over: set[JobId] = set()
        self.number = 0
        self.died = 0  # threads that sat for a job that runs

    @staticmethod
    def thread() -> Worker:
        return Worker("thread", lambda _worker: None)

    def call(self, count: int) -> None:
        self.queue.extendleft([self.seat] * count)

    def submit(self) -> None:
        self.number += 1
        job = Job((self.number, 1), CALL, Live(None), needs=self.random.choice(KINDS))
        self.left[job.id] = job
        self.queue.append(job)

    def step(self) -> None:
        """A free thread does what it would."""
        worker = self.free.pop()
        job: Job | None = self.queue.popleft()
        assert job is not None
        if job.needs is not None:
            job = self.made.take(worker, job)
        if job is None:
            self.free.append(worker)
        elif job is self.seat:
            self.seated.append(worker)
        else:
            self.begin(worker, job)

    def begin(self, worker: Worker, job: Job) -> None:
        assert job.id in self.left, "it runs twice, or was taken back"
        del self.left[job.id]
        self.runs[job.id] = worker, job
        running = [one for _, one in self.runs.values() if one.needs is not None]
        wants = [self.within(one.needs) for one in running]
        plain = len(self.runs) - len(running)
        cores = sum(one.cpus for one in wants) + plain - self.died
        assert cores <= self.threads, "too many cores"
        assert sum(one.memory for one in wants) <= MACHINE.memory, "too much memory"
        names = [name for one in running for name in one.devices]
        assert len(names) == len(set(names)), "a device is handed out twice"
        assert len(names) == sum(one.gpu for one in wants), "a job has not its devices"
        if job.needs is not None:
            older = [one for one in self.left.values() if one.id < job.id]
            came = [one for one in older if one.needs == job.needs and one not in self.queue]
            assert not came, "one that needs the same came before it"

    def within(self, needs: Needs | None) -> Needs:
        assert needs is not None
        return Needs(min(needs.cpus, self.threads), min(needs.memory, 100), min(needs.gpu, 2))

    def end(self) -> None:
        id = self.random.choice(list(self.runs))
        worker, job = self.runs.pop(id)
        self.over.add(id)
        if job.needs is not None:
            self.made.over(id)
        self.free.append(worker)

    def recall(self) -> None:
        ids = self.random.sample(range(1, self.number + 2), min(2, self.number + 1))
        wanted = [(number, 1) for number in ids]
        queued = [job for job in self.queue if job.id in wanted]
        self.queue = deque(job for job in self.queue if job.id not in wanted)
        for id in [*(job.id for job in queued), *self.made.recall(wanted)]:
            assert id in self.left, "it was taken back twice, or runs"
            del self.left[id]
        assert not any(id in self.left for id in wanted), "it was not taken back"

    def die(self) -> None:
        """A thread that sits or has a job is gone, and another takes its place, or none."""
        busy = [id for id, (_, job) in self.runs.items() if job.needs is None]
        if self.seated and (not busy or self.random.random() < 0.5):
            worker = self.seated.pop(self.random.randrange(len(self.seated)))
        else:
            worker, _ = self.runs.pop(busy[0])
        self.died += any(worker in held for held in self.made._held.values())
        self.made.lost(worker)
        if self.threads > 1 and self.random.random() < 0.5:
            self.threads -= 1
            self.made.shrink(self.threads)
        else:
            self.free.append(self.thread())

    def look(self) -> None:
        for worker in list(self.seated):
            if not worker.signal.locked():
                worker.signal.acquire(timeout=0)
                self.seated.remove(worker)
                self.free.append(worker)

    def check(self) -> None:
        """Who has waited for longest has no threads only if something else is not there."""
        waits = [one for one in self.left.values() if one.needs and one not in self.queue]
        if waits and self.made.pending == self.made.waiting:
            first = self.within(waits[0].needs)
            has = [self.within(one.needs) for _, one in self.runs.values() if one.needs]
            memory = first.memory + sum(one.memory for one in has)
            gpu = first.gpu + sum(one.gpu for one in has)
            assert memory > 100 or (first.gpu and gpu > 2), "it could run, and nobody sees that"

    def play(self) -> None:
        """Let things happen; then let all come to an end."""
        for _ in range(self.random.randrange(1, 60)):
            may = [self.submit, self.recall]
            may += [self.step] * 4 if self.free and self.queue else []
            may += [self.end] * 2 if self.runs else []
            may += [self.die] if self.seated and self.random.random() < 0.6 else []
            self.random.choice(may)()
            self.look()
            self.check()
        self.recall()
        while self.runs or self.queue:
            assert self.free or self.runs, "all threads sit, and none of them runs a job"
            if self.free and self.queue:
                self.step()
            else:
                self.end()
            self.look()
        assert not self.left, f"these never began: {list(self.left)}"
        assert not self.made.pending
        assert not self.made.waiting
        assert not self.seated, "a thread sits for nobody"


def story(module: Any) -> None:
    """The oldest that does not fit is next, although younger ones would fit before."""
    made = module.Gathering(9, lambda _count: None)
    took = []
    for number, needs in enumerate([Needs(memory=60), Needs(memory=90), *[Needs(memory=20)] * 3]):
        job = Job((number, 1), CALL, Live(None), needs=needs)
        took.append(made.take(World.thread(), job))
    assert [job is not None for job in took] == [True, False, False, False, False]
    order = []
    for over in (0, 1, 2, 3, 4):
        made.over((over, 1))
        while (job := made.take(World.thread(), module.SEAT)) is not None:
            order.append(job.id[0])
    assert order == [1, 2, 3, 4]
    assert not made.pending
    # Threads are lost until those that sit are all that there are.
    made = module.Gathering(3, lambda _count: None)
    first, last = World.thread(), World.thread()
    assert made.take(first, Job((7, 1), CALL, Live(None), needs=Needs(3))) is module.SEAT
    assert made.take(last, module.SEAT) is module.SEAT
    made.shrink(2)
    assert [one.signal.locked() for one in (first, last)] == [True, False]
    assert made.take(last, module.SEAT).id == (7, 1)


def play(module: ModuleType) -> None:
    story(module)
    for seed in range(SEEDS):
        World(module, seed).play()


def test_all_begin_and_none_has_what_another_has() -> None:
    play(gathering())


BUGS = {
    "the last to come sits down too": ("len(self._seated) + 1 <", "len(self._seated) <"),
    "one core too few": ("len(self._seated) + 1 <", "len(self._seated) + 2 <"),
    "those that sat for a job that has ended stay there": (
        "        for worker in self._held.pop(id, ()):\n            self._get_up(worker)\n",
        "",
    ),
    "what a job had is never free again": ("        self._account.end(id)\n", ""),
    "nobody is next when one has ended": (
        "            self._let_go(id)\n            self._choose()\n",
        "            self._let_go(id)\n",
    ),
    "nobody is next when one has begun": (
        "            self._choose()\n            return begins\n",
        "            return begins\n",
    ),
    "no thread is called": ("                self._call(self._wanted - here)\n", ""),
    "the youngest is next": ("sorted(self._heads())", "sorted(self._heads(), reverse=True)"),
    "nothing is kept for the oldest": (
        "                account.kept = needs\n",
        "                pass\n",
    ),
    "what is kept stays so": ("        account.kept = None\n", ""),
    "what was taken back is run": (
        "            gone = True\n",
        "            gone = True\n            return gone\n",
    ),
    "what runs is taken back": ("if self._holds(id) and self._let_go(id)", "if self._let_go(id)"),
    "the seat of a thread that is gone stays empty": (
        "            if self._next is not None:\n                self._call(1)\n",
        "",
    ),
    "a dead thread counts": (
        "                    held.remove(worker)\n",
        "                    pass\n",
    ),
    "more threads than there are": ("min(needs.cpus, self._threads)", "needs.cpus"),
    "nobody looks when threads are fewer": (
        "                self._get_up(self._seated.pop())\n                self._call(1)\n",
        "                pass\n",
    ),
}


@pytest.mark.parametrize("bug", BUGS)
def test_found(bug: str) -> None:
    module = gathering(BUGS[bug])
    with pytest.raises((AssertionError, RuntimeError, LookupError)):
        play(module)
