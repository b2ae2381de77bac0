"""The one hierarchy of errors, and what survives a journey between machines.

Every error carries `exit_code`, the code with which the command line ends when
the error reaches it.  All keep their message in `args` and everything else in
`__dict__`, so that pickling needs no help: the default `__reduce__` is enough.
"""

from __future__ import annotations

import builtins
import types
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

__all__ = [
    "AuthenticationFailed",
    "BackendClosed",
    "BackendError",
    "BackendNotFound",
    "BackendStartError",
    "BadInput",
    "Cancelled",
    "ChannelError",
    "CodecError",
    "ConfigError",
    "ConnectionLost",
    "DecodeError",
    "DependencyFailed",
    "EncodeError",
    "ExecError",
    "FancyPipeError",
    "GraphError",
    "InternalError",
    "PluginError",
    "ProtocolError",
    "RemoteError",
    "RunFailed",
    "TaskError",
    "TaskLost",
    "TaskTimeout",
    "UnmetNeeds",
    "UsageError",
    "VersionMismatch",
]


# New in Python 3.11; a group cannot be made without its members.
GROUPS = tuple(filter(None, [getattr(builtins, "BaseExceptionGroup", None)]))


class FancyPipeError(Exception):
    """Base of all errors that fancypipe raises on purpose."""

    exit_code: ClassVar[int] = 1


class UsageError(FancyPipeError):
    """The caller asked for something that cannot be; nothing has run."""

    exit_code: ClassVar[int] = 2


class ConfigError(UsageError):
    """A setting is unknown or has a value that it cannot have."""


class BadInput(UsageError):
    """An input of a task is missing, unknown, or of the wrong kind."""


class GraphError(UsageError):
    """References are used in a way that no graph can be made of."""


class UnmetNeeds(GraphError):
    """A task needs what no worker can ever have."""


class ReferenceAttributeError(GraphError, AttributeError):
    """An attribute was asked of a reference, which stands for an output that is not there yet.

    Also an `AttributeError`, so that `hasattr(ref, name)` is False.
    """


