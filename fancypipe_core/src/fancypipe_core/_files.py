"""Temporary files that belong to values."""

from __future__ import annotations

import os
import pathlib
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence

__all__ = ["KEPT", "Keeper", "TempPath"]

KEPT = ".kept"
"""A file in a session's folder: which of its files are the user's now, each followed by a zero."""


class TempPath(type(pathlib.Path())):  # type: ignore[misc]  # PosixPath or WindowsPath
    """The path of a temporary file; returned by a task, the file lives as long as the value."""

    __slots__ = ()


_NO_NAMES = ("", os.curdir, os.pardir)


class Keeper:
    """Removes temporary files when the last value that names them is released.

    Only the driver has one, and only what lies below its folder is touched, whatever
    a worker says: also not by way of a symbolic link that leads out of it.

    Args:
        directory: The session's folder.  It may not exist yet.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._prefix = os.path.join(directory, "")
        self._held: dict[int, set[str]] = {}
        self._holders: Counter[str] = Counter()
        self.kept: set[str] = set()

    def forget(self) -> None:
        """The files are not ours, but those of the process of which this is a fork."""
        self._held.clear()
        self._holders.clear()
        self._prefix = "\0"  # no path begins like this

    def made(self, folder: str) -> None:
        """A task has ended that made this folder: what its value does not hold goes."""
        parent, name = os.path.split(folder)
        mine = os.path.realpath(parent) == os.path.realpath(self.directory)
        if mine and name not in _NO_NAMES and not os.path.islink(folder):
            self._sweep(folder)

    def hold(self, task: int, files: Iterable[str]) -> None:
        """A task's value names these files."""
        mine = {os.path.abspath(file) for file in files}
        mine = {file for file in mine if file.startswith(self._prefix)}
        held = self._held.setdefault(task, set())
        for file in mine - held:
            self._holders[file] += 1
        held |= mine

    def hold_inputs(self, task: int, files: Sequence[str]) -> None:
        """A task, or those that it made, are given these files; their values need not name them."""
        if files:
            self.hold(-task, files)

    def inherit(self, task: int, needs: Sequence[int]) -> None:
        """A task's value is made of those of others, so it names their files too."""
        if self._held:
            for need in needs:
                self.hold(task, self._held.get(need, ()))

    def release(self, tasks: Iterable[int]) -> None:
        """These tasks' values are gone."""
        if not self._held:
            return
        for task in tasks:
            for file in (*self._held.pop(task, ()), *self._held.pop(-task, ())):
                self._holders[file] -= 1
                if not self._holders[file]:
                    del self._holders[file]
                    self._remove(file)

    def keep(self, task: int) -> None:
        """The caller of the run gets this task's value: its files are not ours any more."""
        new = self._held.get(task, set()) - self.kept
        if new and os.path.isdir(self.directory):
            # Whoever finds the folder when we were killed must know it too.
            marker = os.path.join(self.directory, KEPT)
            with open(marker, "ab") as file:
                names = (os.fsencode(name[len(self._prefix) :]) for name in new)
                file.write(b"".join(name + b"\0" for name in names))
            new.add(marker)
        self.kept |= new

    def pass_on(self, task: int, other: int) -> None:
        """Whoever holds `other` holds the files of `task` too."""
        if self._held:
            self.hold(other, self._held.get(task, ()))

    def end_run(self) -> None:
        """A run is over: all its values are gone."""
        self.release(list(self._held))

    def close(self) -> None:
        """The session is over."""
        if os.path.isdir(self.directory):
            self._sweep(self.directory)

    def _is_inside(self, path: str) -> bool:
        """Whether this path, up to its last name, leads below the session's folder."""
        folder, name = os.path.split(path)
        if name in _NO_NAMES:
            return False
        real = os.path.realpath(self.directory)
        here = os.path.realpath(folder)
        return here == real or here.startswith(os.path.join(real, ""))

    def _remove(self, path: str) -> None:
        if self._is_needed(path) or not self._is_inside(path):
            return
        if os.path.isdir(path) and not os.path.islink(path):
            self._sweep(path)
        else:
            try:
                os.unlink(path)
            except OSError:
                return  # never made, or moved away by the user
        self._prune(os.path.dirname(path))

    def _is_needed(self, path: str) -> bool:
        """Whether a value or the caller still has this path, or one in it."""
        inside = os.path.join(path, "")
        return any(
            other == path or other.startswith(inside) or path.startswith(os.path.join(other, ""))
            for other in (*self._holders, *self.kept)
        )

    def _sweep(self, folder: str) -> None:
        """Remove a folder but for what is still needed in it."""
        if not self._is_needed(folder):
            shutil.rmtree(folder, ignore_errors=True)
        else:
            try:
                entries = list(os.scandir(folder))
            except OSError:
                return
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    self._sweep(entry.path)
                elif not self._is_needed(entry.path):
                    try:
                        os.unlink(entry.path)
                    except OSError:
                        continue
        self._prune(folder)

    def _prune(self, folder: str) -> None:
        """Remove a folder and those above it as far as they are empty."""
        while folder == self.directory or folder.startswith(self._prefix):
            try:
                os.rmdir(folder)
            except OSError:
                return
            folder = os.path.dirname(folder)
