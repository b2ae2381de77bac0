"""Frames over a stream socket.

A frame is a head and any number of buffers, which are neither joined nor copied
on their way out, and are received into memory of their own.  On the wire:

    a mark (4 bytes), head length (8 bytes), number of buffers (4 bytes), each
    buffer's length (8 bytes), the head, the buffers; all numbers little-endian
    and unsigned.

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
from typing import Any

from fancypipe_core import errors

__all__ = ["Frame", "SocketChannel"]

Frame = tuple[bytes, Sequence[Any]]
"""(head, buffers)"""

_START = struct.Struct("<4sQI")
_MARK = b"\xfapf\x01"
_LENGTH = struct.Struct("<Q")
_READ = 256 * 1024  # bytes asked for in one read
_PARTS = min(1024, os.sysconf("SC_IOV_MAX") if hasattr(os, "sysconf") else 16)
_NO_WAIT = getattr(socket, "MSG_DONTWAIT", 0)  # where it is 0, the socket must not block
_MOST_BUFFERS = 1 << 20
_AHEAD = 1024 * 1024  # bytes that are made for a buffer before they come
_EMPTY = bytes(_AHEAD)


class SocketChannel:
    """One end of a channel.

    Args:
        sock: A connected stream socket; the channel owns it.
        blocking: Whether `send` and `receive` wait.  If not, `send` keeps what
            the socket does not take, and `flush` goes on with it.
        most: Bytes that the head of a frame may have, or one buffer; 1 TiB by default.
    """

    def __init__(self, sock: socket.socket, *, blocking: bool, most: int = 1 << 40) -> None:
        sock.setblocking(blocking)
        self._sock = sock
        self._blocking = blocking
        self._most = most
        self.moved = 0
        self._out: deque[memoryview] = deque()
        self._data = bytearray()
        self._frames: deque[Frame] = deque()
        # The frame that is being received, once its lengths are known.
        self._head: bytes | None = None
        self._lengths: tuple[int, ...] = ()
        self._buffers: list[bytearray] = []
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

    # ---- out ----

    def send(self, head: bytes, buffers: Sequence[Any] = ()) -> None:
        """Send a frame.

        Raises:
            ConnectionLost: The other end is gone.
        """
        views = [memoryview(buffer).cast("B") for buffer in buffers]
        lengths = b"".join(_LENGTH.pack(view.nbytes) for view in views)
        start = _START.pack(_MARK, len(head), len(views)) + lengths
        if len(head) < _READ:
            self._out.append(memoryview(start + head))
        else:
            self._out.append(memoryview(start))
            self._out.append(memoryview(head))
        self._out.extend(view for view in views if view.nbytes)
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it.

        Raises:
            ConnectionLost: The other end is gone.
        """
        out = self._out
        while out:
            parts = [out[index] for index in range(min(len(out), _PARTS))]
            try:
                sent = self._sock.sendmsg(parts)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                out.clear()
                raise errors.ConnectionLost(f"the other end is gone: {error}") from error
            self.moved += sent
            while sent:
                first = out[0]
                if sent >= first.nbytes:
                    sent -= first.nbytes
                    out.popleft()
                else:
                    out[0] = first[sent:]
                    sent = 0

    # ---- in ----

    def receive(self) -> Frame:
        """Wait for a frame.

        Raises:
            ConnectionLost: The other end is gone.
        """
        while not self._frames:
            self._read()
        return self._frames.popleft()

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
        try:
            if self._buffers and self._filled < len(self._buffers[-1]):
                room = memoryview(self._buffers[-1])[self._filled :]
                asked = len(room)
                count = self._sock.recv_into(room, 0, flags)
                room.release()
                self._filled += count
                self._grow(self._buffers[-1])
            else:
                asked = _READ
                data = self._sock.recv(asked, flags)
                count = len(data)
                self._data += data
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            raise errors.ConnectionLost(f"the other end is gone: {error}") from error
        if not count:
            raise errors.ConnectionLost("the other end closed the connection")
        self.moved += count
        self._parse()
        return count == asked

    def _parse(self) -> None:
        data = self._data
        at = 0
        while True:
            if self._head is None:
                if data[at : at + 4] != _MARK[: len(data) - at]:
                    raise errors.ProtocolError("bytes that are no frame")
                if len(data) - at < _START.size:
                    break
                _, size, count = _START.unpack_from(data, at)
                if size > self._most or count > _MOST_BUFFERS:
                    raise errors.ProtocolError(f"a frame of {size} bytes and {count} buffers")
                begin = at + _START.size + _LENGTH.size * count
                if len(data) < begin + size:
                    break
                self._lengths = struct.unpack_from(f"<{count}Q", data, at + _START.size)
                if count and max(self._lengths) > self._most:
                    raise errors.ProtocolError(f"a buffer of {max(self._lengths)} bytes")
                self._head = bytes(memoryview(data)[begin : begin + size])
                self._buffers = []
                at = begin + size
            if not self._take_buffers(data, at):
                at = len(data)
                break
            at += self._taken
            self._frames.append((self._head, self._buffers))
            self._head = None
            self._buffers = []
        del data[:at]

    _taken = 0

    def _take_buffers(self, data: bytearray, at: int) -> bool:
        """Take buffers out of `data`; False if all of it is taken and more must come."""
        begin = at
        while True:
            if self._buffers:
                buffer = self._buffers[-1]
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
            self._buffers.append(bytearray(min(self._lengths[len(self._buffers)], _AHEAD)))
            self._filled = 0

    def _grow(self, buffer: bytearray) -> None:
        """Make more of the last buffer if it is full: a length that is only announced is free."""
        if self._filled == len(buffer) >= _AHEAD:
            missing = self._lengths[len(self._buffers) - 1] - self._filled
            buffer += _EMPTY[:missing]
