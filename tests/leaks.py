"""The leak gate: what a test leaves behind.

Held against what there was before the test: threads, child processes (also
grandchildren whose parents died: this process adopts them), descriptors, mapped
shared memory, and folders for temporary files.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from multiprocessing import process as mp_process
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, NamedTuple

from fancypipe_core.testing._leaks import Holdings, holdings

__all__ = ["Held", "adopt_orphans", "held", "wait_for_none"]

LIMIT = 20.0  # seconds in which what is about to go has gone
_PR_SET_CHILD_SUBREAPER = 36
_STAT = "/proc/{}/stat"

# Children that this process has started itself: dead ones must be reaped by who started them.
# Numbers come again, and sooner than a suite of tests is over: who has been reaped counts no more.
_started: dict[int, weakref.ref[subprocess.Popen[Any]]] = {}


class Held(NamedTuple):
    """What this process holds."""

    own: Holdings
    mapped: int  # pieces of shared memory of ours
    folders: frozenset[str]

    def more_than(self, before: Held) -> list[str]:
        """Return a phrase for each thing that is held now and was not before."""
        found = self.own.more_than(before.own)
        if self.mapped > before.mapped:
            found.append(f"{self.mapped - before.mapped} mappings of shared memory")
        return found + [f"folder {name}" for name in sorted(self.folders - before.folders)]


def adopt_orphans() -> None:
    """Let processes whose parents died become children of this one, where the system can."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    start: Callable[..., None] = subprocess.Popen._execute_child  # type: ignore[attr-defined]

    def noted(self: subprocess.Popen[Any], *args: Any, **kwargs: Any) -> None:
        start(self, *args, **kwargs)
        _started[self.pid] = weakref.ref(self)

    subprocess.Popen._execute_child = noted  # type: ignore[attr-defined]


def held() -> Held:
    """Look at what this process holds."""
    own = holdings()
    known = _known("_pid", "_forkserver_pid")
    pipes = _known("_fd", "_forkserver_alive_fd")
    children = frozenset(pid for pid in own.children - known if not _reaped(pid))
    threads = frozenset(thread for thread in own.threads if not _is_known(thread))
    descriptors = frozenset(
        (number, to)
        for number, to in own.descriptors
        if number not in pipes and not _is_fleeting(to)
    )
    return Held(Holdings(threads, children, descriptors), _mapped(), _folders())


def wait_for_none(before: Held, limit: float = LIMIT) -> list[str]:
    """Wait until nothing more is held than before; return what still is."""
    until = time.monotonic() + limit
    pause = 0.001
    while left := held().more_than(before):
        if time.monotonic() > until:
            return left
        time.sleep(pause)
        pause = min(2 * pause, 0.1)
    return []


def _known(*names: str) -> set[int]:
    """Return numbers that belong to helpers which the standard library starts once and keeps."""
    from multiprocessing import forkserver

    helpers = (resource_tracker._resource_tracker, forkserver._forkserver)
    numbers = (getattr(helper, name, None) for helper in helpers for name in names)
    return {number for number in numbers if number is not None}


def _is_known(thread: threading.Thread) -> bool:
    # Of pytest-xdist and its like; and threads that the interpreter has never seen start.
    return isinstance(thread, threading._DummyThread)


def _is_fleeting(leads_to: str) -> bool:
    # /dev/urandom and the like are opened once by who needs them; the listing itself.
    return leads_to.startswith(("/dev/", "/proc/")) or leads_to.endswith(".so")


def _reaped(pid: int) -> bool:
    """Reap an adopted child that is dead; return whether it is gone."""
    try:
        state = Path(_STAT.format(pid)).read_text().rsplit(")", 1)[1].split()[0]
    except (OSError, IndexError):
        return True
    if state != "Z" or _is_ours(pid):
        return False
    if any(getattr(child, "pid", None) == pid for child in mp_process._children):  # type: ignore[attr-defined]
        return False
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return True
    return True


def _is_ours(pid: int) -> bool:
    """Tell whether a child is one that this process has started, and that nobody has reaped yet."""
    started = _started.get(pid, lambda: None)()
    # Who lets go of one that runs leaves it to `subprocess`, which keeps it until it is reaped.
    return started is not None and started.returncode is None


def _mapped() -> int:
    try:
        with open("/proc/self/maps", "rb") as maps:
            return maps.read().count(b"/memfd:fancypipe")
    except OSError:
        return 0


def _folders() -> frozenset[str]:
    return frozenset(n for n in os.listdir(tempfile.gettempdir()) if n.startswith("fancypipe"))
