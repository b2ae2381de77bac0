"""Tasks and modules: what turns a function or a class into something to compose.

Calling a task makes an *instance*: its definition with inputs.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from types import CodeType
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    NoReturn,
    Protocol,
    TypeVar,
    cast,
    overload,
)

from fancypipe_core import errors
from fancypipe_core._base.backoff import Backoff
from fancypipe_core._base.signals import quietly
from fancypipe_core._model.definition import Definition, Mapped, positions, refused
from fancypipe_core._model.mapping import SpanEntry, mapped
from fancypipe_core._model.options import GivenNeeds, Options, options_of
from fancypipe_core._model.presets import Preset, Presets
from fancypipe_core._model.ref import Instance, Ref, reference

if TYPE_CHECKING:
    from fancypipe_core._model.result_types import HasMain

R = TypeVar("R")
A = TypeVar("A")

__all__ = [
    "Module",
    "Task",
    "TaskFunction",
    "definition_of",
    "entry",
    "is_definition",
    "module",
    "target_with",
    "task",
]


class TaskFunction(Generic[R]):
    """A function made a task by `@task` or `@module`.

    Calling it runs nothing: it makes an instance, a reference to the output.
    `.main` is the plain function.
    """

    __slots__ = ("__dict__", "__weakref__", "_definition", "main")

    main: Callable[..., R]

    def __init__(self, main: Callable[..., R], options: Options, is_module: bool) -> None:
        self._build(main, options, is_module)

    def _build(self, main: Callable[..., R], options: Options, is_module: bool) -> None:
        self.main = main
        for name in ("__module__", "__name__", "__qualname__", "__doc__"):
            setattr(self, name, getattr(main, name, None))
        # inspect.signature and pydoc look through this one.
        self.__dict__["__wrapped__"] = main
        self._definition = Definition(main, self, options, is_module=is_module)

    def __call__(self, *args: Any, **kwargs: Any) -> Instance[R]:
        definition = self._definition
        if kwargs or not definition.least <= len(args) <= definition.most:
            definition.check(args, kwargs)
            if definition.names_files:
                args, kwargs = _with_files(definition, args, kwargs)
        frame = sys._getframe(1)
        return reference(definition, args, kwargs, frame.f_code, frame.f_lasti)

    def map(self, xs: Any, /, *more: Any, **fixed: Any) -> Instance[list[R]]:
        """Call the task for each element; the reference is to the list of results, in order.

        It is one task for any number of elements: they are sent in spans, sized by what they
        take.  An element that fails is named by its index; the task's options hold for
        each element, and so do those of `task.map(xs).with_options(...)`.

        Args:
            xs: A list, any other iterable, or a reference to one.  A generator is taken as
                there is room, so that neither it nor its elements fill the memory; it can
                be used in one run.
            *more: Further iterables of the same length: each element takes one of each.
            **fixed: Inputs that are the same for all elements.

        Raises:
            GraphError: One is no iterable, or their lengths differ.
            TypeError: The task cannot be called so.
        """
        return mapped(self._definition, (xs, *more), fixed, sys._getframe(1))

    def cli(self, argv: list[str] | None = None) -> None:
        """Run this task from the command line, then exit.

        Args:
            argv: The arguments; None for those of this process.
        """
        with quietly():
            from fancypipe_core.cli import cli_for

            cli_for(self._definition, argv)

    def __get__(self, instance: object, owner: type | None = None) -> TaskFunction[R]:
        if instance is not None:
            raise errors.GraphError(
                f"task {self._definition.name} is a method; make it a function, or write a class "
                "with Task as its base and a method main()"
            )
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        from fancypipe_core._base import code_names

        named = code_names.reference(self)
        if named is not None:
            return named
        state = (self.main, self._definition.options, self._definition.is_module)
        # By state and not by argument: a function may refer to its own task.
        return (_bare_task_function, (), state, None, None, _fill_task_function)

    def __repr__(self) -> str:
        kind = "module" if self._definition.is_module else "task"
        return f"<{kind} {self.__module__}.{self.__qualname__}>"

    __module__: str
    __name__: str
    __qualname__: str


def _bare_task_function() -> TaskFunction[Any]:
    return TaskFunction.__new__(TaskFunction)


def _fill_task_function(made: TaskFunction[Any], state: tuple[Any, Options, bool]) -> None:
    made._build(*state)


def _checked(what: str, code: CodeType | None, given: _Given) -> Options:
    """Return an author's options, or raise `GraphError` for `what`, which stands in that code."""
    try:
        return options_of(*given)
    except ValueError as error:
        raise refused(what, error, code) from None


