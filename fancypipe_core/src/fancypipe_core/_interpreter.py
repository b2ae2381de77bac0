"""How a process of ours is started: the same interpreter, with the same options."""

from __future__ import annotations

import subprocess
import sys

__all__ = ["interpreter"]


def interpreter() -> list[str]:
    """Return the beginning of a command: this interpreter with the options it was started with."""
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    if sys.version_info >= (3, 11) and "-P" not in flags and "-I" not in flags:
        # A file in the current folder must not stand in for a module of ours.
        flags.append("-P")
    return [sys.executable, *flags]
