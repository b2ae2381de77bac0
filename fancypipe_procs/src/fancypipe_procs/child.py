"""A worker process: `python -m fancypipe_procs.child`, started by the pool and nobody else."""

from __future__ import annotations

import atexit
import faulthandler
import io
import mmap
import os
import signal
import socket
import struct
import sys

from fancypipe_core.backend import (
    InlineBackend,
    Job,
    Runner,
    Setup,
    SocketChannel,
    decode_command,
    serve,
    set_main_script,
)
from fancypipe_core.errors import ChannelError

CELL = struct.Struct("<QQ")
"""What the shared cell holds first: task and attempt of the job that began last.

The byte behind it is the client's flag: no further job may begin.  The child
writes its job and then looks at the flag; the client sets the flag, waits far
longer than a store takes to be seen, and then reads the job.  So whatever
stands behind that job in the order of sending has not begun and never will,
also when a task keeps the child from answering.
"""
FLAG = CELL.size
CELL_SIZE = CELL.size + 8


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


def main(argv: list[str]) -> None:
    """Serve jobs until told to stop.

    Args:
        argv: The numbers of four inherited descriptors: channel, control,
            cell, lifeline.
    """
    descriptors = [int(number) for number in argv]
    for number in descriptors:
        os.set_inheritable(number, False)  # they are not for what tasks start
    _die_with_parent(descriptors[3])
    channel = SocketChannel(socket.socket(fileno=descriptors[0]), blocking=True)
    control = SocketChannel(socket.socket(fileno=descriptors[1]), blocking=True)
    cell = mmap.mmap(descriptors[2], CELL_SIZE)
    # The stack of a crash goes to stderr, and from there into the death certificate.
    faulthandler.enable(all_threads=False)
    for stream in (sys.stdout, sys.stderr):
        # Into a pipe Python would write by the block, and a line would come too late.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)
    # The terminal's Ctrl-C is for the client, which tells us what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        setup = decode_command(channel.receive())
        assert isinstance(setup, Setup), "the first command must be the setup"
        sys.path[:] = setup.path
        sys.argv[:] = setup.argv
        set_main_script(setup.main)
        pack = CELL.pack_into

        def begin(job: Job) -> bool:
            pack(cell, 0, *job.id)
            return not cell[FLAG]

        def called_back() -> bool:
            was = cell[FLAG] != 0
            cell[FLAG] = 0
            return was

        runner = Runner(setup.directory, live=False)
        serve(channel, control, InlineBackend(runner, begin, kills=True), called_back)
    except ChannelError:
        # The client is gone; there is nobody to tell.
        os._exit(0)
    # What tasks registered and printed is done; the rest of a shutdown is not
    # needed, and threads that tasks left behind must not hold us up.
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
