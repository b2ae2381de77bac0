"""What tasks leave behind in a worker process: processes, threads, descriptors."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import NamedTuple

from fancypipe_core.toolkit import memory_descriptors
from fancypipe_procs._limits import Limits

__all__ = ["Leftovers", "adopt_orphans", "kill_children"]

_OFTEN = 0.05  # seconds between two listings of processes, which take a while
_MANY_TIMES = 10  # what is told once for so many threads is the end at so many times that
_LAST_WAIT = 1.0  # seconds in which killed processes must be gone
_PR_SET_CHILD_SUBREAPER = 36  # of Linux
_HELPERS = (b"resource_tracker", b"multiprocessing.forkserver")  # they end with the process


def adopt_orphans() -> None:
    """Become the parent of what descendants leave behind, so that it can be seen and killed."""
    if sys.platform != "linux":
        return
    with suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class _Process(NamedTuple):
    pid: int
    is_dead: bool
    command: str


class Leftovers:
    """Counts them, tells once, and says when it is too much.

    Args:
        limits: How many are told, and how many are too many.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._threads = threading.active_count()
        self._descriptors = _lowest_free()
        self._listed = 0.0
        self._told: set[str] = set()
        self._known: set[int] = set()

    def look(self, label: str, idle: bool) -> tuple[list[str], str]:
        """Look at what there is.

        Args:
            label: The task that ran last.
            idle: Whether there is time.

        Returns:
            What is to be told, and why this process is to be replaced; empty if not.
        """
        notes: list[str] = []
        end = self._count_threads(label, notes) or self._count_descriptors(label, notes)
        now = time.monotonic()
        if (idle or now - self._listed > _OFTEN) and _has_children():
            self._listed = now
            end = self._count_processes(label, notes) or end
        return notes, end

    def _count_threads(self, label: str, notes: list[str]) -> str:
        left = threading.active_count() - self._threads
        most = self._limits.threads
        if left >= most and "threads" not in self._told:
            self._told.add("threads")
            notes.append(f"{label} and tasks before it left {left} threads running")
        return f"tasks left {left} threads running" if left >= most * _MANY_TIMES else ""

    def _count_descriptors(self, label: str, notes: list[str]) -> str:
        most = self._limits.descriptors
        # A new one gets the lowest free number: so the others need not be counted each time.
        if _lowest_free() - self._descriptors < most:
            return ""
        # Values in shared memory have descriptors too, which go with them.
        left = _open_descriptors() - self._descriptors - memory_descriptors()
        if left < most:
            return ""
        if "descriptors" not in self._told:
            self._told.add("descriptors")
            notes.append(f"{label} and tasks before it left {left} files or sockets open")
        return f"tasks left {left} files or sockets open" if left >= most * _MANY_TIMES else ""

    def _count_processes(self, label: str, notes: list[str]) -> str:
        found = _children()
        new = [one for one in found if one.pid not in self._known and not one.is_dead]
        self._known = {one.pid for one in found}
        if new and label not in self._told:
            self._told.add(label)
            named = ", ".join(f"{one.command} (pid {one.pid})" for one in new[:5])
            notes.append(
                f"{label} left processes running, which are killed when their worker ends: "
                + named
                + (f" and {len(new) - 5} more" if len(new) > 5 else "")
            )
        return f"tasks left {len(found)} processes" if len(found) >= self._limits.processes else ""


def kill_children() -> None:
    """Kill all children, and theirs, which become ours."""
    until = time.monotonic() + _LAST_WAIT
    while _has_children() and time.monotonic() < until:
        for one in _children(helpers=True):
            with suppress(OSError):
                os.kill(one.pid, signal.SIGKILL)
            with suppress(OSError):
                os.waitpid(one.pid, os.WNOHANG)
        time.sleep(0.001)


def _lowest_free() -> int:
    try:
        free = os.dup(2)
    except OSError:
        return sys.maxsize  # none is left, or somebody has closed them
    os.close(free)
    return free


def _open_descriptors() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return _lowest_free()


def _has_children() -> bool:
    if not hasattr(os, "waitid"):
        return False
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except OSError:
        return False
    return True


def _children(helpers: bool = False) -> list[_Process]:
    """List the children, dead ones too; without those that Python starts to help itself."""
    found = []
    for thread in _threads():
        for pid in _read(f"/proc/self/task/{thread}/children").decode().split():
            command = _read(f"/proc/{pid}/cmdline")
            if not helpers and any(name in command for name in _HELPERS):
                continue
            words = command.replace(b"\0", b" ").decode(errors="replace").strip()
            found.append(_Process(int(pid), not words, words[:60]))
    return found


def _threads() -> list[str]:
    with suppress(OSError):
        return os.listdir("/proc/self/task")
    return []


def _read(path: str) -> bytes:
    """Return what a file says; nothing if what it is about has ended."""
    with suppress(OSError), open(path, "rb") as file:
        return file.read()
    return b""
