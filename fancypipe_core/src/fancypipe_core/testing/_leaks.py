"""What a process holds: threads, child processes, descriptors.  /proc is used where it is."""

from __future__ import annotations

import os
import socket
import threading
from errno import ENOTCONN
from pathlib import Path
from typing import NamedTuple

__all__ = ["Holdings", "holdings"]

_SELF = Path("/proc/self")


class Holdings(NamedTuple):
    """What this process holds now.

    Attributes:
        threads: Its threads.
        children: Its child processes, the dead ones that nobody has reaped as well.
        descriptors: Its open descriptors, with what they lead to.
    """

    threads: frozenset[threading.Thread]
    children: frozenset[int]
    descriptors: frozenset[tuple[int, str]]

    def more_than(self, before: Holdings) -> list[str]:
        """Return a phrase for each thing that is held now and was not before."""
        return [
            *(f"thread {thread.name!r}" for thread in self.threads - before.threads),
            *(f"child process {pid}" for pid in sorted(self.children - before.children)),
            *(_phrase(n, to) for n, to in sorted(self.descriptors - before.descriptors)),
        ]


def holdings() -> Holdings:
    """Look at what this process holds.  Without /proc only threads are seen."""
    return Holdings(frozenset(threading.enumerate()), _children(), _descriptors())


def _children() -> frozenset[int]:
    found: set[int] = set()
    for path in _SELF.glob("task/*/children"):
        try:
            found.update(map(int, path.read_text().split()))
        except OSError:
            continue  # that thread has ended
    return frozenset(found)


def _descriptors() -> frozenset[tuple[int, str]]:
    found = set()
    if not _SELF.is_dir():
        return frozenset()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add((int(name), os.readlink(f"/proc/self/fd/{name}")))
        except OSError:
            continue  # the one that listed them
    return frozenset(found)


def _phrase(number: int, to: str) -> str:
    idle = " (not connected)" if to.startswith("socket:") and _has_no_end(number) else ""
    return f"descriptor {number} -> {to}{idle}"


def _has_no_end(number: int) -> bool:
    """Return whether a socket has nobody at its other end, and waits for nobody."""
    try:
        with socket.socket(fileno=os.dup(number)) as same:
            if same.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                return False
            same.getpeername()
    except OSError as error:
        return error.errno == ENOTCONN
    return False
