"""The client's backend: jobs go to workers, each behind a channel of its own.

It lives in the engine's thread, as the pool of local processes does.  The bytes of
the channels are carried by `Network`, in a thread of its own.
"""

from __future__ import annotations

import os
import secrets
import selectors
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic

from fancypipe_core import errors
from fancypipe_core.backend import (
    BackendOptions,
    Certificate,
    ChannelBackend,
    Done,
    Event,
    Job,
    JobId,
    Lost,
    Note,
    Pace,
    Setup,
    Sink,
    Slots,
    SocketChannel,
    main_script,
)
from fancypipe_remote import _greeting
from fancypipe_remote import _messages as messages
from fancypipe_remote._code import Bundle
from fancypipe_remote._greeting import Answer, Greeting
from fancypipe_remote._network import Network, News

__all__ = ["RemoteBackend"]

_MOST_HOST_LOSSES = 10  # deaths of whole workers under a task before they count against it
_WORK_AHEAD = 0.005  # seconds of work that hide the way to a worker
_MOST_FAILURES = 5  # connections to a worker, one after the other, that come to nothing
_WHY_LIMIT = 2.0  # seconds that a worker has to say why a channel has ended
_STOP_LIMIT = 2.0  # seconds beyond the grace time that workers have to say that they ended