class BackendNotFound(UsageError):
    """No installed backend has that name.

    Attributes:
        name: What was asked for.
        installed: The names (not the aliases) that could have been asked for.
    """

    def __init__(self, message: str, *, name: str = "", installed: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.name = name
        self.installed = tuple(installed)


class Cancelled(FancyPipeError):
    """The program ended the run before its results were there, by `Session.cancel()`.

    Ctrl-C is none of these: it raises Python's own `KeyboardInterrupt`.
    """


class TaskError(FancyPipeError):
    """A task failed.  `__cause__` is the user's own exception, with its traceback.

    What `run()` raises is an instance of this class *and* of the class of the
    user's exception wherever Python allows it, so `except ValueError` works
    as well as `except TaskError`, and attributes of the original are there.

    Attributes:
        task: The task's path in the graph, such as `study/volume[2]/denoise`.
        attempt: Which attempt failed, counted from 1.
        where: `file:line` of the user's code that failed, or of the task.
        host: The machine that ran it; empty for this process.
        pid: The process that ran it.
        traceback: The formatted traceback as it was where the task ran.
        inputs: Its inputs in a few words, such as `i=17`; empty if it has none.
        index: Which element of a map it is, from 0; None for any other task.
    """

    # Also where the user's exception is one of ours that has another.
    exit_code: ClassVar[int] = 1

    def __init__(  # noqa: PLR0913 - the facts, by name
        self,
        message: str,
        *,
        task: str = "",
        attempt: int = 0,
        where: str = "",
        host: str = "",
        pid: int = 0,
        traceback: str = "",
        inputs: str = "",
        index: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.task = task
        self.attempt = attempt
        self.where = where
        self.host = host
        self.pid = pid
        self.traceback = traceback
        self.inputs = inputs
        self.index = index

    def __str__(self) -> str:
        # The classes that are mixed in (OSError, KeyError) have ideas of their own.
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return (_restore, (type(self)._plain(), self.message, self.__cause__, self.__dict__))

    @classmethod
    def _plain(cls) -> type[TaskError]:
        """This class without the user's class that may be mixed into it."""
        return next(c for c in cls.__mro__ if c.__module__ == __name__ and issubclass(c, TaskError))


class TaskTimeout(TaskError):
    """A task took longer than its `timeout`."""


class TaskLost(TaskError):
    """The worker that ran the task died, as often as `max_losses` allows.

    Attributes:
        certificate: What is known of the last death: a `backend.Certificate`.
        certificates: The same of all deaths that counted, in their order.
    """

    certificate: Any = None
    certificates: tuple[Any, ...] = ()


class DependencyFailed(TaskError):
    """A task did not run, since a task that it needs failed.

    Attributes:
        root: The path of the task that failed first.
    """

    root: str = ""


class RunFailed(FancyPipeError):
    """A run with `keep_going` ended with failures.

    Attributes:
        failures: One `TaskError` for each task that failed by itself.
        skipped: How many tasks did not run because of them.
        results: What `run()` would have returned, with an exception wherever it
            has no value: the task's `TaskError`, or `DependencyFailed` for a
            task that did not run.
    """

    def __init__(
        self,
        message: str,
        *,
        failures: Sequence[TaskError] = (),
        skipped: int = 0,
        results: Any = None,
    ) -> None:
        super().__init__(message)
        self.failures = tuple(failures)
        self.skipped = skipped
        self.results = results


class CodecError(FancyPipeError):
    """A value could not travel between processes."""


class EncodeError(CodecError):
    """A value cannot be written down as bytes.

    Attributes:
        path: Where in the value the culprit is, such as `inputs["x"][3].lock`.
    """

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class DecodeError(CodecError):
    """Bytes could not be made into a value again, on the machine that got them."""


class RemoteError(FancyPipeError):
    """Stands in for a user's exception that could not travel.

    Attributes:
        type_name: The name of the original's class.
        traceback: The formatted traceback of the original.
    """

    def __init__(self, message: str, *, type_name: str = "", traceback: str = "") -> None:
        super().__init__(message)
        self.type_name = type_name
        self.traceback = traceback


class BackendError(FancyPipeError):
    """A backend cannot do its work."""


class BackendStartError(BackendError):
    """A backend did not come up."""


class BackendClosed(BackendError):
    """A backend was used after its end, or lost all its workers."""


class ChannelError(FancyPipeError):
    """The link between two processes failed."""


class ConnectionLost(ChannelError):
    """The other end is gone."""


class AuthenticationFailed(ChannelError):
    """The other end has another secret."""

    exit_code: ClassVar[int] = 3


class VersionMismatch(ChannelError):
    """The other end speaks another version of the protocol, or another Python."""


class ProtocolError(ChannelError):
    """The other end sent what the protocol does not have."""


class PluginError(FancyPipeError):
    """A plugin is broken, or raised an exception: a backend, an observer that decides, a command.

    Its message names the plugin and the distribution that brought it.

    Attributes:
        plugin: The plugin's name.
    """

    def __init__(self, message: str, *, plugin: str = "") -> None:
        super().__init__(message)
        self.plugin = plugin


class ExecError(FancyPipeError):
    """An external program failed, or could not be started.

    Attributes:
        command: The program and its arguments.
        code: Its exit code; negative: the signal that ended it; None: not started.
        stdout: What it wrote to its standard output.
        stderr: What it wrote to its standard error.
    """

    def __init__(
        self,
        message: str,
        *,
        command: Sequence[str] = (),
        code: int | None = None,
        stdout: str = "",
        stderr: str = "",
    ) -> None:
        super().__init__(message)
        self.command = tuple(command)
        self.code = code
        self.stdout = stdout
        self.stderr = stderr


class InternalError(Exception):
    """Our own bug, with the machine's recent story.  Please report it."""


def with_cause(error: TaskError, cause: BaseException | None) -> TaskError:
    """Return `error` caused by `cause`, as an instance of the cause's class too.

    Where Python does not allow the two classes to be joined (exception groups,
    classes with an incompatible layout, `SystemExit` and its like, which must
    not end the caller's program), `error` itself comes back with its cause set.
    """
    if cause is None:
        return error
    joined = _join(type(error), cause)
    if joined is not None:
        joined.__dict__.update({k: v for k, v in vars(cause).items() if k not in vars(error)})
        joined.__dict__.update(vars(error))
        error = joined
    error.__cause__ = cause
    error.__suppress_context__ = True
    return error


def _join(plain: type[TaskError], cause: BaseException) -> TaskError | None:
    user = type(cause)
    if not isinstance(cause, Exception) or isinstance(cause, (TaskError, *GROUPS)):
        return None
    try:
        name = f"{plain.__name__}[{user.__name__}]"
        cls = type(name, (plain, user), {"__module__": f"{__name__}.joined"})
        # Neither class's __init__ may run: the user's may ask for anything.
        builtin = next(base for base in user.__mro__ if base.__module__ == "builtins")
        try:
            joined: TaskError = builtin.__new__(cls, *cause.args)
        except TypeError:  # MemoryError has a __new__ that is for itself only
            joined = BaseException.__new__(cls, *cause.args)
    except Exception:  # noqa: BLE001 - any metaclass or layout trouble means: do without
        return None
    joined.args = cause.args
    copy_members(cause, joined)
    return joined


def copy_members(
    old: BaseException, new: BaseException, wanted: Callable[[object], bool] | None = None
) -> None:
    """Copy what an exception holds outside of `__dict__`: slots, and fields such as `errno`.

    Args:
        old: The original.
        new: Another of its class, or of one below it.
        wanted: Tells for a value whether it is to be copied; None for all.
    """
    for base in type(old).__mro__:
        for name, member in vars(base).items():
            if not isinstance(member, types.MemberDescriptorType) or name.startswith("__"):
                continue
            try:
                value = getattr(old, name)
                if wanted is None or wanted(value):
                    setattr(new, name, value)
            except (AttributeError, TypeError):
                continue  # it is empty, or cannot be set


def _restore(
    cls: type[TaskError], message: str, cause: BaseException | None, state: dict[str, Any]
) -> TaskError:
    error = cls(message)
    error.__dict__.update(state)
    return with_cause(error, cause)
