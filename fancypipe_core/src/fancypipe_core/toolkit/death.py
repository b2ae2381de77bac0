"""What a process died of, in words."""

from __future__ import annotations

import signal

from fancypipe_core._base.resources import memory_kills

__all__ = ["cause_of_death", "memory_kills"]


def cause_of_death(code: int) -> str:
    """Return a signal's name or the exit code, for a code as `Process.exitcode` has it."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
