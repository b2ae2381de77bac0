"""Kills a random child of this process, again and again: `kill -9` as weather."""

from __future__ import annotations

import os
import random
import signal
import threading
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

__all__ = ["Storm", "children"]


def children() -> set[int]:
    """Return the child processes of this process.  Linux only."""
    found: set[int] = set()
    for path in Path("/proc/self/task").glob("*/children"):
        try:
            found.update(map(int, path.read_text().split()))
        except OSError:
            continue  # that thread has ended
    return found


class Storm:
    """Kills, while it is entered.

    Args:
        every: Seconds between two kills.

    Attributes:
        hits: How many it has killed.
    """

    signal = signal.SIGKILL

    def __init__(self, every: float) -> None:
        self.hits = 0
        self._every = every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._rage, name="storm")
        self._draw = random.Random(1)

    def _rage(self) -> None:
        while not self._over.wait(self._every):
            there = sorted(children())
            if there:
                os.kill(self._draw.choice(there), self.signal)
                self.hits += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
