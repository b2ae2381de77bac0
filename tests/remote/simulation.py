"""A cluster without clocks, threads or sockets: the machines, joined by a line that fails.

Time is a number that jumps to the next thing that happens.  A seed decides all else, so
what fails once fails again.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from random import Random

from fancypipe_remote._protocol import messages
from fancypipe_remote._protocol.connection import Connection
from fancypipe_remote._protocol.endpoint import ClientSide, Closed, Data, HostSide
from fancypipe_remote._protocol.link import LinkState
from fancypipe_remote._protocol.router import Identity, Router
from fancypipe_remote._protocol.side import Side
from fancypipe_remote._protocol.supervisor import Key, Left, Looked, Wanted, WorkerSide


def hello(role: messages.Role, host: str, slots: int = 0) -> messages.Hello:
    ticket = f"{role} {host}".encode()
    return messages.Hello(role, messages.PROTOCOL, "0.1.0", "3.11", host, 1, slots, ticket)


class Direct:
    """A direct link between a client and a host process; what is under way is lost with it."""

    def __init__(self, world: World, client: Talker, host: EchoHost) -> None:
        self.world = world
        self.is_up = True
        self.ends = {client.address: host.address, host.address: client.address}
        self.parties = {client.address: host.key[0], host.address: host.party}
        self.carried = 0  # bytes
        self._last = dict.fromkeys(self.ends, 0.0)
        for one, other in self.ends.items():
            world.direct[one, self.parties[other]] = self

    def send(self, sender: bytes, parts: messages.Parts) -> None:
        world, to = self.world, self.ends[sender]
        self.carried += sum(map(len, parts))
        when = max(world.now + world.rnd.random() * world.delay / 4, self._last[sender])
        self._last[sender] = when
        said = [self.parties[sender], *parts[1:]]

        def arrive() -> None:
            if self.is_up:
                world.take_directly(to, said)

        world.at(when, arrive)

    def cut(self) -> None:
        if self.is_up:
            self.is_up = False
            world = self.world
            world.direct = {at: one for at, one in world.direct.items() if one is not self}
            for end in self.ends:
                if end in world.sides:
                    world.sides[end].hurry(world.time(end))


class World:
    """The time, and what is under way.

    Args:
        seed: Decides what happens.
        loss: Of the messages between clients and workers, how many get lost.
        delay: The longest time that a message takes, in seconds.
    """

    def __init__(self, seed: int, loss: float = 0.0, delay: float = 0.01) -> None:
        self.rnd = Random(seed)
        self.now = 0.0
        self.loss = loss
        self.delay = delay
        self.router: Router | None = None
        self.managers = 0
        self.sides: dict[bytes, Side] = {}
        self.roles: dict[bytes, str] = {}
        self.cut: set[bytes] = set()  # machines that cannot be reached now
        self.frozen: set[bytes] = set()
        self.act: dict[bytes, Callable[[], None]] = {}
        self.direct: dict[tuple[bytes, bytes], Direct] = {}  # by who speaks, and to which party
        self._slept: dict[bytes, float] = {}  # seconds, of parties; of the manager as b""
        self._line: list[tuple[float, int, bytes, bytes, messages.Parts, int]] = []
        self._numbers = count()
        self._last: dict[tuple[bytes, bytes], float] = {}  # messages keep their order
        self._planned: list[tuple[float, int, Callable[[], object]]] = []

    # ---- who is there ----

    def start_manager(self) -> None:
        self.managers += 1
        self.router = Router(Identity(f"m{self.managers}", "0.1.0", "hostM", 1))

    def kill_manager(self) -> None:
        """It dies with all that is under way to it and from it."""
        self.router = None
        self._line.clear()

    def join(self, address: bytes, side: Side, act: Callable[[], None]) -> None:
        self.sides[address] = side
        self.roles[address] = "client" if isinstance(side, ClientSide) else "worker"
        self.act[address] = act

    def kill(self, machine: bytes) -> None:
        """A process dies, and with a worker its host processes."""
        for address in list(self.sides):
            if machine in (address, _machine(address)):
                del self.sides[address], self.act[address]
                if self.router is not None:
                    self.router.unreachable(address, self.time(b""))

    def stop(self, machine: bytes, seconds: float) -> None:
        """Processes stand still, and their clocks with them; b"" is the manager.

        The links to them break; what was sent over them is lost.
        """
        all_here = [at for at in self.sides if machine and _machine(at) == machine] or [machine]
        self.frozen.update(all_here)
        self.at(self.now + seconds, lambda: self._resume(all_here, seconds))
        self._line = [one for one in self._line if not self.frozen.intersection(one[2:4])]
        heapq.heapify(self._line)
        if self.router is not None:
            for link in all_here if machine else list(self.sides):
                self.router.unreachable(link, self.time(b""))

    def _resume(self, addresses: Sequence[bytes], seconds: float) -> None:
        for address in addresses:
            self.frozen.discard(address)
            self._slept[address] = self._slept.get(address, 0.0) + seconds
            if not address and self.router is not None:
                self.router.awoke(self.time(b""))

    def time(self, address: bytes) -> float:
        """Return a party's own time; b"" is the manager."""
        return self.now - self._slept.get(address, 0.0)

    def wake(self, address: bytes) -> None:
        """Let a party's loop turn now."""

        def turn() -> None:
            if address in self.sides and address not in self.frozen:
                self._turn(address)

        self.at(self.now, turn)

    def at(self, when: float, what: Callable[[], object]) -> None:
        heapq.heappush(self._planned, (when, next(self._numbers), what))

    # ---- the line ----

    def _send(self, sender: bytes, to: bytes, parts: messages.Parts) -> None:
        # Who loses three beats is taken for dead, rightly; so of these only few get lost.
        loss = self.loss if parts[0] else min(self.loss, 0.01)
        if self.rnd.random() < loss or {_machine(sender), _machine(to)} & self.cut:
            return
        if {sender, to} & self.frozen:
            return
        when = self.now + self.rnd.random() * self.delay
        when = self._last[sender, to] = max(when, self._last.get((sender, to), 0.0))
        heapq.heappush(self._line, (when, next(self._numbers), sender, to, parts, self.managers))

    def _deliver(self, sender: bytes, to: bytes, parts: messages.Parts) -> None:
        if not to:
            if self.router is not None and to not in self.frozen:
                for out in self.router.take(sender, self.roles[sender], parts, self.time(to)):
                    self._send(b"", out.to, out.parts)
                self.router.check()
        elif to in self.sides and to not in self.frozen:
            self.sides[to].take(parts, self.time(to))
            self._turn(to)

    def _turn(self, address: bytes, due: float = 0.0) -> None:
        """What a party's loop does."""
        self.act[address]()
        if address in self.sides:
            for parts in self.sides[address].tick(max(due, self.time(address))):
                link = self.direct.get((address, parts[0]))
                if link is None:
                    self._send(address, b"", parts)
                else:
                    link.send(address, parts)

    def take_directly(self, to: bytes, parts: messages.Parts) -> None:
        if to in self.sides and to not in self.frozen:
            self.sides[to].take(parts, self.time(to), direct=True)
            self._turn(to)

    # ---- time ----

    def _times(self) -> Iterator[float]:
        if self._line:
            yield self._line[0][0]
        if self._planned:
            yield self._planned[0][0]
        for address, machine in self._machines():
            yield machine.next_tick + self._slept.get(address, 0.0)

    def _machines(self) -> list[tuple[bytes, Router | Side]]:
        """Return those whose process does not stand still; the manager first."""
        found: list[tuple[bytes, Router | Side]] = [*self.sides.items()]
        if self.router is not None:
            found.insert(0, (b"", self.router))
        return [one for one in found if one[0] not in self.frozen]

    def run(self, over: Callable[[], bool], limit: float) -> None:
        """Let time pass until something is true.

        Args:
            over: What must become true.
            limit: The time at which it must be, in seconds.
        """
        while not over():
            self.now = max(self.now, min(self._times()))
            assert self.now < limit, f"not over at {limit} s"
            while self._planned and self._planned[0][0] <= self.now:
                heapq.heappop(self._planned)[2]()
            while self._line and self._line[0][0] <= self.now:
                _, _, sender, to, parts, manager = heapq.heappop(self._line)
                if manager == self.managers:
                    self._deliver(sender, to, parts)
            for address, machine in self._machines():
                due = machine.next_tick
                if due > self.time(address) + 1e-6:  # sums of times are not exact
                    continue
                if isinstance(machine, Router):
                    for out in machine.tick(max(due, self.time(b""))):
                        self._send(b"", out.to, out.parts)
                    machine.check()
                elif address in self.sides and address not in self.frozen:
                    self._turn(address, due)


