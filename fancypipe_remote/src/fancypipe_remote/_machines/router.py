"""The manager's machine: who is there, and whose message goes to whom.

A *link* is what a message came over; its name is the transport's, and nobody is told
it.  A *party* is who spoke there and said hello; others know it by its address, which
is made from its role and its ticket and cannot be turned back into them.  So who knows
an address can write to it, if the key's role allows that, and nothing else: it cannot
be taken, and over a new link only the party itself is known again.

It keeps no jobs and no results, and nothing that it could not learn anew within a
second: parties say hello, beat, and are told who else is there.  A manager that
died and came back asks `Who` of everybody that it does not know.

States of a party:

===========  ==================================================================
unknown      its hello is taken -> here; it is refused, told why, and stays unknown
here         silent for `Times.silent`, unreachable for `Times.unreachable`, says
             bye, or says what cannot be read or is not for its role -> unknown
===========  ==================================================================

This is a pure machine: it has no clock, thread or socket.  The time is given in
seconds of a monotonic clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from fancypipe_core.errors import ProtocolError
from fancypipe_remote._machines import messages
from fancypipe_remote._machines.fair_share import shares
from fancypipe_remote._machines.messages import Parts
from fancypipe_remote._words import several

__all__ = ["Out", "Relay", "Times"]

_MOST_HOSTS = 30_000  # host processes: nobody is sent a list of them


class Times(NamedTuple):
    """Limits, in seconds.

    Attributes:
        beat: How often everybody shows that it lives.
        silent: After so long without a word a party is taken for dead.
        unreachable: The same, for one whose connection has broken.
    """

    beat: float = 1.0
    silent: float = 3.0
    unreachable: float = 1.5  # a beat is what shows that there is a new link


class Out(NamedTuple):
    """A message to send.

    Attributes:
        to: The link's name.
        parts: The message.
        last: Whether nothing is to be heard of this link any more.
    """

    to: bytes
    parts: Parts
    last: bool = False


class Identity(NamedTuple):
    """What the manager says of itself."""

    manager: str
    fancypipe: str
    host: str
    pid: int


class _Party:
    def __init__(self, address: bytes, link: bytes, hello: messages.Hello, now: float) -> None:
        self.address = address
        self.link: bytes | None = link
        self.hello = hello
        self.key = messages.key_role(hello.role)
        self.listed = hello.role != "host"  # a host's worker and its client know of it
        self.heard = now
        self.unreachable: float | None = None
        self.told: messages.FromManager | None = None
        # Of a worker.
        self.slots = hello.slots
        self.load = 0.0
        # Of a client.
        self.need = 0
        self.using: Mapping[bytes, int] = {}
        self.share: dict[bytes, int] = {}

    def __str__(self) -> str:
        hello = self.hello
        return f"{hello.role} on {hello.host} (pid {hello.pid})"


class Relay:
    """The machine.

    Args:
        identity: What it says of itself.
        times: Its limits.

    Attributes:
        log: What has happened since somebody looked, in sentences.
    """

    def __init__(self, identity: Identity, times: Times | None = None) -> None:
        self.identity = identity
        self.times = times or Times()
        self.log: list[str] = []
        self._parties: dict[bytes, _Party] = {}  # by address
        self._links: dict[bytes, _Party] = {}  # by the name of the link
        self._changed = False
        self._next_beat = 0.0

    # ---- what it is told ----

    def take(self, link: bytes, role: str, parts: Parts, now: float) -> list[Out]:
        """Take a message.

        Args:
            link: The name of the link it came over.
            role: What the key that the link was made with allows: `client` or `worker`.
            parts: The message.
            now: The time.
        """
        out: list[Out] = []
        try:
            party = self._speaker(link, role, now)
            to = messages.address(parts)
            if not to:
                self._take_own(link, role, party, parts, now, out)
            elif party is None:
                out.append(Out(link, messages.encode(messages.Who())))
            else:
                receiver = self._parties.get(to)
                if receiver is not None and receiver.key != role and receiver.link:
                    out.append(Out(receiver.link, [party.address, *parts[1:]]))
                # Else it is gone, and the list of who is there says so.
        except ProtocolError as error:
            self._refuse(link, role, str(error), out)
        self._tell_changes(out)
        return out

    def unreachable(self, link: bytes, now: float) -> None:
        """Know that a link has broken; the party may come back over another one."""
        party = self._links.pop(link, None)
        if party is not None:
            party.link = None
            party.unreachable = now

    def tick(self, now: float) -> list[Out]:
        """See who is gone, and beat.  Call it at `next_tick`."""
        out: list[Out] = []
        for party in list(self._parties.values()):
            if now >= party.heard + self.times.silent:
                self._remove(party, f"is gone: it sent nothing for {self.times.silent:g} s")
            elif (
                party.unreachable is not None and now >= party.unreachable + self.times.unreachable
            ):
                self._remove(party, "is gone: its connection broke")
        self._tell_changes(out)
        if now >= self._next_beat:
            self._next_beat = now + self.times.beat
            self._tell_all(out, again=True)
        return out

    @property
    def next_tick(self) -> float:
        """When `tick` must be called next."""
        times = [self._next_beat]
        for party in self._parties.values():
            times.append(party.heard + self.times.silent)
            if party.unreachable is not None:
                times.append(party.unreachable + self.times.unreachable)
        return min(times)

    def stop(self) -> list[Out]:
        """Say bye to all."""
        bye = messages.encode(messages.Bye())
        return [Out(link, bye) for link in self._links]

    # ---- what is asked of it ----

    def __len__(self) -> int:
        return len(self._parties)

    @property
    def counts(self) -> tuple[int, int]:
        """How many clients and workers are there."""
        roles = [party.hello.role for party in self._parties.values()]
        return roles.count("client"), roles.count("worker")

    def check(self) -> None:
        """Verify what must always be true; for tests.

        Raises:
            AssertionError: It is not.
        """
        used: dict[bytes, int] = {}
        for address, party in self._parties.items():
            assert party.address == address
            assert party.link is None or self._links[party.link] is party
            for worker, count in party.share.items():
                assert worker in self._parties, "a share of a worker that is gone"
                used[worker] = used.get(worker, 0) + count
        for link, party in self._links.items():
            assert party.link == link, "a link of a party that has another"
            assert self._parties[party.address] is party, "a link of a party that is gone"
        for worker, count in used.items():
            assert count <= self._parties[worker].slots, "more shares than slots"
        assert not self._changed, "somebody was not told"

    # ---- parties ----

    def _speaker(self, link: bytes, role: str, now: float) -> _Party | None:
        """Return the party at the other end of a link; None if it has not said hello there.

        Raises:
            ProtocolError: Somebody else has given the link that party's name.
        """
        party = self._links.get(link)
        if party is not None and party.key != role:
            # The transport has one link of a name at a time, so the party's own has ended.
            self.unreachable(link, now)
            raise ProtocolError(f"the name of its link is that of a {party.hello.role}")
        if party is not None:
            party.heard = now
        return party

    def _take_own(
        self, link: bytes, role: str, party: _Party | None, parts: Parts, now: float,
        out: list[Out],
    ) -> None:  # fmt: skip
        message = messages.decode(parts, by_manager=True)
        if isinstance(message, messages.Hello):
            self._hello(link, role, message, now, out)
        elif party is None:
            out.append(Out(link, messages.encode(messages.Who())))
        elif isinstance(message, messages.Bye):
            self._remove(party, "left")
        elif isinstance(message, messages.WorkerBeat) and party.hello.role == "worker":
            if message.slots > party.hello.slots:
                raise ProtocolError(
                    f"it announces {several(message.slots, 'slot')}, and announced "
                    f"{party.hello.slots} before"
                )
            party.load = message.load
            self._changed |= party.slots != message.slots
            party.slots = message.slots
        elif isinstance(message, messages.ClientBeat) and role == "client":
            self._changed |= (party.need, party.using) != (message.need, message.using)
            party.need, party.using = message.need, message.using
        elif isinstance(message, messages.HostBeat) and party.hello.role == "host":
            out.append(Out(link, messages.encode(message)))
        else:
            what = type(message).__name__
            raise ProtocolError(f"a {party.hello.role} does not say {what} to a manager")

    def _hello(
        self, link: bytes, role: str, hello: messages.Hello, now: float, out: list[Out]
    ) -> None:
        me = self.identity
        address = messages.address_of(hello.role, hello.ticket or link)
        known = self._parties.get(address)
        before = self._links.get(link)
        if hello.protocol[0] != messages.PROTOCOL[0]:
            raise ProtocolError(
                f"this manager (fancypipe-remote {me.fancypipe} on {me.host}) speaks version "
                f"{messages.PROTOCOL[0]} of the protocol, the {hello.role} on {hello.host} "
                f"(fancypipe-remote {hello.fancypipe}) version {hello.protocol[0]}; "
                "install the same version of fancypipe-remote on both"
            )
        if messages.key_role(hello.role) != role:
            raise ProtocolError(f"a key for a {role} does not make a {hello.role}")
        if before not in (None, known) or (known is not None and known.hello != hello):
            raise ProtocolError("it announces itself as another than before")
        if known is None:
            most = messages.MOST_PARTIES if hello.role != "host" else _MOST_HOSTS
            if len(self._of(hello.role)) >= most:
                raise ProtocolError(f"{most} {hello.role}s are connected, which is the most")
            known = self._parties[address] = _Party(address, link, hello, now)
            slots = f" with {several(hello.slots, 'slot')}" if hello.slots else ""
            if known.listed:
                self.log.append(f"{known} joined{slots}")
        elif known.link not in (None, link):
            del self._links[known.link]
        self._links[link] = known
        known.link = link
        known.heard = now
        known.unreachable = None
        known.told = None
        self._changed |= known.listed
        welcome = messages.Welcome(me.manager, messages.PROTOCOL, me.fancypipe, me.host, me.pid)
        out.append(Out(link, messages.encode(welcome)))

    def _refuse(self, link: bytes, role: str, why: str, out: list[Out]) -> None:
        """Tell a link's other end why it is not listened to any more."""
        party = self._links.get(link)
        self.log.append(f"refused {party or 'a ' + role}: {why}")
        out.append(Out(link, messages.encode(messages.Refused(why)), last=True))
        if party is not None:
            self._remove(party, "")

    def _remove(self, party: _Party, why: str) -> None:
        del self._parties[party.address]
        if party.link is not None:
            del self._links[party.link]
        self._changed |= party.listed
        if why and party.listed:
            self.log.append(f"{party} {why}")

    # ---- what it tells ----

    def _of(self, role: str) -> dict[bytes, _Party]:
        return {a: party for a, party in self._parties.items() if party.hello.role == role}

    def _tell_changes(self, out: list[Out]) -> None:
        if not self._changed:
            return
        self._changed = False
        clients, workers = self._of("client"), self._of("worker")
        found = shares(
            {address: worker.slots for address, worker in workers.items()},
            {address: client.need for address, client in clients.items()},
            {address: client.share for address, client in clients.items()},
        )
        for address, share in found.items():
            clients[address].share = share
        self._tell_all(out, again=False)

    def _tell_all(self, out: list[Out], *, again: bool) -> None:
        for party in self._links.values():
            if party.listed:
                self._tell(party, out, again=again)

    def _tell(self, party: _Party, out: list[Out], *, again: bool) -> None:
        message: messages.FromManager
        if party.hello.role == "worker":
            message = messages.Clients(
                tuple(
                    messages.Client(client, other.hello.host, other.hello.pid)
                    for client, other in self._of("client").items()
                )
            )
        else:
            message = self._workers_for(party)
        if again or message != party.told:
            party.told = message
            assert party.link is not None
            out.append(Out(party.link, messages.encode(message)))

    def _workers_for(self, party: _Party) -> messages.Workers:
        clients = self._of("client")
        found = []
        for worker, other in self._of("worker").items():
            # A share can be used as far as the others have left it.
            held = sum(
                client.using.get(worker, 0) for client in clients.values() if client is not party
            )
            share = max(0, min(party.share.get(worker, 0), other.slots - held))
            hello = other.hello
            found.append(
                messages.Worker(
                    worker, hello.host, hello.pid, hello.python, hello.fancypipe,
                    other.slots, share, other.load,
                )
            )  # fmt: skip
        return messages.Workers(tuple(found), len(clients))
