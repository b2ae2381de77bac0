"""How a worker gets the pipeline's code: from a file system that both see, or in a bundle.

The client tells which files its code is made of (`code_files`), with their content's
hash.  A worker that finds all of them in the same place imports them from there.
Else the client sends them once, and the worker unpacks them below a folder of the
session's own, each under its whole path: so what code finds by its own place, it
finds there too.
"""

from __future__ import annotations

import hashlib
import os
import sys
import sysconfig
import zlib
from collections.abc import Sequence
from contextlib import suppress
from importlib.machinery import EXTENSION_SUFFIXES

import msgspec

from fancypipe_core._base.main_module import set_main_script
from fancypipe_core._base.msgpack import pack, unpacker
from fancypipe_core.toolkit.shipping.code_files import is_native, reach
from fancypipe_core.toolkit.shipping.roots import container

__all__ = ["Bundle", "Code", "Place", "has_code", "this_platform", "unpack"]

_MOST_BYTES = 256 * 1024 * 1024  # that a worker unpacks: four times what a client may send
_MOST_NAMED = 3


class Code(msgspec.Struct, array_like=True, frozen=True):
    """Where a client's code is.  Paths are as the file system writes them, and absolute.

    Attributes:
        files: Each file and a hash of its content.
        before: What its `sys.path` has of its own before the standard library.
        after: The same, behind it.
        metadata: Folders of installations, for what is said there of editable ones.
    """

    files: dict[bytes, bytes] = {}
    before: list[bytes] = []
    after: list[bytes] = []
    metadata: list[bytes] = []


class _File(msgspec.Struct, array_like=True, frozen=True):
    path: bytes
    runs: bool
    data: bytes


class Bundle:
    """The code of this process, to be sent to workers.

    Args:
        main: What the main module is: `file` and its path, or `module` and its name;
            None for a notebook or prompt.

    Attributes:
        code: What workers are told first.
        lacks: What is not in it, for its size, as a part of a sentence; "" if all is.
    """

    def __init__(self, main: tuple[str, str] | None) -> None:
        reached = reach(main)
        self._contents: dict[bytes, _File] = {}
        for path in reached.files:
            with suppress(OSError):  # it cannot be imported either
                with open(path, "rb") as file:
                    data = file.read()
                place = os.fsencode(path)
                self._contents[place] = _File(place, os.access(path, os.X_OK), data)
        files = {place: _hash(one.data) for place, one in self._contents.items()}
        places = (*reached.roots, reached.metadata)
        self.code = Code(files, *([os.fsencode(path) for path in part] for part in places))
        self.lacks = _named(reached.left_out)
        self._packed: dict[bool, bytes] = {}

    def archive(self, platform: str) -> bytes:
        """Return all files for a worker, those of machine code only for our own platform."""
        native = platform == this_platform()
        packed = self._packed.get(native)
        if packed is None:
            files = [
                one
                for place, one in self._contents.items()
                if native or not is_native(os.fsdecode(place))
            ]
            packed = self._packed[native] = zlib.compress(pack(files), 1)
        return packed

    def unfit(self, platform: str) -> str:
        """Name the files that are of no use on this platform; "" if there are none."""
        if platform == this_platform():
            return ""
        paths = sorted(os.fsdecode(place) for place in self._contents)
        return _named([(path, 0) for path in paths if is_native(path)])


def _named(paths: Sequence[tuple[str, int]]) -> str:
    words = []
    for path, size in paths[:_MOST_NAMED]:
        shown = os.fsencode(path).decode(errors="backslashreplace")
        words.append(f"{shown} ({size / 2**20:,.0f} MiB)" if size >= 2**20 else shown)
    if len(paths) > _MOST_NAMED:
        words.append(f"{len(paths) - _MOST_NAMED:,} more")
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def this_platform() -> str:
    """Return what must be equal where machine code is to run."""
    return f"{sysconfig.get_platform()} ({EXTENSION_SUFFIXES[0].strip('.')})"


def _hash(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def has_code(code: Code) -> bool:
    """Tell whether this machine sees the client's files, with the same content."""
    elsewhere = tuple(os.path.join(folder, b"") for folder in code.metadata)
    for path, expected in code.files.items():
        if path.startswith(elsewhere):
            continue  # each machine may have installations of its own
        try:
            with open(path, "rb") as file:
                if _hash(file.read()) != expected:
                    return False
        except (OSError, ValueError):
            return False
    return True


class Place(msgspec.Struct, frozen=True):
    """Where a client's files are on a worker.

    Attributes:
        root: The folder in which each has its whole path; "" if it has the same path here.
    """

    root: str = ""

    def of(self, path: str) -> str:
        """Return where a path of the client's is here."""
        if not self.root:
            return path
        there = os.path.join(self.root, path.lstrip(os.sep))
        return there if container(there) else path

    def search(self, code: Code, ours: Sequence[str]) -> list[str]:
        """Return a `sys.path` for the client's code.

        Args:
            code: What the client told of it.
            ours: This process's own.
        """
        before, after, metadata = (
            [os.fsdecode(entry) for entry in part]
            for part in (code.before, code.after, code.metadata)
        )
        # What was not sent may still be here; what was sent comes first.
        before = [*map(self.of, before), *before]
        after = [*map(self.of, after), *after]
        after += [there for entry in metadata if (there := self.of(entry)) != entry]
        if self.root:
            after.append(self.root)  # for files that are loaded by their paths
        own = [entry for entry in ours if entry not in before and entry not in after]
        return [entry for entry in dict.fromkeys([*before, *own, *after]) if container(entry)]

    def enter(
        self,
        code: Code,
        argv: Sequence[str],
        main: tuple[str, str] | None,
        *,
        anew: bool = False,
    ) -> None:
        """Make this process a worker for the client's code.

        Args:
            code: What the client told of it.
            argv: The client's `sys.argv`.
            main: Its main module, as for `Bundle`.
            anew: Whether that of another client, or of another time, was here before.
        """
        sys.path[:] = self.search(code, sys.path)
        sys.argv[:] = [*map(self.of, argv[:1]), *argv[1:]]
        if main is not None and main[0] == "file":
            main = ("file", self.of(main[1]))
        set_main_script(main, anew=anew)


def unpack(archive: bytes, folder: str) -> Place:
    """Unpack what `Bundle.archive` made below a new folder of this session's own.

    Raises:
        ValueError: It cannot be read, is too large, or names a place outside of the folder.
        OSError: It cannot be written.
    """
    inflate = zlib.decompressobj()
    try:
        data = inflate.decompress(archive, _MOST_BYTES)
        if inflate.unconsumed_tail:
            raise ValueError(f"the client's code is larger than {_MOST_BYTES >> 20} MiB")
        files = unpacker(list[_File])(data)
    except (zlib.error, msgspec.MsgspecError) as error:
        raise ValueError(f"the client's code cannot be read: {error}") from error
    os.mkdir(folder, 0o700)
    for file in files:
        parts = file.path.split(os.fsencode(os.sep))[1:]
        if not file.path.startswith(b"/") or {b"", b".", b".."}.intersection(parts):
            raise ValueError(f"the client's code names a file {file.path!r}")
        path = os.path.join(os.fsencode(folder), *parts)
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        # Only plain files are made, and only new ones: there is no link to follow.
        mode = 0o700 if file.runs else 0o600
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        with open(os.open(path, flags, mode), "wb") as out:
            out.write(file.data)
    return Place(folder)
