"""Frames over a socket, however it cuts them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancypipe_core import errors
from fancypipe_core._wire.channel import Frame, SocketChannel


@pytest.fixture
def pair() -> Iterator[tuple[SocketChannel, SocketChannel]]:
    left, right = socket.socketpair()
    channels = SocketChannel(left, blocking=False), SocketChannel(right, blocking=False)
    yield channels
    for channel in channels:
        channel.close()


def as_bytes(frame: tuple[bytes, object]) -> tuple[bytes, list[bytes]]:
    head, buffers = frame
    return head, [bytes(buffer) for buffer in buffers]  # type: ignore[attr-defined]


def wire(frames: list[tuple[bytes, list[bytes]]]) -> bytes:
    """Return what frames look like on the wire."""
    ours, theirs = socket.socketpair()
    channel = SocketChannel(ours, blocking=True)
    data = bytearray()

    def read() -> None:
        while part := theirs.recv(65536):
            data.extend(part)

    reader = threading.Thread(target=read)
    reader.start()
    for head, buffers in frames:
        channel.send(head, buffers)
    channel.close()
    reader.join(60)
    theirs.close()
    return bytes(data)


FRAMES = [(b"head", [b"one", b"", b"three" * 10]), (b"", []), (b"x" * 100, [b"y" * 300])]


def test_cut_at_every_byte() -> None:
    data = wire(FRAMES)
    for cut in range(len(data) + 1):
        ours, theirs = socket.socketpair()
        channel = SocketChannel(ours, blocking=False)
        got = []
        for part in (data[:cut], data[cut:]):
            theirs.sendall(part)
            got += channel.received()
        assert [as_bytes(frame) for frame in got] == FRAMES
        theirs.close()
        with pytest.raises(errors.ConnectionLost):
            channel.received()
        channel.close()


@given(
    st.lists(
        st.tuples(st.binary(max_size=50), st.lists(st.binary(max_size=50), max_size=4)), max_size=5
    ),
    st.lists(st.integers(1, 40), min_size=1, max_size=20),
)
def test_cut_anywhere(frames: list[tuple[bytes, list[bytes]]], sizes: list[int]) -> None:
    data = wire(frames)
    ours, theirs = socket.socketpair()
    channel = SocketChannel(ours, blocking=False)
    got = []
    at = turn = 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        theirs.sendall(data[at : at + size])
        got += channel.received()
        at, turn = at + size, turn + 1
    assert [as_bytes(frame) for frame in got] == frames
    channel.close()
    theirs.close()


def test_large_frames_wait_until_the_socket_takes_them(
    pair: tuple[SocketChannel, SocketChannel],
) -> None:
    left, right = pair
    big = bytes(range(256)) * 40_000
    left.send(b"a" * 1_000_000, [big, memoryview(big)])
    left.send(b"second")
    waits = left.pending
    assert waits
    got: list[Frame] = []
    while len(got) < 2 or left.pending:
        left.flush()
        got += right.received()
    assert as_bytes(got[0]) == (b"a" * 1_000_000, [big, big])
    assert got[1][0] == b"second"


def test_many_buffers(pair: tuple[SocketChannel, SocketChannel]) -> None:
    left, right = pair
    buffers = [bytes([number % 256]) * 7 for number in range(3000)]
    left.send(b"many", buffers)
    got: list[object] = []
    while not got:
        left.flush()
        got += right.received()
    assert as_bytes(got[0]) == (b"many", buffers)  # type: ignore[arg-type]


def test_received_buffers_are_the_receivers_own(pair: tuple[SocketChannel, SocketChannel]) -> None:
    left, right = pair
    left.send(b"", [b"abc"])
    ((_, buffers),) = right.received()
    memoryview(buffers[0])[0] = ord("x")
    assert bytes(buffers[0]) == b"xbc"


def test_what_came_before_the_end_is_not_lost(pair: tuple[SocketChannel, SocketChannel]) -> None:
    left, right = pair
    left.send(b"last words")
    left.close()
    assert [frame[0] for frame in right.received()] == [b"last words"]
    with pytest.raises(errors.ConnectionLost):
        right.received()


def test_sending_to_nobody(pair: tuple[SocketChannel, SocketChannel]) -> None:
    left, right = pair
    right.close()
    with pytest.raises(errors.ConnectionLost):
        left.send(b"hello")


def test_nonsense_is_refused(pair: tuple[SocketChannel, SocketChannel]) -> None:
    left, right = pair
    left._sock.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    with pytest.raises(errors.ProtocolError):
        right.received()


def test_what_is_here_already_comes_at_once(pair: tuple[SocketChannel, SocketChannel]) -> None:
    left, right = pair
    assert not right.comes_within(0)
    left.send(b"one")
    left.send(b"two")
    assert right.comes_within(60)
    assert right.receive()[0] == b"one"
    assert right.comes_within(0), "it has been read with the first"
    assert right.receive()[0] == b"two"
    assert not right.comes_within(0)
    left.close()
    assert right.comes_within(60), "the end comes as well"
