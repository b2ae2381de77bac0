"""What a worker process does: serve jobs, and put itself in order between them."""

from __future__ import annotations

import atexit
import faulthandler
import io
import mmap
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

from fancypipe_core.backend import Job, Note
from fancypipe_core.errors import ChannelError
from fancypipe_core.toolkit import (
    InlineBackend,
    Passage,
    Runner,
    Server,
    Setup,
    SocketChannel,
    decode_command,
    fault,
    ignore_ctrl_c,
    set_main_script,
)
from fancypipe_procs._cell import BUSY, CELL, CELL_SIZE, CHANNEL_LOST, RECALLS, RECALLS_AT
from fancypipe_procs._granting import Granting
from fancypipe_procs._isolation.reset import Isolation

__all__ = ["main"]

_F_ADD_SEALS = 1033  # of Linux; `fcntl` has names for them only in new Pythons
_F_SEAL_FUTURE_WRITE = 0x10


def _die_with_parent(lifeline: int) -> None:
    """Let the kernel kill us when the lifeline's other end is closed.

    The kernel sends the signal, so a task that never gives the interpreter back
    dies as well.  Linux only; elsewhere the control channel's end does it.
    """
    if sys.platform != "linux":
        return
    import fcntl

    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)
    # It may have been closed before the kernel was told to watch.
    import select

    if select.select([lifeline], [], [], 0)[0]:
        os._exit(0)


def _map_cell(descriptor: int) -> mmap.mmap:
    """Map the cell; afterwards nobody can write to it through the descriptor."""
    cell = mmap.mmap(descriptor, CELL_SIZE)
    if sys.platform == "linux":
        import fcntl

        # A task that writes junk to all descriptors must not reach it.
        with suppress(OSError):  # an old kernel
            fcntl.fcntl(descriptor, _F_ADD_SEALS, _F_SEAL_FUTURE_WRITE)
    return cell


class _Work:
    """What happens around jobs: the cell is written, and the house is kept.

    Args:
        cell: Shared with the client.
        runner: Runs the jobs.
        channel: To the client, as is `control`.
    """

    def __init__(
        self, cell: mmap.mmap, runner: Runner, channel: SocketChannel, control: SocketChannel
    ) -> None:
        self._cell = cell
        self._runner = runner
        self._isolation: Isolation | None = None
        self._granting: Granting | None = None  # once there was a task with needs
        self._is_due: Callable[[], bool] = lambda: False
        self._label = ""  # of the job that began last
        self._is_over = False  # whether this process is to be replaced
        self._pack = CELL.pack_into
        self._server = Server(channel, control, self._adapt)
        self._backend = InlineBackend(
            runner, self._begin, kills=True, end=self._end, idle=self._listen
        )

    def serve(self) -> None:
        """Run jobs until told to stop, or this process is to be replaced.

        Raises:
            ChannelError: The client is gone, or a task has spoilt the channel.
        """
        self._server.serve(self._backend)
        if self._isolation is not None:
            self._isolation.clear()

    def _begin(self, job: Job) -> bool:
        # A follower finds all as if its needs had come to the client and back.
        if (job.after or self._is_due()) and not self._is_in_order(idle=False):
            return False
        if self._granting is not None:
            self._granting.take_back()
        if job.needs is not None:
            self._granting = self._granting or Granting()
            self._granting.give(job)
        self._label = job.call.label
        cell = self._cell
        cell[BUSY] = 1
        self._pack(cell, 0, *job.id)
        fault("child.begun")
        return RECALLS.unpack_from(cell, RECALLS_AT)[0] == self._server.recalls  # type: ignore[no-any-return]

    def _end(self) -> None:
        """No task runs now."""
        self._cell[BUSY] = 0
        fault("child.ended")

    def _listen(self) -> None:
        """Nothing may run: there is time to look around, before the next command."""
        _flush()
        if self._isolation is None:
            # Now all is there that is ours, such as the thread for commands.
            self._isolation = Isolation()
            self._is_due = self._isolation.is_due
        fault("child.idle")
        if not self._is_over and self._is_in_order(idle=True):
            self._server.hear()
            self._isolation.rested()

    def _adapt(self, variables: dict[str, str | None], folder: str) -> None:
        """The jobs that come from now on are to find this."""
        assert self._isolation is not None, "made before anything was heard"
        self._isolation.adapt(variables, folder)

    def _is_in_order(self, idle: bool) -> bool:
        """See what the last job has left, and put it right; else this process is to end."""
        if self._isolation is None or not self._label:
            return True
        found = self._isolation.put_right(self._label, idle)
        if self._runner.out_of_memory:
            found.end = "a task ran out of memory"
        if found.end:
            self._is_over = True
            self._server.end()
            found.notes.append(
                f"the worker process {os.getpid()} is replaced after {self._label}: {found.end}"
            )
        if found.notes:
            self._runner.tell([Note(None, "warning", text) for text in found.notes])
        return not self._is_over


def main(argv: list[str]) -> None:
    """Serve jobs until told to stop.

    Args:
        argv: The numbers of five inherited descriptors: channel, control,
            cell, lifeline, passage.
    """
    descriptors = [int(number) for number in argv]
    for number in descriptors:
        os.set_inheritable(number, False)  # they are not for what tasks start
    _die_with_parent(descriptors[3])
    fault("child.start")
    passage = Passage(socket.socket(fileno=descriptors[4]))
    channel = SocketChannel(socket.socket(fileno=descriptors[0]), blocking=True, passage=passage)
    control = SocketChannel(socket.socket(fileno=descriptors[1]), blocking=True)
    cell = _map_cell(descriptors[2])
    # The stack of a crash goes to stderr, and from there into the death certificate.
    faulthandler.enable(all_threads=False)
    for stream in (sys.stdout, sys.stderr):
        # Into a pipe Python would write by the block, and a line would come too late.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)
    # The terminal's Ctrl-C is for the client, which tells us what it means.
    ignore_ctrl_c()
    try:
        setup = decode_command(channel.receive())
        assert isinstance(setup, Setup), "the first command must be the setup"
        sys.path[:] = setup.path
        sys.argv[:] = setup.argv
        set_main_script(setup.main)
        runner = Runner(
            setup.directory,
            live=False,
            shares=True,
            measures=setup.measures,
            apart=setup.apart,
            pictures=setup.pictures,
        )
        _Work(cell, runner, channel, control).serve()
    except ChannelError:
        # The client is gone, and there is nobody to tell; or a task has done it.
        os._exit(CHANNEL_LOST)
    # What tasks registered and printed is done; the rest of a shutdown is not
    # needed, and threads that tasks left behind must not hold us up.
    atexit._run_exitfuncs()
    _flush()
    os._exit(0)


def _flush() -> None:
    """Write out what tasks have printed."""
    for stream in (sys.stdout, sys.stderr):
        try:  # a `suppress` takes longer than that, and this is done for each lone task
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue  # the user has closed or replaced it
