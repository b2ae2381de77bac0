"""How many cores this process may use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator

__all__ = ["groups", "quota", "read", "usable_cores"]


def usable_cores() -> int:
    """Return how many cores this process may use: at least 1.

    What counts is the affinity mask and, in a container, the quota of its
    control group, not what the machine has.
    """
    try:
        count = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # not on this platform
        count = os.cpu_count() or 1
    limit = quota()
    return max(1, count if limit is None else min(count, math.ceil(limit)))


def quota(root: str = "/") -> float | None:
    """Return the control group's limit in cores, or None if there is none.

    Args:
        root: Where `proc` and `sys` are; for tests.
    """
    limits = (
        (_version_2 if version == 2 else _version_1)(os.path.join(base, folder))
        for base, folder, version in groups(root, "cpu")
    )
    return min((limit for limit in limits if limit is not None), default=None)


def groups(root: str, controller: str) -> Iterator[tuple[str, str, int]]:
    """Yield this process's control groups and those around them, which bind it as well.

    Args:
        root: Where `proc` and `sys` are.
        controller: `cpu`, `memory` or another one.

    Yields:
        The folder in which groups are, the group's folder in it (empty for the
        outermost), and the version of control groups.
    """
    for line in read(os.path.join(root, "proc/self/cgroup")).splitlines():
        controllers, _, group = line.partition(":")[2].partition(":")
        if not controllers:
            base, version = os.path.join(root, "sys/fs/cgroup"), 2
        elif controller in controllers.split(","):
            base, version = os.path.join(root, "sys/fs/cgroup", controllers), 1
            if not os.path.isdir(base):
                base = os.path.join(root, "sys/fs/cgroup", controller)
        else:
            continue
        # Inside a container its own name may not be there; then the root of the
        # mount is the group.
        folder = group.strip("/")
        while True:
            yield base, folder, version
            if not folder:
                break
            folder = os.path.dirname(folder)


def _version_2(folder: str) -> float | None:
    limit, period, *_ = [*read(os.path.join(folder, "cpu.max")).split(), "", ""]
    return _ratio(limit, period)


def _version_1(folder: str) -> float | None:
    return _ratio(
        read(os.path.join(folder, "cpu.cfs_quota_us")),
        read(os.path.join(folder, "cpu.cfs_period_us")),
    )


def _ratio(quota: str, period: str) -> float | None:
    try:
        # "max" and -1 mean no limit.
        return int(quota) / int(period) if int(quota) > 0 and int(period) > 0 else None
    except ValueError:
        return None


def read(path: str) -> str:
    """Return what stands in a small file; nothing if it cannot be read."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
