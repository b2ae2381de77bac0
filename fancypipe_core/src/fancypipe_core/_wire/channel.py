"""Frames over a stream socket.

A frame is a head and any number of buffers, which are neither joined nor copied
on their way out, and are received into memory of their own.  On the wire:

    a mark (4 bytes), head length (8 bytes), number of buffers (4 bytes), each
    buffer's length (8 bytes), the head, the buffers; all numbers little-endian
    and unsigned.

Where a channel has a `Passage` a buffer may be a `Segment` of shared memory, which has gone
through that before: in place of its length stands its number with the highest bit set, and
it has no bytes.  A segment that has not arrived, since no descriptor is left, is None there.

What somebody else writes into the socket, such as a task that writes to all
descriptors that it finds, has no mark, or what comes behind it has none.
"""

from __future__ import annotations

import os
import socket
import struct
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from fancypipe_core import errors
from fancypipe_core._base.shared_memory import Segment
from fancypipe_core._wire.passage import Passage

__all__ = ["Frame", "SocketChannel"]

Frame = tuple[bytes, Sequence[Any]]
"""(head, buffers)"""

_START = struct.Struct("<4sQI")
_MARK = b"\xfapf\x01"
_LENGTH = struct.Struct("<Q")
_READ = 256 * 1024  # bytes asked for in one read
_PARTS = min(1024, os.sysconf("SC_IOV_MAX") if hasattr(os, "sysconf") else 16)
# As numbers: to join two flags of an enumeration takes three calls, for each read.
_NO_WAIT = int(getattr(socket, "MSG_DONTWAIT", 0))  # where it is 0, the socket must not block
_MOST_BUFFERS = 1 << 20
_AHEAD = 1024 * 1024  # bytes that are made for a buffer before they come
_EMPTY = bytes(_AHEAD)
_NOTHING = memoryview(b"")
_SEGMENT = 1 << 63


