"""Peers with real keys that say what they like, and what a liar might say."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from random import Random
from secrets import token_bytes
from time import monotonic
from typing import Any, cast

import msgspec
import zmq

from fancypipe_core import errors
from fancypipe_core._wire import messages as _wire
from fancypipe_core.backend import JobId, Slots
from fancypipe_core.toolkit import SocketChannel
from fancypipe_remote._address import Address
from fancypipe_remote._auth.keys import PeerKeys
from fancypipe_remote._protocol import greeting, messages
from fancypipe_remote._protocol.endpoint import HostSide
from fancypipe_remote._protocol.messages import Parts
from fancypipe_remote._protocol.supervisor import Key, Wanted, WorkerSide
from fancypipe_remote._transport import Dialer
from fancypipe_remote._transport._dialer import _dealer
from fancypipe_remote._transport.loop import Loop
from fancypipe_remote._worker.host_socket import HostSocket
from fancypipe_remote._worker.lifeline import of_host

__all__ = [
    "ADDRESS", "FUZZ", "LIES", "NASTY", "Liar", "LyingWorker", "a_lie", "for_a_while", "hello",
    "lying_worker", "mutated", "plain", "raw",
]  # fmt: skip

# Seconds for each fuzzer; `nox -s fuzz` sets it.
FUZZ = float(os.environ.get("FUZZ", "4"))
ADDRESS = bytes(range(16))


PATIENCE = 30.0  # seconds

NASTY: list[Any] = [
    -1, 1, 2**31, 2**62, 2**63, 2**64 - 1, -(2**63), float("nan"), float("inf"), -1.5, 1e308,
    "", "\n\x1b[2J", "x" * 5000, "../../etc", "\x1a001b", "\u202e", b"", b"\0" * 16, b"x" * 5000,
    None, True, [], {}, [[]], {b"\0" * 16: -1}, "hello", "s", "worker", "client", 0.0, 0,
]  # fmt: skip


def hello(role: str, host: str = "liar", slots: int = 0, ticket: bytes = b"") -> Parts:
    said = ["hello", role, list(messages.PROTOCOL), "0.1.0", "3.11", host, 7, slots, ticket]
    return raw(said)


def raw(record: Any, to: bytes = b"", data: bytes = b"") -> Parts:
    """Return a message with any record."""
    body = record if isinstance(record, bytes) else msgspec.msgpack.encode(record)
    return [to, body, data] if data else [to, body]


def plain(parts: Parts) -> Any:
    """Return what a message says, in plain containers."""
    return msgspec.msgpack.decode(b"".join(parts[1:]) if not parts[0] else parts[1])


def mutated(rnd: Random, record: Any) -> bytes:
    """Return a record as bytes, with something wrong in it."""
    for _ in range(rnd.choice((1, 1, 2, 5))):
        record = _mutated(rnd, record)
    data = bytearray(msgspec.msgpack.encode(record))
    how = rnd.randrange(8)
    if how == 0 and data:
        data[rnd.randrange(len(data))] ^= 1 << rnd.randrange(8)
    elif how == 1:
        del data[rnd.randrange(len(data) + 1) :]
    elif how == 2:
        data += rnd.randbytes(rnd.randrange(1, 9))
    elif how == 3:
        data[:0] = b"\xc1"  # as text is sent that is no UTF-8
    return bytes(data)


def _mutated(rnd: Random, record: Any) -> Any:
    if isinstance(record, list) and record and rnd.random() < 0.9:
        made = list(record)
        at = rnd.randrange(len(made))
        how = rnd.randrange(8)
        if how == 0:
            del made[at]
        elif how == 1:
            made.insert(at, rnd.choice(NASTY))
        elif how == 2:
            made += [made[at]] * rnd.choice((1, 3, 300))
        else:
            made[at] = _mutated(rnd, made[at])
        return made
    if isinstance(record, dict) and record and rnd.random() < 0.9:
        key = rnd.choice(sorted(record, key=repr))
        return {**record, key: _mutated(rnd, record[key])}
    return rnd.choice(NASTY)


class Liar:
    """A bare socket with real keys.

    Args:
        address: Of the manager.
        keys: Whose it has.
        name: What it calls its link; by default the manager names it.
    """

    def __init__(self, address: Address, keys: PeerKeys, name: bytes = b"") -> None:
        self._context = zmq.Context(io_threads=1)
        self._socket = _dealer(self._context, keys)
        self._socket.setsockopt(zmq.IMMEDIATE, 0)
        if name:
            self._socket.setsockopt(zmq.ROUTING_ID, name)
        self._socket.connect(f"tcp://{address}")

    def say(self, parts: Parts) -> None:
        with suppress(zmq.Again):
            self._socket.send_multipart(parts, zmq.NOBLOCK)

    def hear(self, seconds: float = PATIENCE) -> Parts | None:
        """Return the next message; None if none comes in time."""
        if not self._socket.poll(round(seconds * 1000)):
            return None
        return self._socket.recv_multipart()

    def hear_of(self, kind: type[Any]) -> Any:
        """Return the next message of this kind that is not empty."""
        until = monotonic() + PATIENCE
        while monotonic() < until:
            parts = self.hear()
            assert parts is not None, f"no {kind.__name__} came"
            said = messages.decode(parts, by_manager=False)
            if isinstance(said, kind) and msgspec.structs.astuple(said)[0] != ():
                return said
        raise AssertionError(f"no {kind.__name__} came")

    def is_heard(self) -> bool:
        """Whether the manager answers what everybody may ask."""
        while self.hear(0) is not None:
            pass
        self.say(hello("nobody"))
        return self.hear(1.0) is not None

    def close(self) -> None:
        self._socket.close(0)
        self._context.term()


Lie = Callable[[SocketChannel, list[JobId]], None]


class LyingWorker:
    """A worker whose machines are real and whose host processes are threads that lie.

    Args:
        address: Of the manager.
        keys: A worker's.
        host: What it calls its machine.
        lie: Is given the channel to the client, and the jobs that came.

    Attributes:
        told: How often it has lied.
    """

    def __init__(self, address: Address, keys: PeerKeys, host: str, lie: Lie) -> None:
        self.told = 0
        self._lie = lie
        self._over = False
        self._address = address
        self._keys = keys
        self._host = host
        self._side = WorkerSide(self._hello("worker", 1, host.encode()), None, monotonic())
        self._loop = Loop(Dialer(address, keys), self._side)
        self._hosts: list[threading.Thread] = []
        self._up: SimpleQueue[tuple[Key, bytes]] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=host)
        self._thread.start()

    def _hello(self, role: messages.Role, slots: int, ticket: bytes) -> messages.Hello:
        said = (role, messages.PROTOCOL, "0.1.0", _python(), self._host, 7, slots, ticket)
        return messages.Hello(*said)

    def _run(self) -> None:
        lifelines: list[socket.socket] = []
        while not self._over:
            self._loop.turn(0.5)
            events, self._side.events = self._side.events, []
            for event in events:
                if isinstance(event, Wanted):
                    ours, theirs = socket.socketpair()
                    lifelines.append(ours)
                    host = threading.Thread(target=self._be_host, args=(theirs, event.key))
                    self._hosts.append(host)
                    host.start()
            with suppress(Empty):
                while True:
                    self._side.opened(*self._up.get_nowait())
        for lifeline in lifelines:
            lifeline.close()
        self._loop.close()

    def _be_host(self, lifeline: socket.socket, key: Key) -> None:
        ticket = token_bytes(16)
        side = HostSide(self._hello("host", 0, ticket), *key, monotonic())
        dialer = Dialer(self._address, self._keys)
        line = HostSocket(dialer, side, of_host(lifeline), lambda _: None)
        channel = SocketChannel(cast(socket.socket, line), blocking=True)
        self._up.put((key, messages.address_of("host", ticket)))
        self._loop.waker.wake()
        with suppress(errors.ChannelError):
            channel.receive()
            channel.send(greeting.encode(greeting.Answer(wants_code=False, shares=True)))
            channel.receive()
            channel.send(*_wire.encode_report([Slots(1, 0)]))
            while not isinstance(command := _wire.decode_command(channel.receive()), _wire.Jobs):
                pass
            self.told += 1
            self._lie(channel, [(job.task, job.attempt) for job in command.jobs])
            while True:
                channel.receive()
        channel.close()
        lifeline.close()

    def close(self) -> None:
        self._over = True
        self._loop.waker.wake()
        for thread in (self._thread, *self._hosts):
            thread.join(PATIENCE)


def _python() -> str:
    import sys

    return f"{sys.version_info[0]}.{sys.version_info[1]}"


@contextmanager
def lying_worker(address: Address, keys: PeerKeys, host: str, lie: Lie) -> Iterator[LyingWorker]:
    made = LyingWorker(address, keys, host, lie)
    try:
        yield made
    finally:
        made.close()


LIES: dict[str, Any] = {
    "nothing": b"",
    "no msgpack": b"\xc1 this is no message",
    "no record": [],
    "nobody says that": ["hullo"],
    "too deep": b"\x91" * 10_000,
    "text that is no UTF-8": b"\x92\xa5hello\xa2\xff\xfe",
    "a list without an end": b"\xdd\xff\xff\xff\xff",
    "negative slots": ["w", -1, 0.0],
    "more slots than it has": ["w", 5, 0.0],
    "more slots than there can be": ["w", 2**62, 0.0],
    "a load that is no number": ["w", 1, float("nan")],
    "a load without an end": ["w", 1, float("inf")],
    "a negative load": ["w", 1, -1.0],
    "what clients say": ["c", 1, {}],
    "what the manager says": ["workers", [], 1],
    "somebody else": ["hello", "worker", list(messages.PROTOCOL), "0", "3", "h", 7, 4, b"other"],
    "a new line in a name": ["hello", "worker", list(messages.PROTOCOL), "0", "3", "a\nb", 7, 4],
    "an escape in a version": ["hello", "worker", list(messages.PROTOCOL), "\x1b[2J", "3", "h", 7],
    "a long name": ["hello", "worker", list(messages.PROTOCOL), "0", "3", "h" * 101, 7, 4],
    "a negative process": ["hello", "worker", list(messages.PROTOCOL), "0", "3", "h", -7, 4],
    "a million slots": ["hello", "worker", list(messages.PROTOCOL), "0", "3", "h", 7, 10**6],
    "another role": ["hello", "client", list(messages.PROTOCOL), "0", "3", "h", 7, 0],
    "no role": ["hello", "king", list(messages.PROTOCOL), "0", "3", "h", 7, 0],
}

VALID: list[Parts] = [
    hello("worker", slots=2), hello("client"), raw(["w", 2, 0.5]), raw(["c", 3, {ADDRESS: 1}]),
    raw(["bye"]), raw(["who"]), raw(["workers", [], 1]), raw(["open", 1, 2], ADDRESS),
    raw(["opened", 1, ADDRESS], ADDRESS), raw(["look", 1, "/", "proof"], ADDRESS),
    raw(["seen", 1, True], ADDRESS), raw(["h"]), hello("host"), raw(["close", 1, "why"], ADDRESS),
    raw(["s", 1, 0, 0, 0, 4 << 20], ADDRESS, b"data"),
    raw(["s", 1, 0, 0, 4, 4 << 20, 0, True, True], ADDRESS),
]  # fmt: skip


def a_lie(rnd: Random, addresses: list[bytes]) -> Parts:
    """Return a message that nobody honest sends."""
    parts = rnd.choice(VALID)
    to = rnd.choice([*addresses, rnd.choice([b"", ADDRESS, b"x", b"y" * 17])])
    made = [to, mutated(rnd, plain(parts)), *parts[2:]]
    if rnd.random() < 0.1:
        made += [rnd.randbytes(rnd.randrange(20))] * rnd.choice([1, 5, 62, 63])
    return made[: rnd.randrange(1, len(made) + 1)] if rnd.random() < 0.05 else made


def for_a_while(test: Callable[[], None]) -> None:
    until = monotonic() + FUZZ
    while monotonic() < until:
        test()
