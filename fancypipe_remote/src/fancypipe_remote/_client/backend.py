"""The client's backend: jobs go to workers, each behind a channel of its own.

It lives in the engine's thread, as the pool of local processes does.  The bytes of
the channels are carried by `Network`, in a thread of its own; who the workers are
is the affair of `Crew`; here it is decided who gets which job.
"""

from __future__ import annotations

import os
import selectors
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic

from fancypipe_core import errors
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
    Pace,
    Sink,
    Slots,
)
from fancypipe_remote._client.network import Network
from fancypipe_remote._client.workers import Crew, Member
from fancypipe_remote._words import several

__all__ = ["RemoteBackend"]

_MOST_HOST_LOSSES = 10  # deaths of whole workers under a task before they count against it
_WORK_AHEAD = 0.005  # seconds of work that hide the way to a worker
_SLACK = 20.0  # seconds by which our own limits for the start are met
_STOP_LIMIT = 2.0  # seconds beyond the grace time that workers have to say that they ended


class RemoteBackend:
    """Runs jobs on the workers that a manager knows.

    Args:
        options: Of the engine.
        network: Makes the network's thread; it is given what to call when there is news.
        wait: Seconds to wait for the first worker.
        away: Seconds without any worker after which a run with work gives up.
    """

    def __init__(
        self,
        options: BackendOptions,
        network: Callable[[Callable[[], None]], Network],
        wait: float,
        away: float,
    ) -> None:
        self._directory = options.directory
        self._make_network = network
        self._wait = wait
        self._away = away
        self._sink: Sink = _nobody
        self._jobs: deque[Job] = deque()
        self._moving: dict[JobId, Job] = {}  # asked back, to be run elsewhere
        self._host_losses: dict[int, int] = {}
        self._pace = Pace()
        self._told = Slots(0)
        self._told_use: tuple[int, dict[bytes, int]] = (0, {})
        # When the first worker must be here; None before the manager is, and afterwards.
        self._up_by: float | None = None
        self._nobody_since: float | None = None
        self._warned: set[str] = set()
        self._network: Network | None = None
        self._crew: Crew | None = None
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)

    # ---- the contract ----

    @property
    def start_limit(self) -> float:
        """As in `fancypipe_core.backend.Driven`."""
        return 2 * self._wait + _SLACK

    def start(self, sink: Sink) -> None:
        self._sink = sink
        self._selector.register(self._wake_in, selectors.EVENT_READ, None)
        self._network = self._make_network(self.wake)
        self._network.start()
        self._crew = Crew(
            self._network, self._selector, self._directory, self._pass, self._lose, self._warn
        )

    def adapt(self, environment: Environment) -> None:
        assert self._crew is not None
        self._crew.adapt(environment)

    def submit(self, jobs: Sequence[Job]) -> None:
        self._jobs.extend(jobs)
        self._deal()

    def cancel(self, ids: Sequence[JobId]) -> None:
        unwanted = set(ids)
        self._give_back_waiting(unwanted)
        for member in self._members:
            mine = unwanted.intersection(member.link.outstanding)
            if mine:
                with suppress(errors.ConnectionLost):  # its end is told by the channel
                    member.link.cancel(list(mine))

    def recall(self, ids: Sequence[JobId]) -> None:
        unwanted = set(ids)
        self._give_back_waiting(unwanted)
        for member in self._members:
            mine = unwanted.intersection(member.link.outstanding)
            if mine:
                with suppress(errors.ConnectionLost):
                    member.link.recall(list(mine))

    def check(self) -> str:
        """See whether the network's thread is alive; see `fancypipe_core.backend`."""
        return self._network.check() if self._network is not None else ""

    def stop(self, grace: float) -> None:
        self._jobs.clear()
        now = monotonic()
        if self._crew is not None:
            self._crew.stopping = True
            for member in self._crew:
                with suppress(errors.ConnectionLost):
                    member.link.ask_to_stop(grace)
            # Who has nothing to do has nothing to end, and may be one that never answers.
            while any(
                monotonic() < now + _STOP_LIMIT + (grace if member.load else 0.0)
                for member in self._crew
            ):
                with suppress(errors.FancyPipeError):  # whatever it is, it is the end
                    self._serve(self._selector.select(0.1))
            self._sink = _nobody
            self._crew.disband()
        if self._network is not None:
            self._network.stop()
        self._selector.close()
        for descriptor in (self._wake_in, self._wake_out):
            if descriptor >= 0:
                os.close(descriptor)
        self._wake_in = self._wake_out = -1

    def forget(self) -> None:
        self._sink = _nobody
        for member in self._members:
            member.link.close()
        if self._network is not None:
            self._network.forget()
        self._selector.close()
        for descriptor in (self._wake_in, self._wake_out):
            os.close(descriptor)
        self._wake_in = self._wake_out = -1

    def wake(self) -> None:
        try:
            os.write(self._wake_out, b"x")
        except OSError:
            return  # full of wake-ups, or closed

    def drive(self, timeout: float | None) -> None:
        until = None if timeout is None else monotonic() + timeout
        while True:
            heard = self._serve(self._selector.select(self._next_look(until)))
            heard = self._look_at_clocks() or heard
            self._deal()
            if heard or (until is not None and monotonic() >= until):
                return

    @property
    def _members(self) -> Sequence[Member]:
        return () if self._crew is None else list(self._crew)

    def _give_back_waiting(self, unwanted: set[JobId]) -> None:
        """Drop jobs that wait here."""
        for id in unwanted:
            self._moving.pop(id, None)  # if it comes back, it is not sent elsewhere
        waiting = [job.id for job in self._jobs if job.id in unwanted]
        if waiting:
            self._jobs = deque(job for job in self._jobs if job.id not in unwanted)
            why = Certificate("cancelled", "cancelled before it began", "", 0, False, False)
            self._sink([Lost(id, why) for id in waiting])

    # ---- what comes ----

    def _serve(self, ready: Sequence[tuple[selectors.SelectorKey, int]]) -> bool:
        assert self._crew is not None
        for key, mask in ready:
            if key.data is None:
                with suppress(BlockingIOError):
                    os.read(self._wake_in, 4096)
                self._take_news(self._crew)
            else:
                self._crew.serve(key.data, mask)
        if ready:
            self._say_slots()
        return bool(ready)

    def _take_news(self, crew: Crew) -> None:
        first = crew.news is None
        try:
            crew.take_news()
            if first and crew.news is not None:
                self._up_by = monotonic() + self._wait
        except errors.ChannelError as error:
            count = len(self._jobs) + sum(member.load for member in crew)
            what = f"{several(count, 'task')} under way" if count else "no task was under way"
            raise type(error)(f"{error}; {what}") from None

    def _pass(self, member: Member, events: Sequence[Event]) -> None:
        """Events of a worker: its slots are its own affair, the rest is the engine's."""
        passed: list[Event] = []
        seconds, count = 0.0, 0
        for event in events:
            if isinstance(event, Slots):
                member.slots = event.count
                continue
            if isinstance(event, Done):
                seconds += event.seconds
                count += 1
                self._moving.pop(event.id, None)
            elif isinstance(event, Lost):
                job = self._moving.pop(event.id, None)
                if job is not None and not event.why.started:
                    self._jobs.appendleft(job)
                    continue
            passed.append(event)
        if count:
            self._pace.record(seconds, count)
        if passed:
            self._sink(passed)
        if member.slots > member.asked:
            raise errors.ProtocolError(
                f"it has {several(member.slots, 'slot')}, where {member.asked} were asked for"
            )

    def _lose(self, member: Member, jobs: Sequence[Job], why: str) -> None:
        """A worker is gone with these jobs."""
        lost: list[Event] = []
        for job in jobs:
            self._moving.pop(job.id, None)
            task = job.id[0]
            losses = self._host_losses[task] = self._host_losses.get(task, 0) + 1
            guilty = losses > _MOST_HOST_LOSSES
            info = member.info
            lost.append(Lost(job.id, Certificate("host", why, info.host, info.pid, guilty=guilty)))
        if lost:
            self._sink(lost)

    def _say_slots(self) -> None:
        crew = self._crew
        assert crew is not None
        count = sum(map(crew.room, crew))
        if not count and any(member.slots for member in crew):
            count = 1  # others have all slots now; what waits here shows that we need some
        ahead = count * (self._ahead + 1)
        told = self._told
        if count != told.count or not told.ahead / 2 <= ahead <= told.ahead * 2:
            self._told = Slots(count, ahead)
            self._up_by = None
            self._sink([self._told])

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self._sink([Note(None, "warning", text)])

    # ---- clocks ----

    def _next_look(self, until: float | None) -> float | None:
        """Return for how long nothing needs to be looked at, in seconds."""
        assert self._crew is not None
        times = self._crew.next_look()
        if until is not None:
            times.append(until)
        if self._up_by is not None:
            times.append(self._up_by)
        if self._nobody_since is not None:
            times.append(self._nobody_since + self._away)
        return max(0.0, min(times) - monotonic()) if times else None

    def _look_at_clocks(self) -> bool:
        assert self._crew is not None
        now = monotonic()
        due = self._crew.look_at_clocks()
        if due:
            self._say_slots()
        if self._up_by is not None and now >= self._up_by:
            raise errors.BackendStartError(self._nobody_came(self._crew))
        if not self._jobs or self._members:
            self._nobody_since = None
        elif self._nobody_since is None:
            self._nobody_since = now
        elif now >= self._nobody_since + self._away:
            self._nobody_since = None
            raise errors.BackendClosed(
                f"no worker could be used for {self._away:g} s, with "
                f"{several(len(self._jobs), 'task')} waiting"
                + "".join(f"; {text}" for text in sorted(self._warned))
            )
        return due

    # ---- who gets what ----

    @property
    def _ahead(self) -> int:
        """How many short jobs should wait at a worker for each that runs."""
        return min(256, int(_WORK_AHEAD / max(self._pace.seconds, 1e-6)))

    def _deal(self) -> None:
        crew, jobs = self._crew, self._jobs
        assert crew is not None
        alone = crew.is_alone
        while jobs:
            best, most = None, 0
            for member in crew:
                left = crew.room(member) * (1 + (self._ahead if alone else 0)) - member.load
                if left > most:
                    best, most = member, left
            if best is None:
                break
            fair = -(-len(jobs) // len(crew))
            crew.submit(best, [jobs.popleft() for _ in range(min(len(jobs), most, fair))])
        if not jobs and not self._moving and len(crew) > 1:
            self._move(crew)
        self._tell_use(crew, alone)

    def _move(self, crew: Crew) -> None:
        """Ask the busiest worker for what it has not begun, if another one is idle."""
        if not any(crew.room(member) and not member.load for member in crew):
            return
        busiest = max(crew, key=lambda member: member.load - member.slots)
        spare = list(busiest.link.outstanding.values())[max(1, busiest.slots) :]
        if spare and busiest.why is None:
            self._moving = {job.id: job for job in spare}
            with suppress(errors.ConnectionLost):  # then they are lost, and go elsewhere so
                busiest.link.recall(list(self._moving))

    def _tell_use(self, crew: Crew, alone: bool) -> None:
        """Say how much we need and use, for the sake of other clients."""
        need = 0
        using: dict[bytes, int] = {}
        if not alone:
            using = {member.info.address: member.load for member in crew if member.load}
            need = len(self._jobs) + sum(using.values())
        if (need, using) != self._told_use and self._network is not None:
            self._told_use = (need, using)
            self._network.use(need, using)

    def _nobody_came(self, crew: Crew) -> str:
        news = crew.news
        if news is None or news.manager is None:
            return f"the manager did not answer within {self._wait:g} s"
        if not news.workers:
            return (
                f"the manager is there, but no worker joined it within {self._wait:g} s: start "
                "`fancypipe worker` with the same -jobmanager, or wait longer with -wait"
            )
        text = f"{several(len(news.workers), 'worker')} joined, but none could be used within "
        text += f"{self._wait:g} s"
        for info in news.workers.values():
            member = crew.members.get(info.address)
            how = "not connected" if member is None else "connected" if member.ready else "silent"
            text += f"; {info.host} (pid {info.pid}): {how}"
        return text + "".join(f"; {text}" for text in sorted(self._warned))


def _nobody(_events: Sequence[Event]) -> None:
    """Nobody listens."""
