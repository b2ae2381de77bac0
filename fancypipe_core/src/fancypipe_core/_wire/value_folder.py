"""Where segments of shared memory go between machines: files in a folder that both see.

A segment is written to a file of its own once, whoever is to have it, before the frame that names
it.  Who is sent its number copies the file into memory of his own, which he trusts as any: a
file can be cut short while somebody has it mapped.  Behind the bytes stand their count and the
number again, so half a file is none.  No number is used twice, so no machine has an older
file by that name in its cache.

The client owns the folder and every file in it: it removes one with the last reference to the
value, and all that a worker has left when that is gone.  It always has the bytes as well.  So
a file that cannot be read costs time, and no value.
"""

from __future__ import annotations

import os
import shutil
import stat
import struct
import weakref
from collections import OrderedDict
from contextlib import suppress
from threading import Lock

from fancypipe_core._base import shared_memory
from fancypipe_core._base.faults import fault
from fancypipe_core._base.resources import free_space
from fancypipe_core._base.shared_memory import Segment
from fancypipe_core._wire.passage import Passage

__all__ = ["FolderPassage", "ValueFolder"]

_LEAST = 1024 * 1024  # bytes; for less a file takes longer than the way through the manager
_KEPT = 256 * 1024 * 1024  # bytes of what came last that a worker keeps, for the next job
_END = struct.Struct("<QQ")  # number and size
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_SAFE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)  # a pipe by that name holds up nobody
_WRITER = 32  # the bits of a number behind those of its writer


