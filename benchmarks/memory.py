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

__all__ = ["PeakWatch", "own_peak"]


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

    Args:
        pid: The process.
        interval: Seconds between two samples.  A peak that is shorter may be missed.
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

    def _watch(self) -> None:
        while not self._over.wait(self._interval):
            sizes = [size for pid in _family(self._pid) if (size := _pss(pid)) is not None]
            if sizes:
                self.peak = max(self.peak or 0, sum(sizes))


def _family(pid: int) -> list[int]:
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


def _pss(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return None
