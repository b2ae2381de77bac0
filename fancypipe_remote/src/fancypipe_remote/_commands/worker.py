"""`fancypipe worker`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence

from fancypipe_core import errors
from fancypipe_core.backend import Needs
from fancypipe_core.toolkit import several
from fancypipe_remote import _address
from fancypipe_remote._auth.keys import WORKER
from fancypipe_remote._client.connect import keys_of, meet
from fancypipe_remote._log import log
from fancypipe_remote._settings import WorkerSettings
from fancypipe_remote._transport import Dialer
from fancypipe_remote._worker.daemon import Worker

__all__ = ["worker"]


def worker(settings: WorkerSettings, _words: Sequence[str]) -> int:
    """Run a worker until it is told to stop."""
    from fancypipe_core.toolkit import (
        bytes_of,
        local_backend,
        show_devices,
        this_machine,
        usable_cores,
    )

    base = os.path.abspath(settings.tempdir or tempfile.gettempdir())
    if not os.access(base, os.W_OK | os.X_OK):
        raise errors.UsageError(
            f"-tempdir={base}: there is no such folder, or it cannot be written"
        )
    slots = settings.numworkers or usable_cores()
    if settings.devices is not None:
        show_devices(settings.devices)
    there = this_machine(slots)
    if settings.memory is not None:
        memory = bytes_of(settings.memory)
        if not memory:
            raise errors.UsageError(f"-memory={settings.memory}: give it as 500M or 64G")
        there = there._replace(memory=memory)
    # That it is not installed, or broken, is said now.
    backend = settings.workertype or ""
    local_backend(backend, slots, base)().stop(0.0)
    address = _address.parse(settings.jobmanager)
    keys = keys_of(settings.jobauth, settings.cluster, WORKER)
    found = meet(address, keys, settings.wait)
    served = Worker(Dialer(found, keys), keys, there, backend, base, settings.wait, _say)
    served.once = settings.once
    served.stop_on_signals()
    has = Needs(1, there.memory, len(there.devices))
    beside = f"; for tasks that need it: {has}" if has.names else ""
    _say(f"{several(slots, 'slot')}, manager at {address}{beside}")
    served.run(settings.grace)
    _say("stopped")
    return 0


def _say(line: str) -> None:
    log(f"fancypipe worker: {line}")
