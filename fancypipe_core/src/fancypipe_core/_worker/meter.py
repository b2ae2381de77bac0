"""What a job uses: processor time and memory, as far as the system tells it for little."""

from __future__ import annotations

import os
import re
import sys
from time import process_time, thread_time

from fancypipe_core._base.resources import host_name
from fancypipe_core.backend import Usage

__all__ = ["Meter"]

_LEAST = 0.001  # seconds; to ask for the memory after less would take as long as the job
_PEAK = re.compile(rb"VmHWM:\s*(\d+) kB")


class Meter:
    """Measures jobs.

    Args:
        beside_others: Whether other threads of this process do other work meanwhile.  Then the
            time of the job's own thread is taken, and what its libraries do in threads of
            theirs is missed; else it is that of the process.
    """

    def __init__(self, *, beside_others: bool) -> None:
        self.clock = thread_time if beside_others else process_time
        self._pid = 0
        self._where = ""

    def used(self, begin: float, seconds: float) -> Usage:
        """Return what a job has used that has ended just now.

        Args:
            begin: What `clock` said when it began.
            seconds: How long it ran.
        """
        cpu = self.clock() - begin
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._where = f"{host_name()} {self._pid}"
        memory = peak_memory() if seconds >= _LEAST else 0
        return Usage(max(cpu, 0.0), memory, self._where)


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
