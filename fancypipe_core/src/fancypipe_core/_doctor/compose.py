"""Composes a pipeline as far as that goes without running its tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from fancypipe_core import errors
from fancypipe_core._codec import failure
from fancypipe_core._codec.in_process import Shape
from fancypipe_core._codec.values import Values
from fancypipe_core._model.mapping import Mapped
from fancypipe_core._model.ref import Instance, Ref
from fancypipe_core._model.scope import scope
from fancypipe_core._model.task import entry, target_with
from fancypipe_core.backend import Encoded, Live

__all__ = ["Composed", "Met", "compose", "refs_in"]

_MOST = 20_000  # instances that are looked at


class Met(NamedTuple):
    """A task instance that was met.

    Attributes:
        instance: The instance.
        inputs: Its inputs, with holes; None if they cannot be written down, or for a map.
        wants: Whose values go into the holes.
        error: Why they cannot be written down.
        made_by: The module that made it; None for what was asked for.
        returns: Of a module that was looked into: what its result refers to.
        result: The result of such a module, with references in it.
    """

    instance: Instance[Any]
    inputs: Encoded | Live | None
    wants: Sequence[Instance[Any]]
    error: errors.FancyPipeError | None = None
    made_by: Instance[Any] | None = None
    returns: Sequence[Instance[Any]] = ()
    result: Any = None

    @property
    def refs(self) -> Sequence[Ref[Any]]:
        """The references among its inputs; those of a map as far as they can be looked at."""
        one = self.instance
        return refs_in((one._args, one._kwargs, one._state()))


def refs_in(value: Any) -> Sequence[Ref[Any]]:
    """Return the references in a value."""
    return Shape(value, lenient=True).refs


class Composed(NamedTuple):
    """How far it went.

    Attributes:
        met: The tasks and modules, each once.
        closed: Modules that wait for results of tasks, and were not looked into.
        failed: Modules that raised, and what.
        all: Whether all was looked at that there is to be seen.
    """

    met: list[Met]
    closed: list[Instance[Any]]
    failed: list[tuple[Instance[Any], BaseException]]
    all: bool


class _Waits(BaseException):
    """A module waits for a result; not an `Exception`, so that no module takes it for its own."""


class _Scope:
    """Where modules run that are only looked at."""

    directory = ""
    in_fork = apart = False

    def resolve(self, ref: Ref[Any]) -> Any:
        raise _Waits

    def context(self) -> None:
        return None

    def carries(self, path: str) -> bool:
        return False

    def went(self, path: str) -> None:
        """None does, see `carries`."""

    def landing(self) -> str:
        return ""

    def copy(self, record: Any) -> tuple[str, str]:
        return record.path, ""

    def origin(self, path: str) -> str:
        return ""


def compose(root: Instance[Any], values: Values) -> Composed:
    """Compose what an instance stands for.

    Args:
        root: A module or task with its inputs.
        values: Writes inputs down, or takes them as they are.
    """
    done = Composed([], [], [], True)
    waiting: list[tuple[Instance[Any], Instance[Any] | None]] = [(root, None)]
    seen = {id(root)}
    while waiting:
        if len(done.met) >= _MOST:
            return done._replace(all=False)
        instance, maker = waiting.pop()
        one = _meet(instance, values)
        returns: Sequence[Instance[Any]] = ()
        result = None
        if instance._definition.is_module:
            if one.wants:
                done.closed.append(instance)
            elif one.inputs is not None:
                result, returns = _made_by(one.inputs, instance, values, done)
        done.met.append(one._replace(made_by=maker, returns=returns, result=result))
        found = [(other, maker) for other in one.wants]
        found += [(other, instance) for other in returns]
        for other, its_maker in reversed(found):
            if id(other) not in seen:
                seen.add(id(other))
                waiting.append((other, its_maker))
    return done


def _meet(instance: Instance[Any], values: Values) -> Met:
    if type(instance._definition.target) is Mapped:
        # Its elements may be there only once; what takes them once is not looked into.
        given = (*instance._args, *instance._kwargs.values())
        return Met(instance, None, [one._origin() for one in refs_in(given)])
    try:
        packed = values.pack_inputs(instance)
    except errors.FancyPipeError as error:
        # What can be found without writing it down is found all the same.
        inputs = (instance._args, instance._kwargs, instance._state())
        return Met(instance, None, [ref._origin() for ref in refs_in(inputs)], error)
    return Met(instance, packed.body, packed.wants)


def _made_by(
    inputs: Encoded | Live, instance: Instance[Any], values: Values, done: Composed
) -> tuple[Any, Sequence[Instance[Any]]]:
    """Return a module's result, and what it refers to."""
    token = scope.set(_Scope())
    try:
        args, kwargs, state = values.open(inputs.value if isinstance(inputs, Live) else inputs)
        target = target_with(values.presets, instance._definition.target)
        result = entry(target)(args, kwargs, state)
        return result, values.pack_result(result).wants
    except _Waits:
        done.closed.append(instance)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - it is the user's code
        error.__traceback__ = failure.user_traceback(error)
        done.failed.append((instance, error))
    finally:
        scope.reset(token)
    return None, ()
