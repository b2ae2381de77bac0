"""`.result()` inside a task: what it needs runs in the task's own thread."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from fancypipe_core._base.signals import Interrupts
from fancypipe_core._codec.values import LiveValues
from fancypipe_core._engine.driver import Driver
from fancypipe_core._engine.graph import Graph
from fancypipe_core._engine.machine.scheduler import Scheduler
from fancypipe_core._engine.node import Node
from fancypipe_core._engine.report import Report
from fancypipe_core._model.presets import Presets
from fancypipe_core._model.ref import Instance, Ref
from fancypipe_core._model.temp_paths import Keeper
from fancypipe_core._worker.inline import InlineBackend
from fancypipe_core.backend import JobRunner

__all__ = ["run_inline"]


def run_inline(
    ref: Ref[Any],
    directory: str,
    make: Callable[[str, Callable[[], bool]], JobRunner],
    presets: Presets | None,
    runs_each_time: Callable[[], None],
) -> Any:
    """Run a reference in this thread.

    Args:
        ref: What is asked for.
        directory: The folder of the task that asks.
        make: Makes a runner, given a folder and what tells whether the user has pressed Ctrl-C.
        presets: Those of the session.
        runs_each_time: Is told if any of what is run is to run each time.
    """

    class Noticing(Graph):
        def _new(self, instance: Instance[Any], parent: Node | None) -> Node:
            if instance._definition.runs_each_time:
                runs_each_time()
            return super()._new(instance, parent)

    values = LiveValues()
    values.presets = presets
    files = Keeper(os.path.join(directory, f"inline-{os.urandom(6).hex()}"))
    interrupts = Interrupts.here()
    backend = InlineBackend(make(files.directory, interrupts.in_this_task))
    report = Report(None, values.open)
    driver = Driver(backend, values, Scheduler, report, files, interrupts, graph=Noticing)
    driver.start(0.0)  # it is up at once, or never
    report.run_started()
    try:
        return driver.run(ref, 0.0)
    finally:
        backend.stop(0.0)
        files.close()
