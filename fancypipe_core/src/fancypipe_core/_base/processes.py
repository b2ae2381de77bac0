"""Which process is which, also once it is gone and another has its number."""

from __future__ import annotations

import os
import re
import time
import zlib
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

__all__ = ["Place", "began", "is_alive", "left_by_dead", "start_of", "this_place"]


_FOREIGN = 48 * 3600  # seconds; a process of another machine has written to its file since


class Place(NamedTuple):
    """Where processes are told apart by their numbers."""

    machine: str
    boot: str
    space: str


@lru_cache(maxsize=1)
def this_place() -> Place | None:
    """Return where this process is; None where the system does not say."""
    with suppress(OSError, ValueError):
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip().replace("-", "")[:8]
        space = os.readlink("/proc/self/ns/pid").strip("pid:[]")
        machine = os.uname().nodename
        with suppress(OSError), open("/etc/machine-id", encoding="ascii") as file:
            machine += file.read()
        if re.fullmatch("[0-9a-f]{8}", boot) and space.isdecimal():
            return Place(f"{zlib.crc32(os.fsencode(machine)):08x}", boot, space)
    return None


def start_of(pid: int) -> str | None:
    """Return when a process began, in ticks since boot; None if there is none."""
    with suppress(OSError, IndexError), open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
        return None if fields[0] in b"ZX" else fields[19].decode("ascii")
    return None


def began() -> str:
    """Return where and when this process began, for `is_alive`; empty if the system is silent."""
    here = this_place()
    start = None if here is None else start_of(os.getpid())
    return "" if here is None or start is None else "-".join((*here, start))


def is_alive(pid: int, begun: str) -> bool | None:
    """Tell whether a process is there.

    Args:
        pid: Its number.
        begun: What `began` said in it.

    Returns:
        None if that cannot be told from here: it is on another machine, or its numbers are not
        ours.
    """
    here = this_place()
    parts = begun.split("-")
    if here is None or len(parts) != 4 or parts[0] != here.machine:
        return None
    if parts[1] != here.boot:
        return False
    return start_of(pid) == parts[3] if parts[2] == here.space else None


def left_by_dead(path: str, pid: int, begun: str) -> bool:
    """Tell whether nobody goes on with a file that a process had in hand.

    Args:
        path: The file; of a process that cannot be seen from here it is left after 48 hours.
        pid: As for `is_alive`.
        begun: As for `is_alive`.

    Raises:
        OSError: The file is gone.
    """
    alive = is_alive(pid, begun)
    return alive is False or (alive is None and time.time() - os.stat(path).st_mtime > _FOREIGN)
