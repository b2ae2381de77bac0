"""Lines of the manager and the worker, for whoever looks after them."""

from __future__ import annotations

import sys

from fancypipe_remote._protocol.messages import printable

__all__ = ["log"]


def log(line: str) -> None:
    """Write a line to stderr, where it is not lost when the process dies.

    It stays one line, whatever a peer has put into it.
    """
    sys.stderr.write(f"{printable(line)}\n")
    sys.stderr.flush()
