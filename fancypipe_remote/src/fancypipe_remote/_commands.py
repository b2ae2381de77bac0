"""`fancypipe worker` and `fancypipe status`."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from time import monotonic

from fancypipe_core import errors
from fancypipe_remote import _address
from fancypipe_remote._client import keys_of, meet
from fancypipe_remote._declared import StatusSettings, WorkerSettings
from fancypipe_remote._keys import CLIENT, WORKER
from fancypipe_remote._link import LinkState
from fancypipe_remote._log import log
from fancypipe_remote._loop import Loop
from fancypipe_remote._sides import ClientSide
from fancypipe_remote._transport import Dialer
from fancypipe_remote._worker import Worker, hello

__all__ = ["status", "worker"]

_ANSWER = 5.0  # seconds that a manager that was reached has to say who is there


def worker(settings: WorkerSettings, _words: Sequence[str]) -> int:
    """Run a worker until it is told to stop."""
    from fancypipe_core.backend import local_backend

    base = os.path.abspath(settings.tempdir or tempfile.gettempdir())
    if not os.access(base, os.W_OK | os.X_OK):
        raise errors.UsageError(
            f"-tempdir={base}: there is no such folder, or it cannot be written"
        )
    slots = settings.numworkers or _cores()
    # That it is not installed, or broken, is said now.
    local_backend(settings.workertype, slots, base).stop(0.0)
    address = _address.parse(settings.jobmanager)
    keys = keys_of(settings.jobauth, settings.cluster, WORKER)
    found = meet(address, keys, settings.wait)
    served = Worker(
        Dialer(found, keys),
        slots,
        settings.workertype,
        base,
        settings.wait,
        lambda line: log(f"fancypipe worker: {line}"),
    )
    served.stop_on_signals()
    log(f"fancypipe worker: {slots} slots, manager at {address}")
    served.run(settings.grace)
    log("fancypipe worker: stopped")
    return 0


def status(settings: StatusSettings, _words: Sequence[str]) -> int:
    """Say who is there."""
    address = _address.parse(settings.jobmanager)
    keys = keys_of(settings.jobauth, settings.cluster, CLIENT)
    found = meet(address, keys, settings.wait)
    side = ClientSide(hello("client"), _ANSWER, monotonic())
    loop = Loop(Dialer(found, keys), side)
    try:
        until = monotonic() + _ANSWER
        while not side.listed and side.link.state is not LinkState.OVER and monotonic() < until:
            loop.turn(0.1)
        if side.link.was_refused:
            raise errors.VersionMismatch(side.link.why)
        if side.link.manager is None or not side.listed:
            raise errors.ConnectionLost(
                f"the manager at {address} let us in, but did not answer within {_ANSWER:g} s"
            )
        sys.stdout.write(_status(side, str(address)))
    finally:
        loop.close()
    return 0


def _status(side: ClientSide, address: str) -> str:
    manager = side.link.manager
    assert manager is not None
    where = f"{manager.host} (pid {manager.pid})"
    lines = [f"manager at {address}: fancypipe-remote {manager.fancypipe} on {where}"]
    workers = list(side.workers.values())
    slots = sum(info.slots for info in workers)
    others = side.clients - 1
    lines.append(f"{len(workers)} workers with {slots} slots, {others} other clients")
    lines += [
        f"  {info.host} (pid {info.pid}): {info.slots} slots, Python {info.python}, "
        f"fancypipe-remote {info.fancypipe}, load {info.load:.1f}"
        for info in workers
    ]
    if not workers:
        lines.append("  start some with: fancypipe worker -jobmanager=" + address)
    return "\n".join(lines) + "\n"


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
