"""What this machine has left for a run: memory, and room for temporary files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from fancypipe_core._base import cores as _cores

__all__ = [
    "existing",
    "forewarnings",
    "free_memory",
    "free_space",
    "host_name",
    "memory_kills",
    "memory_of_this_process",
    "size",
    "temporary_folder",
    "total_memory",
    "writable",
]

_LEAST_SPACE = 64 << 20  # bytes; a folder for temporary files with less is as good as full
_LEAST_MEMORY = 24 << 20  # bytes that a worker has before it imports anything of the user's


def forewarnings(folder: str, workers: int) -> Iterator[str]:
    """Yield what will certainly hurt a run on processes; takes some 0.1 ms.

    Args:
        folder: The folder for temporary files; it may not exist yet.
        workers: How many processes there will be.
    """
    if not writable(folder):
        yield (
            f"the folder for temporary files, {folder}, cannot be written: tasks that make "
            "temporary files will fail; name another one: -tempdir"
        )
    else:
        space = free_space(folder)
        if space is not None and space < _LEAST_SPACE:
            yield (
                f"the disk of the folder for temporary files, {folder}, is full "
                f"({size(space)} are left): make room, or name another one: -tempdir"
            )
    memory = free_memory()
    if memory is not None and memory < workers * _LEAST_MEMORY:
        yield (
            f"{size(memory)} of memory are left for {workers} workers, and each needs at least "
            f"{size(_LEAST_MEMORY)}: take fewer, -numworkers=N, or end other programs"
        )


def host_name() -> str:
    """Return this machine's name; the same as `socket.gethostname()`."""
    if hasattr(os, "uname"):
        return os.uname().nodename
    import socket  # a good part of what starting would cost

    return socket.gethostname()


def existing(folder: str) -> str:
    """Return the folder, or the nearest one above that exists."""
    folder = os.path.abspath(folder)
    while not os.path.isdir(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    return folder


def writable(folder: str) -> bool:
    """Tell whether files can be made in a folder, or the folder itself if it is not there."""
    return os.access(existing(folder), os.W_OK | os.X_OK)


def temporary_folder() -> str:
    """Return the system's folder for temporary files; the same as `tempfile.gettempdir()`."""
    # Nearly always it is the first that is asked for; the module would be a good part
    # of what starting costs.
    if "tempfile" not in sys.modules and os.name == "posix":
        named = next(filter(None, map(os.environ.get, ("TMPDIR", "TEMP", "TMP"))), "/tmp")
        folder = os.path.abspath(named)
        if os.path.isdir(folder) and writable(folder) and free_space(folder) != 0:
            return folder
    import tempfile

    return os.path.abspath(tempfile.gettempdir())


def free_space(folder: str) -> int | None:
    """Return the bytes that this user may still write to a folder's disk; None if unknown."""
    try:
        disk = os.statvfs(existing(folder))
    except (AttributeError, OSError):  # not on this platform
        return None
    if disk.f_files and not disk.f_favail:
        return 0  # room for bytes, and none for files
    return disk.f_bavail * disk.f_frsize


def free_memory(root: str = "/") -> int | None:
    """Return the bytes that new processes can have without swapping; None if unknown.

    What counts is what the system has left and, in a container, what the limits
    of its control groups leave.

    Args:
        root: Where `proc` and `sys` are; for tests.
    """
    left = [_meminfo(root, "MemAvailable"), *_left_by_groups(root)]
    return min((one for one in left if one is not None), default=None)


def total_memory(root: str = "/") -> int | None:
    """Return the bytes that this system has, or its control groups allow; None if unknown.

    Args:
        root: Where `proc` and `sys` are; for tests.
    """
    limits = [
        _number(os.path.join(base, folder, _FILES[version][0]))
        for base, folder, version in _cores.groups(root, "memory")
    ]
    known = [one for one in (_meminfo(root, "MemTotal"), *limits) if one is not None]
    return min(known, default=None)


def memory_of_this_process() -> int:
    """Return the bytes of memory that this process takes now; 0 if unknown."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def _meminfo(root: str, wanted: str) -> int | None:
    for line in _cores.read(os.path.join(root, "proc/meminfo")).splitlines():
        name, _, rest = line.partition(":")
        if name == wanted:
            return int(rest.split()[0]) * 1024
    return None


def _left_by_groups(root: str) -> Iterator[int | None]:
    for base, folder, version in _cores.groups(root, "memory"):
        names = _FILES[version]
        limit, used = (_number(os.path.join(base, folder, name)) for name in names[:2])
        if limit is None or used is None:
            continue
        # Files that the kernel keeps in memory count as used, and go when memory is needed.
        cache = _entry(_cores.read(os.path.join(base, folder, "memory.stat")), names[2])
        yield max(0, limit - used + cache)


def memory_kills(root: str = "/") -> int | None:
    """Return how many processes of our control groups were killed for memory; None if unknown.

    A count that went up while a worker lived, and a worker that died by SIGKILL
    that nobody of ours sent, together are a verdict.

    Args:
        root: Where `proc` and `sys` are; for tests.
    """
    counts: dict[str, int] = {}
    for base, folder, version in _cores.groups(root, "memory"):
        text = _cores.read(os.path.join(base, folder, _FILES[version][3]))
        if text:  # the innermost group that is there counts what is in it
            counts.setdefault(base, _entry(text, "oom_kill"))
    return sum(counts.values()) if counts else None


_FILES = {
    2: ("memory.max", "memory.current", "inactive_file", "memory.events"),
    1: (
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
        "memory.oom_control",
    ),
}


def _entry(text: str, name: str) -> int:
    """Return the number behind a name, one line each; 0 if it is not there."""
    lines = (line.partition(" ") for line in text.splitlines())
    return next((int(number) for word, _, number in lines if word == name), 0)


def _number(file: str) -> int | None:
    text = _cores.read(file).strip()
    # "max" and numbers that no machine has mean no limit.
    return int(text) if text.isdigit() and int(text) < 1 << 60 else None


def size(count: float) -> str:
    """Return a number of bytes in words, such as `1.5 GB`."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
