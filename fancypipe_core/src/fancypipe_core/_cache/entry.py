"""An entry of a store as it lies in a file: what it is about, the value, and their digest.

`magic, key, lengths, digest of what it is about | about | value | digest of all before`.  What
is cut short, was written by something else, or stands in another's place, is seen when it is read.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from fancypipe_core._base.msgpack import unpacker
from fancypipe_core._cache.parts import KeyParts

__all__ = ["Broken", "read", "read_about", "size_of", "write"]

_MAGIC = b"fancypipe entry 1\n"
# Magic, key, bytes of what it is about, bytes of the value, digest of what it is about.
_HEAD = struct.Struct("<18s32sIQ16s")
_DIGEST = 32
_about: Callable[[bytes], KeyParts] = unpacker(KeyParts)
_PART = 16 * 1024 * 1024  # bytes that are written and read at once


class Broken(Exception):
    """This is no whole entry."""


def size_of(about: bytes, value: Sequence[memoryview]) -> int:
    """Return how many bytes an entry takes."""
    return _HEAD.size + len(about) + sum(view.nbytes for view in value) + _DIGEST


def write(file: int, key: str, about: bytes, value: Sequence[memoryview]) -> None:
    """Write an entry to a descriptor, in parts; the value is not copied.

    Args:
        file: The descriptor.
        key: 32 hexadecimal digits.
        about: What the key was made of, encoded.
        value: Contiguous parts.

    Raises:
        OSError: It cannot be written.
    """
    length = sum(view.nbytes for view in value)
    head = _packed(key, about, length)
    digest = blake2b(digest_size=_DIGEST)
    for part in _parts([memoryview(head + about), *value]):
        digest.update(part)
        _all(file, part)
    _all(file, memoryview(digest.digest()))


def _parts(views: Iterable[memoryview]) -> Iterable[memoryview]:
    for view in views:
        flat = view.cast("B")
        for start in range(0, flat.nbytes, _PART):
            yield flat[start : start + _PART]


def _all(file: int, part: memoryview) -> None:
    while part.nbytes:
        part = part[os.write(file, part) :]


def read(file: Any, key: str) -> memoryview:
    """Return the value of an entry.

    Args:
        file: An unbuffered file, at its start.
        key: The key that it stands under.

    Raises:
        Broken: It is cut short, changed, or no entry.
        OSError: It cannot be read.
    """
    about, length = _head(file, key)
    size = len(about) + length + _DIGEST
    if os.fstat(file.fileno()).st_size != _HEAD.size + size:
        raise Broken
    digest = blake2b(_packed(key, about, length), digest_size=_DIGEST)
    digest.update(about)
    room = memoryview(bytearray(length + _DIGEST))
    done = 0
    while done < room.nbytes:
        got = file.readinto(room[done : done + _PART])
        if not got:
            raise Broken
        digest.update(room[done : min(done + got, length)])
        done += got
    if digest.digest() != room[length:]:
        raise Broken
    return room[:length].toreadonly()


def read_about(file: Any, key: str) -> KeyParts:
    """Return what an entry is about.

    Args:
        file: As for `read`.
        key: As for `read`.

    Raises:
        Broken: As for `read`.
        OSError: It cannot be read.
    """
    try:
        return _about(_head(file, key)[0])
    except msgspec.MsgspecError:
        raise Broken from None  # of another version of ours


def _head(file: Any, key: str) -> tuple[bytes, int]:
    head = file.read(_HEAD.size)
    if len(head) != _HEAD.size:
        raise Broken
    magic, name, about, length, digest = _HEAD.unpack(head)
    if magic != _MAGIC or name != key.encode() or about + length > os.fstat(file.fileno()).st_size:
        raise Broken
    text = file.read(about)
    if len(text) != about or _short(text) != digest:
        raise Broken
    return text, length


def _packed(key: str, about: bytes, length: int) -> bytes:
    return _HEAD.pack(_MAGIC, key.encode(), len(about), length, _short(about))


def _short(about: bytes) -> bytes:
    return blake2b(about, digest_size=16).digest()
