"""Processes that tasks have left in groups and sessions of their own.

The kill of a process group does not reach them.  They are known by a variable of their
environment, which they have inherited: its value is a *mark*, or begins with one and a dot.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress

__all__ = ["boot_clock", "kill_strays"]

_MOST_ROUNDS = 20  # a process that is killed may have started another just before


def kill_strays(variable: str, mark: str, since: float, rounds: int = _MOST_ROUNDS) -> bool:
    """Kill the processes whose mark begins so.  Linux only; elsewhere it does nothing.

    Args:
        variable: The name of the environment variable.
        mark: What its value is, or begins with.
        since: None of them is older than this; seconds since boot.
        rounds: How often to look at most; each time, those that are found are killed.

    Returns:
        Whether none is left, as far as it can be seen.
    """
    needle = f"{variable}={mark}".encode()
    for _ in range(rounds):
        found = list(_marked(needle, since))
        for pid in found:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if not found:
            return True
    return False


def boot_clock() -> float:
    """Return the seconds since boot, as the start of a process is told in."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def _marked(needle: bytes, since: float) -> Iterator[int]:
    try:
        names = os.listdir("/proc")
    except OSError:
        return
    ticks = since * os.sysconf("SC_CLK_TCK") - 1
    for name in names:
        if not name.isdecimal():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
            # State and start time.  The environment of what is dead or older is not read.
            if fields[0] in b"ZX" or int(fields[19]) < ticks:
                continue
            with open(f"/proc/{name}/environ", "rb") as file:
                variables = file.read().split(b"\0")
        except (OSError, IndexError):
            continue  # it has ended, or is not ours
        if any(_is_marked(variable, needle) for variable in variables):
            yield int(name)


def _is_marked(variable: bytes, needle: bytes) -> bool:
    # "x.1" is not the beginning of "x.10".
    return variable.startswith(needle) and variable[len(needle) : len(needle) + 1] in (b"", b".")