class SocketChannel:
    """One end of a channel.

    Args:
        sock: A connected stream socket; the channel owns it.
        blocking: Whether `send` and `receive` wait.  If not, `send` keeps what
            the socket does not take, and `flush` goes on with it.
        most: Bytes that the head of a frame may have, or one buffer; 1 TiB by default.
        passage: Where segments of shared memory go; None if there is no way for them.  The
            channel owns it.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        blocking: bool,
        most: int = 1 << 40,
        passage: Passage | None = None,
    ) -> None:
        sock.setblocking(blocking)
        self._sock = sock
        self._blocking = blocking
        self._most = most
        self.passage = passage
        self.moved = 0
        self._out: deque[memoryview] = deque()
        # What is read goes here, over what was read before: memory of its own for each read
        # would cost more than the read.
        self._room = memoryview(bytearray(_READ))
        self._data = bytearray()  # of a frame that has come in part
        self._frames: deque[Frame] = deque()
        # The frame that is being received, once its lengths are known.
        self._head: bytes | None = None
        self._lengths: tuple[int, ...] = ()
        self._buffers: list[Any] = []
        self._filled = 0  # bytes of the last buffer that have come

    def fileno(self) -> int:
        """The socket's descriptor; -1 when closed."""
        return self._sock.fileno()

    @property
    def pending(self) -> bool:
        """Whether bytes wait to be sent: call `flush` when the socket takes more."""
        return bool(self._out)

    def shut_down(self) -> None:
        """End both directions: who waits in `receive`, here or there, gets `ConnectionLost`."""
        with suppress(OSError):  # the other end was first
            self._sock.shutdown(socket.SHUT_RDWR)

    def hang_up(self) -> None:
        """Say that nothing more will be sent: the other end reads to here, and no further."""
        with suppress(OSError):  # the other end was first
            self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the socket.  May be called twice."""
        self._sock.close()
        self._out.clear()
        if self.passage is not None:
            self.passage.close()

    # ---- out ----

    def send(self, head: bytes, buffers: Sequence[Any] = ()) -> None:
        """Send a frame.

        Raises:
            ConnectionLost: The other end is gone.
        """
        size = len(head)
        if not buffers and not self._out and size < _READ:  # as nearly all of them
            whole = _START.pack(_MARK, size, 0) + head
            sent = self._write([whole])
            if sent < size + _START.size:
                self._out.append(memoryview(whole)[sent:])
                self.flush()
            return
        start = _START.pack(_MARK, size, len(buffers))
        views: Sequence[memoryview] = ()
        if buffers:
            views = [memoryview(one).cast("B") for one in buffers if type(one) is not Segment]
            if len(views) == len(buffers):
                start += b"".join(_LENGTH.pack(view.nbytes) for view in views)
            else:
                start += b"".join(map(self._length_of, buffers))
        if size < _READ:
            self._out.append(memoryview(start + head))
        else:
            self._out.append(memoryview(start))
            self._out.append(memoryview(head))
        if views:
            self._out.extend(view for view in views if view.nbytes)
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it.

        Raises:
            ConnectionLost: The other end is gone.
        """
        out = self._out
        while out:
            sent = self._write(list(islice(out, _PARTS)))
            if not sent:
                return
            while sent:
                first = out[0]
                if sent >= first.nbytes:
                    sent -= first.nbytes
                    out.popleft()
                else:
                    out[0] = first[sent:]
                    sent = 0

    def _write(self, parts: Sequence[bytes | memoryview]) -> int:
        """Return how many bytes the socket has taken."""
        try:
            sent = self._sock.sendmsg(parts)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            self._out.clear()
            raise errors.ConnectionLost(f"the other end is gone: {error}") from error
        self.moved += sent
        return sent

    def _length_of(self, buffer: Any) -> bytes:
        """Return what stands for a buffer's length."""
        if type(buffer) is not Segment:
            return _LENGTH.pack(memoryview(buffer).nbytes)
        passage = self.passage
        number = buffer.number if passage is None else passage.number_of(buffer)
        return _LENGTH.pack(_SEGMENT | number)

    # ---- in ----

    def receive(self) -> Frame:
        """Wait for a frame.

        Raises:
            ConnectionLost: The other end is gone.
        """
        while not self._frames:
            self._read()
        return self._frames.popleft()

    def comes_within(self, seconds: float) -> bool:
        """Wait for something to `receive`, for so many seconds at most; tell whether it came."""
        if self._frames:
            return True
        import select

        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def received(self) -> list[Frame]:
        """Return the frames that are there, without waiting.

        Raises:
            ConnectionLost: The other end is gone, and all its frames were returned.
        """
        try:
            while self._read(_NO_WAIT):
                continue
        except errors.ConnectionLost:
            if not self._frames:
                raise
        frames = list(self._frames)
        self._frames.clear()
        return frames

    def _read(self, flags: int = 0) -> bool:
        """Read once; return whether there may be more at once."""
        last: Any = self._buffers[-1] if self._buffers else None
        filling = type(last) is bytearray and self._filled < len(last)
        room = memoryview(last)[self._filled :] if filling else self._room
        asked = len(room)
        try:
            count = self._sock.recv_into(room, 0, flags)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            raise errors.ConnectionLost(f"the other end is gone: {error}") from error
        finally:
            if filling:
                room.release()
        if not count:
            raise errors.ConnectionLost("the other end closed the connection")
        self.moved += count
        if filling:
            self._filled += count
            self._grow(last)
            self._parse(_NOTHING)
        else:
            self._parse(room[:count])
        return count == asked

    def _start(self, data: bytearray | memoryview, at: int) -> tuple[int, int] | None:
        """Return the length of a frame's head and how many buffers it has, if that has come."""
        if len(data) - at < _START.size:
            if bytes(data[at : at + 4]) != _MARK[: len(data) - at]:
                raise errors.ProtocolError("bytes that are no frame")
            return None
        mark, size, count = _START.unpack_from(data, at)
        if mark != _MARK:
            raise errors.ProtocolError("bytes that are no frame")
        if size > self._most or count > _MOST_BUFFERS:
            raise errors.ProtocolError(f"a frame of {size} bytes and {count} buffers")
        return size, count

    def _parse(self, came: memoryview) -> None:
        data: bytearray | memoryview = came
        if self._data:
            self._data += came
            data = self._data
        end, at = len(data), 0
        while at < end or self._head is not None:
            if self._head is None:
                if (start := self._start(data, at)) is None:
                    break
                size, count = start
                begin = at + _START.size + _LENGTH.size * count
                if end < begin + size:
                    break
                head = bytes(memoryview(data)[begin : begin + size])
                if not count:
                    self._frames.append((head, []))
                    at = begin + size
                    continue
                self._lengths = struct.unpack_from(f"<{count}Q", data, at + _START.size)
                longest = max(self._lengths)
                if longest > self._most and self.passage is not None:
                    longest = max(size for size in (0, *self._lengths) if not size & _SEGMENT)
                if longest > self._most:
                    raise errors.ProtocolError(f"a buffer of {longest} bytes")
                self._head = head
                self._buffers = []
                at = begin + size
            if not self._take_buffers(data, at):
                at = end
                break
            at += self._taken
            self._frames.append((self._head, self._buffers))
            self._head = None
            self._buffers = []
        if data is came:
            self._data += came[at:]
        else:
            del self._data[:at]

    _taken = 0

    def _take_buffers(self, data: bytearray | memoryview, at: int) -> bool:
        """Take buffers out of `data`; False if all of it is taken and more must come."""
        begin = at
        while True:
            buffer = self._buffers[-1] if self._buffers else None
            if type(buffer) is bytearray:
                while self._filled < len(buffer):
                    part = memoryview(data)[at : at + len(buffer) - self._filled]
                    buffer[self._filled : self._filled + len(part)] = part
                    self._filled += len(part)
                    at += len(part)
                    part.release()
                    if self._filled < len(buffer):
                        return False
                    self._grow(buffer)
            if len(self._buffers) == len(self._lengths):
                self._taken = at - begin
                return True
            length = self._lengths[len(self._buffers)]
            if length & _SEGMENT and self.passage is not None:
                self._buffers.append(self.passage.take(length ^ _SEGMENT))
                continue
            self._buffers.append(bytearray(min(length, _AHEAD)))
            self._filled = 0

    def _grow(self, buffer: bytearray) -> None:
        """Make more of the last buffer if it is full: a length that is only announced is free."""
        if self._filled == len(buffer) >= _AHEAD:
            missing = self._lengths[len(self._buffers) - 1] - self._filled
            buffer += _EMPTY[:missing]