class ValueFolder:
    """One party's view of the folder.

    Args:
        path: The folder.
        writer: A number that no other party has who writes there; the client's is 0.
        part: Of the disk's free space, what one value may take at most.
    """

    def __init__(self, path: str, writer: int, part: float) -> None:
        self._path = path
        self._writer = writer
        self._part = part
        self._last = 0
        self._using = Lock()  # a worker writes reports in another thread than it reads jobs in
        self._numbers: weakref.WeakKeyDictionary[Segment, int] = weakref.WeakKeyDictionary()
        self._segments: weakref.WeakValueDictionary[int, Segment] = weakref.WeakValueDictionary()
        self._recent: OrderedDict[int, Segment] = OrderedDict()

    # ---- proof that it is one folder ----

    def make(self) -> bool:
        """Make the folder; return whether that could be done."""
        with suppress(OSError):
            os.mkdir(self._path, 0o700)
            return True
        return False

    def sign(self, token: str) -> bool:
        """Show that we can write there; return whether we can, and nobody else of no concern."""
        with suppress(OSError):
            found = os.lstat(self._path)
            if not stat.S_ISDIR(found.st_mode) or not _is_private(found):
                return False
            with open(os.open(self._signature, _WRITE | _SAFE, 0o600), "w", encoding="ascii") as it:
                it.write(token)
            return True
        return False

    def unsign(self) -> None:
        """Take that back: the client did not see it."""
        self._unlink(self._writer << _WRITER)

    def signed(self, writer: int, token: str) -> bool:
        """Return whether a worker has shown that it can write here, and we can read that."""
        signature = ValueFolder(self._path, writer, 0.0)._signature
        with suppress(OSError, ValueError):
            with open(os.open(signature, _READ | _SAFE), encoding="ascii") as file:
                said = file.read(len(token) + 1)
            os.unlink(signature)
            return said == token
        return False

    @property
    def _signature(self) -> str:
        return self._file(self._writer << _WRITER)

    # ---- segments ----

    def put(self, segment: Segment) -> bool:
        """Write a segment if it is not there; return whether it is."""
        if segment.size < _LEAST:
            return False
        with self._using:
            return self._put(segment)

    def _put(self, segment: Segment) -> bool:
        known = self._numbers.get(segment)
        if known is not None and (not self._writer or os.path.exists(self._file(known))):
            return True
        free = free_space(self._path)
        if free is None or segment.size > free * self._part:
            return False
        self._last += 1
        number = (self._writer << _WRITER) + self._last
        if not self._write(number, segment):
            return False
        self._know(number, segment)
        return True

    def number_of(self, segment: Segment) -> int:
        """Return the number of a segment that is there."""
        return self._numbers[segment]

    def get(self, number: int) -> Segment | None:
        """Return the segment with this number; None if it cannot be read."""
        with self._using:
            found = self._segments.get(number)
            if found is None:
                found = self._read(number)
                if found is not None:
                    self._know(number, found)
                elif not self._writer:
                    self._unlink(number)  # it is of no use
                fault("folder.read")
            elif self._writer:
                self._keep(number, found)
            return found

    def _know(self, number: int, segment: Segment) -> None:
        self._numbers[segment] = number
        self._segments[number] = segment
        if self._writer:
            self._keep(number, segment)
            return
        shared_memory.hold_disk(segment.size)
        gone = weakref.finalize(segment, _remove, self._file(number), segment.size, os.getpid())
        gone.atexit = False  # with the folder

    def _keep(self, number: int, segment: Segment) -> None:
        """Keep what a worker has seen last, for the jobs that come."""
        self._recent[number] = segment
        self._recent.move_to_end(number)
        while len(self._recent) > 1 and sum(one.size for one in self._recent.values()) > _KEPT:
            self._recent.popitem(last=False)

    def _write(self, number: int, segment: Segment) -> bool:
        try:
            descriptor = os.open(self._file(number), _WRITE | _SAFE, 0o600)
        except OSError:
            return False
        try:
            try:
                fault("folder.write")
                shared_memory.pour(segment.descriptor, descriptor, segment.size, 0)
                os.write(descriptor, _END.pack(number, segment.size))
            finally:
                os.close(descriptor)  # some file systems say only here that there is no room
        except OSError:
            self._unlink(number)
            return False
        fault("folder.written")
        return True

    def _read(self, number: int) -> Segment | None:
        try:
            descriptor = os.open(self._file(number), _READ | _SAFE)
        except OSError:
            return None
        try:
            found = os.fstat(descriptor)
            size = found.st_size - _END.size
            if not stat.S_ISREG(found.st_mode) or not _is_private(found) or size < 0:
                return None
            if os.pread(descriptor, _END.size, size) != _END.pack(number, size):
                return None
            return shared_memory.copied(descriptor, size)
        except OSError:
            return None
        finally:
            os.close(descriptor)

    def _file(self, number: int) -> str:
        return os.path.join(self._path, f"{number:016x}")

    def _unlink(self, number: int) -> None:
        with suppress(OSError):
            os.unlink(self._file(number))

    # ---- the owner's part ----

    def sweep(self, writer: int) -> None:
        """Remove what a worker that is gone has left, but for what we have a reference to."""
        with suppress(OSError):
            for name in os.listdir(self._path):
                with suppress(OSError, ValueError):
                    number = int(name, 16)
                    if number >> _WRITER == writer and number not in self._segments:
                        os.unlink(os.path.join(self._path, name))

    def clear(self) -> None:
        """Remove the folder and all that is in it."""
        shutil.rmtree(self._path, ignore_errors=True)


class FolderPassage(Passage):
    """A channel's way into a folder."""

    may_lose = True

    def __init__(self, folder: ValueFolder) -> None:
        super().__init__(None)
        self._folder = folder
        self._sends = True

    def send(self, segment: Segment) -> bool:
        """Write a segment if it is not there; return whether it is."""
        return self._sends and self._folder.put(segment)

    def number_of(self, segment: Segment) -> int:
        """Return by which number a frame names a segment that was sent."""
        return self._folder.number_of(segment)

    def take(self, number: int) -> Segment | None:
        """Return the segment that has this number; None if it cannot be read."""
        return self._folder.get(number)

    def close(self) -> None:
        """Send nothing more.  What the other end has sent can still be taken."""
        self._sends = False


def _is_private(found: os.stat_result) -> bool:
    return found.st_uid == os.geteuid() and not found.st_mode & 0o077


def _remove(path: str, size: int, owner: int) -> None:
    if os.getpid() == owner:  # not in a process that was forked off
        shared_memory.hold_disk(-size)
        with suppress(OSError):
            os.unlink(path)
