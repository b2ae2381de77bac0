"""What a job uses: processor time and memory, as far as the system tells it for little."""

from __future__ import annotations

import os
import re
import sys
from time import process_time, thread_time

from fancypipe_core._base.resources import host_name
from fancypipe_core.backend import Usage

__all__ = ["Meter"]

_LEAST = 0.001  # seconds; to ask after less would take as long as the job
_STALE = _LEAST / 20
_PEAK = re.compile(rb"VmHWM:\s*(\d+) kB")


class Meter:
    """Measures jobs.

    The clock of the processor is a call of the system, so it is not read for each short job: the
    reading that was made right before serves as well.

    Args:
        beside_others: Whether other threads of this process do other work meanwhile.  Then the
            time of the job's own thread is taken, and what its libraries do in threads of
            theirs is missed; else it is that of the process.

    Attributes:
        until: Until when, by `time.perf_counter()`, the last reading serves.
        brief: What a job has used that took less than `least` seconds, as far as anybody asks.
    """

    least = _LEAST

    def __init__(self, *, beside_others: bool) -> None:
        self._clock = thread_time if beside_others else process_time
        self._begin = 0.0
        self.until = 0.0
        self.brief = Usage(None, 0, "")

    def look(self, now: float) -> None:
        """A job begins, and the last reading is too old."""
        if not self.until:
            self.brief = Usage(None, 0, f"{host_name()} {os.getpid()}")
        self.until = now + _STALE
        self._begin = self._clock()

    def used(self) -> Usage:
        """Return what a job has used that has ended just now, and took `least` or more."""
        cpu = self._clock() - self._begin
        self.until = -1.0
        return Usage(max(cpu, 0.0), peak_memory(), self.brief.where)


def peak_memory() -> int:
    """Return the most bytes that this process has had resident; 0 if nobody knows."""
    try:
        # On Linux `getrusage` would count what the parent had when it started us.
        with open("/proc/self/status", "rb", buffering=0) as file:
            found = _PEAK.search(file.read(8192))
        if found is not None:
            return int(found[1]) * 1024
        import resource
    except (OSError, ImportError):
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
