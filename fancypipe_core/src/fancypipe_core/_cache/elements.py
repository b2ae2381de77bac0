"""What is kept of a map's elements: packs of their results, and the index that finds them.

A *pack* is what became of some spans, one behind the other.  An *index* says which packs there
are of a kind of elements (all that are made by the same code with the same fixed inputs), and
of which elements each is.  It is a row of chapters, which stand under keys that anybody can
reckon.  Both are bytes under a key, so whoever keeps results can keep them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from fancypipe_core._base.msgpack import pack, unpacker

__all__ = [
    "SIZE",
    "Chapter",
    "Packed",
    "chapter_key",
    "chapter_of",
    "chapter_read",
    "pack_key",
    "pack_of",
    "pack_read",
]

Packed = tuple[bytes, ...]
"""For each span of a pack the keys of its elements, one behind the other."""

Chapter = dict[str, Packed]
"""Packs by their keys."""

SIZE = 16
"""Bytes of an element's key."""

_INDEX, _PACK = b"fpindex1", b"fppacks1"
_ALIGNED = 64

_chapter = unpacker(dict[str, tuple[bytes, ...]])
_lengths = unpacker(tuple[int, ...])


def chapter_key(kind: str, number: int) -> str:
    """Return the key of a chapter of the index of a kind of elements."""
    return blake2b(f"index {number} of {kind}".encode(), digest_size=16).hexdigest()


def pack_key(kind: str, keys: Packed) -> str:
    """Return the key of a pack: another one with the same elements is the same."""
    digest = blake2b(f"pack of {kind}".encode(), digest_size=16)
    for one in keys:
        digest.update(b"%d" % len(one))
        digest.update(one)
    return digest.hexdigest()


def chapter_of(packs: Mapping[str, Packed]) -> bytes:
    """Return a chapter as bytes."""
    return _INDEX + pack(dict(packs))


def chapter_read(data: bytes | memoryview) -> Chapter:
    """Return a chapter; an empty one if this is none."""
    view = memoryview(data).cast("B")
    if view[: len(_INDEX)] != _INDEX:
        return {}
    try:
        packs: Chapter = _chapter(view[len(_INDEX) :])
    except msgspec.MsgspecError:
        return {}
    return {key: spans for key, spans in packs.items() if not any(len(one) % SIZE for one in spans)}


def pack_of(values: Sequence[Sequence[Any]]) -> list[Any]:
    """Return values as one: buffers that one behind the other are its bytes.

    Args:
        values: Of each its buffers, as `_codec.stored.written` gives them.
    """
    sizes = [sum(memoryview(one).nbytes for one in buffers) for buffers in values]
    head = pack(tuple(sizes))
    out: list[Any] = [_PACK, len(head).to_bytes(8, "little"), head]
    end = len(_PACK) + 8 + len(head)
    for buffers, size in zip(values, sizes, strict=True):
        gap = -end % _ALIGNED
        out += [bytes(gap), *buffers]
        end += gap + size
    return out


def pack_read(data: bytes | memoryview) -> list[memoryview]:
    """Return the values of a pack.

    Raises:
        ValueError: It is none.
    """
    view = memoryview(data).cast("B")
    start = len(_PACK) + 8
    if view.nbytes < start or view[: len(_PACK)] != _PACK:
        raise ValueError(f"these {view.nbytes} bytes are no results of elements")
    end = start + int.from_bytes(view[len(_PACK) : start], "little")
    try:
        sizes = _lengths(view[start:end])
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error
    found = []
    for size in sizes:
        begin = end + -end % _ALIGNED
        end = begin + size
        found.append(view[begin:end])
    if end != view.nbytes:
        raise ValueError(f"these {view.nbytes} bytes are not all of some results of elements")
    return found
