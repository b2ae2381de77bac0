"""What an entry point of the group `fancypipe.backends` names, and what it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from fancypipe_core._base.declarations import Command
from fancypipe_core.backend.protocols import API_VERSION, Backend, JobRunner

__all__ = [
    "BackendOptions",
    "BackendPlugin",
]


class BackendOptions(NamedTuple):
    """What the engine tells a backend when it makes one.

    Attributes:
        workers: How many jobs may run at the same time; at least 1.
        directory: The session's folder for temporary files.  It may not exist.
        runner: Makes a worker-side `JobRunner` for backends that run jobs in this
            process; one for each thread.
        settings: The record of `BackendPlugin.settings` with the values in force;
            None for a plugin that has none.
    """

    workers: int
    directory: str
    runner: Callable[[], JobRunner]
    settings: Any = None


class BackendPlugin(NamedTuple):
    """What an entry point of the group `fancypipe.backends` names.

    Attributes:
        name: The backend's name, the entry point's own.
        aliases: Short names, such as `T`.
        help: One line for `fancypipe backends`.
        make: Makes the backend; import what is heavy in here.
        shares_memory: Whether values may be passed as they are.
        api: The `API_VERSION` that it was written for.
        kills: Whether it can stop a job that runs, and so holds it to its time limit.
        settings: The record of its own settings, a dataclass with fields that
            `setting` makes.  Each is an option, an environment variable, a key in
            the table of the plugin's name in a file, and an argument of `run()`.
        commands: What it adds to the command `fancypipe`, by name.  If it has
            `status`, then `fancypipe -workertype=NAME` without a pipeline calls it.
        unit: What it counts in `Slots`, for messages: `worker`, or `slot` where one
            worker may have several.
    """

    name: str
    aliases: tuple[str, ...]
    help: str
    make: Callable[[BackendOptions], Backend]
    shares_memory: bool = False
    api: int = API_VERSION
    kills: bool = False
    settings: type[Any] | None = None
    commands: Mapping[str, Command] = MappingProxyType({})
    unit: str = "worker"
