"""Temporary folders of tasks, which live as long as the values that name them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["KEPT", "Keeper", "mentions"]

KEPT = ".kept"
"""A file in a session's folder: what in it is the user's now, each followed by a zero."""

_CHUNK = 1 << 20  # bytes that are looked at together


_NO_NAMES = ("", os.curdir, os.pardir)


class Keeper:
    """Removes the temporary folder of a task when the last value that names it is released.

    A task can know the folder that it has made, those that its inputs name, and those
    that the task which made it knows.  Until it is settled they are held for it; then
    only those that its value names.  Only the driver has a keeper, and only folders in
    its own are touched, whatever a worker says: also not by way of a symbolic link that
    leads out of it.

    Args:
        directory: The session's folder.  It may not exist yet.

    Attributes:
        holders: How many hold each folder; empty as long as no task has made one.
        kept: The folders that the caller of a run has got.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._held: dict[int, set[str]] = {}
        self.holders: Counter[str] = Counter()
        self.kept: set[str] = set()

    def forget(self) -> None:
        """The folders are not ours, but those of the process of which this is a fork."""
        self._held.clear()
        self.holders.clear()
        self.directory = ""

    def known(self, task: int, parent: int, needs: Iterable[int]) -> set[str]:
        """Return the folders that a task can know of, but for its own.

        Args:
            task: The task.
            parent: The task that made it; 0 for none.
            needs: The tasks whose values it is given, or made of.
        """
        held = self._held
        known = held.get(-task, set()) | held.get(-parent, set())
        return known.union(*(held[need] for need in needs if need in held))

    def hold(self, task: int, folders: Iterable[str]) -> None:
        """A task's value names these folders."""
        for folder in folders:
            held = self._held.setdefault(task, set())
            if folder not in held and self._is_ours(folder):
                held.add(folder)
                self.holders[folder] += 1

    def held(self, task: int) -> set[str]:
        """Return the folders that a task's value names."""
        return self._held.get(task, set())

    def hold_until_settled(self, task: int, folders: Iterable[str]) -> None:
        """A task that is under way, or those that it has made, may use these folders."""
        self.hold(-task, folders)

    def settle(self, task: int) -> None:
        """A task has its value: from now on it holds what that names."""
        self._let_go(-task)

    def made(self, folder: str) -> None:
        """A job that made this folder has ended, and what holds it has been said."""
        if self._is_ours(folder):
            self._remove(folder)

    def _is_ours(self, folder: str) -> bool:
        """Whether this is a folder in the session's, and no link."""
        if not self.directory:
            return False
        parent, name = os.path.split(folder)
        mine = os.path.realpath(parent) == os.path.realpath(self.directory)
        return mine and name not in _NO_NAMES and not os.path.islink(folder)

    def inherit(self, task: int, needs: Sequence[int]) -> None:
        """A value is made of those of others, so it names their folders too."""
        if self._held:
            for need in needs:
                self.hold(task, self._held.get(need, ()))

    def release(self, tasks: Iterable[int]) -> None:
        """These tasks' values are gone."""
        if self._held:
            for task in tasks:
                self._let_go(task)
                self._let_go(-task)

    def _let_go(self, task: int) -> None:
        for folder in self._held.pop(task, ()):
            self.holders[folder] -= 1
            self._remove(folder)

    def keep(self, task: int) -> None:
        """The caller of the run gets this task's value: its folders are not ours any more."""
        new = self._held.get(task, set()) - self.kept
        if new and os.path.isdir(self.directory):
            # Whoever finds the folder when we were killed must know it too.
            marker = os.path.join(self.directory, KEPT)
            with open(marker, "ab") as file:
                names = (os.fsencode(os.path.basename(name)) for name in new)
                file.write(b"".join(name + b"\0" for name in names))
            new.add(marker)
        self.kept |= new

    def folder_of(self, path: str) -> str:
        """Return the temporary folder of a task that a path is in; empty if it is in none."""
        inside = os.path.join(self.directory, "")
        if not self.directory or not path.startswith(inside):
            return ""
        folder = inside + path[len(inside) :].split(os.sep, maxsplit=1)[0]
        return folder if self._is_ours(folder) else ""

    def give_up(self, folder: str) -> None:
        """The caller of the run does not need this folder any more; in any thread."""
        self.kept.discard(folder)
        marker = os.path.join(self.directory, KEPT)
        if self.kept == {marker}:
            self.kept.clear()
        if not self.holders[folder] and self._is_ours(folder):
            _delete(folder)  # else the driver does, with the last who holds it

    def pass_on(self, task: int, other: int) -> None:
        """A module under way has been given this task's value."""
        self.hold_until_settled(other, self._held.get(task, ()))

    def end_run(self) -> None:
        """A run is over: all its values are gone."""
        for task in list(self._held):
            self._let_go(task)

    def close(self) -> None:
        """The session is over."""
        try:
            paths = [entry.path for entry in os.scandir(self.directory)]
        except OSError:
            return  # nobody has made it
        for path in paths:
            if path not in self.kept:
                _delete(path)
        if not self.kept:
            _delete(self.directory)

    def _remove(self, folder: str) -> None:
        if not self.holders[folder]:
            del self.holders[folder]
            if folder not in self.kept and self._is_ours(folder):
                _delete(folder)


def _delete(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        import shutil  # most runs make no folder

        shutil.rmtree(path, ignore_errors=True)
    else:
        try:
            os.unlink(path)
        except OSError:
            return  # moved away by the user


def mentions(data: Any, folder: str) -> bool:
    """Tell whether a folder's name stands in some bytes, as text in any of the usual encodings.

    Args:
        data: Bytes, or a buffer of them.
        folder: Its path; its own name is ASCII, and no other folder's name holds it.
    """
    name = os.path.basename(folder).encode("ascii")
    # With so many zeros between them letters are UTF-8, UTF-16 or UTF-32, in either order.
    needles = [bytes(gap).join(name[i : i + 1] for i in range(len(name))) for gap in (0, 1, 3)]
    if type(data) is bytes:
        return any(needle in data for needle in needles)
    view = memoryview(data).cast("B")
    overlap = len(needles[-1])
    for begin in range(0, len(view), _CHUNK):
        part = bytes(view[begin : begin + _CHUNK + overlap])
        if any(needle in part for needle in needles):
            return True
    return False
