"""Payloads in a frame: records in its head, and what is large beside it.

What is in shared memory goes as a segment where there is a passage for it, else as its bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from fancypipe_core._base import shared_memory
from fancypipe_core._base.shared_memory import Segment
from fancypipe_core._wire.parts import LARGE, parts_of
from fancypipe_core._wire.passage import Passage
from fancypipe_core._wire.records import HandleRecord, PayloadRecord, ValueRecord
from fancypipe_core.backend import Encoded, Handle, Payload
from fancypipe_core.errors import ProtocolError

__all__ = ["MOST_SEGMENTS", "Incoming", "Outgoing", "small"]

MOST_SEGMENTS = 100
"""So many segments of shared memory go with a frame; what more there is goes as bytes."""

_MISSING = 2**62  # the place of a segment that its sender could not receive


def small(values: Iterable[Encoded]) -> list[bytes | None]:
    """Return all that each value is, if it is small, as most are; None for what is more."""
    return [
        head
        if len(value) == 1
        and type(head := (payload := value[0]).head) is bytes
        and not (payload.buffers or payload.holes)
        and payload.names is None
        and len(head) < LARGE
        else None
        for value in values
    ]


class Outgoing:
    """Writes the values of a frame.

    Args:
        passage: Where segments go; None if there is no way for them.

    Attributes:
        buffers: What goes beside its head.
    """

    def __init__(self, passage: Passage | None) -> None:
        self.buffers: list[Any] = []
        self._passage = passage
        self._places: dict[Segment, int] = {}

    def write_to_stay(self, value: Iterable[Payload]) -> ValueRecord:
        """As `write`, for what is sent once and needed for long: by no way that may lose it."""
        passage = self._passage
        if passage is not None and passage.may_lose:
            self._passage = None
        try:
            return self.write(value)
        finally:
            self._passage = passage

    def write(self, value: Iterable[Payload]) -> ValueRecord:
        """Return the records of a value; what is large goes to the buffers."""
        return tuple(
            [
                PayloadRecord(head, 0, payload.holes, payload.names)
                if type(head := payload.head) is bytes and len(head) < LARGE and not payload.buffers
                else self._payload(payload)
                for payload in value
            ]
        )

    def _payload(self, payload: Payload) -> PayloadRecord:
        handles: list[HandleRecord] = []
        head: Any = payload.head
        parts = 0
        if type(head) is Handle and self._is_passed(head, 0, handles):
            head = b""
        elif len(head) >= LARGE:
            if type(head) is Handle:
                head = memoryview(head.map())
            cut = list(parts_of(head))
            self.buffers.extend(cut)
            head, parts = b"", len(cut)
        own: Sequence[Any] = payload.buffers
        if own and Handle in map(type, own):
            own = [
                one.map() if type(one) is Handle else one
                for place, one in enumerate(own, 1)
                if not (type(one) is Handle and self._is_passed(one, place, handles))
            ]
        self.buffers.extend(own)
        return PayloadRecord(head, len(own), payload.holes, payload.names, parts, tuple(handles))

    def _is_passed(self, handle: Handle, place: int, handles: list[HandleRecord]) -> bool:
        """Let a handle's segment go with the frame, if that can be."""
        segment = handle.segment
        if segment is None:
            # It was missing where it came from; whoever is to read it will say so.
            handles.append(HandleRecord(place, _MISSING, handle.offset, handle.size))
            return True
        if self._passage is None:
            return False
        at = self._places.get(segment)
        if at is None:
            if len(self._places) >= MOST_SEGMENTS or not self._passage.send(segment):
                return False
            at = self._places[segment] = len(self.buffers)
            self.buffers.append(segment)
        handles.append(HandleRecord(place, at, handle.offset, handle.size))
        return True


class Incoming:
    """Deals out the buffers of a frame in the order in which they were written.

    Attributes:
        missing: Whether anything was in shared memory that could not be received.
    """

    def __init__(self, buffers: Sequence[Any]) -> None:
        self._all = buffers
        self._buffers = [one for one in buffers if one is not None and type(one) is not Segment]
        self._next = 0
        self.missing = False

    def _take(self, count: int) -> tuple[Any, ...]:
        begin, self._next = self._next, self._next + count
        if self._next > len(self._buffers):
            raise ProtocolError("a frame with too few buffers")
        return tuple(self._buffers[begin : self._next])

    def _joined(self, count: int) -> bytes:
        parts = self._take(count)
        return b"".join([one.read() if type(one) is Handle else one for one in parts])

    def value(self, value: ValueRecord, given: int = 0) -> Encoded:
        """Return a value, whose holes point into so many others and then into itself.

        Raises:
            ProtocolError: It cannot be.
        """
        made = []
        for at, payload in enumerate(value, given):
            head: Any = self._joined(payload.parts) if payload.parts else payload.head
            holes, names = payload.holes, payload.names
            buffers: tuple[Any, ...] = ()
            if payload.buffers:
                buffers = self._take(payload.buffers)
            if payload.handles:
                head, buffers = self._with_handles(head, buffers, payload.handles)
            if holes and max([index for index, _ in holes]) >= at:
                raise ProtocolError("a value with a hole that nothing fills")
            if not (head or holes) or (names is not None and len(names) != len(holes)):
                raise ProtocolError("a value of nothing")
            made.append(Payload(head, buffers, holes, names))
        return tuple(made)

    def _with_handles(
        self, head: Any, buffers: tuple[Any, ...], records: Sequence[HandleRecord]
    ) -> tuple[Any, tuple[Any, ...]]:
        """Return a payload's head and buffers with those of them that are in shared memory."""
        made = list(buffers)
        last = -1
        for record in records:
            if not last < record.place <= len(made) + 1 or (head and not record.place):
                raise ProtocolError("a value with parts that have no place")
            last = record.place
            content = self._content(record)
            if last:
                made.insert(last - 1, content)
            else:
                head = bytes(content) if type(content) is bytearray else content
        return head, tuple(made)

    def _content(self, record: HandleRecord) -> Any:
        """Return a handle; its bytes, where no more descriptors are to be used."""
        if record.segment == _MISSING:
            segment = None
        elif record.segment >= len(self._all):
            raise ProtocolError("a frame with too few buffers")
        else:
            segment = self._all[record.segment]
        handle = Handle(segment, record.offset, record.size)
        if segment is None:
            self.missing = True
            return handle
        if type(segment) is not Segment or record.offset + record.size > segment.size:
            raise ProtocolError("a value that is not in its shared memory")
        return handle.read() if shared_memory.is_crowded() else handle