class _Worker:
    """A connection to a worker, and the jobs that are there.

    Attributes:
        slots: How many jobs its local backend runs at the same time; 0 until it says so.
    """

    def __init__(
        self, info: messages.Worker, number: int, link: ChannelBackend, channel: SocketChannel
    ) -> None:
        self.info = info
        self.number = number
        self.link = link
        self.channel = channel
        self.slots = 0
        self.greeted = False
        self.ended: tuple[float, str] | None = None  # until when to wait for the reason

    @property
    def load(self) -> int:
        return len(self.link.outstanding)


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
        self._stopping = False
        self._nobody_since: float | None = None
        self._failures: dict[bytes, int] = {}
        self._try_at: dict[bytes, float] = {}
        self._sink: Sink = _nobody
        self._jobs: deque[Job] = deque()
        self._workers: dict[bytes, _Worker] = {}
        self._news: News | None = None
        self._pace = Pace()
        self._told = Slots(0)
        self._told_use: tuple[int, dict[bytes, int]] = (0, {})
        self._moving: dict[JobId, Job] = {}  # asked back, to be run elsewhere
        self._host_losses: dict[int, int] = {}
        self._unfit: set[bytes] = set()
        self._warned: set[str] = set()
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)

    # ---- the contract ----

    def start(self, sink: Sink) -> None:
        self._sink = sink
        self._selector.register(self._wake_in, selectors.EVENT_READ, None)
        script = main_script()
        self._script = script
        self._bundle = Bundle(script.value if script and script.kind == "file" else None)
        self._proof = secrets.token_hex(16)
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        with open(os.path.join(self._directory, "proof"), "w", encoding="utf-8") as file:
            file.write(self._proof)
        self._network = self._make_network(self.wake)
        self._network.start()
        until = monotonic() + self._wait
        while not self._told.count:
            if monotonic() > until:
                raise errors.BackendStartError(self._nobody_came())
            self.drive(0.1)

    def submit(self, jobs: Sequence[Job]) -> None:
        self._jobs.extend(jobs)
        self._deal()

    def cancel(self, ids: Sequence[JobId]) -> None:
        unwanted = set(ids)
        self._give_back_waiting(unwanted)
        for worker in self._workers.values():
            mine = unwanted.intersection(worker.link.outstanding)
            if mine:
                with suppress(errors.ConnectionLost):  # its end is told by the channel
                    worker.link.cancel(list(mine))

    def recall(self, ids: Sequence[JobId]) -> None:
        unwanted = set(ids)
        self._give_back_waiting(unwanted)
        for worker in self._workers.values():
            mine = unwanted.intersection(worker.link.outstanding)
            if mine:
                with suppress(errors.ConnectionLost):
                    worker.link.recall(list(mine))

    def check(self) -> str:
        """See whether the network's thread is alive; see `fancypipe_core.backend`."""
        return self._network.check()

    def stop(self, grace: float) -> None:
        self._jobs.clear()
        self._stopping = True
        until = monotonic() + grace + _STOP_LIMIT
        for worker in list(self._workers.values()):
            with suppress(errors.ConnectionLost):
                worker.link.ask_to_stop(grace)
        while self._workers and monotonic() < until:
            self._serve(self._selector.select(0.1))
        self._sink = _nobody
        for worker in list(self._workers.values()):
            self._close(worker)
        if hasattr(self, "_network"):
            self._network.stop()
        self._selector.close()
        for descriptor in (self._wake_in, self._wake_out):
            if descriptor >= 0:
                os.close(descriptor)
        self._wake_in = self._wake_out = -1
        with suppress(OSError):
            os.unlink(os.path.join(self._directory, "proof"))
            os.rmdir(self._directory)  # unless there is more in it, which is the session's

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

    def _give_back_waiting(self, unwanted: set[JobId]) -> None:
        """Drop jobs that wait here."""
        for id in unwanted:
            self._moving.pop(id, None)  # if it comes back, it is not sent elsewhere
        waiting = [job.id for job in self._jobs if job.id in unwanted]
        if waiting:
            self._jobs = deque(job for job in self._jobs if job.id not in unwanted)
            why = Certificate("cancelled", "cancelled before it began", "", 0, False, False)
            self._sink([Lost(id, why) for id in waiting])

    # ---- clocks ----

    def _next_look(self, until: float | None) -> float | None:
        """Return for how long nothing needs to be looked at, in seconds."""
        times = [] if until is None else [until]
        times += self._try_at.values()
        times += [worker.ended[0] for worker in self._workers.values() if worker.ended]
        if self._nobody_since is not None:
            times.append(self._nobody_since + self._away)
        return max(0.0, min(times) - monotonic()) if times else None

    def _look_at_clocks(self) -> bool:
        now = monotonic()
        due = [address for address, at in self._try_at.items() if now >= at]
        for address in due:
            del self._try_at[address]
        if due and self._news is not None:
            self._meet(self._news)
        for worker in list(self._workers.values()):
            if worker.ended is not None and now >= worker.ended[0]:
                self._gone(worker, worker.ended[1])
                due.append(worker.info.address)
        if not self._jobs or self._workers:
            self._nobody_since = None
        elif self._nobody_since is None:
            self._nobody_since = now
        elif now >= self._nobody_since + self._away:
            self._nobody_since = None
            raise errors.BackendClosed(
                f"no worker could be used for {self._away:g} s, and {len(self._jobs)} tasks wait"
                + "".join(f"; {text}" for text in sorted(self._warned))
            )
        return bool(due)

    # ---- what comes ----

    def _serve(self, ready: Sequence[tuple[selectors.SelectorKey, int]]) -> bool:
        heard = False
        for key, mask in ready:
            worker: _Worker | None = key.data
            if worker is None:
                with suppress(BlockingIOError):
                    os.read(self._wake_in, 4096)
                self._take_news()
                heard = True
                continue
            try:
                if mask & selectors.EVENT_WRITE:
                    worker.channel.flush()
                    self._watch_writes(worker)
                if mask & selectors.EVENT_READ:
                    self._read(worker)
                    heard = True
            except (errors.ConnectionLost, errors.ProtocolError) as error:
                self._ended(worker, str(error))
                heard = True
        return heard

    def _ended(self, worker: _Worker, why: str) -> None:
        """Its channel has ended; the worker is about to say why."""
        if self._stopping:
            self._gone(worker, why)
        elif worker.ended is None:
            worker.ended = (monotonic() + _WHY_LIMIT, why)
            self._selector.unregister(worker.channel)
            self._say_slots()

    def _take_news(self) -> None:
        news = self._network.news()
        if news is None:
            return
        if news.failed is not None:
            raise errors.InternalError(
                f"the thread for the network has failed: {news.failed!r}"
            ) from news.failed
        self._news = news
        for (address, number), why in news.closed.items():
            worker = self._workers.get(address)
            if worker is not None and worker.number == number:
                self._gone(worker, why)
        if news.over is not None:
            kind = errors.VersionMismatch if news.refused else errors.ConnectionLost
            raise kind(f"{news.over}; {self._tell_outstanding()}")
        self._meet(news)
        self._say_slots()

    def _tell_outstanding(self) -> str:
        count = len(self._jobs) + sum(worker.load for worker in self._workers.values())
        return f"{count} tasks were under way" if count else "nothing was under way"

    def _meet(self, news: News) -> None:
        """Connect to workers that are new."""
        ours = f"{sys.version_info[0]}.{sys.version_info[1]}"
        for address, info in news.workers.items():
            known = self._workers.get(address)
            if known is not None:
                known.info = info
            elif address in self._unfit or address in self._try_at:
                continue
            elif info.python != ours:
                self._unfit.add(address)
                self._warn(
                    f"the worker on {info.host} runs Python {info.python} and is left out: values "
                    f"and code travel only between equal versions, and here it is {ours}"
                )
            else:
                self._connect(address, info)

    def _connect(self, address: bytes, info: messages.Worker) -> None:
        number, sock = self._network.open(address, info.slots)
        channel = SocketChannel(sock, blocking=False)
        link = ChannelBackend(channel, channel, lambda events: self._pass(worker, events), _keep)
        worker = self._workers[address] = _Worker(info, number, link, channel)
        self._selector.register(channel, selectors.EVENT_READ, worker)
        greeting = Greeting(self._bundle.code, self._directory, self._proof, os.getcwd())
        channel.send(_greeting.encode(greeting))
        self._watch_writes(worker)

    def _read(self, worker: _Worker) -> None:
        if worker.greeted:
            worker.link.read()
            return
        frames = worker.channel.received()
        if not frames:
            return
        answer = _greeting.decode(frames[0][0], Answer)
        if answer.problem:
            self._unfit.add(worker.info.address)
            self._warn(f"the worker on {worker.info.host} is left out: {answer.problem}")
            self._gone(worker, answer.problem)
            return
        if answer.wants_code:
            worker.channel.send(b"", [self._bundle.archive()])
        if not answer.shares:
            self._warn(
                f"the worker on {worker.info.host} does not see {self._directory}: files that "
                "tasks make there cannot be read here; give -tempdir a folder that all see"
            )
        script = (self._script.kind, self._script.value) if self._script else None
        worker.link.setup(Setup([], list(sys.argv), script, self._directory))
        worker.greeted = True
        self._failures.pop(worker.info.address, None)
        self._watch_writes(worker)

    def _pass(self, worker: _Worker, events: Sequence[Event]) -> None:
        """Events of a worker: its slots are its own affair, the rest is the engine's."""
        passed: list[Event] = []
        seconds, count = 0.0, 0
        for event in events:
            if isinstance(event, Slots):
                worker.slots = event.count
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
        self._say_slots()

    def _say_slots(self) -> None:
        count = sum(self._room(worker) for worker in self._workers.values())
        if not count and any(worker.slots for worker in self._workers.values()):
            count = 1  # others have all slots now; what waits here shows that we need some
        ahead = count * (self._ahead + 1)
        told = self._told
        if count != told.count or not told.ahead / 2 <= ahead <= told.ahead * 2:
            self._told = Slots(count, ahead)
            self._sink([self._told])

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self._sink([Note(None, "warning", text)])

    # ---- who gets what ----

    @property
    def _ahead(self) -> int:
        """How many short jobs should wait at a worker for each that runs."""
        return min(256, int(_WORK_AHEAD / max(self._pace.seconds, 1e-6)))

    def _room(self, worker: _Worker) -> int:
        """How many jobs a worker runs for us at the same time."""
        news = self._news
        if news is None or worker.info.address not in news.workers or worker.ended:
            return 0
        return min(worker.slots, worker.info.share)

    def _deal(self) -> None:
        jobs = self._jobs
        alone = self._news is not None and self._news.clients == 1
        while jobs:
            best, most = None, 0
            for worker in self._workers.values():
                room = self._room(worker)
                left = room * (1 + (self._ahead if alone else 0)) - worker.load
                if left > most:
                    best, most = worker, left
            if best is None:
                break
            fair = -(-len(jobs) // len(self._workers))
            batch = [jobs.popleft() for _ in range(min(len(jobs), most, fair))]
            try:
                best.link.submit(batch)
                self._watch_writes(best)
            except errors.ConnectionLost as error:
                self._ended(best, str(error))
        if not jobs and self._moving_pays():
            self._move()
        self._tell_use(alone)

    def _tell_use(self, alone: bool) -> None:
        """Say how much we need and use, for the sake of other clients."""
        need = 0
        using: dict[bytes, int] = {}
        if not alone:
            using = {a: worker.load for a, worker in self._workers.items() if worker.load}
            need = len(self._jobs) + sum(using.values())
        if (need, using) != self._told_use:
            self._told_use = (need, using)
            self._network.use(need, using)

    def _moving_pays(self) -> bool:
        """Whether a worker is idle, and nothing that was asked back is still on its way."""
        idle = any(self._room(worker) and not worker.load for worker in self._workers.values())
        return idle and not self._moving and len(self._workers) > 1

    def _move(self) -> None:
        """Ask the busiest worker for what it has not begun, so that idle ones can run it."""
        busiest = max(self._workers.values(), key=lambda worker: worker.load - worker.slots)
        spare = list(busiest.link.outstanding.values())[max(1, busiest.slots) :]
        if not spare or busiest.ended is not None:
            return
        self._moving = {job.id: job for job in spare}
        with suppress(errors.ConnectionLost):  # then they are lost, and go elsewhere so
            busiest.link.recall(list(self._moving))

    def _watch_writes(self, worker: _Worker) -> None:
        channel = worker.channel
        if worker.ended is not None:
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if channel.pending else 0)
        if self._selector.get_key(channel).events != events:
            self._selector.modify(channel, events, worker)

    # ---- who is gone ----

    def _gone(self, worker: _Worker, why: str) -> None:
        """A worker is gone, and with it what ran there."""
        if self._workers.get(worker.info.address) is not worker:
            return
        # What it had reported counts.
        with suppress(errors.ConnectionLost, errors.ProtocolError):
            worker.link.read()
        jobs = worker.link.take(list(worker.link.outstanding))
        for job in jobs:
            self._moving.pop(job.id, None)
        self._close(worker)
        self._plan_another_try(worker, why)
        lost: list[Event] = []
        for job in jobs:
            task = job.id[0]
            losses = self._host_losses[task] = self._host_losses.get(task, 0) + 1
            certificate = Certificate(
                "host", why or "the worker is gone", worker.info.host, worker.info.pid,
                guilty=losses > _MOST_HOST_LOSSES,
            )  # fmt: skip
            lost.append(Lost(job.id, certificate))
        self._sink(lost)
        self._say_slots()

    def _plan_another_try(self, worker: _Worker, why: str) -> None:
        """Connect again some time later, if the worker is still there; not for ever."""
        address = worker.info.address
        failures = self._failures[address] = self._failures.get(address, 0) + 1
        if failures >= _MOST_FAILURES:
            self._unfit.add(address)
            self._warn(
                f"the worker on {worker.info.host} (pid {worker.info.pid}) is left out after "
                f"{failures} connections that ended before they were of use; the last: {why}"
            )
        elif not self._stopping:
            self._try_at[address] = monotonic() + min(0.1 * 2**failures, 5.0)

    def _close(self, worker: _Worker) -> None:
        del self._workers[worker.info.address]
        if worker.ended is None:
            self._selector.unregister(worker.channel)
        worker.link.close()
        self._network.close(worker.info.address, worker.number, "the client has closed it")

    def _nobody_came(self) -> str:
        news = self._news
        if news is None or news.manager is None:
            return f"the manager did not answer within {self._wait:g} s"
        if not news.workers:
            return (
                f"the manager is there, but no worker joined it within {self._wait:g} s: start "
                "`fancypipe worker` with the same -jobmanager, or wait longer with -wait"
            )
        text = (
            f"{len(news.workers)} workers are there, but none could be used within {self._wait:g} s"
        )
        for info in news.workers.values():
            worker = self._workers.get(info.address)
            how = "not connected" if worker is None else "connected" if worker.greeted else "silent"
            text += f"; {info.host} (pid {info.pid}): {how}"
        return text + "".join(f"; {text}" for text in sorted(self._warned))


def _nobody(_events: Sequence[Event]) -> None:
    """Nobody listens."""


def _keep(_jobs: Sequence[Job]) -> None:
    """Workers of this kind give nothing back."""
