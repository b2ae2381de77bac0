"""Copies of a client's files in a worker process that does not see its folder.

They are kept from job to job, so that each file comes once, and are gone when they have not been
used for a while; the folder of the process goes with that, however it ends.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any, NamedTuple
from uuid import uuid4
from weakref import WeakValueDictionary

from fancypipe_core._model import carriage
from fancypipe_core.toolkit.shipping.client_files import Sent
from fancypipe_core.toolkit.shipping.own_folder import own_folder

__all__ = ["FileCopies", "copies_for"]

_IDLE = 60.0  # seconds without a job of the session, after which its files are removed
_MOST = 10 << 30  # bytes of files that are kept for jobs to come
_KINDS = {b"f": "file", b"d": "folder"}


class _Copy(NamedTuple):
    path: str
    state: bytes
    origin: str
    size: int


class FileCopies:
    """Those of one session.

    Args:
        host: The client's machine.

    Attributes:
        directory: Where they are, and the folders of jobs.
    """

    def __init__(self, host: str) -> None:
        self.directory = os.path.join(own_folder(), f"session-{uuid4().hex}")
        self._host = host
        self._copies: dict[str, _Copy] = {}
        self._why_not: dict[str, str] = {}
        self._lock = threading.Lock()
        self._running = 0
        self._last_use = 0.0

    @contextmanager
    def used(self) -> Iterator[None]:
        """During the block they stay."""
        with self._lock:
            self._running += 1
            os.makedirs(self.directory, 0o700, exist_ok=True)
        _keeper.watch(self)
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1
                self._last_use = monotonic()
                if not self._running:
                    self._why_not.clear()

    def take(self, sent: Iterable[Sent], needed: Iterable[str]) -> None:
        """Take files that have come.

        Args:
            sent: What has come with jobs.
            needed: What copies are known by that jobs need.

        Raises:
            OSError: One cannot be written.
            DecodeError: One is not what was sent.
        """
        wanted = {*needed, *(one[0] for one in sent)}
        for copy, origin, content, why in sent:
            if content is None:
                self._why_not[copy] = why
            elif not self._is_here(copy):
                self._make_room(len(content), wanted)
                try:
                    self._land(copy, origin, content)
                except OSError:
                    if not self._drop_but(wanted):
                        raise
                    self._land(copy, origin, content)

    def lacking(self, parts: Iterable[Any]) -> list[str]:
        """Return the paths of files that jobs need and that are not here.

        Args:
            parts: What has come of the jobs.
        """
        found = [one for one in map(_record, parts) if one is not None and one.folder]
        return list(
            dict.fromkeys(
                one.path
                for one in found
                if one.folder not in self._why_not and not self._is_here(one.folder)
            )
        )

    def find(self, record: carriage.FileRecord) -> tuple[str, str]:
        """Return where a file is here, and why not if it is not."""
        copy = self._copies.get(record.folder)
        if copy is not None:
            return copy.path, ""
        path = record.path
        if record.folder:
            return path, self._why_not.get(record.folder, f"{path} has not come here")
        if os.path.lexists(path):
            return path, ""  # the client has none of that name
        what = _KINDS.get(record.kind, "")
        return path, f"there is no {what} {path} on {self._host}, from where it was to come"

    def origin(self, path: str) -> str:
        """Return where the client has what this is a copy of; empty if it is none, or changed."""
        for copy in list(self._copies.values()):
            if path == copy.path or path.startswith(copy.path + os.sep):
                with suppress(OSError):
                    if carriage.state_of(copy.path) == copy.state:
                        return copy.origin + path[len(copy.path) :]
        return ""

    def close_if_idle(self, seconds: float) -> bool:
        """Remove all if no job has been here for so long; return whether that was so."""
        with self._lock:
            if self._running or monotonic() - self._last_use < seconds:
                return False
            self._copies.clear()
            shutil.rmtree(self.directory, ignore_errors=True)
            return True

    def _is_here(self, name: str) -> bool:
        """Whether there is a copy, as it came."""
        copy = self._copies.get(name)
        if copy is None:
            return False
        with suppress(OSError):
            if carriage.state_of(copy.path) == copy.state:
                return True
        self._drop(name)
        return False

    def _land(self, name: str, origin: str, content: bytearray) -> None:
        # In a folder of its own each time: others may still have the one that was changed.
        folder = os.path.join(self.directory, f"{name}-{uuid4().hex}")
        try:
            path = carriage.land(carriage.read(content), folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._copies[name] = _Copy(path, carriage.state_of(path), origin, len(content))

    def _make_room(self, size: int, wanted: set[str]) -> None:
        if sum(copy.size for copy in self._copies.values()) + size > _MOST:
            self._drop_but(wanted)

    def _drop_but(self, wanted: set[str]) -> bool:
        """Remove those that no job needs now; return whether there were any."""
        with self._lock:
            if self._running > 1:
                return False  # another thread's jobs may
            names = [name for name in self._copies if name not in wanted]
        for name in names:
            self._drop(name)
        return bool(names)

    def _drop(self, name: str) -> None:
        copy = self._copies.pop(name, None)
        if copy is not None:
            top = os.path.relpath(copy.path, self.directory).split(os.sep)[0]
            shutil.rmtree(os.path.join(self.directory, top), ignore_errors=True)


def needed_copies(parts: Iterable[Any]) -> list[str]:
    """Return what the copies are known by that jobs need; `parts` as for `FileCopies.lacking`."""
    return [one.folder for one in map(_record, parts) if one is not None and one.folder]


def _record(part: Any) -> carriage.FileRecord | None:
    """Return what was written down of a file without its content, if a buffer is one."""
    view = memoryview(part).cast("B")
    if not carriage.is_file(view):
        return None
    record = carriage.read(view)
    return record if record.content is None else None


class _Keeper:
    """Removes what is not used any more: an engine's worker is told of no session's end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: set[FileCopies] = set()

    def watch(self, copies: FileCopies) -> None:
        with self._lock:
            if not self._watched:
                threading.Thread(target=self._sweep, name="fancypipe-copies", daemon=True).start()
            self._watched.add(copies)

    def _sweep(self) -> None:
        pause = threading.Event()
        while True:
            pause.wait(_IDLE / 4)
            with self._lock:
                self._watched = {one for one in self._watched if not one.close_if_idle(_IDLE)}
                if not self._watched:
                    return


_keeper = _Keeper()
_known: WeakValueDictionary[tuple[int, str], FileCopies] = WeakValueDictionary()
_finding = threading.Lock()


def copies_for(directory: str, client: str) -> FileCopies:
    """Return those of a session in this process.

    Args:
        directory: The session's folder, which is not seen here.
        client: Its process, as `host:pid`.

    Raises:
        OSError: There is no place for them.
    """
    with _finding:
        key = os.getpid(), f"{client} {directory}"
        made = _known.get(key)
        if made is None:
            made = _known[key] = FileCopies(client.rpartition(":")[0])
        return made
