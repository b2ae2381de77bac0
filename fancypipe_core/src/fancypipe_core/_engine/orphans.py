"""Folders for temporary files, and who removes them when their owner was killed.

A folder's name says whose it is: the machine, its boot, the process and when that
began.  So there is no moment in which it exists and belongs to nobody, and no file to
be written.  Whoever starts later in the same place removes the folders whose owner is
dead beyond doubt:

==========================  =====================================================
it was made                 it is dead if
==========================  =====================================================
here, in this boot          no process has its number and its time of start
here, in another boot       always
by another PID namespace    never: its processes cannot be seen from here
on another machine          never
==========================  =====================================================

Where the system does not tell all this (it is not Linux), names do not say it either,
and nothing is removed.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from time import monotonic

from fancypipe_core._base.processes import Place, start_of, this_place
from fancypipe_core._model.temp_paths import KEPT

__all__ = ["owned_prefix", "sweep_orphans"]

_PATIENCE = 2.0  # seconds for a sweep; the next one goes on
_NAME = re.compile(r"fancypipe(?:-[a-z]+)?-([0-9a-f]{8})-([0-9a-f]{8})-(\d+)-(\d+)-(\d+)-\w+")


def owned_prefix(kind: str = "") -> str:
    """Return the beginning of the name of a folder that belongs to this process.

    Args:
        kind: A word in lower case that tells what it is for; empty for a session's.
    """
    here = this_place()
    start = None if here is None else start_of(os.getpid())
    parts = ["fancypipe", *([kind] if kind else [])]
    if here is not None and start is not None:
        parts += [*here, str(os.getpid()), start]
    return "-".join(parts) + "-"


def sweep_orphans(base: str) -> None:
    """Remove the folders of dead processes from a folder; what cannot be removed stays."""
    here = this_place()
    if here is None:
        return
    until = monotonic() + _PATIENCE
    with suppress(OSError), os.scandir(base) as entries:
        for entry in entries:
            if entry.name.startswith("fancypipe-") and _is_orphan(entry, here):
                _remove(entry.path, until)


def _is_orphan(entry: os.DirEntry[str], here: Place) -> bool:
    match = _NAME.fullmatch(entry.name)
    if match is None:
        return False
    machine, boot, space, pid, start = match.groups()
    if machine != here.machine or (boot == here.boot and space != here.space):
        return False
    if boot == here.boot and start_of(int(pid)) == start:
        return False
    with suppress(OSError):
        status = entry.stat(follow_symlinks=False)
        return entry.is_dir(follow_symlinks=False) and status.st_uid == os.geteuid()
    return False


def _remove(folder: str, until: float) -> None:
    """Remove a folder, but for files that the user was given before its owner died."""
    kept = _kept(folder)
    for here, folders, files in os.walk(folder, topdown=False):
        for name in (*files, *folders):
            path = os.path.join(here, name)
            if monotonic() > until:
                return
            if not any(path == one or path.startswith(one + os.sep) for one in kept):
                with suppress(OSError):
                    if name in files or os.path.islink(path):
                        os.unlink(path)
                    else:
                        os.rmdir(path)  # unless there is something kept in it
    with suppress(OSError):
        os.rmdir(folder)


def _kept(folder: str) -> list[str]:
    """Return what must stay: files of the user's that are still there, and the list of them."""
    marker = os.path.join(folder, KEPT)
    with suppress(OSError), open(marker, "rb") as file:
        names = [os.path.join(folder, os.fsdecode(name)) for name in file.read().split(b"\0")]
        there = [name for name in names[:-1] if os.path.lexists(name)]
        return [*there, marker] if there else []
    return []
