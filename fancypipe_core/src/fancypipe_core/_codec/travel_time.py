"""How long values are on the way from process to process, as far as their size tells."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fancypipe_core.backend import Handle

__all__ = ["travel_time"]

_BANDWIDTH = 500e6  # bytes that are written, carried and read in a second, all in all


def travel_time(parts: Iterable[Any]) -> float:
    """Return for how many seconds these heads and buffers of payloads are on the way.

    What is in shared memory is counted as well: it is written, and fills the memory.
    """
    sizes = [one.size if type(one) is Handle else memoryview(one).nbytes for one in parts]
    return sum(sizes) / _BANDWIDTH
