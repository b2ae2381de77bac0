"""The workers that a client is connected to: who joins, who is of use, who is gone.

States of a worker, as the client sees it:

===========  ==================================================================
listed       the manager tells of it; it can run our Python, and has not failed too
             often -> greeted
greeted      its host process was asked who it is; it answers -> ready; it is
             silent for `_GREETING_LIMIT`, or has a problem -> gone
ready        it takes jobs; its channel ends -> ending
ending       it has a moment to say why -> gone
gone         what it had is lost; it is listed again some time later
===========  ==================================================================
"""

from __future__ import annotations

import os
import secrets
import selectors
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from time import monotonic

from fancypipe_core import errors
from fancypipe_core.backend import Environment, Event, Job
from fancypipe_core.toolkit import ChannelBackend, Setup, SocketChannel, main_script
from fancypipe_remote._client.network import Network, News
from fancypipe_remote._machines import messages
from fancypipe_remote._shipping import greeting as _greeting
from fancypipe_remote._shipping.bundle import Bundle, this_platform
from fancypipe_remote._shipping.greeting import Answer, Greeting
from fancypipe_remote._shipping.shared_buffers import Sharing

__all__ = ["Crew", "Member"]

_GREETING_LIMIT = 30.0  # seconds that a host process has to come up and answer
_WHY_LIMIT = 2.0  # seconds that a worker has to say why a channel has ended
_MOST_FAILURES = 5  # connections to a worker, one after the other, that come to nothing


class Member:
    """A connection to a worker, and the jobs that are there.

    Attributes:
        info: What the manager told of it last.
        asked: How many jobs it was asked to run at the same time.
        slots: How many its local backend does; 0 until it says so.
        ready: Whether it has answered the greeting.
        limit: When it must have answered, or have said why its channel ended.
        why: Why its channel has ended; None while it has not.
    """

    def __init__(
        self, info: messages.Worker, number: int, link: ChannelBackend, channel: SocketChannel
    ) -> None:
        self.info = info
        self.number = number
        self.link = link
        self.channel = channel
        self.asked = max(1, info.slots)
        self.slots = 0
        self.ready = False
        self.limit: float | None = monotonic() + _GREETING_LIMIT
        self.why: str | None = None

    @property
    def load(self) -> int:
        """How many jobs it has."""
        return len(self.link.outstanding)