def _machine(address: bytes) -> bytes:
    """Return on which machine a party is: a host process's name begins with its worker's."""
    return address.partition(b"/")[0]


class Echo:
    """A worker with host processes that send back what they are sent, in their own time."""

    def __init__(self, world: World, address: bytes, slots: int = 2) -> None:
        self.world = world
        self.address = address
        self.side = WorkerSide(hello("worker", address.decode(), slots), None, world.now)
        self.running: dict[Key, EchoHost] = {}
        self.started = 0
        world.join(address, self.side, self.act)

    @property
    def hosts(self) -> int:
        return len(self.running)

    def act(self) -> None:
        events, self.side.events = self.side.events, []
        for event in events:
            if isinstance(event, Wanted):
                self.started += 1
                self.running[event.key] = EchoHost(self, event.key, self.started)
            elif isinstance(event, Left):
                self.running.pop(event.key).die()
            elif isinstance(event, Looked):
                self.side.answer(event.client, event.look.number, event.look.folder == "/shared")

    def lose(self, key: Key, why: str) -> None:
        """A host process has ended."""
        if self.running.pop(key, None) is not None:
            self.side.ended(key, why)
            self.world.wake(self.address)


class EchoHost:
    """A host process."""

    def __init__(self, worker: Echo, key: Key, number: int) -> None:
        self.worker = worker
        self.key = key
        self.address = worker.address + b"/%d" % number
        said = hello("host", self.address.decode())
        self.party = messages.address_of("host", said.ticket)
        self.side = HostSide(said, *key, worker.world.now)
        self.waiting: list[bytes] = []
        self.is_up = False
        worker.world.join(self.address, self.side, self.act)

    def act(self) -> None:
        if not self.is_up and self.side.link.state is LinkState.MET:
            self.is_up = True
            self.worker.side.opened(self.key, self.party)
            self.worker.world.wake(self.worker.address)
        events, self.side.events = self.side.events, []
        for event in events:
            if isinstance(event, Closed):
                self.die()
                self.worker.lose(self.key, "")
                return
            self.waiting.append(event.data)
        stream = self.side.connection.stream
        while self.waiting:
            data = self.waiting[0]
            part = data[: stream.room]
            stream.write(part)
            stream.consume(len(part))
            self.waiting[0] = data[len(part) :]
            if len(part) < len(data):
                return
            self.waiting.pop(0)

    def die(self) -> None:
        if self.address in self.worker.world.sides:
            self.worker.world.kill(self.address)


