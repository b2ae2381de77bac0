"""Files on their way between machines that share no folder: their content goes with the value.

A `File` or `Dir` is written down as a buffer of its own: a header with its path, and behind
that its content, where that has to travel.  So a value's files can be found in its buffers
without reading it, and what is sent to a machine that does not see them gets the content then.
It is checked by its digest, and is put into a folder with that in its name: as that stands in
the buffer too, the folder lives as long as a value that names it.

This module is imported by all that write values down, so it imports little.
"""

from __future__ import annotations

import os
import stat
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from fancypipe_core import errors
from fancypipe_core.backend import Encoded, Job, Payload

__all__ = [
    "Bare",
    "Carried",
    "FileRecord",
    "bare",
    "came",
    "carried",
    "changed_at",
    "has_content",
    "is_file",
    "land",
    "read",
    "state_of",
    "this_thread",
    "to_be_kept",
    "with_files",
]

_MARK = b"\xf9fancypipe-file\n"  # what text has these bytes is no UTF-8
_HEAD = struct.Struct("<cqIq37s")  # kind, size, length of the path, of the content, its folder
_LEAST = len(_MARK) + _HEAD.size
_NONE = -1  # the size or the length of what is not there
_MEMBER = struct.Struct("<cIIq")  # of a folder: kind, mode, length of the name, of the content


class Bare(bytes):
    """A file without its content: a buffer that stays one, however small it is."""


class Carried(bytearray):
    """A file with its content, which nobody changes any more.

    Attributes:
        known_by: What all that have these bytes have, and no other.
    """

    __slots__ = ("known_by",)

    known_by: bytes


class FileRecord(NamedTuple):
    """What was written down of a file or folder.

    Attributes:
        kind: `f` or `d`.
        size: Of the file, in bytes, when it was written down; -1 if it was not there.
        path: Where it was.
        folder: The name of the folder that its content goes to; without content, what its copy is
            known by, if there may be one, and else empty.
        content: The content; None if it is not here.
    """

    kind: bytes
    size: int
    path: str
    folder: str
    content: memoryview | None


class _ThisThread(threading.local):
    """Where files go that come to the client in this thread.

    Attributes:
        directory: The session's folder; empty if none is driven here.
        came: The folders that were made since somebody has looked.
    """

    directory = ""
    came: set[str] | None = None


this_thread = _ThisThread()


def bare(kind: bytes, path: str, size: int | None = None, copy: str = "") -> Bare:
    """Return a file or folder, written down without its content.

    Args:
        kind: As in a record.
        path: As in a record.
        size: As in a record; by default it is looked up.
        copy: What a copy of it is known by.
    """
    encoded = os.fsencode(path)
    if size is None:
        size = _NONE
        if kind == b"f":
            with suppress(OSError):  # whoever needs it will say that it is not there
                size = os.stat(encoded).st_size
    return Bare(_MARK + _HEAD.pack(kind, size, len(encoded), _NONE, copy.encode()) + encoded)


def carried(kind: bytes, path: str) -> Carried:
    """Return a file or folder, written down with its content.

    Raises:
        OSError: It cannot be read.
    """
    from hashlib import blake2b  # few files travel

    encoded = os.fsencode(path)
    begin = _LEAST + len(encoded)
    made = Carried(begin)
    if kind == b"d":
        for part in _members(path):
            made += part
    else:
        with open(path, "rb") as file:
            made += bytes(os.fstat(file.fileno()).st_size)
            with memoryview(made) as view:
                count = file.readinto(view[begin:])
            del made[begin + count :]
            made += file.read()  # it has grown meanwhile
    content = len(made) - begin
    size = content if kind == b"f" else _NONE
    with memoryview(made) as view:
        folder = _folder_of(view[begin:])
    made[:begin] = head = _MARK + _HEAD.pack(kind, size, len(encoded), content, folder) + encoded
    made.known_by = blake2b(head, digest_size=32).digest()  # there is a digest of the content in it
    return made


