"""The manager's router: who is there, and whose message goes to whom.

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

What is told is what is new since a party was told last.  What changes is
told in batches, the more rarely the more clients there are: so the work of a second
grows with clients, workers and shares, and never with their product.

This is a pure machine: it has no clock, thread or socket.  The time is given in
seconds of a monotonic clock that stands still while its process does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import chain

from fancypipe_core.errors import ProtocolError
from fancypipe_core.toolkit import several
from fancypipe_remote._protocol import messages
from fancypipe_remote._protocol.fair_share import shares
from fancypipe_remote._protocol.messages import Parts
from fancypipe_remote._protocol.parties import Identity, Out, Party, Room, Times

__all__ = ["Identity", "Out", "Router"]

_MOST_HOSTS = 30_000  # host processes: nobody is sent a list of them
_NEVER = float("inf")
_PACE = 0.0005  # seconds between two batches of news, for each client


class Router:
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
        self._clients = Room()
        self._workers = Room()
        self._hosts = Room()  # listed to their workers and clients only
        self._links: dict[bytes, Party] = {}  # by the name of the link
        # Who was not heard for longest is first; and who was not reachable for longest.
        self._quiet: dict[bytes, Party] = {}
        self._unreachable: dict[bytes, Party] = {}
        self._used: dict[bytes, int] = {}  # slots of each worker, by all clients together
        self._changed = False
        self._next_news = 0.0
        self._next_beat = 0.0
        self._judges_from = 0.0

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
                receiver = self._others(role).get(to)
                if receiver is None and role == "client":
                    receiver = self._hosts.get(to)
                if receiver is not None and receiver.link:
                    out.append(Out(receiver.link, [party.address, *parts[1:]]))
                # Else it is gone, and the list of who is there says so.
        except ProtocolError as error:
            self._refuse(link, role, str(error), out)
        return out

    def unreachable(self, link: bytes, now: float) -> None:
        """Know that a link has broken; the party may come back over another one."""
        party = self._links.pop(link, None)
        if party is not None:
            party.link = None
            party.unreachable = now
            self._unreachable[party.address] = party

    def awoke(self, now: float) -> None:
        """The manager's own process stood still: nobody was heard, and all have to come back."""
        self._judges_from = now + self.times.settle

    def tick(self, now: float) -> list[Out]:
        """See who is gone, and tell what is new.  Call it at `next_tick`."""
        out: list[Out] = []
        while self._next_gone() <= now:
            self._remove_quietest(now)
        beat = now >= self._next_beat
        if beat or (self._changed and now >= self._next_news):
            self._next_news = now + _PACE * len(self._clients)
            self._tell_news(beat, out)
        if beat:
            self._next_beat = now + self.times.beat
        return out

    def _next_gone(self) -> float:
        """Return when the next party is gone if nothing comes."""
        at = _NEVER
        for party in self._quiet.values():
            at = party.heard + self.times.silent
            break
        for party in self._unreachable.values():
            at = min(at, (party.unreachable or 0.0) + self.times.unreachable)
            break
        return max(at, self._judges_from)

    def _remove_quietest(self, now: float) -> None:
        """Remove who is gone by now for the longest."""
        quiet = next(iter(self._quiet.values()))
        silent = self.times.silent
        if quiet.heard + silent <= now:
            self._remove(quiet, f"is gone: it sent nothing for {silent:g} s")
        else:
            lost = next(iter(self._unreachable.values()))
            self._remove(lost, "is gone: its connection broke")

    @property
    def next_tick(self) -> float:
        """When `tick` must be called next."""
        at = min(self._next_beat, self._next_gone())
        return min(at, self._next_news) if self._changed else at

    def stop(self) -> list[Out]:
        """Say bye to all."""
        bye = messages.encode(messages.Bye())
        return [Out(link, bye) for link in self._links]

    # ---- what is asked of it ----

    def __len__(self) -> int:
        return len(self._quiet)

    @property
    def links(self) -> Collection[bytes]:
        """The names of the links of those who are there."""
        return self._links.keys()

    @property
    def counts(self) -> tuple[int, int]:
        """How many clients and workers are there."""
        return len(self._clients), len(self._workers)

    def check(self) -> None:
        """Verify what must always be true; for tests.

        Raises:
            AssertionError: It is not.
        """
        parties = {**self._clients, **self._workers, **self._hosts}
        used: dict[bytes, int] = {}
        held: dict[bytes, int] = {}
        for address, party in parties.items():
            assert party.address == address
            assert party.link is None or self._links[party.link] is party
            assert (party.link is None) == (address in self._unreachable)
            for worker, count in party.share.items():
                used[worker] = used.get(worker, 0) + count
            for worker, count in party.using.items():
                held[worker] = held.get(worker, 0) + count
        for link, party in self._links.items():
            assert party.link == link, "a link of a party that has another"
            assert parties[party.address] is party, "a link of a party that is gone"
        heard = [party.heard for party in self._quiet.values()]
        assert heard == sorted(heard), "who is quiet for longest is not first"
        assert self._quiet == parties
        assert {worker: count for worker, count in held.items() if count} == self._used
        if not self._changed:
            for worker, count in used.items():
                assert count <= self._workers[worker].slots, "more shares than slots"

    # ---- parties ----

    def _room(self, role: str) -> Room:
        return {"client": self._clients, "worker": self._workers}.get(role, self._hosts)

    def _others(self, role: str) -> Room:
        """Return those whom a party of this role talks to."""
        return self._workers if role == "client" else self._clients

    def _speaker(self, link: bytes, role: str, now: float) -> Party | None:
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
            self._hear(party, now)
        return party

    def _hear(self, party: Party, now: float) -> None:
        party.heard = now
        self._quiet.pop(party.address, None)
        self._quiet[party.address] = party

    def _take_own(
        self, link: bytes, role: str, party: Party | None, parts: Parts, now: float,
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
            party.lent = message.lent_memory, message.lent_devices
            if party.slots != message.slots:
                party.slots = message.slots
                self._workers.changed(party.address)
                self._changed = True
        elif isinstance(message, messages.ClientBeat) and role == "client":
            if (party.need, party.using) != (message.need, message.using):
                party.need = message.need
                self._use(party, message.using)
                self._changed = True
        elif isinstance(message, messages.HostBeat) and party.hello.role == "host":
            out.append(Out(link, messages.encode(message)))
        else:
            what = type(message).__name__
            raise ProtocolError(f"a {party.hello.role} does not say {what} to a manager")

    def _hello(
        self, link: bytes, role: str, hello: messages.Hello, now: float, out: list[Out]
    ) -> None:
        me = self.identity
        room = self._room(hello.role)
        address = messages.address_of(hello.role, hello.ticket or link)
        known = room.get(address)
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
            most = messages.MOST_PARTIES if room is not self._hosts else _MOST_HOSTS
            if len(room) >= most:
                raise ProtocolError(f"{most} {hello.role}s are connected, which is the most")
            known = room[address] = Party(address, link, hello, now)
            slots = f" with {several(hello.slots, 'slot')}" if hello.slots else ""
            self._note(known, f"joined{slots}")
        elif known.link not in (None, link):
            del self._links[known.link]
        self._links[link] = known
        known.link = link
        known.unreachable = None
        self._unreachable.pop(address, None)
        self._hear(known, now)
        welcome = messages.Welcome(me.manager, messages.PROTOCOL, me.fancypipe, me.host, me.pid)
        out.append(Out(link, messages.encode(welcome)))
        if room is not self._hosts:
            known.number, known.told, known.told_share = -1, None, {}
            self._tell(known, out, beat=True)

    def _refuse(self, link: bytes, role: str, why: str, out: list[Out]) -> None:
        """Tell a link's other end why it is not listened to any more."""
        party = self._links.get(link)
        self.log.append(f"refused {party or 'a ' + role}: {why}")
        out.append(Out(link, messages.encode(messages.Refused(why)), last=True))
        if party is not None:
            self._remove(party, "")

    def _remove(self, party: Party, why: str) -> None:
        address = party.address
        room = self._room(party.hello.role)
        del room[address], self._quiet[address]
        self._unreachable.pop(address, None)
        if party.link is not None:
            del self._links[party.link]
        self._use(party, {})
        self._note(party, why)

    def _note(self, party: Party, what: str) -> None:
        """Somebody came or is gone: others must hear of it, and the log."""
        room = self._room(party.hello.role)
        if room is not self._hosts:
            room.changed(party.address)
            self._changed = True
            if what:
                self.log.append(f"{party} {what}")

    def _use(self, party: Party, using: Mapping[bytes, int]) -> None:
        """Count the slots that a client uses now, in place of those that it used before."""
        used = self._used
        for worker, count in party.using.items():
            used[worker] = used.get(worker, 0) - count
        for worker, count in using.items():
            used[worker] = used.get(worker, 0) + count
        for worker in chain(party.using, using):
            if not used.get(worker, 1):
                del used[worker]
        party.using = using

    # ---- what it tells ----

    def _tell_news(self, beat: bool, out: list[Out]) -> None:
        if self._changed:
            self._changed = False
            found = shares(
                {address: worker.slots for address, worker in self._workers.items()},
                {address: client.need for address, client in self._clients.items()},
                {address: client.share for address, client in self._clients.items()},
            )
            for address, share in found.items():
                self._clients[address].share = share
        # Workers need not know at once: who is gone has a time of grace there.
        for party in self._links.values() if beat else self._clients.values():
            if party.link is not None and party.hello.role != "host":
                self._tell(party, out, beat=beat)
        if beat:
            self._clients.forget()
            self._workers.forget()

    def _tell(self, party: Party, out: list[Out], *, beat: bool) -> None:
        """Tell what is new since the last time; if that is nothing, only for a heartbeat."""
        is_client = party.hello.role == "client"
        others = self._others(party.hello.role)
        share = self._new_share(party) if is_client else {}
        clients = len(self._clients) if is_client else 0
        known = (party.told, party.told_clients) == (others.version, clients)
        if known and not share and not beat:
            return
        news = others.news(party.told)
        party.told, party.told_clients = others.version, clients
        assert party.link is not None
        for there, gone, more in news:
            party.number += 1
            said: messages.FromManager = messages.Clients(party.number, there, gone, more)
            if is_client:
                now = {} if more else share
                said = messages.Workers(party.number, there, gone, now, clients, more)
            out.append(Out(party.link, messages.encode(said)))

    def _new_share(self, client: Party) -> dict[bytes, int]:
        """Return what has changed of what a client may use."""
        found = {}
        for address, share in client.share.items():
            worker = self._workers.get(address)
            if worker is not None:
                # A share can be used as far as the others have left it.
                others = self._used.get(address, 0) - client.using.get(address, 0)
                if (free := min(share, worker.slots - others)) > 0:
                    found[address] = free
        told, client.told_share = client.told_share, found
        new = {address: count for address, count in found.items() if told.get(address) != count}
        new.update((a, 0) for a in told if a not in found and a in self._workers)
        return new
