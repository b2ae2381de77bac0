"""The client's backend: the shell around the pool machine whose workers are on other machines.

It lives in the engine's thread, as the pool of local processes does.  What is
decided, the machine decides; the bytes of the connections are carried by
`Network`, which it drives; what is said on them is the affair of `Hosts`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from time import monotonic

from fancypipe_core import errors
from fancypipe_core.backend import BackendOptions, Environment, Equipment, Note, Sink
from fancypipe_core.toolkit import FileContents, several
from fancypipe_core.toolkit.driven import DrivenShell
from fancypipe_core.toolkit.pool import Rules
from fancypipe_core.toolkit.pool import states as to
from fancypipe_remote._client.hosts import Host, Hosts
from fancypipe_remote._client.network import Network

__all__ = ["RemoteBackend"]

_SLACK = 20.0  # seconds by which our own limits for the start are met
_STOP_LIMIT = 2.0  # seconds beyond the grace time that workers have to say that they ended


class RemoteBackend(DrivenShell):
    """Runs jobs on the workers that a manager knows.

    Args:
        options: Of the engine.
        network: The link, not started yet.
        wait: Seconds to wait for the first worker.
        away: Seconds without any worker after which a run with work gives up.
    """

    def __init__(
        self,
        options: BackendOptions,
        network: Network,
        wait: float,
        away: float,
    ) -> None:
        self._wait = wait
        self._away = away
        rules = Rules(
            0,
            kills=False,
            in_order=False,
            fresh=False,
            least_ahead=1,
            most_ahead=1.0,
            hung_up=2.0,  # why a connection has ended comes after its end
            first=wait,
            away=away,
            unmet=away,
            equipment=lambda: Equipment(0),
            spared=10,
        )
        super().__init__(rules)
        self._told_use: tuple[int, dict[bytes, int]] = (0, {})
        self._warned: set[str] = set()
        self._network = network
        self._contents = FileContents()
        self._hosts = Hosts(
            self._network,
            options.directory,
            options.value_disk,
            self._warn,
            options.measures,
            options.pictures,
        )

    # ---- the contract ----

    @property
    def follows(self) -> bool:
        """As in `fancypipe_core.backend.Following`."""
        return True

    @property
    def hands_on(self) -> bool:
        """As in `fancypipe_core.backend.Handing`."""
        return self._hosts.takes_handles

    @property
    def start_limit(self) -> float:
        """As in `fancypipe_core.backend.Driven`."""
        return 2 * self._wait + _SLACK

    def start(self, sink: Sink) -> None:
        self._sink = sink
        self._hosts.start()
        self._network.start()

    def adapt(self, environment: Environment) -> None:
        self._hosts.environment = environment
        for host in self._hosts:
            if host.answered:
                with suppress(errors.ConnectionLost):  # its end is read
                    host.adapt(environment)

    def check(self) -> str:
        """See whether the network's thread is alive; see `fancypipe_core.backend`."""
        return self._network.check()

    def stop(self, grace: float) -> None:
        self._pool.forget_jobs()
        if self._sink is not None:
            self._sink = None
            self._end(grace)
            self._network.stop()

    def forget(self) -> None:
        self._sink = None
        for host in self._hosts:
            host.connection.close()
            host.direct.close()
        self._network.forget()

    def wake(self) -> None:
        self._network.wake()

    def _alarms(self) -> Iterable[float | None]:
        return (self._hosts.next_try,)

    def _listen(self, seconds: float | None) -> tuple[bool, list[to.Event]]:
        woken = self._network.turn(seconds)
        events = self._hear_all() if woken else []
        return woken, events + [self._hosts.joined(host) for host in self._hosts.connect()]

    # ---- what the machine wants ----

    def _do(self, actions: Sequence[to.Action]) -> None:
        super()._do(actions)
        self._tell_use()
        self._network.flush()

    def _carry_out(self, action: to.Order, answers: list[to.Event]) -> None:
        if isinstance(action, to.GiveUp):
            raise self._hopeless() if action.unmet is None else self._unmet(action)
        if (host := self._hosts.get(action.worker)) is not None:
            try:
                self._do_to(host, action, answers)
            except errors.ConnectionLost as error:
                answers.append(self._hung_up(host, str(error)))

    def _do_to(self, host: Host, action: to.Order, answers: list[to.Event]) -> None:
        if isinstance(action, to.Kill):
            why = action.why
            if action.reason == "start":
                why = f"its host process did not {'start' if host.answered else 'answer'} in time"
            answers += self._died(host, why)
            return
        if isinstance(action, to.Send):
            jobs = action.jobs if host.sees_files else self._contents.given(action.jobs)
            host.connection.submit(jobs)
        elif isinstance(action, to.RecallJobs):
            host.connection.recall(action.ids)
        elif isinstance(action, to.CancelJobs):
            host.connection.cancel(action.ids)

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self._tell([Note(None, "warning", text)])

    def _tell_use(self) -> None:
        """Say how much we need and use, for the sake of other clients."""
        need = 0
        using: dict[bytes, int] = {}
        if self._hosts.news is not None and self._hosts.news.clients > 1:
            loads = {host.info.address: len(self._pool.jobs(host.number)) for host in self._hosts}
            using = {address: load for address, load in loads.items() if load}
            need = len(self._pool.queue) + sum(using.values())
        if (need, using) != self._told_use:
            self._told_use = (need, using)
            self._network.use(need, using)

    # ---- what comes ----

    def _hear_all(self) -> list[to.Event]:
        """Take what has come; return what the machine hears."""
        events = self._take_news()
        for number in self._network.heard():
            host = self._hosts.get(number)
            while host is not None and host.socket.readable and not host.has_hung_up:
                events += self._hear(host)
        return events

    def _take_news(self) -> list[to.Event]:
        first = self._hosts.news is None
        try:
            events, gone = self._hosts.take_news()
        except errors.ChannelError as error:
            count = len(self._pool)
            what = f"{several(count, 'task')} under way" if count else "no task was under way"
            raise type(error)(f"{error}; {what}") from None
        if first and self._hosts.news is not None:
            self._do(self._pool.open(monotonic()))
        for host, why in gone.items():
            events += self._died(host, why)
        return events

    def _hear(self, host: Host) -> list[to.Event]:
        """Take what a host has said."""
        events: list[to.Event] = []
        try:
            self._hosts.hear(host, events)
        except errors.ConnectionLost as error:
            events.append(self._hung_up(host, str(error)))
        except errors.ProtocolError as error:
            host.has_hung_up = True
            events.append(self._hosts.spoilt(host, str(error)))
        return events

    def _hung_up(self, host: Host, why: str) -> to.HungUp:
        """A host's channel has ended; the network's thread is about to say why."""
        host.has_hung_up = True
        return to.HungUp(host.number, None, True, why)

    def _died(self, host: Host, why: str) -> list[to.Event]:
        host.has_hung_up = True
        return self._hosts.bury(host, why)

    # ---- the end ----

    def _unmet(self, action: to.GiveUp) -> errors.FancyPipeError:
        """Return what a task needs that no worker has."""
        there = [f"{host.info.host} (pid {host.info.pid}) with {host.has}" for host in self._hosts]
        return errors.BackendClosed(
            f"task {action.why} needs {action.unmet}, and no worker that has so much came within "
            f"{self._away:g} s (the setting away); there are: {'; '.join(sorted(there))}"
        )

    def _hopeless(self) -> errors.FancyPipeError:
        """Return why the run cannot go on."""
        remarks = "".join(f"; {text}" for text in sorted(self._warned))
        limit = f"{self._wait:g} s"
        news = self._hosts.news
        if not self._pool.is_new:
            return errors.BackendClosed(
                f"no worker could be used for {self._away:g} s, with "
                f"{several(len(self._pool.queue), 'task')} waiting{remarks}"
            )
        if news is None or news.manager is None:
            return errors.BackendStartError(f"the manager did not answer within {limit}")
        if not news.workers:
            return errors.BackendStartError(
                f"the manager is there, but no worker joined it within {limit}: start "
                "`fancypipe worker` with the same -jobmanager, or wait longer with -wait"
            )
        text = f"{several(len(news.workers), 'worker')} joined, but none could be used within "
        text += limit
        known = {host.info.address: host for host in self._hosts}
        for info in news.workers.values():
            host = known.get(info.address)
            how = "not connected" if host is None else "connected" if host.answered else "silent"
            text += f"; {info.host} (pid {info.pid}): {how}"
        return errors.BackendStartError(text + remarks)

    def _end(self, grace: float) -> None:
        """Ask all to end, and wait for that."""
        for host in self._hosts:
            with suppress(errors.ConnectionLost):
                host.connection.ask_to_stop(grace)
        until = monotonic() + _STOP_LIMIT
        # Who has nothing to do has nothing to end, and may be one that never answers.
        while not self._network.has_failed and any(
            monotonic() < until + (grace if self._pool.jobs(host.number) else 0.0)
            for host in self._hosts
            if not host.has_hung_up
        ):
            with suppress(errors.FancyPipeError):  # whatever it is, it is the end
                self._network.turn(0.1)
                self._hear_all()
        for host in self._hosts:
            self._hosts.close(host)
        self._hosts.clear()