def read(buffer: Any) -> FileRecord:
    """Return what was written down.

    Raises:
        DecodeError: That is no file.
    """
    view = memoryview(buffer).cast("B")
    if not is_file(view):
        raise errors.DecodeError("bytes that are no file")
    kind, size, length, count, folder = _HEAD.unpack_from(view, len(_MARK))
    begin = _LEAST + length
    path = os.fsdecode(bytes(view[_LEAST:begin]))
    if count == _NONE:
        return FileRecord(kind, size, path, folder.rstrip(b"\0").decode("ascii"), None)
    if len(view) != begin + count:
        raise errors.DecodeError(f"the content of {path} was cut short on its way")
    return FileRecord(kind, size, path, folder.decode("ascii"), view[begin:])


def is_file(view: memoryview) -> bool:
    """Whether bytes are a file that was written down."""
    return len(view) >= _LEAST and view[: len(_MARK)] == _MARK


def state_of(path: str) -> bytes:
    """Return what is another when a file, or what is in a folder, has changed.

    Raises:
        OSError: It is not there.
    """
    from fancypipe_core._base.file_digests import state_of_file  # few files travel

    about = os.stat(path)
    said = [state_of_file(about)]
    if stat.S_ISDIR(about.st_mode):
        for here, folders, files in os.walk(path):
            folders.sort()
            for name in sorted([*folders, *files]):
                one = os.path.join(here, name)
                about = os.lstat(one) if os.path.islink(one) else os.stat(one)
                said.append(f"{os.path.relpath(one, path)!a} {state_of_file(about)}")
    return "\n".join(said).encode("ascii")


def changed_at(path: str) -> float:
    """Return when a file, or anything in a folder, has changed last.

    Raises:
        OSError: It is not there.
    """
    latest = os.stat(path)
    times = [latest.st_mtime, latest.st_ctime]
    if stat.S_ISDIR(latest.st_mode):
        for here, folders, files in os.walk(path):
            for name in (*folders, *files):
                about = os.lstat(os.path.join(here, name))
                times += about.st_mtime, about.st_ctime
    return max(times)


def _folder_of(content: memoryview) -> bytes:
    from hashlib import blake2b  # few files travel

    return b"came-" + blake2b(content, digest_size=16).hexdigest().encode()


# ---- away ----


def to_be_kept(value: Encoded, folders: Iterable[str], most: int) -> tuple[Encoded, Encoded]:
    """Return a value with the contents of its files in these folders, and all else of it.

    Args:
        value: The value.
        folders: Where files will not stay.
        most: Bytes that the contents may have; what is beyond stays without.

    Raises:
        OSError: One cannot be read.
    """
    inside = tuple(os.path.join(folder, "") for folder in folders)
    whole: list[Payload] = []
    rest: list[Payload] = []
    for payload in value:
        buffers: list[Any] = []
        others: list[Any] = []
        for buffer in payload.buffers:
            made = buffer
            record = read(buffer) if _is_bare(buffer) else None
            if record is not None and record.path.startswith(inside) and record.size <= most:
                made = carried(record.kind, record.path)  # of a folder nobody knows its size before
                most -= len(made)
            buffers.append(made)
            if made is buffer:
                others.append(made)
        whole.append(Payload(payload.head, tuple(buffers), payload.holes, payload.names))
        rest.append(Payload(payload.head, tuple(others), payload.holes, payload.names))
    return tuple(whole), tuple(rest)


def with_files(jobs: Sequence[Job], change: Callable[[Any], Any]) -> Sequence[Job]:
    """Return jobs with other buffers in the place of files without content.

    Args:
        jobs: The jobs; one that has no such buffer stays the same object.
        change: Returns what goes there.
    """
    return [_with_files(job, change) for job in jobs]


