"""Descriptors: each link takes one, so their limit is also the limit of what strangers take.

libzmq accepts whoever comes, as long as the system gives it a descriptor, and has no other
bound.  So the process's own limit is kept a little above what it needs.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Container
from contextlib import suppress

_HAS_LIMIT = sys.platform != "win32"
if _HAS_LIMIT:
    import resource

__all__ = ["MOST_STRANGERS", "Descriptors", "Idlers"]

_MOST = 2**20

MOST_STRANGERS = 2000
"""Links at the same time of whom nobody knows yet who they are; others wait until one is over."""


class Descriptors:
    """What this process may have open.

    At first that is as much as the system allows: the usual limit is 1024.
    """

    def __init__(self) -> None:
        self._known: int | None = None
        self._others = len(_open() or ())
        if not _HAS_LIMIT:
            return
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
        if soft != resource.RLIM_INFINITY and soft < self._most:
            self._limit(self._most)

    def keep_for(self, links: int) -> None:
        """Have room for so many links, and for `MOST_STRANGERS`.

        It is for the whole process, so only who has one to himself may call it.
        """
        if _HAS_LIMIT and links != self._known:
            self._known = links
            self._limit(min(self._most, self._others + links + MOST_STRANGERS))

    def _limit(self, limit: int) -> None:
        with suppress(ValueError, OSError):
            resource.setrlimit(
                resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
            )

    def crowded(self) -> str | None:
        """Return a sentence if four of five are in use; who has none is not let in."""
        if not _HAS_LIMIT:
            return None
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        found = _open()
        used = limit if found is None else len(found)
        if limit == resource.RLIM_INFINITY or not used or used < 0.8 * limit:
            return None
        if self._known is not None and limit < self._most:
            return (
                f"{used} connections are open, and {self._known} of them are of clients and "
                f"workers: something floods the port, and new connections may have to wait"
            )
        return (
            f"{used} of {limit} descriptors are in use, and each link takes one: without more "
            "(`ulimit -n`, or LimitNOFILE of systemd) no further connection is accepted"
        )


class Idlers:
    """Links that hold a descriptor and never said who they are; only strangers have a time limit.

    libzmq has no way to drop a link.  But it notices when the connection below is shut down.
    """

    def __init__(self) -> None:
        self._before: set[tuple[int, object]] = set()

    def drop(self, port: int, known: Container[int]) -> int:
        """Shut down what was idle at the last look, too.

        Args:
            port: Only connections to this port.
            known: The descriptors of those who have said who they are.

        Returns:
            How many these were.
        """
        idle: set[tuple[int, object]] = set()
        dropped = 0
        for descriptor in range(resource.getrlimit(resource.RLIMIT_NOFILE)[0] if _HAS_LIMIT else 0):
            if descriptor in known:
                continue
            with suppress(OSError):  # nothing, or no connection
                link = socket.socket(fileno=descriptor)
                try:
                    one = (descriptor, link.getpeername())
                    if link.getsockname()[1:2] == (port,):
                        idle.add(one)
                        if one in self._before:
                            link.shutdown(socket.SHUT_RDWR)
                            dropped += 1
                finally:
                    link.detach()
        self._before = idle
        return dropped


def _open() -> list[str] | None:
    """Return what is open, as far as the system tells; None if it is all there may be."""
    try:
        return os.listdir("/proc/self/fd")
    except OSError as error:
        return None if error.errno == errno.EMFILE else []
