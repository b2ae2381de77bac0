"""Lines of the manager and the worker, for whoever looks after them."""

from __future__ import annotations

import sys

__all__ = ["log"]


def log(line: str) -> None:
    """Write a line to stderr, where it is not lost when the process dies."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
