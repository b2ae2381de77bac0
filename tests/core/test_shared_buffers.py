"""What many tasks are given is sent to a worker once."""

from __future__ import annotations

import hashlib
import os
import pickle
import socket
from collections.abc import Iterator
from pathlib import Path
from pickle import PickleBuffer
from typing import Any

import pytest

from fancypipe_core._model.carriage import carried
from fancypipe_core._wire import messages
from fancypipe_core.backend import Call, Handle, Job, Payload
from fancypipe_core.errors import ProtocolError
from fancypipe_core.toolkit import SocketChannel
from fancypipe_core.toolkit.shipping import shared_buffers
from fancypipe_core.toolkit.shipping.shared_buffers import Keeping, Sharing

LARGE = 64 * 1024


class Pair:
    """Both ends in this process; a frame is read before the next is sent."""

    def __init__(self) -> None:
        left, right = socket.socketpair()
        for end in (left, right):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.sender = Sharing(left, blocking=False)
        self.keeper = Keeping(right, blocking=True)
        self.carried = 0

    def carry(self, *buffers: Any) -> list[Any]:
        """Return what arrives."""
        self.sender.send(b"head", buffers)
        self.carried = sum(view.nbytes for view in self.sender._out)
        frames: list[Any] = []
        while self.sender.pending or not frames:
            # What the socket does not take at once waits; a frame at a time keeps it simple.
            self.sender.flush()
            self.keeper._read()
            frames += self.keeper._frames
        head, found = self.keeper.receive()
        assert head == b"head"
        return list(found)


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.sender.close()
    made.keeper.close()


def test_a_file_with_its_content_is_not_read_again_to_know_it(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(os.urandom(8 * LARGE))
    monkeypatch.delattr(hashlib, "sha256")
    for turn in range(3):
        made = carried(b"f", str(tmp_path / "a"))
        assert [bytes(one) for one in pair.carry(made)] == [bytes(made)]
        assert pair.carried < LARGE or turn == 0
    (tmp_path / "a").write_bytes(os.urandom(8 * LARGE))
    changed = carried(b"f", str(tmp_path / "a"))
    assert [bytes(one) for one in pair.carry(changed)] == [bytes(changed)]


def test_what_is_large_is_carried_once(pair: Pair) -> None:
    data, small = os.urandom(8 * LARGE), os.urandom(LARGE - 1)
    for turn in range(3):
        found = pair.carry(data, small, bytes(data))
        assert [bytes(one) for one in found] == [data, small, data]
        waited = pair.carried
        assert waited < LARGE or turn == 0, "only the small one"
        assert memoryview(found[0]).readonly, "others are given it too"
        assert not memoryview(found[1]).readonly


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="there is no such memory here")
def test_what_is_very_large_is_handed_on_from_memory(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(16 * LARGE)
    first, again = (pair.carry(data)[0] for _ in range(2))
    assert type(first) is Handle
    assert first is again
    assert bytes(first) == data
    monkeypatch.delattr(os, "memfd_create")
    other = os.urandom(16 * LARGE)
    (found,) = pair.carry(other)
    assert found == other
    assert memoryview(found).readonly


@pytest.mark.parametrize("memory", [True, False])
def test_values_come_whole(pair: Pair, memory: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a pickle that is cut, of which some parts are very large."""
    if not memory:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    call = Call("f", (Payload(b"f"),))
    head = pickle.dumps([list(range(100_000)), os.urandom(32 * LARGE), "x" * 40 * LARGE])
    buffer = os.urandom(20 * LARGE)
    job = Job((1, 1), call, (Payload(head, (PickleBuffer(buffer),)),))
    packed, buffers = messages.ToWorker().jobs([job])
    command = messages.decode_command((packed, []))
    assert isinstance(command, messages.Jobs)
    (found,) = messages.FromWorker().jobs(command, pair.carry(*buffers))
    assert isinstance(found.inputs, tuple)
    assert found.inputs[0].head == head
    assert bytes(found.inputs[0].buffers[0]) == buffer


def test_what_has_changed_meanwhile_is_another_value(pair: Pair) -> None:
    data = bytearray(2 * LARGE)
    assert bytes(pair.carry(data)[0]) == bytes(2 * LARGE)
    data[7] = 1
    assert bytes(pair.carry(data)[0]) == bytes(data)
    data[7] = 0
    assert bytes(pair.carry(data)[0]) == bytes(2 * LARGE)


def test_the_other_end_keeps_so_much_and_no_more(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_buffers, "_MOST", 3 * LARGE)
    values = [os.urandom(LARGE) for _ in range(5)]
    for value in (*values, *values, values[4], values[0]):
        assert bytes(pair.carry(value)[0]) == value
        assert len(pair.keeper._kept) == len(pair.sender._known) <= 3
    # A frame may need more than that at once.
    assert [bytes(one) for one in pair.carry(*values)] == values
    assert len(pair.keeper._kept) == 5
    pair.carry(values[0])
    assert len(pair.keeper._kept) == 3


@pytest.mark.parametrize("index", [b"\x92\x91\xff\x90", b"\x92\x92\x01\x00\x90", b"nonsense"])
def test_an_index_that_cannot_be_is_refused(index: bytes) -> None:
    left, right = socket.socketpair()
    keeper = Keeping(right, blocking=True)
    plain = SocketChannel(left, blocking=True)
    plain.send(b"", [index, b"x"])
    with pytest.raises(ProtocolError):
        keeper.receive()
    plain.close()
    keeper.close()
