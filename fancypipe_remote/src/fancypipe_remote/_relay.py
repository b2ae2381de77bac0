"""The manager's machine: who is there, and whose message goes to whom.

It keeps no jobs and no results, and nothing that it could not learn anew within a
second: parties say hello, beat, and are told who else is there.  A manager that
died and came back asks `Who` of everybody that it does not know.

States of a party:

===========  ==================================================================
unknown      its hello is taken -> here; it is refused, told why, and stays unknown
here         silent for `Times.silent`, unreachable for `Times.unreachable`, says
             bye, or says what cannot be read -> unknown
===========  ==================================================================

This is a pure machine: it has no clock, thread or socket.  The time is given in
seconds of a monotonic clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from fancypipe_core.errors import ProtocolError
from fancypipe_remote import _messages as messages
from fancypipe_remote._messages import Parts
from fancypipe_remote._shares import shares

__all__ = ["Out", "Relay", "Times"]


class Times(NamedTuple):
    """Limits, in seconds.

    Attributes:
        beat: How often everybody shows that it lives.
        silent: After so long without a word a party is taken for dead.
        unreachable: The same, for one whose connection has broken.
    """

    beat: float = 1.0
    silent: float = 3.0
    unreachable: float = 1.0


class Out(NamedTuple):
    """A message to send."""

    to: bytes
    parts: Parts


class Identity(NamedTuple):
    """What the manager says of itself."""

    manager: str
    fancypipe: str
    host: str
    pid: int


class _Party:
    def __init__(self, hello: messages.Hello, now: float) -> None:
        self.hello = hello
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
        self._parties: dict[bytes, _Party] = {}
        self._changed = False
        self._next_beat = 0.0

    # ---- what it is told ----

    def take(self, sender: bytes, role: str, parts: Parts, now: float) -> list[Out]:
        """Take a message.

        Args:
            sender: The address it came from.
            role: What the sender's key allows: `client` or `worker`.
            parts: The message.
            now: The time.
        """
        out: list[Out] = []
        party = self._parties.get(sender)
        if party is not None:
            party.heard = now
            party.unreachable = None
        try:
            to = messages.address(parts)
            if not to:
                self._take_own(sender, role, party, parts, now, out)
            elif party is None:
                out.append(Out(sender, messages.encode(messages.Who())))
            else:
                receiver = self._parties.get(to)
                if receiver is not None and receiver.hello.role != party.hello.role:
                    out.append(Out(to, [sender, *parts[1:]]))
                # Else it is gone, and the list of who is there says so.
        except ProtocolError as error:
            out.append(Out(sender, messages.encode(messages.Refused(str(error)))))
            self.log.append(f"refused {party or 'somebody'}: {error}")
            self._remove(sender, "")
        self._tell_changes(out)
        return out

    def unreachable(self, party: bytes, now: float) -> None:
        """Know that a party's connection has broken; it may come back."""
        known = self._parties.get(party)
        if known is not None and known.unreachable is None:
            known.unreachable = now

    def tick(self, now: float) -> list[Out]:
        """See who is gone, and beat.  Call it at `next_tick`."""
        out: list[Out] = []
        for address, party in list(self._parties.items()):
            if now >= party.heard + self.times.silent:
                self._remove(address, f"is gone: not a word for {self.times.silent:g} s")
            elif (
                party.unreachable is not None and now >= party.unreachable + self.times.unreachable
            ):
                self._remove(address, "is gone: its connection broke")
        self._tell_changes(out)
        if now >= self._next_beat:
            self._next_beat = now + self.times.beat
            self._beat(out)
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
        return [Out(address, bye) for address in self._parties]

    # ---- what is asked of it ----

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
            assert party.hello.role in ("client", "worker"), address
            for worker, count in party.share.items():
                assert worker in self._parties, "a share of a worker that is gone"
                used[worker] = used.get(worker, 0) + count
        for worker, count in used.items():
            assert count <= self._parties[worker].slots, "more shares than slots"
        assert not self._changed, "somebody was not told"

    # ---- parties ----

    def _take_own(
        self, sender: bytes, role: str, party: _Party | None, parts: Parts, now: float,
        out: list[Out],
    ) -> None:  # fmt: skip
        message = messages.decode(parts, by_manager=True)
        if isinstance(message, messages.Hello):
            self._hello(sender, role, message, now, out)
        elif party is None:
            out.append(Out(sender, messages.encode(messages.Who())))
        elif isinstance(message, messages.Bye):
            self._remove(sender, "has left")
        elif isinstance(message, messages.WorkerBeat):
            party.load = message.load
            self._changed |= party.slots != message.slots
            party.slots = message.slots
        elif isinstance(message, messages.ClientBeat):
            self._changed |= (party.need, party.using) != (message.need, message.using)
            party.need, party.using = message.need, message.using

    def _hello(
        self, sender: bytes, role: str, hello: messages.Hello, now: float, out: list[Out]
    ) -> None:
        me = self.identity
        why = ""
        if hello.protocol[0] != messages.PROTOCOL[0]:
            why = (
                f"this manager (fancypipe-remote {me.fancypipe} on {me.host}) speaks version "
                f"{messages.PROTOCOL[0]} of the protocol, the {hello.role} on {hello.host} "
                f"(fancypipe-remote {hello.fancypipe}) version {hello.protocol[0]}; "
                "install the same version of fancypipe-remote on both"
            )
        elif hello.role != role:
            why = f"a key for a {role} does not make a {hello.role}"
        if why:
            self.log.append(f"refused the {hello.role} on {hello.host} (pid {hello.pid}): {why}")
            out.append(Out(sender, messages.encode(messages.Refused(why))))
            return
        known = self._parties.get(sender)
        if known is None or known.hello != hello:
            party = self._parties[sender] = _Party(hello, now)
            slots = f" with {hello.slots} slots" if hello.slots else ""
            self.log.append(f"{party} is here{slots}")
        self._changed = True
        self._parties[sender].told = None
        welcome = messages.Welcome(me.manager, messages.PROTOCOL, me.fancypipe, me.host, me.pid)
        out.append(Out(sender, messages.encode(welcome)))

    def _remove(self, address: bytes, why: str) -> None:
        party = self._parties.pop(address, None)
        if party is not None:
            self._changed = True
            if why:
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
        for address in self._parties:
            self._tell(address, out, again=False)

    def _beat(self, out: list[Out]) -> None:
        for address in self._parties:
            self._tell(address, out, again=True)

    def _tell(self, address: bytes, out: list[Out], *, again: bool) -> None:
        party = self._parties[address]
        message: messages.FromManager
        if party.hello.role == "worker":
            message = messages.Clients(
                tuple(
                    messages.Client(client, other.hello.host, other.hello.pid)
                    for client, other in self._of("client").items()
                )
            )
        else:
            message = self._workers_for(address, party)
        if again or message != party.told:
            party.told = message
            out.append(Out(address, messages.encode(message)))

    def _workers_for(self, address: bytes, party: _Party) -> messages.Workers:
        clients = self._of("client")
        found = []
        for worker, other in self._of("worker").items():
            # A share can be used as far as the others have left it.
            held = sum(
                client.using.get(worker, 0) for who, client in clients.items() if who != address
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
