"""Where the files of a run's result go, under names that people can read."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from typing import Any

from fancypipe_core import errors
from fancypipe_core._base.processes import began, left_by_dead
from fancypipe_core._base.resources import writable
from fancypipe_core._codec.values import EncodedValues
from fancypipe_core._model.files import FileOrDir
from fancypipe_core._model.ref import Outputs
from fancypipe_core._model.temp_paths import Keeper
from fancypipe_core.backend import Live

__all__ = ["OutFolder", "left_in", "with_files"]

_WORK = ".fancypipe-"  # and whose it is: a folder of what is being put
_OWNED = re.compile(r"\.fancypipe-(\d+)-([0-9a-f]*-[0-9a-f]*-\d*-\d*|)-[0-9a-f]{16}")
_BEFORE = ".before"  # in it: what had the name until now


class OutFolder:
    """Puts files of results into a folder of the user's.

    A file that is no other's is linked to, which takes no time and no room; else it is copied, by
    reference where the file system can.  Each appears under its name at once and whole, in the
    place of what had that name before this session.

    Args:
        path: The folder; it is made when it is needed.
        keeper: Knows the session's temporary files; the others stay where they are.
        warn: Takes a sentence for the user.

    Raises:
        ConfigError: It cannot be written.
    """

    def __init__(self, path: str, keeper: Keeper, warn: Callable[[str], None]) -> None:
        self.path = os.path.abspath(path)
        self._keeper = keeper
        self._warn = warn
        self._taken: dict[str, str] = {}  # name -> what it was made of
        self._told = False
        if not writable(self.path) or (os.path.lexists(self.path) and not os.path.isdir(self.path)):
            raise errors.ConfigError(f"outdir: the folder {self.path} cannot be written")
        _sweep(self.path)

    def take(self, value: Any) -> Any:
        """Return a result with its files where they are now.

        What cannot be put there stays where it is, and that is said.
        """
        moved: set[str] = set()

        def put(file: FileOrDir) -> FileOrDir:
            folder = self._keeper.folder_of(os.path.abspath(file))
            if not folder:
                return file
            try:
                target = self._put(os.path.realpath(file), file.name, folder)
            except OSError as error:
                self._warn(f"{file} could not be put into {self.path} and stays there: {error}")
                return file
            moved.add(folder)
            return type(file)(target)

        made = with_files(value, put)
        for folder in moved:
            if not _names(made, folder):
                self._keeper.give_up(folder)
        return made

    def _put(self, source: str, name: str, folder: str) -> str:
        name = self._free_name(source, name)
        target = os.path.join(self.path, name)
        if self._taken.get(name) == source:
            return target
        work = os.path.join(self.path, f"{_WORK}{os.getpid()}-{began()}-{os.urandom(8).hex()}")
        os.makedirs(work, 0o700)
        beside = os.path.join(work, name)
        try:
            if os.path.isdir(source):
                shutil.copytree(
                    source, beside, copy_function=_linker(folder), ignore_dangling_symlinks=True
                )
                if os.path.isdir(target) and not os.path.islink(target):
                    os.mkdir(os.path.join(work, _BEFORE))
                    os.rename(target, os.path.join(work, _BEFORE, name))
                    os.rename(beside, target)
                else:
                    os.rename(beside, target)
            else:
                _linker(folder)(source, beside)
                os.replace(beside, target)
        finally:
            _clear(self.path, work)
        self._taken[name] = source
        return target

    def _free_name(self, source: str, name: str) -> str:
        """Return a name that no other file of this session's results has."""
        stem, dot, ends = name.partition(".") if not name.startswith(".") else (name, "", "")
        count = 1
        free = name
        while self._taken.get(free, source) != source:
            count += 1
            free = f"{stem}-{count}{dot}{ends}"
        if count > 1 and not self._told and free not in self._taken:
            self._told = True
            self._warn(
                f"several files of the result are called {name}: in {self.path} the others have a "
                f"number, such as {free} for {source}"
            )
        return free


def _sweep(folder: str) -> None:
    """Remove what killed processes left half written in a folder."""
    with suppress(OSError):
        for name in os.listdir(folder):
            match = _OWNED.fullmatch(name)
            if match is None:
                continue
            path = os.path.join(folder, name)
            with suppress(OSError):
                if left_by_dead(path, int(match[1]), match[2]):
                    _clear(folder, path)


