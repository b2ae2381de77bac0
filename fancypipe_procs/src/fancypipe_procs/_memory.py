"""Whether the kernel killed a process for memory.

The kernel counts such kills for each control group.  A count that went up while
a worker lived, and a worker that died by SIGKILL that nobody of ours sent,
together are a verdict.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["kills"]

_ROOT = Path("/sys/fs/cgroup")


def kills() -> int | None:
    """Return how many processes of our control groups were killed for memory; None if unknown.

    Sources: `memory.events` of control groups version 2, `memory.oom_control`
    of version 1, for this process's group and all above it.
    """
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    found = None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            base, name = _ROOT / "memory", "memory.oom_control"
        elif not controllers:
            base, name = _ROOT, "memory.events"
        else:
            continue
        count = _count(base, path, name)
        found = count if found is None else found + (count or 0)
    return found


def _count(base: Path, path: str, name: str) -> int | None:
    # In a container the path may be the host's: then the root is our group.
    for folder in (base / path.lstrip("/"), base):
        try:
            lines = (folder / name).read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            word, _, number = line.partition(" ")
            if word == "oom_kill":
                return int(number)
    return None
