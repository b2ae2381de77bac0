"""Large pickles in parts, so that what two of them have in common can be told.

The pickles of `(data, 1)` and `(data, 2)` differ in a byte.  Protocol 5 writes large
strings on their own and all else in frames of about 64 KiB, and both are cut out here:
so the parts of the two are equal but for the last.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

__all__ = ["LARGE", "parts_of"]

LARGE = 64 * 1024  # bytes

_LEAST = 4 * LARGE  # bytes of a part, where frames are put together
_FRAME = 0x95
_CODES = {
    # Of bytes, str and bytearray, with what tells their lengths.
    ord("B"): Struct("<I"), 0x8E: Struct("<Q"), ord("X"): Struct("<I"), 0x8D: Struct("<Q"),
    0x96: Struct("<Q"), _FRAME: Struct("<Q"),
}  # fmt: skip
_LOOSE = 4  # bytes; so little, such as the brackets of a tuple, is in no frame


def parts_of(head: bytes) -> Iterator[memoryview]:
    """Yield a pickle in parts, which together are the whole.  Any bytes will do."""
    view = memoryview(head)
    begin, at = 0, 2  # behind the protocol's number
    while found := _next(head, at):
        is_frame, data, at = found
        if not is_frame and at - data >= LARGE:
            yield view[begin:data]
            yield view[data:at]
            begin = at
        elif at - begin >= _LEAST:
            yield view[begin:at]
            begin = at
    if begin < len(head):
        yield view[begin:]


def _next(head: bytes, at: int) -> tuple[bool, int, int] | None:
    """Return whether a frame comes next or a string, and where its content begins and ends."""
    for place in range(at, min(at + _LOOSE, len(head))):
        length = _CODES.get(head[place])
        if length is not None and place + 1 + length.size <= len(head):
            begin = place + 1 + length.size
            end = begin + int(length.unpack_from(head, place + 1)[0])
            if end <= len(head):
                return head[place] == _FRAME, begin, end
    return None