def _clear(folder: str, work: str) -> None:
    """Remove a folder of what is being put, once what was there before is back where it was."""
    with suppress(OSError):
        for name in os.listdir(os.path.join(work, _BEFORE)):
            target = os.path.join(folder, name)
            if not os.path.lexists(target):
                os.rename(os.path.join(work, _BEFORE, name), target)
    shutil.rmtree(work, ignore_errors=True)


def _linker(folder: str) -> Callable[[str, str], str]:
    """Return what links to files below a folder, if nobody else has them, and else copies."""
    within = os.path.realpath(folder) + os.sep

    def link(source: str, target: str) -> str:
        real = os.path.realpath(source)
        found = os.stat(real)
        if real.startswith(within) and found.st_nlink == 1 and stat.S_ISREG(found.st_mode):
            with suppress(OSError):  # another disk, or one that has no links
                os.link(real, target)
                return target
        with open(real, "rb") as reading, open(target, "xb") as writing:
            if not _copied_by_kernel(reading.fileno(), writing.fileno(), found.st_size):
                reading.seek(0)
                writing.seek(0)
                writing.truncate()
                shutil.copyfileobj(reading, writing, 1 << 20)
        shutil.copystat(real, target)
        return target

    return link


def _copied_by_kernel(source: int, target: int, size: int) -> bool:
    """Copy one open file to another without reading it; return whether that could be done."""
    copy_range = getattr(os, "copy_file_range", None)
    if copy_range is None:
        return False
    left = size
    try:
        while left > 0:
            count = copy_range(source, target, left)
            if not count:
                return False
            left -= count
    except OSError:
        return False  # not between these two; if there is no room, the other way says so
    return True


def with_files(value: Any, put: Callable[[FileOrDir], FileOrDir]) -> Any:
    """Return a value with other files and folders; what has none stays the same object.

    They are looked for in lists, tuples, sets, dicts, dataclasses and `Outputs`, at any depth.

    Args:
        value: Any value.
        put: Gives what is to stand in the place of each.
    """
    seen: set[int] = set()

    def walk(one: Any) -> Any:
        if isinstance(one, FileOrDir):
            return put(one)
        kind = type(one)
        is_record = dataclasses.is_dataclass(one) and not isinstance(one, type)
        if not (isinstance(one, (list, tuple, set, frozenset, dict, Outputs)) or is_record):
            return one
        if id(one) in seen:
            return one  # it contains itself
        seen.add(id(one))
        try:
            if isinstance(one, (dict, Outputs)):
                parts = {key: walk(part) for key, part in one.items()}
                if all(parts[key] is part for key, part in one.items()):
                    return one
                if kind is Outputs:
                    return Outputs(**parts)
                made = copy(one)
                made.update(parts)
                return made
            if is_record:
                return _record(one, walk)
            items = [walk(part) for part in one]
            if all(new is old for new, old in zip(items, one, strict=True)):
                return one
            return kind(*items) if hasattr(kind, "_fields") else kind(items)
        finally:
            seen.discard(id(one))

    return walk(value)


def _record(one: Any, walk: Callable[[Any], Any]) -> Any:
    names = [field.name for field in dataclasses.fields(one) if hasattr(one, field.name)]
    changed = {name: walk(getattr(one, name)) for name in names}
    if all(changed[name] is getattr(one, name) for name in names):
        return one
    made = copy(one)
    for name, part in changed.items():
        object.__setattr__(made, name, part)  # also where it is frozen
    return made


def _names(value: Any, folder: str) -> bool:
    """Whether a value still names a temporary folder, or may do so."""
    values = EncodedValues()
    try:
        packed = values.pack_result(value)
    except errors.FancyPipeError:
        return True
    return isinstance(packed.body, Live) or bool(values.named(packed.body, [folder]))


def left_in(value: Any, keeper: Keeper) -> set[str]:
    """Return the temporary folders that files in a value are in."""
    folders: set[str] = set()

    def look(file: FileOrDir) -> FileOrDir:
        folders.add(keeper.folder_of(os.path.abspath(file)))
        return file

    with_files(value, look)
    return folders - {""}
