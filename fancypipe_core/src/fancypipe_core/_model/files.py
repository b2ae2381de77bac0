"""`File` and `Dir`: paths that stand for what is there, and not only for a place.

Both are paths of `pathlib`, so whatever takes a path takes them.  What is derived from one,
such as its `parent`, is a plain path.  How they are written down says `carriage`.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fancypipe_core._base.option_names import closest
from fancypipe_core._base.resources import host_name, size
from fancypipe_core._model import carriage
from fancypipe_core._model.scope import scope

if TYPE_CHECKING:
    from fancypipe_core._base.file_digests import FileDigests

    _Path = Path
else:
    _Path = type(Path())  # before Python 3.12 `Path` itself has no subclasses

__all__ = ["Dir", "File", "FileOrDir", "absent", "made", "written"]


class FileOrDir(_Path):
    """What `File` and `Dir` have in common.

    Attributes:
        size: Bytes when it was written down; None for a folder, and before that.
    """

    KIND = b""
    WHAT = ""
    size: int | None = None
    _why_not = ""  # why it is not there, if it was to come from elsewhere

    if not TYPE_CHECKING:
        # What is derived from it is a plain path.  Python 3.12 asks the first, and those before
        # the others, for which no further version comes.
        def with_segments(self, *parts: Any) -> Path:
            return _Path(*parts)

        if not hasattr(Path, "with_segments"):

            def __new__(cls, *parts: Any) -> Any:
                made = object.__new__(cls)
                plain = _Path(*parts)
                made._drv, made._root, made._parts = plain._drv, plain._root, plain._parts
                if hasattr(plain, "_accessor"):  # Python 3.10
                    made._accessor = plain._accessor
                return made

            @classmethod
            def _from_parts(cls, parts: Any) -> Path:
                return _Path._from_parts(parts)

            @classmethod
            def _from_parsed_parts(cls, drive: str, root: str, parts: Any) -> Path:
                return _Path._from_parsed_parts(drive, root, parts)

    @property
    def digest(self) -> str:
        """The digest of its content, as a text of 32 letters; of a folder also of all names in it.

        It is computed once as long as its size, inode and times stay what they are.

        Raises:
            OSError: It cannot be read.
        """
        return _digests().of(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return made, (bytes(carriage.bare(self.KIND, os.fspath(self))),)

    def __copy__(self) -> FileOrDir:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> FileOrDir:
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({os.fspath(self)!r})"


class File(FileOrDir):
    """A file, as the input or output of a task: annotate with it.

    It is a `pathlib.Path`.  An input `x: File` may be given as a text or any path: it is made
    absolute, and must be there when the task is called, else that is an error in this line.
    What a task returns as `-> File` must be there when it returns: it lives as
    long as somebody needs it, and for good if it is a result of the run.
    """

    KIND = b"f"
    WHAT = "file"


class Dir(FileOrDir):
    """A folder with all that is in it, as the input or output of a task; else as `File`."""

    KIND = b"d"
    WHAT = "folder"


_KINDS: dict[bytes, type[FileOrDir]] = {one.KIND: one for one in (File, Dir)}


@cache
def _digests() -> FileDigests:
    """Return what computes digests in this process, and remembers them."""
    from fancypipe_core._base.file_digests import FileDigests

    return FileDigests(None)


def written(file: FileOrDir) -> carriage.Bare | bytearray:
    """Return how a file is written down by a task or in the client, with or without its content."""
    path = os.fspath(file)
    here = scope.get()
    if here is not None and here.carries(path):
        with suppress(OSError):  # whoever needs it will say that it is not there
            if origin := here.origin(path):  # they have it
                return carriage.bare(file.KIND, origin, _size(file.KIND, path))
            made = carriage.carried(file.KIND, path)
            here.went(path)
            return made
    return carriage.bare(file.KIND, path)


def _size(kind: bytes, path: str) -> int:
    return os.stat(path).st_size if kind == File.KIND else -1


def made(data: Any) -> FileOrDir:
    """Return what was written down so; its content is put where it is used, if it has come."""
    record = carriage.read(data)
    path, why_not = record.path, ""
    here = scope.get()
    if record.content is None:
        if here is not None and here.apart:
            path, why_not = here.copy(record)
    else:
        client = carriage.this_thread
        if here is not None and (folder := here.landing()):
            path = carriage.land(record, folder)
        elif client.directory:
            path = carriage.land(record, client.directory)
            client.came = {*(client.came or ()), os.path.dirname(path)}
    one = _KINDS[record.kind](path)
    if record.size >= 0:
        one.size = record.size
    if why_not:
        one._why_not = why_not
    return one


def absent(cls: type[FileOrDir], path: str, before: int | None = None, why_not: str = "") -> str:
    """Return why a path is no such file or folder here, as the rest of a sentence; empty if it is.

    Args:
        cls: `File` or `Dir`.
        path: The path.
        before: The size that it had, if that is known.
        why_not: Why it is not here, if it was to come from elsewhere.
    """
    if why_not:
        return why_not
    there = os.path.isdir(path) if cls is Dir else os.path.isfile(path)
    if there:
        now = before if before is None else os.path.getsize(path)
        if now != before:
            return (
                f"{path} has changed since it was made: it had {size(before or 0)}, "
                f"and now has {size(now or 0)}"
            )
        return ""
    if os.path.exists(path):
        return f"{path} is no {cls.WHAT}"
    if os.path.islink(path):
        return f"{path} points to {os.readlink(path)}, which is not there"
    return f"there is no {cls.WHAT} {path} on {host_name()}{_near(path)}"


def _near(path: str) -> str:
    folder, name = os.path.split(path)
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        above = folder
        while not os.path.isdir(above) and os.path.dirname(above) != above:
            above = os.path.dirname(above)
        return f": {above} has no {os.path.relpath(folder, above).split(os.sep)[0]}"
    except OSError as error:
        return f": {error.strerror}"
    meant = closest(name, names)
    if meant:
        return f"; did you mean {meant}?"
    few = sorted(names)[:5]
    more = f" and {len(names) - len(few)} more" if len(names) > len(few) else ""
    return f"; {folder} has {', '.join(few)}{more}" if names else f"; {folder} is empty"
