"""How much memory processes take.  What a platform does not tell is None."""

from __future__ import annotations

import os
import resource
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["PeakWatch", "family", "own_peak", "processor_time"]


def own_peak() -> int:
    """Return this process's peak of resident memory so far, in bytes."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass  # not Linux: the next is as good, but for what a parent may leave in it
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class PeakWatch:
    """Samples the memory of a process and all its descendants, shared pages counted once.

    Shared memory is counted as the whole machine has it, so that what no process has mapped
    just then is not missed; another program's is counted too.

    Args:
        pid: The process.
        interval: Seconds between two samples.  A peak that is shorter may be missed.

    Attributes:
        peak: The largest sample since `begin`, in bytes; None where the platform does not tell.
    """

    def __init__(self, pid: int, interval: float = 0.005) -> None:
        self.peak: int | None = None
        self._pid = pid
        self._interval = interval
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()

    def begin(self) -> int | None:
        """Return how much it is now, and begin to look for the peak anew."""
        self.peak = self._sample()
        return self.peak

    def _watch(self) -> None:
        while not self._over.wait(self._interval):
            size = self._sample()
            if size is not None:
                self.peak = max(self.peak or 0, size)

    def _sample(self) -> int | None:
        sizes = [size for pid in family(self._pid) if (size := _unshared(pid)) is not None]
        return sum(sizes) + _field("/proc/meminfo", "Shmem") if sizes else None


def family(pid: int) -> list[int]:
    """Return a process and all its descendants.  Linux only; elsewhere itself."""
    family = [pid]
    for member in family:  # grows while we walk it
        try:
            threads = os.listdir(f"/proc/{member}/task")
            for thread in threads:
                text = Path(f"/proc/{member}/task/{thread}/children").read_text(encoding="ascii")
                family += map(int, text.split())
        except OSError:
            continue  # it has ended
    return family


def processor_time(pid: int) -> float | None:
    """Return the seconds of processor time that a process and its children have taken so far.

    None where the system does not tell.  Of children that have ended nothing is counted.
    """
    total = 0.0
    for member in family(pid):
        try:
            for thread in os.listdir(f"/proc/{member}/task"):
                text = Path(f"/proc/{member}/task/{thread}/schedstat").read_text(encoding="ascii")
                total += int(text.split()[0]) / 1e9
        except OSError:
            continue  # it has ended
    return total or None


def _unshared(pid: int) -> int | None:
    """Return a process's part of all memory but the shared kind."""
    path = f"/proc/{pid}/smaps_rollup"
    try:
        return _field(path, "Pss") - _field(path, "Pss_Shmem")
    except OSError:
        return None


def _field(path: str, name: str) -> int:
    for line in Path(path).read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0
