"""Memory that processes of one machine share, for what is too large to be sent again and again.

A segment is anonymous memory behind a descriptor (`memfd_create`).  Its maker writes it once
and seals it: nobody can change or shorten it any more, so no reader sees another's writes, and
none is killed by a bus error.  Descriptors go over Unix sockets.  The kernel frees the memory
when nobody has a descriptor or a mapping of it: so whoever is killed, and be it everybody at
once, nothing is left, and there is no file that anybody could be made to open.

Where there is no such memory (it is not Linux), or no more of it, or no descriptor is left,
nothing is put into a segment, and what is in one is read instead of mapped.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Container, Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from threading import Lock
from typing import Any
from weakref import WeakValueDictionary

__all__ = [
    "LARGE",
    "Handle",
    "Segment",
    "adopt",
    "copied",
    "disk_held",
    "hold_disk",
    "is_crowded",
    "keep_last",
    "keeps_any",
    "let_go",
    "memory_descriptors",
    "memory_held",
    "pour",
    "put",
]

LARGE = 128 * 1024  # bytes; to copy less costs less than a segment

_MAPPED = 256 * 1024  # bytes; to read less costs less than to map it
_KEPT = 4 * 1024 * 1024  # bytes; to map less anew costs no more than to see if it can be spared
_ALIGNED = 64 * 1024  # bytes: a multiple of every page size, so that each piece can be mapped
_MOST = 0x7FFFF000  # bytes that the kernel writes at once
_SHARE = 4  # of the descriptors that a process may have, this part at most is for segments
# Of Linux; `fcntl` has names for them only there.
_ADD_SEALS, _GET_SEALS = 1033, 1034
_SEALS = 0x1 | 0x2 | 0x4 | 0x8  # no further seals, no shrinking, no growing, no writing
_NEEDED = 0x2 | 0x8

_counts = {"segments": 0, "mapped": 0, "bytes": 0, "disk": 0}
_known: WeakValueDictionary[int, Segment] = WeakValueDictionary()  # by their numbers
_looking = Lock()  # for what may be mapped again: each must find what another has just taken
_keeps = {"last": False}
_last: list[Segment] = []  # that was mapped, where it is kept


class Segment:
    """A descriptor of sealed memory; closed with the last reference to this object.

    Args:
        descriptor: This object owns it.
        size: Bytes.
        source: What it was written from, to be kept as long as this.

    Attributes:
        number: What no other segment of this machine has.
        mapped: What was mapped of it and may be used again, by offset and size.
    """

    __slots__ = ("__weakref__", "descriptor", "mapped", "number", "size", "source")

    def __init__(self, descriptor: int, size: int, source: Any = None) -> None:
        self.descriptor = descriptor
        self.number = os.fstat(descriptor).st_ino
        self.size = size
        self.source = source
        self.mapped: dict[tuple[int, int], list[Any]] = {}
        _known[self.number] = self
        _counts["segments"] += 1
        _counts["bytes"] += size

    def __del__(self, close: Any = os.close, counts: dict[str, int] = _counts) -> None:
        counts["segments"] -= 1
        counts["bytes"] -= self.size
        with suppress(OSError):  # somebody has closed all descriptors
            close(self.descriptor)


class Handle:
    """Bytes in shared memory, in place of a buffer or a head of a payload.

    Its memory lives as long as this object, or another of the same segment, or what was
    made of it.

    Attributes:
        segment: The memory; None if it could not be received.
        offset: Where in the segment it begins: a multiple of the size of a page.
        size: Bytes.
    """

    __slots__ = ("__weakref__", "offset", "segment", "size")

    def __init__(self, segment: Segment | None, offset: int, size: int) -> None:
        self.segment = segment
        self.offset = offset
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __bytes__(self) -> bytes:
        return bytes(self.read())

    def map(self) -> Any:
        """Return a writable buffer of the bytes, whose changes nobody else sees.

        Raises:
            OSError: They are not here.
        """
        segment = self._there()
        if self.size < _MAPPED:
            return self.read()
        kept: list[Any] | None = None
        if self.size >= _KEPT:
            kept = segment.mapped.setdefault((self.offset, self.size), [])
            if _keeps["last"]:
                _last[:] = [segment]
            if (found := _taken_again(kept)) is not None:
                return found
        if is_crowded():
            return self.read()
        try:
            made = _mappings().PrivateMapping(segment.descriptor, self.size, self.offset)
        except OSError:  # no descriptor is left, or too many mappings
            return self.read()
        _counts["mapped"] = 1
        if kept is not None:
            kept.append(made)
        return made

    def read(self) -> bytearray:
        """Return a copy of the bytes.

        Raises:
            OSError: They are not here.
        """
        segment = self._there()
        made = bytearray(self.size)
        _read(segment.descriptor, memoryview(made), self.offset)
        return made

    def _there(self) -> Segment:
        if self.segment is None:
            raise OSError(
                f"{self.size} bytes in shared memory could not be received, since this process "
                "had too many files open; raise the limit (ulimit -n), or close what is not needed"
            )
        return self.segment


def _taken_again(kept: list[Any]) -> Any:
    """Return a mapping that is as new; None if there is none."""
    if not kept or not _looking.acquire(blocking=False):
        return None
    try:
        return _mappings().take_as_new(kept)
    finally:
        _looking.release()


@lru_cache(maxsize=1)
def _mappings() -> Any:
    """Return the module of mappings, which most processes have none of."""
    from fancypipe_core._base import private_mapping

    return private_mapping


def keep_last(keep: bool = True) -> None:
    """From now on this process keeps the segment that it has mapped last, until `let_go`; or not.

    For whoever gets one job after the other: the next may be given the same, and then finds it
    mapped.
    """
    _keeps["last"] = keep
    let_go()


def keeps_any() -> bool:
    """Tell whether there is anything to let go of."""
    return bool(_last)


def let_go() -> None:
    """Keep nothing that nobody else refers to."""
    _last.clear()


def memory_descriptors() -> int:
    """Return how many descriptors of this process are for shared memory."""
    mapped = _mappings().mappings_with_descriptors() if _counts["mapped"] else 0
    return _counts["segments"] + mapped


def memory_held() -> int:
    """Return how many bytes of shared memory this process has descriptors of."""
    return _counts["bytes"]


def disk_held() -> int:
    """Return how many bytes of files this process owns because of segments."""
    return _counts["disk"]


def hold_disk(change: int) -> None:
    """Note that they are so many more, or less."""
    _counts["disk"] += change


def is_crowded() -> bool:
    """Tell whether no further descriptors are to be used for shared memory."""
    return memory_descriptors() >= _allowed()


@lru_cache(maxsize=1)
def _allowed() -> int:
    with suppress(ImportError, OSError, ValueError):
        import resource

        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return sys.maxsize if most == resource.RLIM_INFINITY else most // _SHARE
    return 0


def put(
    pieces: Sequence[Any], source: Any = None, spent: Container[int] = ()
) -> list[Handle] | None:
    """Write buffers into a new segment.

    Args:
        pieces: The buffers.
        source: As for `Segment`.
        spent: Which of them are read for the last time, by their places: when they are written
            they hold nothing any more.  If they cannot be written they are as they were.

    Returns:
        A handle for each; None if there is no such memory, or no room for it.
    """
    if not hasattr(os, "memfd_create") or sys.platform != "linux" or is_crowded():
        return None
    try:
        import fcntl

        descriptor = os.memfd_create("fancypipe", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except (ImportError, OSError):  # both need a descriptor, and there may be none left
        return None
    places: list[tuple[int, int]] = []
    end = 0
    try:
        for place, piece in enumerate(pieces):
            begin = -(-end // _ALIGNED) * _ALIGNED  # what lies between takes no memory
            view = memoryview(piece).cast("B")
            end = begin + (_move if place in spent else _write)(descriptor, view, begin)
            places.append((begin, end - begin))
        fcntl.fcntl(descriptor, _ADD_SEALS, _SEALS)
    except OSError:  # no room, or no seals
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    segment = Segment(descriptor, end, source)
    return [Handle(segment, begin, size) for begin, size in places]


def _write(descriptor: int, view: memoryview, at: int) -> int:
    # Not through a mapping: where there is no room, this says so, and a mapping is a bus error.
    done = 0
    while done < view.nbytes:
        done += os.pwrite(descriptor, view[done : done + _MOST], at + done)
    return done


def _read(descriptor: int, view: memoryview, at: int) -> None:
    done = 0
    while done < view.nbytes:
        count = os.preadv(descriptor, [view[done : done + _MOST]], at + done)
        if not count:
            raise OSError(f"shared memory ends after {at + done} bytes")
        done += count


def _move(descriptor: int, view: memoryview, at: int) -> int:
    """Write a buffer that nobody reads again, and give its memory back meanwhile.

    Raises:
        OSError: There is no room; the buffer is whole.
    """
    from fancypipe_core._base.spent_memory import SpentMemory

    done = 0
    try:
        for piece in SpentMemory(view).pieces():
            _write(descriptor, piece, at + done)
            done += piece.nbytes
    except OSError:
        _read(descriptor, view[:done], at)
        raise
    return done


def copied(source: int, size: int) -> Segment | None:
    """Return a new segment with so many bytes of an open file, read from where that stands.

    Also where no further descriptors are to be used: whoever asks has no other way to the bytes.

    Returns:
        None if there is no such memory, no room for it, or the file is shorter.
    """
    if not hasattr(os, "memfd_create") or sys.platform != "linux":
        return None
    try:
        import fcntl

        descriptor = os.memfd_create("fancypipe", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except (ImportError, OSError):
        return None
    try:
        pour(source, descriptor, size)
        fcntl.fcntl(descriptor, _ADD_SEALS, _SEALS)
    except OSError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return Segment(descriptor, size)


def pour(source: int, target: int, size: int, at: int | None = None) -> None:
    """Copy so many bytes from one open file to another, inside the kernel.

    Args:
        source: From this descriptor.
        target: To where this one stands.
        size: Bytes.
        at: From where in the source; by default from where that stands.

    Raises:
        OSError: There is no room, or less to read.
    """
    done = 0
    while done < size:
        place = None if at is None else at + done
        count = os.sendfile(target, source, place, min(size - done, _MOST))
        if not count:
            raise OSError(f"a file ends after {done} of {size} bytes")
        done += count


def adopt(descriptors: Iterable[int]) -> list[Segment]:
    """Take over descriptors that another process has sent; what is no sealed memory is closed.

    So is what is here already, and the segment that is here stands for it.
    """
    import fcntl

    segments = []
    for descriptor in descriptors:
        try:
            if fcntl.fcntl(descriptor, _GET_SEALS) & _NEEDED == _NEEDED:
                found = os.fstat(descriptor)
                known = _known.get(found.st_ino)
                if known is None:
                    segments.append(Segment(descriptor, found.st_size))
                    continue
                segments.append(known)
        except OSError:
            pass  # no memory at all
        os.close(descriptor)
    return segments
