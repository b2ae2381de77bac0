"""The host processes that a client is connected to: who is connected, and what each says.

Where a host is, and what it may be sent, the pool machine knows; here are the
connection, what is said on it before the first job, and which workers are left out.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, cast

from fancypipe_core import errors
from fancypipe_core.backend import Certificate, Done, Environment, Equipment, Lost, Needs, Slots
from fancypipe_core.toolkit import (
    Backoff,
    Connection,
    OpenPassage,
    main_script,
    setup_of,
    several,
)
from fancypipe_core.toolkit.pool import states
from fancypipe_core.toolkit.shipping import (
    Bundle,
    ClientFiles,
    FolderPassage,
    Sharing,
    ValueFolder,
    this_platform,
    unprove,
)
from fancypipe_remote._client.network import Network, News
from fancypipe_remote._protocol import greeting as _greeting
from fancypipe_remote._protocol import messages
from fancypipe_remote._protocol.greeting import Answer, Folder, Greeting
from fancypipe_remote._transport.direct import DirectListener
from fancypipe_remote._transport.stream_socket import StreamSocket

__all__ = ["Host", "Hosts"]

_GREETING_LIMIT = 30.0  # seconds that a host process has to come up and answer
_SLOWEST = 8000.0  # bytes that a link carries in a second at least, for the client's code
_MOST_FAILURES = 5  # connections to a worker, one after the other, that come to nothing
_PAUSES = Backoff(0.2, ceiling=5.0, jitter=0.0)  # seconds between these


class Host:
    """A connection to a host process of a worker.

    Attributes:
        info: What the manager told of its worker last.
        number: The connection's, by which the pool machine knows it.
        slots: How many jobs its local backend runs; 0 until it says so.
        answered: Whether it has answered the greeting.
        is_here: Whether it is on this machine, and has shown it: it has come through our passage.
        sees_files: Whether it sees the session's folder.
        sees_values: Whether large values go by a folder, which it and we see.
        listed: Whether the manager knows of its worker.
        has_hung_up: Whether nothing is read from it any more.
    """

    def __init__(
        self, info: messages.Worker, number: int, socket: StreamSocket, files: ClientFiles
    ) -> None:
        self.info = info
        self._files = files
        self.number = number
        self.socket = socket
        self.passage = OpenPassage()
        self.direct = DirectListener()
        self.channel = Sharing(cast(Any, socket), blocking=False, passage=self.passage)
        self.connection = Connection(self.channel)
        self.asked = max(1, info.slots)
        self.slots = 0
        self.answered = self.is_here = self.sees_values = self.has_hung_up = False
        self.listed = self.sees_files = True
        self._told: states.Up | None = None
        self._round_trip = 0.0

    @property
    def has(self) -> str:
        """What it has for tasks, in words."""
        return str(Needs(max(1, self.slots), self.info.memory, self.info.devices))

    def __str__(self) -> str:
        return f"the worker on {self.info.host} (pid {self.info.pid})"

    def take_reports(self, events: list[states.Event]) -> None:
        """Write down what it has said since the last time.

        Raises:
            ConnectionLost: It is gone, and all it said was taken.
            ProtocolError: It sent what cannot be.
        """
        for reports in self.connection.reports():
            said = reports
            if any(type(one) is Lost and one.why.reason == "gone" for one in reports):
                self.lose_values()
            if not self.sees_files:
                said = [self._files.ended(one) if isinstance(one, Done) else one for one in said]
            sizes = [report for report in said if isinstance(report, Slots)]
            if sizes:
                self.slots = sizes[-1].count
                if self.slots > self.asked:
                    raise errors.ProtocolError(
                        f"it has {several(self.slots, 'slot')}, where {self.asked} were asked for"
                    )
                said = [report for report in said if not isinstance(report, Slots)]
            events.append(states.Ended(self.number, said))

    def lose_values(self) -> None:
        """A value that has gone by the folder was not there: from now on all go as bytes.

        Raises:
            ConnectionLost: It is gone.
        """
        if self.sees_values:
            self.sees_values = False
            self.connection.go_by_bytes()

    def update(self, news: News) -> list[states.Event]:
        """Return what is new about how much it may be sent, and how far away it is."""
        self.info = news.workers.get(self.info.address, self.info)
        self.listed = self.info.address in news.workers
        events = self.size()
        seconds = news.round_trips.get(self.number)
        if seconds is not None and seconds != self._round_trip:
            self._round_trip = seconds
            events.append(states.RoundTrip(self.number, seconds))
        return events

    def size(self) -> list[states.Event]:
        """Return what is new about how much it may be sent."""
        if self._told is None and not self.slots:
            return []
        share = min(self.slots, self.info.share) if self.listed else 0
        # It has processes for all its slots: more than our share would run beside what others run.
        there = Equipment(self.slots, self.info.memory, tuple(map(str, range(self.info.devices))))
        size = states.Up(self.number, share, not self.listed or share == self.slots, there)
        if size == self._told:
            return []
        self._told = size
        return [size]

    def adapt(self, environment: Environment) -> None:
        """Let the tasks that are sent from now on find this.

        Raises:
            ConnectionLost: It is gone.
        """
        self.connection.adapt(dict(environment.own), environment.folder)

    def died(self, why: str) -> states.Died:
        """Return what is to be said of its end: all of its jobs may have begun."""
        # A worker that has said that it takes nothing more has left, and no task is to blame.
        reason = "left" if why == messages.LEAVING or not self.info.slots else "host"
        certificate = Certificate(reason, why or f"{self} is gone", self.info.host, self.info.pid)
        return states.Died(self.number, certificate, all_begun=True)


class Hosts:
    """Who is connected, who is tried again, and who is left out.

    Args:
        network: Carries what is said.
        directory: The session's folder.
        value_disk: As for `BackendOptions`.
        warn: Takes sentences for the user.
        measures: As for `BackendOptions`.
        pictures: Likewise.

    Attributes:
        news: What the manager told last; None before there was a link.
        environment: What tasks are to find; None before the first run.
    """

    def __init__(
        self,
        network: Network,
        directory: str,
        value_disk: float,
        warn: Callable[[str], None],
        measures: bool = False,
        pictures: bool = False,
    ) -> None:
        self._measures, self._pictures = measures, pictures
        self.news: News | None = None
        self.environment: Environment | None = None
        self._network = network
        self._directory = directory
        self._files = ClientFiles(directory)
        self._value_disk = value_disk
        self._values = ValueFolder(_greeting.values_in(directory), 0, value_disk)
        self._warn = warn
        self._script = main_script()
        self._warned_of_code: set[str] = set()
        self._proof = secrets.token_hex(16)
        self._hosts: dict[int, Host] = {}
        self._connected: dict[bytes, Host] = {}  # by the worker's address
        self._unfit: set[bytes] = set()
        self._failures: dict[bytes, int] = {}
        self._try_at: dict[bytes, float] = {}
        self._may_connect = False  # whether any of that has changed since we looked

    def __iter__(self) -> Iterator[Host]:
        return iter(list(self._hosts.values()))

    @property
    def takes_handles(self) -> bool:
        """Whether a host is on this machine or sees our folder, or none has said anything yet."""
        hosts = self._hosts.values()
        known = [host.is_here or host.sees_values for host in hosts if host.answered]
        return any(known) or not known

    def get(self, number: int) -> Host | None:
        """Return a host; None if it is not connected any more."""
        return self._hosts.get(number)

    def start(self) -> None:
        """See what our code is, and leave a file by which workers know our folder."""
        self._bundle = Bundle(self._script)
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        _greeting.prove(self._directory, self._proof)
        if self._value_disk and not self._values.make():
            self._value_disk = 0.0

    # ---- what the manager says ----

    def take_news(self) -> tuple[list[states.Event], dict[Host, str]]:
        """Take what the network's thread has to tell.

        Returns:
            What the machine must hear, and the hosts that are gone, and why.

        Raises:
            InternalError: The thread has failed.
            ConnectionLost: The manager is gone for good, or was not there.
            ChannelError: It is none, or has another secret.
            VersionMismatch: The manager has refused us.
        """
        news = self._network.news()
        if news is None:
            return [], {}
        if isinstance(news.failed, errors.FancyPipeError):
            raise news.failed
        if news.failed is not None:
            raise errors.InternalError(
                f"the thread for the network has failed: {news.failed!r}"
            ) from news.failed
        self.news = news
        self._may_connect = True
        for remark in news.remarks:
            self._warn(remark)
        self._unfit |= news.liars
        if news.over is not None:
            raise (errors.VersionMismatch if news.refused else errors.ConnectionLost)(news.over)
        known = [(self.get(number), why) for number, why in news.closed.items()]
        gone = {host: why for host, why in known if host is not None}
        events = [event for host in self for event in host.update(news)]
        return events, gone

    # ---- connecting ----

    @property
    def next_try(self) -> float | None:
        """When a connection is tried again; None if none is to be."""
        return min(self._try_at.values()) if self._try_at else None

    def connect(self) -> list[Host]:
        """Connect to the workers that are new, or are to be tried again now; return the hosts."""
        now = monotonic()
        next_try = self.next_try
        if not self._may_connect and (next_try is None or now < next_try):
            return []
        self._may_connect = False
        if self.news is None:
            return []
        self._try_at = {address: at for address, at in self._try_at.items() if at > now}
        passed = self._connected.keys() | self._unfit | self._try_at.keys()
        new = [info for address, info in self.news.workers.items() if address not in passed]
        return [self._connect(info) for info in new if self._suits(info)]

    def _suits(self, info: messages.Worker) -> bool:
        ours = f"{sys.version_info[0]}.{sys.version_info[1]}"
        if info.python != ours:
            self._unfit.add(info.address)
            self._warn(
                f"the worker on {info.host} runs Python {info.python} and is left out: values "
                f"and code travel only between equal versions, and here it is {ours}"
            )
        return info.python == ours

    def _connect(self, info: messages.Worker) -> Host:
        number, socket = self._network.open(info.address, max(1, info.slots))
        host = Host(info, number, socket, self._files)
        self._hosts[number] = self._connected[info.address] = host
        passage, direct = host.passage.name, host.direct
        greeting = Greeting(
            self._bundle.code, self._directory, self._proof, _cwd(), passage, direct.name,
            direct.token, number + 1, self._value_disk,
        )  # fmt: skip
        host.channel.send(_greeting.encode(greeting))
        return host

    @staticmethod
    def joined(host: Host, size: int = 0) -> states.Joined:
        """Return in what time a host must take its next step, with so many bytes to it."""
        return states.Joined(host.number, _GREETING_LIMIT + size / _SLOWEST)

    # ---- what a host says ----

    def hear(self, host: Host, events: list[states.Event]) -> None:
        """Write down what a host has said.

        Raises:
            ConnectionLost: It is gone, and all it said was taken.
            ProtocolError: It sent what cannot be.
        """
        if host.answered:
            slots = host.slots
            host.take_reports(events)
            if host.slots != slots:
                events += host.size()
        else:
            events += self._take_answer(host)

    def _take_answer(self, host: Host) -> Sequence[states.Event]:
        frames = host.channel.received()
        if not frames:
            return ()
        answer = _greeting.decode(frames[0][0], Answer)
        if answer.problem:
            self._leave_out(host.info, answer.problem)
            return [states.Spoilt(host.number, answer.problem)]
        shipped = self._send_code(host, answer.platform) if answer.wants_code else 0
        host.sees_files = answer.shares
        if not answer.shares:
            self._warn(
                f"the worker on {host.info.host} does not see {self._directory}: each `File` goes "
                "with its content, and by other paths files that tasks make there cannot be read "
                "here; give -tempdir a folder that all see"
            )
        host.is_here = host.passage.accept()
        self._network.join(host.number, host.direct)
        if answer.has_signed:
            self._share_values(host)
        setup = setup_of(self._directory, self._measures, pictures=self._pictures)
        setup.path = []  # the greeting has said where the code is
        host.connection.setup(setup)
        if self.environment is not None:
            host.adapt(self.environment)
        host.answered = True
        self._failures.pop(host.info.address, None)
        return [self.joined(host, shipped)]

    def _share_values(self, host: Host) -> None:
        """Let values go by the folder, if what the host has written there can be read here."""
        host.sees_values = self._values.signed(host.number + 1, self._proof) and not host.is_here
        host.channel.send(_greeting.encode(Folder(host.sees_values)))
        if host.sees_values:
            host.passage.close()
            host.connection.use(FolderPassage(self._values))

    def _send_code(self, host: Host, platform: str) -> int:
        """Send the client's code; return how many bytes that are."""
        archive = self._bundle.archive(platform)
        host.channel.send(b"", [archive])
        name = host.info.host
        if self._bundle.lacks and "" not in self._warned_of_code:
            self._warned_of_code.add("")
            self._warn(
                f"the worker on {name} does not see your files, and what was sent of them lacks "
                f"{self._bundle.lacks}: that is too large. If a task needs it, put it on a file "
                "system that all see, or install it there"
            )
        unfit = self._bundle.unfit(platform)
        if unfit and name not in self._warned_of_code:
            self._warned_of_code.add(name)
            self._warn(
                f"the worker on {name} does not get {unfit}: that is machine code for "
                f"{this_platform()}, and there it is {platform}"
            )
        return len(archive)

    # ---- leaving ----

    def spoilt(self, host: Host, why: str) -> states.Spoilt:
        """Leave a worker out that has sent what cannot be."""
        self._unfit.add(host.info.address)
        self._warn(f"{host} is left out: it broke the protocol: {why}")
        return states.Spoilt(host.number, why)

    def _leave_out(self, info: messages.Worker, why: str) -> None:
        self._unfit.add(info.address)
        self._warn(f"the worker on {info.host} is left out: {why}")

    def bury(self, host: Host, why: str) -> list[states.Event]:
        """Close a connection that is no more, and plan another; return what is left to be told."""
        events: list[states.Event] = []
        # What it had reported counts.
        if host.answered:
            with suppress(errors.ConnectionLost, errors.ProtocolError):
                host.take_reports(events)
        self.close(host)
        address = host.info.address
        failures = self._failures[address] = self._failures.get(address, 0) + 1
        if address not in self._unfit and failures >= _MOST_FAILURES:
            self._unfit.add(address)
            self._warn(
                f"{host} is left out after {failures} connections that ended before they were of "
                f"use; the last: {why}"
            )
        self._try_at[address] = monotonic() + _PAUSES.after(failures)
        return [*events, host.died(why)]

    def let_go(self, host: Host) -> list[states.Event]:
        """Close the connection to a worker that nobody needs, for good."""
        self._unfit.add(host.info.address)
        return self.bury(host, "nobody needs it any more")

    def close(self, host: Host) -> None:
        """Close a connection."""
        self._may_connect = True
        del self._hosts[host.number]
        self._connected.pop(host.info.address, None)
        host.connection.close()
        host.direct.close()
        self._values.sweep(host.number + 1)
        self._network.close(host.number, "the client has closed it")

    def clear(self) -> None:
        """Leave no file."""
        self._values.clear()
        unprove(self._directory)


def _cwd() -> str:
    try:
        return os.getcwd()
    except OSError:  # it is gone
        return ""
