"""What a run was made with: the machine, the versions, the load, and the commit."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.peers import ALL

__all__ = ["described", "facts"]


def facts(contenders: Iterable[str], root: Path) -> dict[str, Any]:
    """Return what figures depend on, for JSON."""
    allowed = getattr(os, "sched_getaffinity", None)
    needed = {ALL[name].needs for name in contenders if not ALL[name].ours} - {""}
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _git(root),
        "cpu": _cpu(),
        "cores": len(allowed(0)) if allowed else os.cpu_count(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "versions": {name: metadata.version(name) for name in sorted(needed)},
        "load": list(os.getloadavg()),
    }


def described(machine: dict[str, Any]) -> str:
    """Return that as a sentence."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['date']}, commit {machine['commit']}; {machine['cpu']}, "
        f"{machine['cores']} cores, {machine['memory'] / 2**30:.0f} GiB; {machine['system']}, "
        f"{machine['python']}{', ' if versions else ''}{versions}; "
        f"load {machine['load'][0]:.1f} before"
    )


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or "unknown processor"


def _git(root: Path) -> str:
    """Return the commit, with a + if files were changed since; empty if there is no git."""
    try:
        words = ["git", "-C", str(root), "describe", "--always", "--dirty=+"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