class Talker:
    """A client that sends numbered lines to each worker, and remembers what comes back."""

    def __init__(self, world: World, address: bytes, lines: int) -> None:
        self.world = world
        self.address = address
        self.side = ClientSide(hello("client", address.decode()), 60.0, world.now)
        self.text = b"".join(b"%d\n" % n for n in range(lines))
        self.names: dict[bytes, bytes] = {}  # of workers, by address
        self.connections: dict[bytes, Connection] = {}
        self.left: dict[bytes, bytes] = {}
        self.got: dict[bytes, bytes] = {}
        self.lost: dict[bytes, str] = {}
        world.join(address, self.side, self.act)

    def act(self) -> None:
        for address, told in self.side.workers.items():
            worker = self.names[address] = told.host.encode()
            if worker not in self.connections:
                self.connections[worker] = self.side.open(address, told.share)
                self.left[worker] = self.text
                self.got[worker] = b""
        for event in self.side.events:
            worker = self.names[event.connection.worker]
            if isinstance(event, Data):
                self.got[worker] += event.data
                event.connection.stream.consume(len(event.data))
            elif isinstance(event, Closed):
                self.lost[worker] = str(event.connection.closed)
        self.side.events.clear()
        for worker, connection in self.connections.items():
            stream = connection.stream
            part = self.left[worker][: min(stream.room, 50)]
            if connection.is_open and part:
                stream.write(part)
                self.left[worker] = self.left[worker][len(part) :]

    def has_all(self, *workers: bytes) -> bool:
        return all(self.got.get(worker) == self.text for worker in workers)

    @property
    def has_met(self) -> bool:
        return self.side.link.state is LinkState.MET