class Crew:
    """All workers, in the engine's thread.

    Args:
        network: Carries what is said.
        selector: Waits for what they say.
        directory: The session's folder.
        heard: Takes what a worker reports.
        lost: Takes the jobs of a worker that is gone, and why.
        warn: Takes sentences for the user.
    """

    def __init__(
        self,
        network: Network,
        selector: selectors.BaseSelector,
        directory: str,
        heard: Callable[[Member, Sequence[Event]], None],
        lost: Callable[[Member, Sequence[Job], str], None],
        warn: Callable[[str], None],
    ) -> None:
        self.members: dict[bytes, Member] = {}
        self.news: News | None = None
        self.stopping = False
        self._network = network
        self._selector = selector
        self._directory = directory
        self._heard = heard
        self._lost = lost
        self._warn = warn
        self._script = main_script()
        self._bundle = Bundle(self._script)
        self._warned_of_code: set[str] = set()
        self._proof = secrets.token_hex(16)
        self._environment: Environment | None = None  # of the run; None before the first
        self._unfit: set[bytes] = set()
        self._failures: dict[bytes, int] = {}
        self._try_at: dict[bytes, float] = {}
        os.makedirs(directory, mode=0o700, exist_ok=True)
        with open(self._proof_file, "w", encoding="utf-8") as out:
            out.write(self._proof)

    @property
    def _proof_file(self) -> str:
        return os.path.join(self._directory, "proof")

    def __iter__(self) -> Iterator[Member]:
        return iter(list(self.members.values()))

    def __len__(self) -> int:
        return len(self.members)

    @property
    def is_alone(self) -> bool:
        """Whether there is no other client."""
        return self.news is not None and self.news.clients == 1

    def room(self, member: Member) -> int:
        """How many jobs a worker may run for us at the same time."""
        news = self.news
        if news is None or member.info.address not in news.workers or member.why is not None:
            return 0
        return min(member.slots, member.info.share)

    # ---- what comes ----

    def take_news(self) -> None:
        """Take what the network's thread has to tell.

        Raises:
            InternalError: It has failed.
            ConnectionLost: The manager is gone for good, or was not there.
            ChannelError: It is none, or has another secret.
            VersionMismatch: The manager has refused us.
        """
        news = self._network.news()
        if news is None:
            return
        if isinstance(news.failed, errors.FancyPipeError):
            raise news.failed
        if news.failed is not None:
            raise errors.InternalError(
                f"the thread for the network has failed: {news.failed!r}"
            ) from news.failed
        self.news = news
        for remark in news.remarks:
            self._warn(remark)
        self._unfit |= news.liars
        for (address, number), why in news.closed.items():
            member = self.members.get(address)
            if member is not None and member.number == number:
                self._gone(member, why)
        if news.over is not None:
            kind = errors.VersionMismatch if news.refused else errors.ConnectionLost
            raise kind(news.over)
        self._meet(news)

    def serve(self, member: Member, mask: int) -> None:
        """A worker's channel has something to read, or room to write."""
        if self.members.get(member.info.address) is not member:
            return  # it was closed for what came in the same moment
        try:
            if mask & selectors.EVENT_WRITE:
                member.channel.flush()
                self.watch_writes(member)
            if mask & selectors.EVENT_READ:
                if member.ready:
                    member.link.read()
                else:
                    self._take_answer(member)
        except errors.ConnectionLost as error:
            self.ended(member, str(error))
        except errors.ProtocolError as error:
            info = member.info
            self._unfit.add(info.address)
            self._warn(
                f"the worker on {info.host} (pid {info.pid}) is left out: it broke the protocol: "
                f"{error}"
            )
            self.ended(member, str(error))

    def adapt(self, environment: Environment) -> None:
        """Let the tasks that are sent from now on find this, also at workers to come."""
        self._environment = environment
        for member in self:
            if member.ready and member.why is None:
                try:
                    member.link.adapt(dict(environment.own), environment.folder)
                    self.watch_writes(member)
                except errors.ConnectionLost as error:
                    self.ended(member, str(error))

    def submit(self, member: Member, jobs: Sequence[Job]) -> None:
        """Send jobs; if the worker is gone, they are lost."""
        try:
            member.link.submit(jobs)
            self.watch_writes(member)
        except errors.ConnectionLost as error:
            self.ended(member, str(error))

    def watch_writes(self, member: Member) -> None:
        """Ask for room in the socket only while something waits for it."""
        if member.why is not None:
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if member.channel.pending else 0)
        if self._selector.get_key(member.channel).events != events:
            self._selector.modify(member.channel, events, member)

    # ---- joining ----

    def _meet(self, news: News) -> None:
        """Connect to workers that are new."""
        ours = f"{sys.version_info[0]}.{sys.version_info[1]}"
        for address, info in news.workers.items():
            known = self.members.get(address)
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
        number, sock = self._network.open(address, max(1, info.slots))
        channel = Sharing(sock, blocking=False)
        link = ChannelBackend(channel, channel, lambda events: self._heard(member, events), _keep)
        member = self.members[address] = Member(info, number, link, channel)
        self._selector.register(channel, selectors.EVENT_READ, member)
        greeting = Greeting(self._bundle.code, self._directory, self._proof, _cwd())
        channel.send(_greeting.encode(greeting))
        self.watch_writes(member)

    def _take_answer(self, member: Member) -> None:
        frames = member.channel.received()
        if not frames:
            return
        answer = _greeting.decode(frames[0][0], Answer)
        host = member.info.host
        if answer.problem:
            self._unfit.add(member.info.address)
            self._warn(f"the worker on {host} is left out: {answer.problem}")
            self._gone(member, answer.problem)
            return
        if answer.wants_code:
            self._send_code(member, answer.platform)
        if not answer.shares:
            self._warn(
                f"the worker on {host} does not see {self._directory}: files that tasks make "
                "there cannot be read here; give -tempdir a folder that all see"
            )
        script = (self._script.kind, self._script.value) if self._script else None
        member.link.setup(Setup([], list(sys.argv), script, self._directory))
        if self._environment is not None:
            member.link.adapt(dict(self._environment.own), self._environment.folder)
        member.ready = True
        member.limit = None
        self._failures.pop(member.info.address, None)
        self.watch_writes(member)

    def _send_code(self, member: Member, platform: str) -> None:
        member.channel.send(b"", [self._bundle.archive(platform)])
        host = member.info.host
        if self._bundle.lacks and "" not in self._warned_of_code:
            self._warned_of_code.add("")
            self._warn(
                f"the worker on {host} does not see your files, and what was sent of them lacks "
                f"{self._bundle.lacks}: that is too large. If a task needs it, put it on a file "
                "system that all see, or install it there"
            )
        unfit = self._bundle.unfit(platform)
        if unfit and host not in self._warned_of_code:
            self._warned_of_code.add(host)
            self._warn(
                f"the worker on {host} does not get {unfit}: that is machine code for "
                f"{this_platform()}, and there it is {platform}"
            )

    # ---- clocks ----

    def next_look(self) -> list[float]:
        """Return the times at which `look_at_clocks` has something to do."""
        limits = [member.limit for member in self if member.limit is not None]
        return [*self._try_at.values(), *limits]

    def look_at_clocks(self) -> bool:
        """See whose time is over; tell whether there was anybody."""
        now = monotonic()
        due = [address for address, at in self._try_at.items() if now >= at]
        for address in due:
            del self._try_at[address]
        if due and self.news is not None:
            self._meet(self.news)
        late = [member for member in self if member.limit is not None and now >= member.limit]
        for member in late:
            self._gone(
                member, member.why or f"its host process did not answer in {_GREETING_LIMIT:g} s"
            )
        return bool(due or late)

    # ---- leaving ----

    def ended(self, member: Member, why: str) -> None:
        """A worker's channel has ended; it is about to say why."""
        if self.stopping:
            self._gone(member, why)
        elif member.why is None:
            member.why = why
            member.limit = monotonic() + _WHY_LIMIT
            self._selector.unregister(member.channel)

    def _gone(self, member: Member, why: str) -> None:
        """A worker is gone, and with it what ran there."""
        if self.members.get(member.info.address) is not member:
            return
        # What it had reported counts.
        if member.ready:
            with suppress(errors.ConnectionLost, errors.ProtocolError):
                member.link.read()
        jobs = member.link.take(list(member.link.outstanding))
        self.close(member)
        self._plan_another_try(member, why)
        self._lost(member, jobs, why or "the worker is gone")

    def _plan_another_try(self, member: Member, why: str) -> None:
        """Connect again some time later, if the worker is still there; not for ever."""
        address = member.info.address
        failures = self._failures[address] = self._failures.get(address, 0) + 1
        if failures >= _MOST_FAILURES:
            self._unfit.add(address)
            self._warn(
                f"the worker on {member.info.host} (pid {member.info.pid}) is left out after "
                f"{failures} connections that ended before they were of use; the last: {why}"
            )
        elif not self.stopping and address not in self._unfit:
            self._try_at[address] = monotonic() + min(0.1 * 2**failures, 5.0)

    def close(self, member: Member) -> None:
        """Close the connection to a worker."""
        del self.members[member.info.address]
        if member.why is None:
            self._selector.unregister(member.channel)
        member.link.close()
        self._network.close(member.info.address, member.number, "the client has closed it")

    def disband(self) -> None:
        """Close all, and leave no file."""
        for member in self:
            self.close(member)
        with suppress(OSError):
            os.unlink(self._proof_file)
            os.rmdir(self._directory)  # unless there is more in it, which is the session's


def _keep(_jobs: Sequence[Job]) -> None:
    """Workers of this kind give nothing back but by events."""


def _cwd() -> str:
    try:
        return os.getcwd()
    except OSError:  # it is gone
        return ""
