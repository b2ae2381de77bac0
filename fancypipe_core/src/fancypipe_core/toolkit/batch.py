"""The worker's side of `FuturesBackend`: what a pool calls, there or in this process."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Sequence
from time import perf_counter
from typing import Any, NamedTuple

from fancypipe_core._base.faults import fault
from fancypipe_core._base.main_module import set_main_script
from fancypipe_core._base.signals import ignore_ctrl_c
from fancypipe_core._wire import messages
from fancypipe_core._wire.channel import Frame
from fancypipe_core._worker.environment import apply
from fancypipe_core._worker.runner import Runner
from fancypipe_core.backend import Call, Event, Job, JobId, JobRunner
from fancypipe_core.errors import ProtocolError

__all__ = ["answer", "copied", "run_batch", "run_jobs", "this_process"]

_LIMIT = 0.02  # seconds after which a batch gives back what it has not begun
_CALLS = 1000  # that a worker remembers


def this_process() -> str:
    """Return what no other process has."""
    return f"{socket.gethostname()}:{os.getpid()}"


def answer(_: None) -> str:
    """Say that this worker is up: what a pool calls before a job that is tried alone."""
    fault("batch.answer")
    return this_process()


def copied(buffers: Sequence[Any]) -> list[bytearray]:
    """Pools pickle in their own ways; this they all can, and it comes back writable."""
    return [bytearray(memoryview(buffer).cast("B")) for buffer in buffers]


class _Room(NamedTuple):
    """What a thread of a worker keeps from batch to batch of a session."""

    setup: bytes
    runner: Runner
    calls: dict[tuple[str, tuple[bytes, ...]], Call]
    notes: list[Event]


_here = threading.local()


def run_batch(batch: tuple[bytes, str, bytes, list[bytearray]]) -> Frame:
    """Run the jobs of a batch; the pool calls this in a worker.

    Args:
        batch: The session's setup, the client's process, and a frame with jobs.
    """
    fault("batch.begin")
    setup, client, head, buffers = batch
    room: _Room | None = getattr(_here, "room", None)
    if room is None or room.setup != setup or len(room.calls) > _CALLS:
        room = _here.room = _enter(setup, at_home=client == this_process())
    command = messages.decode_command((head, buffers))
    if not isinstance(command, messages.Jobs):
        raise ProtocolError("a batch that holds no jobs")
    jobs = []
    for job in messages.FromWorker().jobs(command, buffers):
        # The same call as in earlier batches, so that the runner has it ready.
        key = (job.call.label, tuple(payload.head for payload in job.call.body))  # type: ignore[union-attr]
        call = room.calls.setdefault(key, job.call)
        jobs.append(Job(job.id, call, job.inputs, job.time_limit, job.alone))
    events, returned = run_jobs(room.runner, jobs)
    head, found = messages.encode_report([*room.notes, *events], returned)
    room.notes.clear()
    fault("batch.report")
    return head, copied(found)


def _enter(encoded: bytes, at_home: bool) -> _Room:
    setup = messages.decode_command((encoded, []))
    if not isinstance(setup, messages.Setup):
        raise ProtocolError("a batch without setup")
    if not at_home:
        _settle_in(setup)
    notes: list[Event] = []
    runner = Runner(setup.directory, live=False)
    runner.connect(notes.extend)
    return _Room(encoded, runner, {}, notes)


def _settle_in(setup: messages.Setup) -> None:
    """Make this process a worker of the client."""
    import multiprocessing

    sys.path.extend(entry for entry in setup.path if entry not in sys.path)
    sys.argv[:] = setup.argv
    set_main_script(setup.main)
    if setup.adapt is not None:
        apply(setup.adapt.variables, setup.adapt.folder)
    parent = multiprocessing.parent_process()
    if parent is not None and threading.current_thread() is threading.main_thread():
        # The terminal's Ctrl-C is for the client; and without it nobody needs us.
        ignore_ctrl_c()
        threading.Thread(target=_outlive, args=(parent,), daemon=True).start()


def _outlive(parent: Any) -> None:
    parent.join()
    os._exit(0)


def run_jobs(runner: JobRunner, jobs: list[Job]) -> tuple[list[Event], list[JobId]]:
    """Run jobs until all are done or it takes too long; return what is left."""
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
    return ended, [job.id for job in jobs[len(ended) :]]
