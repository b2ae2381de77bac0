"""One worker process, seen from the client: its start, its channel, its death."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from time import monotonic

from fancypipe_core.backend import (
    Certificate,
    ChannelBackend,
    Event,
    Job,
    JobId,
    Setup,
    SocketChannel,
    main_script,
)
from fancypipe_core.errors import ConnectionLost, ProtocolError
from fancypipe_procs import _memory
from fancypipe_procs._output import Output
from fancypipe_procs.child import CELL, CELL_SIZE, FLAG

__all__ = ["Worker"]

_LAST_LINES = 50  # of its output, in a death certificate

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


class Worker:
    """A child process and the jobs that it has.

    Args:
        directory: The session's folder for temporary files.
        threads: How many threads numerical libraries may use in it.
        sink: Takes its events.
        gave_back: Takes the jobs that it returned.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(
        self,
        directory: str,
        threads: int,
        sink: Callable[[Sequence[Event]], None],
        gave_back: Callable[[Worker, Sequence[Job]], None],
    ) -> None:
        ours, theirs = socket.socketpair()
        our_control, their_control = socket.socketpair()
        watch, self._lifeline = os.pipe()
        cell = _shared_memory(CELL_SIZE)
        self._cell = mmap.mmap(cell, CELL_SIZE)
        passed = (theirs.fileno(), their_control.fileno(), cell, watch)
        read_out, write_out = os.pipe()
        read_err, write_err = os.pipe()
        self.outputs = (Output("stdout", read_out), Output("stderr", read_err))
        try:
            self.process = subprocess.Popen(
                [*_interpreter(), "-m", "fancypipe_procs.child", *map(str, passed)],
                stdin=subprocess.DEVNULL,
                stdout=write_out,
                stderr=write_err,
                pass_fds=passed,
                # A group and session of its own: the terminal's Ctrl-C is not for it,
                # and what its tasks start can be killed with it.
                start_new_session=True,
                env=_environment(threads),
            )
        except BaseException:
            for end in (ours, our_control, *self.outputs):
                end.close()
            os.close(self._lifeline)
            self._cell.close()
            raise
        finally:
            theirs.close()
            their_control.close()
            for descriptor in (cell, watch, write_out, write_err):
                os.close(descriptor)
        self.pid = self.process.pid
        self._memory_kills = _memory.kills()
        self.sentinel = _sentinel(self.pid)
        self.heard = monotonic()  # when it last reported, or got work while idle
        self.called_back: float | None = None  # when it was asked to give jobs back
        self.kill_at: dict[JobId, float] = {}
        self.killed_for = ""
        self.has_reported = False
        self.link = ChannelBackend(
            SocketChannel(ours, blocking=False),
            SocketChannel(our_control, blocking=False),
            sink,
            lambda jobs: gave_back(self, jobs),
        )
        main = main_script()
        named = (main.kind, main.value) if main is not None else None
        setup = Setup(list(sys.path), list(sys.argv), named, directory)
        self.link.setup(setup)

    @property
    def load(self) -> int:
        """How many jobs it has."""
        return len(self.link.outstanding)

    @property
    def running(self) -> Job | None:
        """The job that began last, if it has not been reported yet."""
        task, attempt = CELL.unpack_from(self._cell, 0)
        return self.link.outstanding.get((task, attempt))

    def call_back(self) -> None:
        """Ask for the jobs that have not begun, and for all results so far.

        Raises:
            ConnectionLost: It is dead.
        """
        if self.called_back is None:
            self.called_back = monotonic()
            self._cell[FLAG] = 1
            self.link.call_back()

    def not_begun(self) -> list[Job]:
        """Take the jobs that it cannot have begun, some time after `call_back`."""
        running = self.running
        if running is None:
            return []
        ids = list(self.link.outstanding)
        return self.link.take(ids[ids.index(running.id) + 1 :])

    def take_last_words(self) -> None:
        """What it reported before its death counts."""
        try:
            while self._is_dead():
                self.link.read()
        except (ConnectionLost, ProtocolError):
            return  # that was all

    def kill(self, reason: str) -> None:
        """Kill it with all that its tasks started.

        Args:
            reason: Goes into the certificate: `timeout`, `cancelled` or empty.
        """
        self.killed_for = self.killed_for or reason
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return  # dead already

    def bury(self) -> Certificate:
        """Reap it when it is dead; return what is known of its death."""
        peak = self._reap()
        code = self.process.wait()
        # Its tasks may have left processes behind, which nobody else would end.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        return self._certificate(code, peak)

    def _is_dead(self) -> bool:
        """Tell whether it has ended, and leave it to be reaped."""
        if self.process.returncode is None and hasattr(os, "waitid"):
            look = os.WEXITED | os.WNOHANG | os.WNOWAIT
            with contextlib.suppress(ChildProcessError):
                return os.waitid(os.P_PID, self.pid, look) is not None
        return self.process.poll() is not None

    def _reap(self) -> int:
        """Wait for its end in the way that also tells its peak memory, in bytes; 0 if unknown."""
        if self.process.returncode is not None or not hasattr(os, "wait4"):
            return 0
        try:
            _, status, usage = os.wait4(self.pid, 0)
        except ChildProcessError:
            return 0  # somebody else has reaped it
        self.process.returncode = os.waitstatus_to_exitcode(status)
        return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)

    def _certificate(self, code: int, peak: int) -> Certificate:
        if code < 0:
            try:
                detail = signal.Signals(-code).name
            except ValueError:
                detail = f"signal {-code}"
            reason = "signal"
            if -code == signal.SIGKILL and not self.killed_for:
                kills = _memory.kills()
                if kills is not None and kills > (self._memory_kills or 0):
                    detail += ", out of memory: the kernel killed it"
        else:
            detail = f"exit code {code}"
            reason = "exit"
        last = [line for output in self.outputs for line in output.last]
        return Certificate(
            self.killed_for or reason,
            detail,
            socket.gethostname(),
            self.pid,
            output=tuple(last[-_LAST_LINES:]),
            peak_memory=peak,
        )

    def close(self) -> None:
        """Let go of its channels and descriptors; it must be dead and reaped."""
        self.link.close()
        for output in self.outputs:
            output.close()
        os.close(self._lifeline)
        self._cell.close()
        if self.sentinel >= 0:
            os.close(self.sentinel)


def _shared_memory(size: int) -> int:
    """Return the descriptor of memory that a child can map."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("fancypipe-cell", 0)
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor


def _sentinel(pid: int) -> int:
    """Return a descriptor that is readable when the process has ended; -1 where there is none.

    Without one its death is seen by the end of its channel.
    """
    if not hasattr(os, "pidfd_open"):
        return -1
    try:
        return os.pidfd_open(pid)
    except OSError:
        return -1


def _interpreter() -> list[str]:
    """Return this interpreter with the options it was started with."""
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    if sys.version_info >= (3, 11) and "-P" not in flags and "-I" not in flags:
        # A file in the current folder must not stand in for a module of ours.
        flags.append("-P")
    return [sys.executable, *flags]


def _environment(threads: int) -> dict[str, str]:
    environment = dict(os.environ)
    for name in _THREAD_VARIABLES:
        environment.setdefault(name, str(threads))
    return environment
