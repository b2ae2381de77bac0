"""A connection in the shape of a socket: what is sent arrives, and no more than is asked for."""

from __future__ import annotations

import os
from typing import Any, cast

import pytest

from fancypipe_core import errors
from fancypipe_core.toolkit import SocketChannel
from fancypipe_remote._protocol import messages
from fancypipe_remote._protocol.connection import Connection
from fancypipe_remote._protocol.stream import WINDOW
from fancypipe_remote._transport.stream_socket import StreamSocket

A, B = b"a" * messages.ADDRESS, b"b" * messages.ADDRESS


class Pair:
    """Both ends of a connection, and a line between them."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ends = {A: StreamSocket(Connection(1, B)), B: StreamSocket(Connection(1, A))}

    def carry(self, *, beat: bool = False) -> bool:
        """Do what the loops do, once; tell whether anything was under way."""
        moved = False
        self.now += 0.001
        for socket in self.ends.values():
            socket.carry()
            for parts in socket.connection.outgoing(self.now, beat=beat):
                moved = True
                other = self.ends[messages.address(parts)]
                said = messages.decode(parts, by_manager=False)
                assert isinstance(said, messages.Segment)
                other.deliver(other.connection.take(said, messages.data(parts), self.now))
        return moved

    def settle(self) -> None:
        while self.carry(beat=True) and self.carry():
            pass


def channel(socket: StreamSocket) -> SocketChannel:
    return SocketChannel(cast(Any, socket), blocking=False)


def test_frames_arrive_whole_and_in_order() -> None:
    pair = Pair()
    out, back = channel(pair.ends[A]), channel(pair.ends[B])
    assert back.received() == []
    large = os.urandom(3 * WINDOW)
    for number in range(3):
        out.send(b"%d" % number, [large, b"small"])
    frames: list[Any] = []
    for _ in range(1000):
        if len(frames) == 3:
            break
        pair.carry()
        frames += back.received()
    assert [head for head, _ in frames] == [b"0", b"1", b"2"]
    assert all([bytes(one) for one in buffers] == [large, b"small"] for _, buffers in frames)


def test_what_nobody_receives_is_not_asked_for() -> None:
    pair = Pair()
    channel(pair.ends[A]).send(b"", [bytes(4 * WINDOW)])
    for _ in range(100):
        pair.carry()
    waiting = pair.ends[B]
    assert sum(map(len, waiting._came)) == WINDOW
    assert waiting.recv_into(memoryview(bytearray(WINDOW // 4))) == WINDOW // 4
    pair.settle()
    assert sum(map(len, waiting._came)) > WINDOW - WINDOW // 4


def test_the_end_comes_behind_the_last_bytes() -> None:
    pair = Pair()
    out, back = pair.ends[A], channel(pair.ends[B])
    channel(out).send(b"last words")
    pair.carry()
    out.connection.stream.finish()
    pair.settle()
    assert pair.ends[B].readable
    assert back.received() == [(b"last words", [])]
    assert pair.ends[B].readable, "the end is still to be heard"
    with pytest.raises(errors.ConnectionLost):
        back.received()


def test_who_has_closed_it_receives_nothing() -> None:
    pair = Pair()
    channel(pair.ends[A]).send(b"too late")
    pair.carry()
    pair.ends[B].close()
    assert pair.ends[B].recv_into(memoryview(bytearray(10))) == 0
