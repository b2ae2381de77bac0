"""How many cores this process may use."""

from __future__ import annotations

import math
import os

__all__ = ["quota", "usable"]


def usable() -> int:
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
    limits = []
    for line in _read(os.path.join(root, "proc/self/cgroup")).splitlines():
        controllers, _, group = line.partition(":")[2].partition(":")
        names = controllers.split(",")
        if not controllers:
            base, limit = os.path.join(root, "sys/fs/cgroup"), _version_2
        elif "cpu" in names:
            base, limit = os.path.join(root, "sys/fs/cgroup", controllers), _version_1
            if not os.path.isdir(base):
                base = os.path.join(root, "sys/fs/cgroup/cpu")
        else:
            continue
        # A group is bound by the groups around it as well.  Inside a container
        # its own name may not be there; then the root of the mount is the group.
        folder = group.strip("/")
        while True:
            found = limit(os.path.join(base, folder))
            if found is not None:
                limits.append(found)
            if not folder:
                break
            folder = os.path.dirname(folder)
    return min(limits, default=None)


def _version_2(folder: str) -> float | None:
    limit, period, *_ = [*_read(os.path.join(folder, "cpu.max")).split(), "", ""]
    return _ratio(limit, period)


def _version_1(folder: str) -> float | None:
    return _ratio(
        _read(os.path.join(folder, "cpu.cfs_quota_us")),
        _read(os.path.join(folder, "cpu.cfs_period_us")),
    )


def _ratio(quota: str, period: str) -> float | None:
    try:
        # "max" and -1 mean no limit.
        return int(quota) / int(period) if int(quota) > 0 and int(period) > 0 else None
    except ValueError:
        return None


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
