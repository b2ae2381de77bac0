"""Mappings whose owner may write to them without anybody else seeing it, and their use again.

The first look at each page of a mapping takes time, and to drop it takes some more: for 256 MB
twice as long as to add all their numbers up.  So a mapping that nobody has written to is
given to the next who wants the same.  What was written to has pages of its own, and
the kernel tells that of each page.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import weakref
from typing import Any

__all__ = ["PrivateMapping", "mappings_with_descriptors", "take_as_new"]

_HAS_DESCRIPTOR = sys.version_info < (3, 13)
_MORE: dict[str, Any] = {} if _HAS_DESCRIPTOR else {"trackfd": False}
_PAGES = "/proc/self/pagemap"
_ENTRY = 8  # bytes that the kernel tells of a page
_READ = 1 << 20  # bytes of these that are read at once
# The highest byte of an entry, where the page is the file's or was not looked at.  Others say
# that it is nobody else's, or swapped out, or something that we know nothing of.
_UNTOUCHED = b"\x00\xa0\xa1"

_counts = {"mappings": 0}


class PrivateMapping(mmap.mmap):
    """Bytes of a file or of shared memory, which its owner may change for himself."""

    def __new__(cls, descriptor: int, size: int, offset: int) -> Any:
        made = super().__new__(
            cls, descriptor, size, access=mmap.ACCESS_COPY, offset=offset, **_MORE
        )
        _counts["mappings"] += _HAS_DESCRIPTOR
        return made

    def __del__(self, counts: dict[str, int] = _counts) -> None:
        counts["mappings"] -= _HAS_DESCRIPTOR


def mappings_with_descriptors() -> int:
    """Return how many descriptors of this process are for mappings."""
    return _counts["mappings"]


def take_as_new(kept: list[PrivateMapping]) -> PrivateMapping | None:
    """Return one of these mappings to which nobody refers or has written; None if there is none.

    To which nobody refers, and somebody has written, goes.
    """
    alone = _references([bytearray()], 0)  # by the same way, since interpreters count differently
    for at in reversed(range(len(kept))):
        if _references(kept, at) != alone or weakref.getweakrefcount(kept[at]):
            continue
        if _is_untouched(kept[at]):
            return kept[at]
        del kept[at]
    return None


def _references(kept: list[Any], at: int) -> int:
    return sys.getrefcount(kept[at])


def _is_untouched(mapping: PrivateMapping) -> bool:
    at = ctypes.addressof(ctypes.c_char.from_buffer(mapping)) // mmap.PAGESIZE * _ENTRY
    end = at + -(-len(mapping) // mmap.PAGESIZE) * _ENTRY
    try:
        pages = os.open(_PAGES, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False  # nobody tells
    try:
        while at < end:
            found = os.pread(pages, min(_READ, end - at), at)
            if not found or found[_ENTRY - 1 :: _ENTRY].translate(None, _UNTOUCHED):
                return False
            at += len(found)
    except OSError:
        return False
    finally:
        os.close(pages)
    return True
