"""The functions that are run.  They stand here so that every worker can import them."""

from __future__ import annotations

from typing import Any


def noop(value: Any) -> Any:
    """Do nothing; give back what came, so that results can be checked."""
    return value


def add(left: int, right: int) -> int:
    """Join two branches of a tree."""
    return left + right


def increase(value: int) -> int:
    """Add one link to a chain."""
    return value + 1


def mix(*values: int) -> int:
    """Join nodes of one layer to a node of the next."""
    return sum(values) % 1_000_003


def sleep(seconds: float) -> float:
    """Wait; give back how long."""
    import time

    time.sleep(seconds)
    return seconds


def load_numpy(number: int) -> int:
    """Import numpy, and take long enough that the other workers get their share."""
    import time

    import numpy as np

    time.sleep(0.005)
    return int(np.int64(number))


def make_array(megabytes: int) -> Any:
    """Return a float64 array of so many MB, no two pages alike."""
    import numpy as np

    return np.arange(megabytes * 1024 * 1024 // 8, dtype=np.float64)


def sum_array(array: Any, part: int) -> float:
    """Read the whole array."""
    return float(array.sum()) + part


def make_result(number: int) -> Any:
    """Return 1 MB, marked with its number."""
    import numpy as np

    return np.full(1024 * 1024 // 8, number, dtype=np.float64)
