"""fancypipe: task pipelines in parallel, from a laptop to a cluster.

Write tasks with `@task` and `@module`, compose them, and `run()` the result.
Names are imported on first use, so that `import fancypipe_core` costs little.
"""

from __future__ import annotations

# Not from typing, whose import takes as long as all else in here.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from fancypipe_core import errors
    from fancypipe_core._base.backoff import Backoff
    from fancypipe_core._model.context import current
    from fancypipe_core._model.exec import Exec
    from fancypipe_core._model.files import Dir, File
    from fancypipe_core._model.ref import Outputs, Ref
    from fancypipe_core._model.task import Module, Task, module, task
    from fancypipe_core._run import run
    from fancypipe_core.session import Session

__all__ = [
    "Backoff",
    "Dir",
    "Exec",
    "File",
    "Module",
    "Outputs",
    "Ref",
    "Session",
    "Task",
    "__version__",
    "current",
    "errors",
    "module",
    "run",
    "task",
]

__version__: str

_HOMES = {
    "Backoff": "_base.backoff",
    "Dir": "_model.files",
    "Exec": "_model.exec",
    "File": "_model.files",
    "Module": "_model.task",
    "Task": "_model.task",
    "module": "_model.task",
    "task": "_model.task",
    "Outputs": "_model.ref",
    "Ref": "_model.ref",
    "Session": "session",
    "run": "_run",
    "current": "_model.context",
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name == "errors":
        return import_module("fancypipe_core.errors")
    if name == "__version__":
        from importlib.metadata import version

        return version("fancypipe-core")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"fancypipe_core.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
