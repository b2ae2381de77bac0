"""One worker process as the client has it: its start, its channel, its cell, its death."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence

from fancypipe_core.backend import Certificate, Done, Environment, JobId
from fancypipe_core.errors import ConnectionLost
from fancypipe_core.toolkit import (
    Connection,
    Passage,
    Setup,
    SocketChannel,
    boot_clock,
    interpreter,
    usable_cores,
)
from fancypipe_core.toolkit.death import cause_of_death, memory_kills
from fancypipe_core.toolkit.pool import states
from fancypipe_procs import _spawn
from fancypipe_procs._cell import BUSY, CELL, CELL_SIZE, CHANNEL_LOST, RECALLS, RECALLS_AT
from fancypipe_procs._output import Output

__all__ = ["SPOILT", "Process"]

SPOILT = "a task closed its worker's channel to the client, or wrote into it"
_LAST_LINES = 50  # of its output, in a death certificate


class Process:
    """A child process.

    Args:
        number: The pool machine's.
        setup: What it must know before its first job.
        workers: How many there are to be: they share the cores.
        mark: By which its descendants are known.
        environment: What tasks are to find; None for what there is.

    Attributes:
        is_up: Whether it has come up.
        is_ending: Whether its death is to be expected.
        reported: The job whose end it told last.
        has_hung_up: Whether nothing is read from its channel any more.
        wants_room: Whether something waits for room in its channel, as the selector knows.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(
        self,
        number: int,
        setup: Setup,
        workers: int,
        mark: str,
        environment: Environment | None,
    ) -> None:
        self.number = number
        ours, theirs = socket.socketpair()
        our_control, their_control = socket.socketpair()
        our_passage, their_passage = socket.socketpair()
        watch, self._lifeline = os.pipe()
        self.mark = mark
        self._threads = max(1, usable_cores() // workers)
        variables = os.environ if environment is None else environment.variables
        self._variables = _spawn.environment(self._threads, mark, variables)
        folder = environment.folder if environment is not None else ""
        self.since_boot = boot_clock()
        cell = _spawn.shared_memory(CELL_SIZE)
        self._cell = mmap.mmap(cell, CELL_SIZE)
        passed = (theirs.fileno(), their_control.fileno(), cell, watch, their_passage.fileno())
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
                cwd=_there(folder, os.path.dirname(setup.directory)),
            )
        except BaseException:
            for end in (ours, our_control, our_passage, *self.outputs):
                end.close()
            os.close(self._lifeline)
            self._cell.close()
            raise
        finally:
            theirs.close()
            their_control.close()
            their_passage.close()
            for descriptor in (cell, watch, write_out, write_err):
                os.close(descriptor)
        self.pid = self.process.pid
        self._memory_kills = memory_kills()
        self.sentinel = _spawn.sentinel(self.pid)
        self.is_up = self.is_ending = self.has_hung_up = self.wants_room = False
        self.reported: JobId = (0, 0)
        self._moved = 0  # bytes on its channel at the last look
        self._killed_for = self._killed_why = ""
        self._recalls = 0
        self.connection = Connection(
            SocketChannel(ours, blocking=False, passage=Passage(our_passage)),
            SocketChannel(our_control, blocking=False),
        )
        with contextlib.suppress(ConnectionLost):  # its death is seen by its sentinel
            self.connection.setup(setup)

    @property
    def last(self) -> JobId:
        """The job that it began last; (0, 0) if there was none."""
        task, attempt = CELL.unpack_from(self._cell, 0)
        return task, attempt

    @property
    def has_begun(self) -> bool:
        """Whether it has ever begun a job."""
        return self.last != (0, 0)

    def seen(self) -> states.Seen:
        """See what it does."""
        # A large job takes its time to be read, the longer the more the machine has to do.
        before, self._moved = self._moved, self.connection.channel.moved
        works = bool(self._cell[BUSY]) or self._moved != before
        return states.Seen(self.number, self.last, self.has_begun, works, self.is_stopped())

    def take_reports(self, events: list[states.Event]) -> None:
        """Write down what it has said since the last time.

        Raises:
            ConnectionLost: It is gone, and all it said was taken.
            ProtocolError: It sent what is no report.
        """
        for reports in self.connection.reports():
            if not self.is_up:
                self.is_up = True
                events.append(states.Up(self.number))
                continue  # of its one slot, which is one of the client's many
            for event in reversed(reports):
                if isinstance(event, Done):
                    self.reported = event.id
                    break
            events.append(states.Ended(self.number, reports))

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
            self.connection.adapt(changes, environment.folder)

    def recall(self, ids: Sequence[JobId]) -> None:
        """Ask for these jobs as far as they have not begun, and for all results so far.

        Raises:
            ConnectionLost: It is dead.
        """
        self._recalls += 1
        RECALLS.pack_into(self._cell, RECALLS_AT, self._recalls)
        self.connection.recall(ids)

    def kill(self, reason: str = "", why: str = "") -> None:
        """Kill it with its process group.

        Args:
            reason: Goes into the certificate, as does `why`; empty if it is dead
                already, and only its group is left.
            why: A phrase; empty for the signal's name.
        """
        if reason and not self._killed_for:
            self._killed_for, self._killed_why = reason, why
            self.is_ending = True
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
        reason = self._killed_for or ("signal" if code < 0 else "exit")
        detail = self._killed_why or cause_of_death(code)
        if code == -signal.SIGKILL and not self._killed_for:
            kills = memory_kills()
            if kills is not None and kills > (self._memory_kills or 0):
                detail += ", out of memory: the kernel killed it"
        elif code == CHANNEL_LOST and self.has_begun and not self._killed_for:
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

    def forget(self) -> None:
        """This process is a fork of the one that started it: close what it holds of it."""
        self.process.returncode = 0  # it is nothing to wait for
        self.close()

    def close(self) -> None:
        """Let go of its channels and descriptors; it is dead and reaped, or another process's."""
        self.connection.close()
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
