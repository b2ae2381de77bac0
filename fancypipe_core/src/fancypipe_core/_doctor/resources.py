"""What the machine has for a run: memory, disk, descriptors, processes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress

from fancypipe_core._base import cores as _cores
from fancypipe_core._base import resources
from fancypipe_core._base.resources import size
from fancypipe_core._doctor.finding import Finding
from fancypipe_core._settings import table

__all__ = ["file_system", "limits", "look"]

_LITTLE_SPACE = 1 << 30  # bytes on the disk for temporary files
_DESCRIPTORS = 8  # of the client, for each worker
_OTHER_DESCRIPTORS = 64  # of the client, for all else
_PROCESSES = 4  # processes and threads of a worker, at least

_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "gpfs", "beegfs", "ceph", "afs", "9p"}
    | {"glusterfs", "panfs", "pvfs2", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph"}
)
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})


def look(settings: table.Settings, per_worker: int) -> Iterator[Finding]:
    """Yield what is found.

    Args:
        settings: Those of the run.
        per_worker: Bytes that a worker has before its first task; 0 if unknown.
    """
    yield from memory(settings.workers, per_worker, resources.free_memory())
    try:
        folder = os.path.abspath(settings.tempdir or tempfile.gettempdir())
    except OSError as error:
        yield Finding("problem", str(error.strerror), "name a folder: -tempdir FOLDER")
        return
    yield from disk(folder, file_system(resources.existing(folder)))
    yield from limits(settings.workers)


def memory(workers: int, per_worker: int, free: int | None) -> Iterator[Finding]:
    """Is there enough for the workers?"""
    if free is None:
        return
    if not per_worker:
        yield Finding("ok", f"{size(free)} of memory are free")
        return
    text = (
        f"{size(free)} of memory are free; {workers} workers take {size(workers * per_worker)} "
        f"before their first task ({size(per_worker)} each)"
    )
    if workers * per_worker > free:
        fewer = max(1, free // (2 * per_worker))
        yield Finding("warning", text, f"take fewer: -numworkers={fewer}, or end other programs")
    else:
        yield Finding("ok", text)


def disk(folder: str, kind: str) -> Iterator[Finding]:
    """Can temporary files be made in a folder, which is on this kind of file system?"""
    other = "name a folder on a disk of this machine: -tempdir FOLDER"
    if not resources.writable(folder):
        yield Finding(
            "warning",
            f"the folder for temporary files, {folder}, cannot be written: tasks that make some "
            "will fail",
            "name another one: -tempdir FOLDER",
        )
        return
    free = resources.free_space(folder)
    text = f"temporary files go to {folder}" + (f", {size(free)} free" if free is not None else "")
    if free is not None and free < _LITTLE_SPACE:
        yield Finding("warning", text, "make room, or name another one: -tempdir FOLDER")
    elif kind in _NETWORK:
        yield Finding("warning", f"{text}, over the network ({kind}): they are slow there", other)
    elif kind in _IN_MEMORY:
        yield Finding("warning", f"{text}, in memory ({kind}): they count as memory", other)
    else:
        yield Finding("ok", text)


def file_system(folder: str, root: str = "/") -> str:
    """Return the kind of file system that a folder is on; empty if unknown.

    Args:
        folder: An existing folder.
        root: Where `proc` is; for tests.
    """
    folder = os.path.join(os.path.realpath(folder), "")
    best, kind = "", ""
    for line in _cores.read(os.path.join(root, "proc/self/mounts")).splitlines():
        words = line.split()
        if len(words) < 3:
            continue
        # Blanks in a path are written as \040 and the like.
        place = words[1].encode().decode("unicode_escape")
        # The last one counts where several are mounted at the same place.
        if folder.startswith(os.path.join(place, "")) and len(place) >= len(best):
            best, kind = place, words[2]
    return kind


def limits(workers: int) -> Iterator[Finding]:
    """Are there enough descriptors and processes?"""
    try:
        import resource
    except ImportError:  # not on this platform
        return
    most, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = workers * _DESCRIPTORS + _OTHER_DESCRIPTORS
    if most != resource.RLIM_INFINITY:
        if most < need:
            room = (
                "" if hard != resource.RLIM_INFINITY and hard < need else f"ulimit -n {need}, or "
            )
            yield Finding(
                "warning",
                f"this process may open {most} files, and {workers} workers need some {need}",
                f"{room}take fewer workers: -numworkers=N",
            )
        else:
            yield Finding("ok", f"{most} files may be open, and {workers} workers need some {need}")
    left = _processes_left()
    if left is not None and left < workers * _PROCESSES:
        yield Finding(
            "warning",
            f"{left} more processes and threads may be started here, and {workers} workers need "
            f"some {workers * _PROCESSES}",
            "end other programs, raise the limit (ulimit -u, or pids.max of the container), or "
            "take fewer workers: -numworkers=N",
        )


def _processes_left() -> int | None:
    """Return how many more processes and threads may be started here; None if there is no limit."""
    left = [_left_by_groups("/"), _left_to_user()]
    return min((one for one in left if one is not None), default=None)


def _left_by_groups(root: str) -> int | None:
    left = []
    for base, folder, _ in _cores.groups(root, "pids"):
        texts = [_cores.read(os.path.join(base, folder, f"pids.{n}")) for n in ("max", "current")]
        most, now = (text.strip() for text in texts)
        if most.isdigit() and now.isdigit():
            left.append(max(0, int(most) - int(now)))
    return min(left, default=None)


def _left_to_user() -> int | None:
    import resource

    most, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    me = os.getuid()
    if most == resource.RLIM_INFINITY or me == 0:  # root has no such limit
        return None
    now = 0
    for entry in os.scandir("/proc") if os.path.isdir("/proc") else ():
        if entry.name.isdigit():
            with suppress(OSError):  # it has just ended
                if entry.stat().st_uid == me:
                    now += len(os.listdir(f"{entry.path}/task"))
    return max(0, most - now)
