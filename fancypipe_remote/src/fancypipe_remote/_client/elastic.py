"""Remote workers in jobs of a batch system, of which there are as many as there is work for.

Who is idle while others work, the client knows: it closes its connection, and the worker leaves
(`-once`).  What is submitted and withdrawn, a thread says to the batch system, which may keep it
waiting; that thread also ends jobs when nothing has been to do for long, as between two runs of a
session, when nobody drives the client.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

from fancypipe_core import errors
from fancypipe_core.backend import BackendOptions, Equipment, Needs, Sink, Slots
from fancypipe_core.toolkit import Backoff
from fancypipe_core.toolkit.pool import states as to
from fancypipe_remote._client.backend import RemoteBackend
from fancypipe_remote._client.batch import BatchJob, BatchSystem, Fleet
from fancypipe_remote._client.connect import make
from fancypipe_remote._client.hosts import Host
from fancypipe_remote._client.own_manager import OwnManager
from fancypipe_remote._settings import ClientSettings

__all__ = ["ElasticBackend", "make_elastic"]

_END = 10.0  # seconds for the thread to end, when its command was killed
# Seconds for what is being said to the batch system: a job whose submission is broken off may be
# known too late to be withdrawn with the rest.
_SAID = 5.0
_LOOK = 1.0  # seconds between two looks at who is idle
# Seconds between two looks at the batch system, which serves others too: the longer, the
# longer nothing has changed.
_PAUSES = Backoff(1.0, ceiling=15.0, jitter=0.0)


def make_elastic(
    options: BackendOptions,
    *,
    manager: OwnManager,
    batch: BatchSystem,
    fleet: Fleet,
    has: Equipment,
    idle: float,
    wait: float,
) -> RemoteBackend:
    """Return a backend whose workers come with the work and leave when idle.

    Args:
        options: Of the engine; the settings are not looked at.
        manager: Where they meet; it is stopped with the backend.
        batch: Where they come from.
        fleet: How many there are.
        has: What each job has.
        idle: Seconds without work after which a worker leaves.
        wait: Seconds that work may wait for a worker.
    """
    settings = ClientSettings(**manager.settings, wait=wait, away=wait)

    def kind(*arguments: Any) -> ElasticBackend:
        return ElasticBackend(manager, batch, fleet, has, idle, *arguments)

    try:
        return make(options._replace(settings=settings), kind)
    except BaseException:
        manager.stop()
        raise


class ElasticBackend(RemoteBackend):
    """See `make_elastic`."""

    def __init__(
        self,
        manager: OwnManager,
        batch: BatchSystem,
        fleet: Fleet,
        has: Equipment,
        idle: float,
        *arguments: Any,
    ) -> None:
        super().__init__(*arguments)
        self._manager, self._batch, self._fleet = manager, batch, fleet
        self._has, self._idle_limit = has, idle
        self._outside = 0  # tasks that wait in the engine
        self._width = 1.0  # cores that a task takes, on average
        self._idle: dict[int, float] = {}  # since when, by the hosts' numbers
        self._look_at = 0.0
        self._asked = 0  # jobs that the thread knows to be wanted
        self._worked = False  # whether a worker was sent anything since the thread looked
        self._quiet_since = monotonic()
        self._submitted = False
        self._jobs: Sequence[BatchJob] = ()  # as they were seen last
        self._changed, self._over = threading.Event(), threading.Event()
        self._said: SimpleQueue[str | Exception] = SimpleQueue()
        self._thread = threading.Thread(target=self._live, name="fancypipe-batch", daemon=True)

    # ---- the contract ----

    def start(self, sink: Sink) -> None:
        super().start(sink)
        sink([Slots(0)])
        self._thread.start()

    def backlog(self, tasks: int) -> None:
        """Take how many tasks wait; see `fancypipe_core.backend.Scaling`."""
        self._outside = tasks
        if self._wanted() > self._asked:
            self._changed.set()

    def lacks(self, needs: Needs) -> str:
        """Say why no job can ever meet these needs; see `fancypipe_core.backend.Equipped`."""
        why = self._has.lacks(needs)
        return f"{why} in each job" if why else ""

    def stop(self, grace: float) -> None:
        self._over.set()
        self._changed.set()
        super().stop(grace)
        if self._thread.ident is not None:
            self._thread.join(_SAID)
            self._batch.abort()
            self._thread.join(_END)
        self._manager.stop()

    def forget(self) -> None:
        super().forget()
        self._manager.forget()

    # ---- in the engine's thread: who is idle ----

    def _listen(self, seconds: float | None) -> tuple[bool, list[to.Event]]:
        woken, events = super()._listen(seconds)
        try:
            while True:
                said = self._said.get_nowait()
                if isinstance(said, Exception):
                    raise said
                self._warn(said)
        except Empty:
            pass
        if monotonic() >= self._look_at:
            events += self._let_go()
        return woken, events

    def _alarms(self) -> Iterable[float | None]:
        return (*super()._alarms(), self._look_at)

    def _do_to(self, host: Host, action: to.Order, answers: list[to.Event]) -> None:
        if isinstance(action, to.Send):
            self._worked = True
            self._idle.pop(host.number, None)
        super()._do_to(host, action, answers)

    def _let_go(self) -> list[to.Event]:
        """Let workers leave that have had no work for long, as far as nobody needs them."""
        now = monotonic()
        self._look_at = now + _LOOK
        up = {host.number: host for host in self._hosts if host.answered}
        works = {number: self._pool.jobs(number) for number in up}
        self._idle = {number: self._idle.get(number, now) for number in up if not works[number]}
        sent = [self._pool.job(number, id) for number in up for id in works[number]]
        wide = [job.needs.cpus if job.needs else 1 for job in sent if job is not None]
        if wide:
            self._width = sum(wide) / len(wide)
        late = [number for number, since in self._idle.items() if now >= since + self._idle_limit]
        spare = max(0, len(up) - self._wanted())
        return [event for number in late[:spare] for event in self._hosts.let_go(up[number])]

    def _wanted(self) -> int:
        return self._fleet.wanted((self._outside + len(self._pool)) * self._width)

    def _hopeless(self) -> errors.FancyPipeError:
        if self._hosts.news is None or self._hosts.news.manager is None:
            return super()._hopeless()
        there = [job.about for job in self._jobs if job.state in ("waits", "runs")]
        jobs = "; ".join(there[:3]) or "no job was there"
        remarks = "".join(f"; {text}" for text in sorted(self._warned))
        kind = errors.BackendStartError if self._pool.is_new else errors.BackendClosed
        return kind(f"no worker could be used within {self._wait:g} s (-wait): {jobs}{remarks}")

    # ---- in a thread of its own: the batch system ----

    def _live(self) -> None:
        before: object = None
        quiet = 1  # looks that have shown the same, one after the other
        try:
            while not self._over.is_set():
                seen = self._look()
                quiet = quiet + 1 if seen == before else 1
                before = seen
                self._changed.wait(max(_LOOK, min(_PAUSES.after(quiet), self._idle_limit)))
                self._changed.clear()
        except Exception as error:  # noqa: BLE001 - whatever it is, the engine is to know
            self._tell_engine(error)

    def _look(self) -> object:
        """See to it that there are as many jobs as there is work for; return what was seen.

        Raises:
            BackendError: Nothing can come of it any more.
        """
        self._asked = wanted = max(self._wanted(), int(self._pool.is_new))
        now = monotonic()
        if self._worked or self._outside or len(self._pool):
            self._quiet_since = now
        works = self._worked or any(host.answered for host in self._hosts)
        self._worked = False
        try:
            self._jobs = self._batch.jobs()
            idle = now >= self._quiet_since + self._idle_limit
            plan = self._fleet.look(self._jobs, wanted, works=works, idle=idle)
            for remark in plan.remarks:
                self._tell_engine(remark)
            if plan.withdraw:
                self._batch.withdraw(plan.withdraw)
            for _ in range(plan.start):
                if not self._over.is_set():
                    self._batch.submit()
                    self._submitted = True
        except errors.BackendError as error:
            if not self._submitted:
                raise errors.BackendStartError(str(error)) from None
            self._tell_engine(str(error))  # the queue may be full, or nobody there, for a while
            return wanted, str(error)
        if plan.hopeless:
            raise errors.BackendClosed(plan.hopeless)
        return wanted, self._jobs

    def _tell_engine(self, said: str | Exception) -> None:
        self._said.put(said)
        self.wake()
