"""One worker process, seen from the client: its start, its channel, its death."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from time import monotonic

from fancypipe_core.backend import (
    Certificate,
    ChannelBackend,
    Environment,
    Event,
    Job,
    JobId,
    Setup,
    SocketChannel,
    interpreter,
    main_script,
)
from fancypipe_core.errors import ConnectionLost, ProtocolError
from fancypipe_procs import _memory, _spawn
from fancypipe_procs._output import Output
from fancypipe_procs._strays import boot_clock
from fancypipe_procs.child import BUSY, CELL, CELL_SIZE, CHANNEL_LOST, FLAG

__all__ = ["SPOILT", "Worker"]

SPOILT = "a task closed its worker's channel to the client, or wrote into it"
_LAST_LINES = 50  # of its output, in a death certificate


class Worker:
    """A child process and the jobs that it has.

    Args:
        directory: The session's folder for temporary files.
        threads: How many threads numerical libraries may use in it.
        mark: By which its descendants are known.
        environment: What tasks are to find; None for what there is.
        sink: Takes its events.
        gave_back: Takes the jobs that it returned.

    Attributes:
        born: When it was started, on the monotonic clock.
        heard: When it last reported, took something, or got work while idle.
        ready: Whether it has come up.
        alone: Whether it has a job that must have no other beside it.
        retiring: Whether it gets nothing more, so that it can be replaced when idle.
        may_end: Whether its end is in order.
        called_back: When it was asked to give jobs back.
        kill_at: When to kill it, for each cancelled job that may run in it.
        gone_by: When it must have ended, once it is on its way out.
        killed_at: When it was killed by us.
        silent: For how long it has been stopped or has done nothing, in seconds.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(
        self,
        directory: str,
        threads: int,
        mark: str,
        environment: Environment | None,
        sink: Callable[[Sequence[Event]], None],
        gave_back: Callable[[Worker, Sequence[Job]], None],
    ) -> None:
        ours, theirs = socket.socketpair()
        our_control, their_control = socket.socketpair()
        watch, self._lifeline = os.pipe()
        self.mark = mark
        self._threads = threads
        variables = os.environ if environment is None else environment.variables
        self._variables = _spawn.environment(threads, mark, variables)
        folder = environment.folder if environment is not None else ""
        self.since_boot = boot_clock()
        cell = _spawn.shared_memory(CELL_SIZE)
        self._cell = mmap.mmap(cell, CELL_SIZE)
        passed = (theirs.fileno(), their_control.fileno(), cell, watch)
        read_out, write_out = os.pipe()
        read_err, write_err = os.pipe()
        self._folder = folder or _here()
        self.outputs = (Output("stdout", read_out), Output("stderr", read_err))
        try:
            self.process = subprocess.Popen(
                [*interpreter("fancypipe_procs.child"), *map(str, passed)],
                stdin=subprocess.DEVNULL,
                stdout=write_out,
                stderr=write_err,
                pass_fds=passed,
                # A group and session of its own: the terminal's Ctrl-C is not for it,
                # and what its tasks start can be killed with it.
                start_new_session=True,
                env=self._variables,
                cwd=_there(folder, os.path.dirname(directory)),
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
        self.sentinel = _spawn.sentinel(self.pid)
        self.born = self.heard = monotonic()
        self.ready = self.alone = self.retiring = self.may_end = False
        self.called_back: float | None = None
        self.kill_at: dict[JobId, float] = {}
        self.gone_by: float | None = None
        self.gone_reason = ("", "")
        self.killed_at: float | None = None
        self.killed_for = ""
        self._killed_why = ""
        self.silent = 0.0
        self._heard_at_look = 0.0
        self.link = ChannelBackend(
            SocketChannel(ours, blocking=False),
            SocketChannel(our_control, blocking=False),
            sink,
            lambda jobs: gave_back(self, jobs),
        )
        main = main_script()
        named = (main.kind, main.value) if main is not None else None
        setup = Setup(list(sys.path), list(sys.argv), named, directory)
        with contextlib.suppress(ConnectionLost):  # its death is seen by its sentinel
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

    @property
    def has_begun(self) -> bool:
        """Whether it has ever begun a job."""
        return CELL.unpack_from(self._cell, 0) != (0, 0)

    def look(self, seconds: float) -> str:
        """See whether it lives; called now and then.

        Args:
            seconds: How long it has been since the last look, at most 1: so that
                time in which the client itself was stopped does not count.

        Returns:
            What is wrong with it; empty if nothing is.
        """
        stopped = self.is_stopped()
        moved = self.heard != self._heard_at_look
        self._heard_at_look = self.heard
        # A task may do what it likes for as long as it likes, and keep the
        # interpreter for itself.  Between tasks there is no reason for silence.
        idles = self.ready and self.load and not self._cell[BUSY] and not moved
        self.silent = self.silent + seconds if stopped or idles else 0.0
        if stopped:
            return "it was stopped by a signal and not continued"
        return "it had jobs, and ran none of them" if idles else ""

    def is_stopped(self) -> bool:
        """Tell whether a signal has stopped it."""
        if self.process.returncode is not None or not hasattr(os, "waitid"):
            return False
        with contextlib.suppress(ChildProcessError):
            look = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
            return os.waitid(os.P_PID, self.pid, look) is not None
        return False

    def adapt(self, environment: Environment) -> None:
        """Let the tasks that are sent from now on find this.

        Raises:
            ConnectionLost: It is dead.
        """
        before = self._variables
        now = _spawn.environment(self._threads, self.mark, environment.variables)
        self._variables = now
        changes = {name: now.get(name) for name in before.keys() | now.keys()}
        changes = {name: value for name, value in changes.items() if value != before.get(name)}
        if changes or environment.folder != self._folder:
            self._folder = environment.folder
            self.link.adapt(changes, environment.folder)

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
        ids = list(self.link.outstanding)
        # If the job that began last has been reported, none of these has begun.
        begun = 0 if running is None else ids.index(running.id) + 1
        return self.link.take(ids[begun:])

    def take_last_words(self) -> None:
        """What it reported before its death counts."""
        # Once is all: nobody writes any more, or only a process that its tasks have
        # forked, which holds the other end open.
        with contextlib.suppress(ConnectionLost, ProtocolError):
            self.link.read()

    def kill(self, reason: str = "", why: str = "") -> None:
        """Kill it with its process group.

        Args:
            reason: Goes into the certificate, as does `why`; empty if it is dead
                already, and only its group is left.
            why: A phrase; empty for the signal's name.
        """
        if reason and not self.killed_for:
            self.killed_for, self._killed_why = reason, why
            self.killed_at = monotonic()
        # Before it is reaped: afterwards its number may be somebody else's.
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def bury(self) -> Certificate:
        """Reap it when it is dead, or give it up; return what is known of its death."""
        if not self.is_dead():
            self._killed_why = "it was killed, but hangs in the kernel and is not gone"
            self.process.returncode = -signal.SIGKILL  # nobody will ask for it again
            return self._certificate(-signal.SIGKILL, 0)
        peak = self._reap()
        return self._certificate(self.process.wait(), peak)

    def is_dead(self) -> bool:
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
        reason = self.killed_for or ("signal" if code < 0 else "exit")
        detail = self._killed_why or _cause_of_death(code)
        if code == -signal.SIGKILL and not self.killed_for:
            kills = _memory.kills()
            if kills is not None and kills > (self._memory_kills or 0):
                detail += ", out of memory: the kernel killed it"
        elif code == CHANNEL_LOST and self.has_begun and not self.killed_for:
            reason, detail = "protocol", SPOILT
        last = [line for output in self.outputs for line in output.last]
        return Certificate(
            reason,
            detail,
            socket.gethostname(),
            self.pid,
            output=tuple(last[-_LAST_LINES:]),
            peak_memory=peak,
        )

    def close(self) -> None:
        """Let go of its channels and descriptors; it is dead and reaped, or another process's."""
        self.link.close()
        for output in self.outputs:
            output.close()
        os.close(self._lifeline)
        self._cell.close()
        if self.sentinel >= 0:
            os.close(self.sentinel)


def _there(folder: str, instead: str) -> str | None:
    """Return where a worker starts; None for where we are.  It cannot start where nothing is."""
    if folder and os.path.isdir(folder):
        return folder
    return None if _here() else instead


def _here() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""  # it was removed


def _cause_of_death(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