_Given = tuple[Any, ...]
"""Options as the author gave them, in the order of `Options`."""


class Task(Instance[Any]):
    """Base of tasks that are written as classes: give it a method `main`.

    `class Smooth(Task, retries=2): def main(self, image, width=3): ...` and
    then `Smooth(image)` makes an instance.  Options are class keywords: `name`, `retries`,
    `timeout`, `retry_delay`, `needs`, `priority`, `cache`, `version`.  `main` runs on a fresh
    object with the attributes that were set on the instance.
    """

    _options: ClassVar[Options] = Options()
    _composes: ClassVar[bool] = False

    def __init_subclass__(  # noqa: PLR0913 - each by its name, and most left out
        cls,
        *,
        name: str | None = None,
        retries: int = 0,
        timeout: float | None = None,
        retry_delay: float | Backoff = 0,
        needs: GivenNeeds = None,
        priority: int = 0,
        cache: bool = True,
        version: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init_subclass__(**kwargs)
        # Unpickling a class by value sets it anew without the keywords.
        if "_options" not in vars(cls):
            given = (name, retries, timeout, retry_delay, needs, priority, cache, version)
            code = getattr(cls.main, "__code__", None)
            cls._options = _checked(f"task {cls.__name__}", code, given)

    if TYPE_CHECKING:  # by what `main` returns

        @overload
        def result(self: HasMain[Ref[A]]) -> A: ...
        @overload
        def result(self: HasMain[A]) -> A: ...
        def result(self) -> Any: ...

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        definition = definition_of(type(self))
        definition.check(args, kwargs)
        if definition.names_files:
            args, kwargs = _with_files(definition, args, kwargs)
        frame = sys._getframe(1)
        super().__init__(definition, args, kwargs, frame.f_code, frame.f_lasti)

    def _state(self) -> dict[str, Any] | None:
        return self.__dict__ or None

    @classmethod
    def map(cls, xs: Any, /, *more: Any, **fixed: Any) -> Instance[list[Any]]:
        """As `map` of a task that is a function: an object is made for each element."""
        return mapped(definition_of(cls), (xs, *more), fixed, sys._getframe(1))

    @classmethod
    def cli(cls, argv: list[str] | None = None) -> None:
        """Run this task from the command line, then exit.

        Args:
            argv: The arguments; None for those of this process.
        """
        with quietly():
            from fancypipe_core.cli import cli_for

            cli_for(definition_of(cls), argv)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """What the task does; its parameters are the task's inputs."""
        raise NotImplementedError(f"task {type(self).__name__} has no main()")


class Module(Task):
    """Base of modules that are written as classes: `main` composes tasks and returns references."""

    _composes: ClassVar[bool] = True


_of_class: weakref.WeakKeyDictionary[type, Definition] = weakref.WeakKeyDictionary()


def definition_of(obj: Any) -> Definition:
    """Return the definition of a `TaskFunction` or of a subclass of `Task`.

    Raises:
        GraphError: It is neither, or a class without `main`.
    """
    if isinstance(obj, TaskFunction):
        return obj._definition
    if isinstance(obj, type) and issubclass(obj, Task):
        definition = _of_class.get(obj)
        if definition is None:
            if obj.main is Task.main:
                raise errors.GraphError(f"class {obj.__name__} has no main(): a task needs one")
            definition = _of_class[obj] = Definition(
                obj.main, obj, obj._options, is_class=True, is_module=obj._composes
            )
        return definition
    raise errors.GraphError(f"{obj!r} is not a task: decorate it with @task or @module")


def is_definition(obj: Any) -> bool:
    """Tell whether `obj` is something that makes instances."""
    if isinstance(obj, TaskFunction):
        return True
    return isinstance(obj, type) and issubclass(obj, Task) and obj.main is not Task.main


def entry(target: Any) -> Any:
    """Return `call(args, kwargs, state)` for what travelled to a worker.

    Its attribute `inputs` has the names of the inputs that can be given by position.
    Of a map it is a `SpanEntry`.
    """
    if isinstance(target, TaskFunction):
        definition = target._definition
        if definition.names_files:
            return _checking(definition, entry(target.main))
        target = target.main
    elif type(target) is Preset:
        return _preset_entry(target.target, target.presets)
    elif type(target) is Mapped:
        one = entry(target.target)
        of = target.target
        function = of.main if isinstance(of, TaskFunction) else None
        if function is not None and of._definition.names_files:
            function = None
        return SpanEntry(target.target, one, one.inputs, function, target.options)
    elif isinstance(target, type) and issubclass(target, Task):
        cls = target

        def call_main(args: tuple[Any, ...], kwargs: dict[str, Any], state: Any) -> Any:
            fresh = cls.__new__(cls)
            if state:
                fresh.__dict__.update(state)
            return fresh.main(*args, **kwargs)

        call_main.inputs = positions(cls.main, 1)  # type: ignore[attr-defined]
        if cls.main is not Task.main and definition_of(cls).names_files:
            return _checking(definition_of(cls), call_main)
        return call_main

    def call(args: tuple[Any, ...], kwargs: dict[str, Any], _: Any) -> Any:
        return target(*args, **kwargs)

    call.inputs = positions(target, 0)  # type: ignore[attr-defined]
    return call


def _checking(definition: Definition, call: Any) -> Any:
    from fancypipe_core._model.file_inputs import checking  # few tasks have files

    return checking(definition, call)


def _with_files(definition: Definition, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    from fancypipe_core._model.file_inputs import files_of  # as above

    return files_of(definition).given(args, kwargs)


def target_with(presets: Presets | None, target: Any) -> Any:
    """Return what an instance calls that would call `target` in a session without presets."""
    if presets is not None and (type(target) is Mapped or is_definition(target)):
        return Preset(target, presets)
    return target


def _preset_entry(target: Any, presets: Presets) -> Any:
    if type(target) is Mapped:
        one = _preset_entry(target.target, presets)
        return SpanEntry(target.target, one, one.inputs, None, target.options)
    definition, call = definition_of(target), entry(target)
    try:
        values = presets.of(definition.name, definition.main, int(definition.is_class))
    except errors.BadInput as error:
        said = str(error)

        def refuse(*_: Any) -> NoReturn:
            raise errors.BadInput(said)

        refuse.inputs = call.inputs  # type: ignore[attr-defined]
        return refuse
    if not values:
        return call
    from copy import deepcopy  # few sessions have any

    def filled(args: tuple[Any, ...], kwargs: dict[str, Any], state: Any) -> Any:
        by_position = call.inputs[: len(args)]
        more = {name: value for name, value in values.items() if name not in by_position}
        return call(args, {**deepcopy(more), **kwargs}, state)

    filled.inputs = call.inputs  # type: ignore[attr-defined]
    return filled


def _decorate(function: Any, given: _Given, is_module: bool) -> Any:
    if isinstance(function, type):
        base = "Module" if is_module else "Task"
        raise errors.GraphError(
            f"{function.__name__} is a class: derive it from fancypipe_core.{base} "
            "instead of decorating it"
        )
    if isinstance(function, TaskFunction) or not callable(function):
        raise errors.GraphError(f"{function!r} cannot be made a task: it must be a plain function")
    code = getattr(function, "__code__", None)
    if code is not None and code.co_flags & 0x2A0:  # generator, coroutine, async generator
        raise errors.GraphError(
            f"{function.__name__} is a generator or coroutine: a task must return its result, "
            "such as a list of what it would yield"
        )
    name = getattr(function, "__name__", repr(function))
    return TaskFunction(function, _checked(f"task {name}", code, given), is_module)


class _Decorator(Protocol):
    """`@task(...)`: what returns a reference is a task of what that refers to."""

    @overload
    def __call__(self, function: Callable[..., Ref[R]], /) -> TaskFunction[R]: ...
    @overload
    def __call__(self, function: Callable[..., R | Ref[R]], /) -> TaskFunction[R]: ...


@overload
def task(function: Callable[..., Ref[R]], /) -> TaskFunction[R]: ...
@overload
def task(function: Callable[..., R | Ref[R]], /) -> TaskFunction[R]: ...
@overload
def task(
    *,
    name: str | None = None,
    retries: int = 0,
    timeout: float | None = None,
    retry_delay: float | Backoff = 0,
    needs: GivenNeeds = None,
    priority: int = 0,
    cache: bool = True,
    version: str = "",
) -> _Decorator: ...
def task(  # noqa: PLR0913 - each by its name, and most left out
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    retries: int = 0,
    timeout: float | None = None,
    retry_delay: float | Backoff = 0,
    needs: GivenNeeds = None,
    priority: int = 0,
    cache: bool = True,
    version: str = "",
) -> Any:
    """Make a function a task: `@task`, or `@task(retries=2)`.

    Args:
        function: A plain function.  Its parameters are the task's inputs.
        name: How messages call it; its own name by default.
        retries: How often it is tried again after an exception; 0 by default.
        timeout: Seconds that one attempt may take; no limit by default.  It is
            enforced by killing (processes), or by letting go of the task (threads).
        retry_delay: Seconds before it is tried again; a `Backoff` for delays that grow.
            No worker is taken meanwhile.  0 by default.
        needs: What it needs while it runs: `cpus` (1 by default), `memory` (bytes, or a text
            such as `"500M"` or `"8G"`; a G is 1024 M), `gpu` (devices to itself).
        priority: Among tasks that are ready, the higher goes first; 0 by default.
        cache: Whether a resumed run takes its result from an earlier one if nothing has changed;
            False for what has effects besides its result, such as files that it writes.
        version: A text of yours: where it changes, results of earlier runs count no more.

    Raises:
        GraphError: It is not a plain function, or an option is out of range.
    """
    given = (name, retries, timeout, retry_delay, needs, priority, cache, version)
    if function is None:
        return lambda function: _decorate(function, given, False)
    return _decorate(function, given, False)


@overload
def module(function: Callable[..., Ref[R]], /) -> TaskFunction[R]: ...
@overload
def module(function: Callable[..., R | Ref[R]], /) -> TaskFunction[R]: ...
@overload
def module(*, name: str | None = None, cache: bool = True, version: str = "") -> _Decorator: ...
def module(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    cache: bool = True,
    version: str = "",
) -> Any:
    """Make a function a module: it composes tasks and returns references to their outputs.

    A module runs in the client, when its inputs are there; it is not sent
    anywhere.  Heavy work belongs into tasks.

    Args:
        function: A plain function.  Its parameters are the module's inputs.
        name: How messages call it; its own name by default.
        cache: As for `task`; where False, what it composes may still be taken from earlier runs.
        version: As for `task`.

    Raises:
        GraphError: It is not a plain function.
    """
    given = (name, 0, None, 0, None, 0, cache, version)
    if function is None:
        return lambda function: _decorate(function, given, True)
    return cast(Any, _decorate(function, given, True))
