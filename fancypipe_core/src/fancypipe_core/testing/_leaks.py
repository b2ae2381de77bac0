"""What a process holds: threads, child processes, descriptors.  /proc is used where it is."""

from __future__ import annotations

import os
import threading
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
            *(f"descriptor {n} -> {to}" for n, to in sorted(self.descriptors - before.descriptors)),
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
