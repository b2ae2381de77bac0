"""A folder that keeps results by their keys, for any number of runs at once.

An entry is written beside the others under a name of its own, and renamed when it is whole, so
that at no moment a half one has a key for its name.  No lock is needed, and so it may lie on a
network: two runs that write the same key write the same, and the last stays.  Whoever reads sees
by the digest in an entry whether it is whole.  That is also what makes `fsync` needless: after a
power cut an entry is whole, or it is removed when it is read.

When an entry was used last is its file's time of change.  What is over the budget goes, that
which was not used for the longest time first.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from errno import EFBIG, ENOSPC, ESTALE
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fancypipe_core._base.msgpack import pack
from fancypipe_core._base.processes import began, left_by_dead
from fancypipe_core._cache import entry
from fancypipe_core._cache.parts import KeyParts

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["FolderStore"]

_KEY = re.compile("[0-9a-f]{32}")
_NEW = "new"  # the folder of what is being written
_WRITER = re.compile(r"(\d+)-([0-9a-f]*-[0-9a-f]*-\d*-\d*|)-[0-9a-f]{16}")
_USED = 600  # seconds; what was used since then is not said to be used again
_SHARE = 20  # part of the budget that is written between two trims


class _Kept(NamedTuple):
    used: float
    size: int
    path: str


class FolderStore:
    """Keeps values by key in a folder.

    Args:
        folder: The folder; it is made when the first value is put.
        budget: Bytes that it may take; None for no limit.

    Raises:
        OSError: Everybody may write into the folder, and so could have us run their code.
    """

    def __init__(self, folder: Path, budget: int | None) -> None:
        self._folder = folder
        self._budget = budget
        self._told = began()
        self._since: int | None = None  # bytes put since the last trim; None before the first
        self._made: set[str] = set()
        with suppress(FileNotFoundError):
            self._refuse_open()

    def get(self, key: str) -> memoryview | None:
        """Return the value of a key, or None if there is none.

        What was cut short or changed, or is no entry of ours, is removed.

        Raises:
            OSError: The folder cannot be read.
        """
        path = self._path(key)
        try:
            with open(path, "rb", buffering=0) as file:
                value = entry.read(file, key)
                about = os.fstat(file.fileno())
        except FileNotFoundError:
            return None
        except entry.Broken:
            _remove(path)
            return None
        except OSError as error:
            if error.errno == ESTALE:  # on a network: evicted meanwhile
                return None
            raise self._explained(error, "read") from error
        now = time.time()
        if now - about.st_mtime > _USED:
            with suppress(OSError):  # of another user, read-only, or just evicted
                os.utime(path, (now, now))
        return value

    def put(self, key: str, value: Buffer | Sequence[Buffer], about: KeyParts) -> None:
        """Keep a value under its key.

        Args:
            key: As `digest_of` gives it.
            value: Its bytes, or its parts in their order; contiguous, and not copied.
            about: What the key was made of.

        Raises:
            OSError: It cannot be written; the message says what to do.  There is then nothing
                under the key, or what was there before.
        """
        parts: Sequence[Buffer] = value if isinstance(value, (list, tuple)) else [value]  # type: ignore[list-item]  # bytes are a sequence, too
        views = [memoryview(part) for part in parts]
        told = pack(about)
        size = entry.size_of(told, views)
        if self._budget is not None and size > self._budget:
            raise OSError(
                EFBIG,
                f"a result of {about.task} takes {size:,} bytes, and the whole cache may take "
                f"{self._budget:,}; it is not kept: give the cache more",
                str(self._folder),
            )
        path = self._path(key)
        temporary = os.path.join(
            self._folder, _NEW, f"{os.getpid()}-{self._told}-{os.urandom(8).hex()}"
        )
        try:
            self._make(os.path.dirname(temporary))
            self._make(os.path.dirname(path))
            self._write(temporary, path, told, views)
        except OSError as error:
            raise self._explained(error, "written to") from error
        if self._budget is not None:
            before = self._since
            self._since = (before or 0) + size
            if before is None or self._since * _SHARE > self._budget:
                self.trim()

    def _write(self, temporary: str, path: str, about: bytes, views: list[memoryview]) -> None:
        try:
            file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            try:
                entry.write(file, os.path.basename(path), about, views)
            finally:
                os.close(file)  # a network's file system may only now say that the disk is full
            os.rename(temporary, path)
        except BaseException:
            _remove(temporary)
            raise

    def about(self, key: str) -> KeyParts | None:
        """Return what the key of an entry was made of; None if there is no entry.

        Raises:
            OSError: The folder cannot be read.
        """
        path = self._path(key)
        try:
            with open(path, "rb", buffering=0) as file:
                return entry.read_about(file, key)
        except FileNotFoundError:
            return None
        except entry.Broken:
            _remove(path)
            return None
        except OSError as error:
            raise self._explained(error, "read") from error

    def trim(self) -> None:
        """Remove what killed runs left half written, and what is over the budget.

        What cannot be removed stays, without a word: another run may remove the same.
        """
        self._since = 0
        self._sweep()
        if self._budget is None:
            return
        kept = list(self._entries())
        total = sum(one.size for one in kept)
        if total <= self._budget:
            return
        # Somewhat more, so that the next value does not make it do all this again.
        goal = self._budget - self._budget // _SHARE
        for one in sorted(kept):
            if total <= goal:
                break
            _remove(one.path)
            total -= one.size

    def _entries(self) -> Iterator[_Kept]:
        for folder in _names(self._folder):
            if len(folder) != 2:
                continue
            for name in _names(os.path.join(self._folder, folder)):
                path = os.path.join(self._folder, folder, name)
                with suppress(OSError):
                    if _KEY.fullmatch(name):
                        about = os.stat(path, follow_symlinks=False)
                        # Of small ones the file system keeps more than they have.
                        size = max(about.st_size, about.st_blocks * 512)
                        yield _Kept(about.st_mtime, size, path)

    def _sweep(self) -> None:
        folder = os.path.join(self._folder, _NEW)
        for name in _names(folder):
            match = _WRITER.fullmatch(name)
            if match is None:
                continue
            path = os.path.join(folder, name)
            with suppress(OSError):
                if left_by_dead(path, int(match[1]), match[2]):
                    _remove(path)

    def _path(self, key: str) -> str:
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} is no key")
        return os.path.join(self._folder, key[:2], key)

    def _make(self, folder: str) -> None:
        if folder not in self._made:
            os.makedirs(folder, exist_ok=True)
            if not self._made:
                self._refuse_open()
            self._made.add(folder)

    def _refuse_open(self) -> None:
        mode = os.stat(self._folder).st_mode
        if mode & stat.S_IWOTH:
            raise PermissionError(
                0,
                "everybody may write into the cache folder, and what is in it is run as code; "
                f"take that right away: chmod o-w {self._folder}",
                str(self._folder),
            )

    def _explained(self, error: OSError, verb: str) -> OSError:
        if type(error) is PermissionError and error.errno == 0:
            return error
        why = os.strerror(error.errno) if error.errno else str(error)
        todo = (
            "make room, give the cache a budget, or have it elsewhere"
            if error.errno == ENOSPC
            else "see to it, or have the cache elsewhere"
        )
        told = f"the cache folder cannot be {verb}: {why}; {todo}"
        return type(error)(error.errno, told, str(self._folder))


def _names(folder: Any) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)
