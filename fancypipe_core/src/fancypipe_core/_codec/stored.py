"""Values as they are kept from run to run: their records, and behind them what is large.

What a value takes in and its buffers stand apart, so that arrays are not copied to be written,
and are read where they lie: each buffer begins at a multiple of 64 bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pickle import PickleBuffer
from struct import Struct
from typing import Any

import msgspec

from fancypipe_core._base.msgpack import pack, unpacker
from fancypipe_core.backend import Encoded, Handle, Natural, Payload

__all__ = ["restored", "written"]

_START = Struct("<8sQQ")  # what it is, the bytes of the records, and of all
_MARK = b"fpvalue1"
_ALIGNED = 64
_PAD = bytes(_ALIGNED)


class _Record(msgspec.Struct, frozen=True, array_like=True):
    """A payload: the bytes of its head and of each buffer, and the rest as it is."""

    head: Natural
    buffers: tuple[Natural, ...]
    holes: tuple[tuple[Natural, str | None], ...]
    names: tuple[str, ...] | None


_unpack = unpacker(tuple[_Record, ...])


def written(value: Encoded) -> list[Any]:
    """Return a value as buffers: one behind the other they are its bytes.

    Raises:
        OSError: Some of it is in shared memory that is not here.
    """
    records: list[_Record] = []
    parts: list[Any] = []
    for payload in value:
        own = [_bytes(one) for one in (payload.head, *payload.buffers)]
        sizes = [one.nbytes for one in own]
        records.append(_Record(sizes[0], tuple(sizes[1:]), payload.holes, payload.names))
        parts += own
    head = pack(tuple(records))
    end = _START.size + len(head)
    out: list[Any] = [b"", head]
    for part in parts:
        if part.nbytes:
            gap = -end % _ALIGNED
            out += [_PAD[:gap], part] if gap else [part]
            end += gap + part.nbytes
    out[0] = _START.pack(_MARK, len(head), end)
    return out


def _bytes(part: Any) -> memoryview:
    if type(part) is Handle:
        part = part.map()
    raw = part.raw() if type(part) is PickleBuffer else memoryview(part)
    return raw if raw.ndim == 1 and raw.format == "B" and raw.contiguous else raw.cast("B")


def restored(data: bytes | memoryview) -> Encoded:
    """Return a value that was written.

    Its buffers lie in `data`; where nobody may write there, they are copies.

    Raises:
        ValueError: It is none.
    """
    view = memoryview(data).cast("B")
    if view.nbytes < _START.size:
        raise ValueError(f"{view.nbytes} bytes are no value")
    mark, size, whole = _START.unpack_from(view)
    if mark != _MARK or whole != view.nbytes:
        raise ValueError(f"these {view.nbytes} bytes are no value, or not all of one")
    end = _START.size + size
    try:
        records: Sequence[_Record] = _unpack(view[_START.size : end])
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error
    made = []
    for at, record in enumerate(records):
        parts = []
        for length in (record.head, *record.buffers):
            begin = end + (-end % _ALIGNED if length else 0)
            end = begin + length
            if end > whole:
                raise ValueError("its parts are longer than all of it")
            parts.append(view[begin:end])
        if any(index >= at for index, _ in record.holes):
            raise ValueError("it has a hole that nothing fills")
        buffers = tuple(_writable(one) for one in parts[1:])
        made.append(Payload(bytes(parts[0]), buffers, record.holes, record.names))
    if not made:
        raise ValueError("it is a value of nothing")
    return tuple(made)


def _writable(part: memoryview) -> Any:
    return bytearray(part) if part.readonly else PickleBuffer(part)
