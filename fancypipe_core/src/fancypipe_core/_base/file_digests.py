"""Digests of files by content, remembered by size and times, so that each is read once.

What is remembered of a large file is a small one of its own in a folder, written beside and
renamed: any number of runs may share it, on a network too.  A small file is read again, which
takes no longer than to look up what is remembered.  What nobody has asked for in 90 days is
forgotten by whoever writes beside it.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from errno import ENOTSUP
from hashlib import blake2b
from pathlib import Path

__all__ = ["FileDigests", "state_of_file"]

_SMALL = 64 * 1024  # bytes
_PART = 4 * 1024 * 1024
_USED = 24 * 3600.0  # seconds; what was used since then is not said to be used again
_OLD = 90 * _USED  # seconds after which what was not used is forgotten
_FRESH = 2.0  # seconds; a file that changed since may change again without other times


class FileDigests:
    """Digests of files and folders.

    Args:
        folder: Where digests of large files are remembered; None for nowhere.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._known: dict[str, tuple[str, str]] = {}  # path -> what the system says, digest
        self._swept: set[str] = set()

    def of(self, path: str | os.PathLike[str]) -> str:
        """Return the digest of a file, or of a folder with all that is in it.

        A link counts as what it leads to; in a folder it counts as where it leads to, if that
        is not a file.  Of a folder the names count, and of files whether they can be executed.

        Returns:
            32 hexadecimal digits.

        Raises:
            OSError: It is not there, cannot be read, changes while it is read, or is neither
                file nor folder.
        """
        full = os.path.abspath(path)
        about = os.stat(full)
        if stat.S_ISDIR(about.st_mode):
            digest = blake2b(b"folder\n", digest_size=16)
            for line in self._lines(full):
                digest.update(line)
            return digest.hexdigest()
        return self._of_file(full, about)

    def _lines(self, top: str) -> Iterator[bytes]:
        todo = [""]
        while todo:
            below = todo.pop()
            with os.scandir(os.path.join(top, below)) as entries:
                found = sorted(entries, key=lambda one: one.name)
            for one in found:
                name = os.path.join(below, one.name)
                if one.is_file():
                    about = os.stat(one.path)
                    mark = "x" if about.st_mode & stat.S_IXUSR else "-"
                    said = f"{mark} {self._of_file(one.path, about)}"
                elif one.is_symlink():
                    said = f"l {os.readlink(one.path)!a}"
                elif one.is_dir():
                    todo.append(name)
                    said = "d"
                else:
                    raise OSError(ENOTSUP, "neither a file nor a folder", one.path)
                yield f"{name!a} {said}\n".encode("ascii")

    def _of_file(self, path: str, about: os.stat_result) -> str:
        if not stat.S_ISREG(about.st_mode):
            raise OSError(ENOTSUP, "neither a file nor a folder", path)
        said = state_of_file(about)
        known = self._known.get(path)
        if known is not None and known[0] == said:
            return known[1]
        large = about.st_size > _SMALL
        kept = self._recall(path, said) if large else None
        digest = kept or _read(path)
        after = os.stat(path)
        if state_of_file(after) != said:
            raise OSError(ENOTSUP, "the file changes while it is read", path)
        if time.time() - max(about.st_mtime, about.st_ctime) > _FRESH:
            self._known[path] = said, digest
            if large and kept is None:
                self._remember(path, said, digest)
        return digest

    def _place(self, path: str) -> str:
        assert self._folder is not None
        name = blake2b(os.fsencode(path), digest_size=16).hexdigest()
        return os.path.join(self._folder, name[:2], name)

    def _recall(self, path: str, said: str) -> str | None:
        if self._folder is not None:
            place = self._place(path)
            with suppress(OSError), open(place, encoding="ascii", errors="replace") as file:
                was, _, digest = file.read().rstrip("\n").partition("\n")
                if was == said and len(digest) == 32:
                    if time.time() - os.fstat(file.fileno()).st_mtime > _USED:
                        os.utime(place)
                    return digest
        return None

    def _remember(self, path: str, said: str, digest: str) -> None:
        if self._folder is None:
            return
        place = self._place(path)
        beside = f"{place}.{os.urandom(8).hex()}"
        folder = os.path.dirname(place)
        with suppress(OSError):  # it is only read once more
            os.makedirs(folder, exist_ok=True)
            if folder not in self._swept:
                self._swept.add(folder)
                _sweep(folder)
            try:
                with open(beside, "x", encoding="ascii") as file:
                    file.write(f"{said}\n{digest}\n")
                os.rename(beside, place)
            except BaseException:
                with suppress(OSError):
                    os.unlink(beside)
                raise


def state_of_file(about: os.stat_result) -> str:
    """Return what differs when a file has changed: also the time that nobody can set back."""
    return f"{about.st_ino} {about.st_size} {about.st_mtime_ns} {about.st_ctime_ns}"


def _sweep(folder: str) -> None:
    """Forget what was not used for long, also what a killed process has written in part."""
    before = time.time() - _OLD
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):  # another run does the same
                if entry.stat(follow_symlinks=False).st_mtime < before:
                    os.unlink(entry.path)


def _read(path: str) -> str:
    digest = blake2b(digest_size=16)
    with open(path, "rb", buffering=0) as file:
        room = memoryview(bytearray(min(_PART, os.fstat(file.fileno()).st_size + 1)))
        while got := file.readinto(room):
            digest.update(room[:got])
    return digest.hexdigest()
