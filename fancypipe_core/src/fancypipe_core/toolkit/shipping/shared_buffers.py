"""A channel that carries nothing large twice: what many tasks are given travels once.

Large buffers are known by their content.  Before the buffers of a frame stands one
more, an index: a number for each of them, and the numbers that are not needed any
more.  0 is a small buffer; a positive number a new one, which the other end keeps; a
negative number one that it has, and that is not sent.  Only the sender counts and forgets,
so the two ends cannot disagree.
"""

from __future__ import annotations

import hashlib
import socket
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from fancypipe_core._base import shared_memory
from fancypipe_core._base.msgpack import pack, unpacker
from fancypipe_core._base.shared_memory import Handle, Segment
from fancypipe_core._model.carriage import Carried
from fancypipe_core._wire.channel import SocketChannel
from fancypipe_core._wire.passage import Passage
from fancypipe_core.errors import ProtocolError

__all__ = ["Keeping", "Sharing"]

_LARGE = 64 * 1024  # bytes
_SEGMENT = 1024 * 1024  # bytes; for less a descriptor would be too much
_MOST = 256 * 1024 * 1024  # bytes that the other end keeps; more only for a single frame

_Index = tuple[list[int], list[int]]
_unpack = unpacker(_Index)


class Sharing(SocketChannel):
    """The end that sends jobs."""

    def __init__(
        self, sock: socket.socket, *, blocking: bool, passage: Passage | None = None
    ) -> None:
        super().__init__(sock, blocking=blocking, passage=passage)
        self._known: OrderedDict[bytes, tuple[int, int]] = OrderedDict()
        self._size = 0
        self._last = 0

    def send(self, head: bytes, buffers: Sequence[Any] = ()) -> None:
        """Send a frame; of its large buffers only those that the other end does not have."""
        if buffers:
            buffers = self._without_known(buffers)
        super().send(head, buffers)

    def _without_known(self, buffers: Sequence[Any]) -> list[Any]:
        numbers: list[int] = []
        out: list[Any] = []
        used: set[bytes] = set()
        for one in buffers:
            # What is in shared memory does not travel.
            buffer: Any = one if type(one) is Segment else memoryview(one).cast("B")
            if type(one) is Segment or buffer.nbytes < _LARGE:
                numbers.append(0)
                out.append(buffer)
                continue
            # By content, since what the same object holds may have changed meanwhile.
            digest = one.known_by if type(one) is Carried else hashlib.sha256(buffer).digest()
            used.add(digest)
            known = self._known.get(digest)
            if known is not None:
                self._known.move_to_end(digest)
                numbers.append(-known[0])
                continue
            self._last += 1
            self._known[digest] = (self._last, buffer.nbytes)
            self._size += buffer.nbytes
            numbers.append(self._last)
            out.append(buffer)
        return [pack((numbers, self._forget(used))), *out]

    def _forget(self, used: set[bytes]) -> list[int]:
        """Forget what was not used for longest, until the rest is no more than it may be."""
        forgotten = []
        while self._size > _MOST and next(iter(self._known)) not in used:
            _, (number, size) = self._known.popitem(last=False)
            self._size -= size
            forgotten.append(number)
        return forgotten


class Keeping(SocketChannel):
    """The end that receives jobs.

    What it keeps is written to shared memory, where there is such: whoever runs the jobs is
    given a handle of it, and no process on the way there copies it for each.
    """

    def __init__(self, sock: socket.socket, *, blocking: bool) -> None:
        super().__init__(sock, blocking=blocking)
        self._kept: dict[int, Handle | memoryview] = {}

    def receive(self) -> tuple[bytes, Sequence[Any]]:
        """Wait for a frame.  What is kept for others comes as a `Handle`, or read-only.

        Raises:
            ConnectionLost: The other end is gone.
            ProtocolError: It says that something is here which is not.
        """
        head, buffers = super().receive()
        return head, self._with_known(buffers) if buffers else buffers

    def received(self) -> list[tuple[bytes, Sequence[Any]]]:
        """Return the frames that are there, without waiting; as from `receive`."""
        return [
            (head, self._with_known(buffers) if buffers else buffers)
            for head, buffers in super().received()
        ]

    def close(self) -> None:
        """Close the socket, and keep nothing."""
        super().close()
        self._kept.clear()

    def _with_known(self, buffers: Sequence[Any]) -> list[Any]:
        there = iter(buffers[1:])
        try:
            numbers, forgotten = _unpack(buffers[0])
            found = [self._find(number, there) for number in numbers]
            for number in forgotten:
                del self._kept[number]
        except (StopIteration, KeyError, msgspec.MsgspecError):
            raise ProtocolError("a frame with buffers that were not sent") from None
        return found

    def _find(self, number: int, there: Iterator[Any]) -> Any:
        if number < 0:
            return self._kept[-number]
        buffer = next(there)
        if number:
            put = shared_memory.put([buffer]) if len(buffer) >= _SEGMENT else None
            buffer = self._kept[number] = put[0] if put else memoryview(buffer).toreadonly()
        return buffer
