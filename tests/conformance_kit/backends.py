"""Backends for the kit: ours behind a channel, and the pools of the standard library."""

from __future__ import annotations

import multiprocessing
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from time import monotonic
from typing import Protocol

from fancypipe_core import errors
from fancypipe_core._plugins import discovery
from fancypipe_core._plugins.blame import make_backend
from fancypipe_core.backend import (
    BackendOptions,
    BackendPlugin,
    Certificate,
    Event,
    Job,
    JobId,
    Lost,
    Sink,
    Slots,
)
from fancypipe_core.toolkit import (
    ChannelBackend,
    FuturesBackend,
    Runner,
    Server,
    Setup,
    SocketChannel,
    decode_command,
    set_main_script,
    setup_of,
)

_LIMIT = 30.0  # seconds that the far end may take beyond the grace time


def serve_named(sock: socket.socket, name: str, workers: int, *, settle_in: bool = False) -> None:
    """Serve a backend that is found by its name, at the far end of a socket."""
    channel = SocketChannel(sock, blocking=True)
    try:
        setup = decode_command(channel.receive())
        assert isinstance(setup, Setup)
        if settle_in:
            sys.path[:] = setup.path
            sys.argv[:] = setup.argv
            set_main_script(setup.main)
        with tempfile.TemporaryDirectory() as folder:
            options = BackendOptions(workers, folder, lambda: Runner(folder, live=False))
            Server(channel).serve(make_backend(discovery.find(name), options))
    finally:
        channel.close()


class FarEnd(Protocol):
    """What serves a backend somewhere else."""

    def end(self, limit: float) -> None:
        """Wait until it has ended, or end it; leave nothing."""


class ThreadEnd:
    """In a thread of this process."""

    def __init__(self, sock: socket.socket, name: str, workers: int) -> None:
        self._thread = threading.Thread(target=serve_named, args=(sock, name, workers), daemon=True)
        self._thread.start()

    def end(self, limit: float) -> None:
        self._thread.join(limit)


class ProcessEnd:
    """In a process of its own, which knows of this one what came over the channel."""

    def __init__(self, sock: socket.socket, name: str, workers: int) -> None:
        command = [sys.executable, "-m", __name__, str(sock.fileno()), name, str(workers)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.process = subprocess.Popen(command, pass_fds=[sock.fileno()], env=environment)
        sock.close()

    def end(self, limit: float) -> None:
        try:
            self.process.wait(limit)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Channelled:
    """A backend at the far end of a channel.

    Args:
        options: What the engine gave.
        name: The backend at the far end.
        far_end: Where that is.
    """

    def __init__(
        self,
        options: BackendOptions,
        name: str,
        far_end: Callable[[socket.socket, str, int], FarEnd],
    ) -> None:
        self._options = options
        self._name = name
        self._far_end = far_end
        self._sink: Sink = _ignore
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)

    def start(self, sink: Sink) -> None:
        ours, theirs = socket.socketpair()
        self._sink = sink
        self._end = self._far_end(theirs, self._name, self._options.workers)
        channel = SocketChannel(ours, blocking=False)
        self.link = ChannelBackend(channel, self._pass)
        self.link.setup(setup_of(self._options.directory))
        self._selector.register(channel, selectors.EVENT_READ)
        self._selector.register(self._wake_in, selectors.EVENT_READ)

    def submit(self, jobs: Sequence[Job]) -> None:
        try:
            self.link.submit(jobs)
        except errors.ConnectionLost:
            self._gone()

    def cancel(self, ids: Sequence[JobId]) -> None:
        try:
            self.link.cancel(ids)
        except errors.ConnectionLost:
            self._gone()

    def recall(self, ids: Sequence[JobId]) -> None:
        try:
            self.link.recall(ids)
        except errors.ConnectionLost:
            self._gone()

    def drive(self, timeout: float | None) -> None:
        channel = self.link.channel
        writes = selectors.EVENT_WRITE if channel.pending else 0
        if channel.fileno() >= 0:
            self._selector.modify(channel, selectors.EVENT_READ | writes)
        for key, mask in self._selector.select(timeout):
            if key.fd == self._wake_in:
                os.read(self._wake_in, 4096)
                continue
            try:
                if mask & selectors.EVENT_WRITE:
                    channel.flush()
                if mask & selectors.EVENT_READ:
                    self.link.read()
            except errors.ConnectionLost:
                self._gone()

    def wake(self) -> None:
        try:
            os.write(self._wake_out, b"x")
        except BlockingIOError:
            return

    def _pass(self, events: Sequence[Event]) -> None:
        self._sink(events)

    def _gone(self) -> None:
        """The far end is gone, and with it all that was there."""
        if self.link.channel.fileno() >= 0:
            self._selector.unregister(self.link.channel)
            self.link.close()
        why = Certificate("exit", "the other end is gone", "", 0, guilty=False)
        lost = self.link.take()
        self._sink([Slots(0), *(Lost(job.id, why) for job in lost)])

    def stop(self, grace: float) -> None:
        self._sink = _ignore
        until = monotonic() + grace + _LIMIT
        try:
            self.link.ask_to_stop(grace)
        except errors.ConnectionLost:
            self._gone()
        while self.link.channel.fileno() >= 0 and monotonic() < until:
            self.drive(0.1)
        self._end.end(max(until - monotonic(), 0.0))
        self.link.close()
        self._selector.close()
        os.close(self._wake_in)
        os.close(self._wake_out)


def _ignore(_: object) -> None:
    """Nobody listens."""


def _channelled(
    name: str, far_end: Callable[[socket.socket, str, int], FarEnd]
) -> Callable[[BackendOptions], Channelled]:
    return lambda options: Channelled(options, name, far_end)


def _processes(count: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("forkserver"))


channel_threads = BackendPlugin(
    "channel-threads",
    (),
    "threads, at the far end of a channel",
    _channelled("threads", ThreadEnd),
)
channel_procs = BackendPlugin(
    "channel-procs",
    (),
    "procs in another process, at the far end of a channel",
    _channelled("procs", ProcessEnd),
)
thread_pool = BackendPlugin(
    "thread-pool",
    (),
    "ThreadPoolExecutor through FuturesBackend",
    lambda options: FuturesBackend(ThreadPoolExecutor, options),
    shares_memory=True,
)
process_pool = BackendPlugin(
    "process-pool",
    (),
    "ProcessPoolExecutor through FuturesBackend",
    lambda options: FuturesBackend(_processes, options),
)

PLUGINS = [channel_threads, channel_procs, thread_pool, process_pool]

if __name__ == "__main__":
    served = socket.socket(fileno=int(sys.argv[1]))
    served.set_inheritable(False)
    serve_named(served, sys.argv[2], int(sys.argv[3]), settle_in=True)
