"""What an entry point of the group `fancypipe.backends` names, and what it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from fancypipe_core._base.declarations import Command
from fancypipe_core.backend.protocols import API_VERSION, Backend, JobRunner

__all__ = [
    "BackendOptions",
    "BackendPlugin",
    "Leftover",
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
        workers_given: Whether somebody said how many `workers`; else they are as many as
            this machine has cores, which says nothing of others.
        name: The backend's name.
        session: The session's id: unique, short, fit for a file name.
        value_disk: Part of the free disk of `directory` that one large value may take there;
            0 if none may.
        measures: Whether somebody wants to know what jobs use (`Done.usage`).  Runners that
            `runner` makes know it, and so do workers that `setup_of` tells it.
        pictures: Whether somebody looks at pictures that jobs return, told as notes; likewise.
        start_limit: Seconds in which the first worker must come, and for which there may be
            none later while work waits: the setting `backend_start_limit`.
        apart: Whether the client does not see `directory`, so that files go with their content.
            Runners that `runner` makes know it; who makes others tells them.
        grace: Seconds that a task has which runs on though nobody waits for it: the setting.
    """

    workers: int
    directory: str
    runner: Callable[[], JobRunner]
    settings: Any = None
    workers_given: bool = True
    name: str = ""
    session: str = ""
    value_disk: float = 0.0
    measures: bool = False
    start_limit: float = 60.0
    apart: bool = False
    pictures: bool = False
    grace: float = 10.0


class Leftover(NamedTuple):
    """What an engine of others leaves in the client's process, and can be told by nobody not to.

    It is for the conformance kit, which still finds whatever else is left, and more of this.

    Attributes:
        what: A regular expression that fits the whole of what the kit says is left.
        why: The reason, which the kit's report shows.
        most: How many of these a session may leave.
        adds_up: Whether each session leaves as many again; else they are gone with the next.
    """

    what: str
    why: str
    most: int = 1
    adds_up: bool = False


class BackendPlugin(NamedTuple):
    """What an entry point of the group `fancypipe.backends` names.

    Attributes:
        name: The backend's name, the entry point's own.
        aliases: Short names, such as `T`.
        help: One line for `fancypipe backends`.
        make: Makes the backend, or `module:attribute` of what does, which is imported when a
            session wants it: the module that has the plugin should import nothing heavy.
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
        handles: Whether its workers can be given memory of the client's, so that
            payloads may hold `Handle`s; if only some can, see `Handing`.
        certificates: `exact` if a `Certificate` says what a worker died of, and names its
            process; `vague` if the backend learns no more than that it is gone.
        understands: Which of a job's `needs` it honours: `cpus`, `memory`, `gpu`.  Of
            others the engine tells the user once that tasks run as if they did not have them.
        leftovers: What is known to be left after a session, and why.
    """

    name: str
    aliases: tuple[str, ...]
    help: str
    make: Callable[[BackendOptions], Backend] | str
    shares_memory: bool = False
    api: int = API_VERSION
    kills: bool = False
    settings: type[Any] | None = None
    commands: Mapping[str, Command] = MappingProxyType({})
    unit: str = "worker"
    handles: bool = False
    certificates: Literal["exact", "vague"] = "exact"
    understands: frozenset[str] = frozenset()
    leftovers: tuple[Leftover, ...] = ()
