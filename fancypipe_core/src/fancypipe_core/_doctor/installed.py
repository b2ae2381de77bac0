"""What is installed: Python, the packages of fancypipe and what they need, backends."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator
from importlib import metadata

from fancypipe_core._doctor.finding import Finding
from fancypipe_core._plugins import discovery

__all__ = ["look", "missing", "versions"]

_CORE = "fancypipe-core"
_PACKAGES = (_CORE, "fancypipe-procs", "fancypipe-threads", "fancypipe-remote")
_NEED = re.compile(r"([A-Za-z0-9._-]+)\s*(?:>=\s*([0-9.]+))?")


def look(backend: str) -> Iterator[Finding]:
    """Yield what is found.

    Args:
        backend: The one that is to be used; whether it works is seen elsewhere.
    """
    if sys.executable:
        yield Finding(
            "ok", f"Python {platform.python_version()} on {platform.system()}: {sys.executable}"
        )
    else:
        yield Finding(
            "problem",
            "Python does not know its own path (sys.executable is empty), so no worker can start",
            "use threads, -workertype=T, or an ordinary python",
        )
    yield from versions({name: found for name in _PACKAGES if (found := version(name))})
    yield from missing(metadata.requires(_CORE) or [])
    for entry in discovery.backends():
        if entry.error:
            mark = entry.name == backend or backend.upper() in entry.aliases
            yield Finding(
                "problem" if mark else "warning",
                f"the backend {entry.name} is installed and broken: {entry.error}",
                f"install {entry.dist or 'it'} anew, or remove it",
            )


def version(name: str) -> str:
    """Return the version of an installed distribution; empty if there is none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def versions(found: dict[str, str]) -> Iterator[Finding]:
    """Are all packages of the project of one version?"""
    listed = ", ".join(f"{name} {number}" for name, number in found.items())
    if len(set(found.values())) > 1:
        wanted = " ".join(f"{name}=={found[_CORE]}" for name in found)
        yield Finding(
            "warning",
            f"the packages of fancypipe are of different versions: {listed}",
            f"pip install {wanted}",
        )
    else:
        yield Finding("ok", listed)


def missing(needs: list[str]) -> Iterator[Finding]:
    """Is there what the core needs, and new enough?"""
    listed = []
    for line in needs:
        need, _, condition = line.partition(";")
        match = _NEED.match(need)
        if match is None or condition.strip():
            continue  # an extra, or for other interpreters
        name, least = match[1], match[2] or "0"
        have = version(name)
        if not have or _numbers(have) < _numbers(least):
            yield Finding(
                "problem",
                f"fancypipe needs {need.strip()}, and "
                + (f"{name} {have} is installed" if have else f"{name} is not installed"),
                f'pip install "{need.strip()}"',
            )
        else:
            listed.append(f"{name} {have}")
    if listed:
        yield Finding("ok", ", ".join(listed))


def _numbers(text: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", text.partition("+")[0])[:3]]
