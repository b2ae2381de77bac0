"""A host process, as its worker sees it: how it is started, looked at, and ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys

from fancypipe_core.toolkit import boot_clock, interpreter, kill_strays
from fancypipe_remote._worker.lifeline import of_worker

__all__ = ["HostProcess", "Remains"]

_MARK = "FANCYPIPE_HOST_PROCESS"
"""In the environment of a host process, and so of all that its tasks start."""


_ROUNDS = 2  # what a kill takes longer for is looked for in another turn


class Remains:
    """What a dead host process may have left: what its tasks have started.

    Args:
        mark: Which all of that carries.
        since: Seconds since boot; none of it is older.
    """

    def __init__(self, mark: str, since: float) -> None:
        self._mark = mark
        self._since = since

    def end(self) -> bool:
        """Kill what there is; tell whether it is gone, as far as that can be seen."""
        return kill_strays(_MARK, self._mark, self._since, _ROUNDS)


class HostProcess:
    """A host process that is started here, for nobody yet.

    Attributes:
        process: The process.
        lifeline: Our end; it is closed when the process is to end.
        remains: What it leaves.
        address: The party that it is; nobody, before a client has asked for it.
        stopped: Since when it stands still by a signal; 0 if it does not.
        end_at: When it is killed, if it has not ended by then; None while it is to live.
        why: Why it is to end.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self) -> None:
        mark, since = os.urandom(8).hex(), boot_clock()
        ours, theirs = socket.socketpair()
        try:
            self.process = subprocess.Popen(
                [*interpreter("fancypipe_remote.host"), str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr,
                env={**os.environ, _MARK: mark},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self.lifeline = of_worker(ours)
        self.remains = Remains(mark, since)
        self.address = b""
        self.stopped = 0.0
        self.end_at: float | None = None
        self.why = ""

    @property
    def is_stopped(self) -> bool:
        """Whether it was stopped by a signal; False where the system does not say."""
        try:
            with open(f"/proc/{self.process.pid}/stat", encoding="utf-8") as file:
                return file.read().rpartition(")")[2].split()[0] in "Tt"
        except (OSError, IndexError):
            return False

    def kill(self) -> None:
        """Kill it and what it has started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