def _with_files(job: Job, change: Callable[[Any], Any]) -> Job:
    inputs: Any = job.inputs
    if not any(_names_file(payload) for payload in inputs):
        return job
    made = tuple(
        Payload(
            one.head,
            tuple(change(part) if _is_bare(part) else part for part in one.buffers),
            one.holes,
            one.names,
        )
        if _names_file(one)
        else one
        for one in inputs
    )
    return job.with_inputs(made)


def _names_file(payload: Payload) -> bool:
    return bool(payload.buffers) and any(map(_is_bare, payload.buffers))


def _is_bare(buffer: Any) -> bool:
    return _length(buffer) == _NONE


def has_content(buffer: Any) -> bool:
    """Whether a buffer is a file with its content."""
    length = _length(buffer)
    return length is not None and length != _NONE


def _length(buffer: Any) -> int | None:
    """Return what stands for the length of a file's content; None if this is no file."""
    try:
        view = memoryview(buffer).cast("B")
    except TypeError:  # a handle: it is large, and so has its content
        return None
    return int(_HEAD.unpack_from(view, len(_MARK))[3]) if is_file(view) else None


# ---- there ----


def land(record: FileRecord, base: str) -> str:
    """Put the content of a file or folder below a folder; return its path there.

    Raises:
        DecodeError: It is not what was sent.
        OSError: It cannot be written.
    """
    assert record.content is not None
    if _folder_of(record.content).decode() != record.folder:
        raise errors.DecodeError(f"the content of {record.path} has changed on its way")
    name = os.path.basename(record.path) or "folder"
    target = os.path.join(base, record.folder, name)
    if os.path.lexists(target):
        return target  # it is named by its content
    os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
    beside = f"{target}.{os.urandom(6).hex()}"
    if record.kind == b"f":
        _write(beside, record.content)
    else:
        os.mkdir(beside)
        _unfold(record.content, beside)
    try:
        os.rename(beside, target)
    except OSError:
        if not os.path.lexists(target):  # else another was faster
            raise
    return target


def _write(path: str, content: memoryview) -> None:
    with open(path, "xb") as file:
        file.write(content)


# ---- folders ----


def _members(top: str) -> Iterator[bytes]:
    """Yield what is in a folder, so that it can be made again; links to files as these."""
    for here, folders, files in os.walk(top):
        folders.sort()
        for name in sorted([*folders, *files]):
            path = os.path.join(here, name)
            encoded = os.fsencode(os.path.relpath(path, top))
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    content = file.read()
                mode = os.stat(path).st_mode & 0o777
                yield _MEMBER.pack(b"f", mode, len(encoded), len(content)) + encoded
                yield content
            elif os.path.islink(path):
                content = os.fsencode(os.readlink(path))
                yield _MEMBER.pack(b"l", 0, len(encoded), len(content)) + encoded + content
            elif os.path.isdir(path):
                yield _MEMBER.pack(b"d", 0, len(encoded), 0) + encoded


def _unfold(content: memoryview, top: str) -> None:
    """Make what `_members` has written down; nothing outside of the folder.

    Raises:
        DecodeError: It cannot be that.
    """
    at = 0
    links: list[tuple[str, str]] = []
    while at < len(content):
        kind, mode, length, count = _MEMBER.unpack_from(content, at)
        begin = at + _MEMBER.size + length
        name = os.fsdecode(bytes(content[at + _MEMBER.size : begin]))
        at = begin + count
        if os.path.isabs(name) or os.pardir in name.split(os.sep) or at > len(content):
            raise errors.DecodeError(f"a folder with {name!r} in it")
        path = os.path.join(top, name)
        if kind == b"d":
            os.makedirs(path, exist_ok=True)
        elif kind == b"l":
            links.append((os.fsdecode(bytes(content[begin:at])), path))
        else:
            _write(path, content[begin:at])
            os.chmod(path, mode)
    for target, path in links:  # last, so that nothing is written by way of one
        os.symlink(target, path)


def came() -> Iterable[str]:
    """Return the folders that files have come to in this thread, and forget them."""
    found, this_thread.came = this_thread.came, None
    return found or ()
