"""The worker's side of `FuturesBackend`: what a pool calls, there or in this process."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Sequence
from time import perf_counter
from typing import Any

from fancypipe_core._base.faults import fault
from fancypipe_core._base.main_module import set_main_script
from fancypipe_core._base.signals import ignore_ctrl_c
from fancypipe_core._wire import messages
from fancypipe_core._wire.channel import Frame
from fancypipe_core._worker.environment import apply
from fancypipe_core._worker.runner import Runner
from fancypipe_core.backend import NOT_BEGUN, Event, Job, JobRunner, Lost

__all__ = ["answer", "copied", "run_batch", "run_jobs", "this_process"]

_LIMIT = 0.02  # seconds after which a batch begins no more
_here = threading.local()  # what a thread of a worker keeps from batch to batch of a session


def this_process() -> str:
    """Return what no other process has."""
    return f"{socket.gethostname()}:{os.getpid()}"


def answer(_: None) -> None:
    """Show that a worker is up."""
    fault("batch.answer")


def copied(buffers: Sequence[Any]) -> list[bytearray]:
    """Pools pickle in their own ways; this they all can, and it comes back writable."""
    return [bytearray(memoryview(buffer).cast("B")) for buffer in buffers]


def run_batch(batch: tuple[bytes, str, bytes, list[bytearray]]) -> Frame:
    """Run the jobs of a batch; the pool calls this in a worker.

    Args:
        batch: The session's setup, the client's process, and a frame with jobs.
    """
    fault("batch.begin")
    setup, client, head, buffers = batch
    if getattr(_here, "setup", None) != setup:
        known = messages.decode_command((setup, []))
        assert isinstance(known, messages.Setup), "a batch without setup"
        if client != this_process():
            _settle_in(known, first=not hasattr(_here, "setup"))
        _here.runner, _here.reader = Runner(known.directory, live=False), messages.FromWorker()
        _here.setup = setup
    notes: list[Event] = []
    _here.runner.connect(notes.extend)
    command = messages.decode_command((head, buffers))
    assert isinstance(command, messages.Jobs), "a batch that holds no jobs"
    events = run_jobs(_here.runner, _here.reader.jobs(command, buffers))
    head, found = messages.encode_report([*notes, *events])
    fault("batch.report")
    return head, copied(found)


def _settle_in(setup: messages.Setup, first: bool) -> None:
    """Make this process a worker of the client."""
    import multiprocessing

    sys.path.extend(entry for entry in setup.path if entry not in sys.path)
    sys.argv[:] = setup.argv
    set_main_script(setup.main)
    if setup.adapt is not None:
        apply(setup.adapt.variables, setup.adapt.folder)
    parent = multiprocessing.parent_process()
    if first and parent is not None and threading.current_thread() is threading.main_thread():
        # The terminal's Ctrl-C is for the client; and without it nobody needs us.
        ignore_ctrl_c()
        threading.Thread(target=_outlive, args=(parent,), daemon=True).start()


def _outlive(parent: Any) -> None:
    parent.join()
    os._exit(0)


def run_jobs(runner: JobRunner, jobs: list[Job]) -> list[Event]:
    """Run jobs until all are done or it takes too long; the others are lost, not begun."""
    ended: list[Event] = []
    until = perf_counter() + _LIMIT
    token = runner.enter()
    try:
        for job in jobs:
            if ended and perf_counter() > until:
                break
            ended.append(runner.run(job))
    finally:
        runner.leave(token)
    return ended + [Lost(job.id, NOT_BEGUN) for job in jobs[len(ended) :]]
