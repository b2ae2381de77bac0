"""References: what stands for an output before it is there.

A task instance is a reference to its own output; `t["key"]` and `t[0]` refer to
an item of it.  Operators on references make small tasks.  Whatever would need
the value at once (truth, iteration, `len`, text) raises `GraphError` and says
what to write instead.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, EllipsisType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, cast, overload

from fancypipe_core import errors
from fancypipe_core._base.backoff import Backoff
from fancypipe_core._model.definition import Definition, plain_definition, refused, site_of
from fancypipe_core._model.options import GivenNeeds, options_of
from fancypipe_core._model.scope import scope
from fancypipe_core._model.unsupported import A_COPY, IN_A_TASK, OF_NUMPY, REFUSED

if TYPE_CHECKING:
    from typing_extensions import Self

    from fancypipe_core._model.result_types import Untyped

T_co = TypeVar("T_co", covariant=True)
K = TypeVar("K")
A = TypeVar("A")
B = TypeVar("B")

__all__ = ["Instance", "Item", "Outputs", "Ref", "Reference", "reference"]


class Ref(Generic[T_co]):
    """Stands for a value that a task will give.

    Pass it to other tasks, alone or anywhere inside lists, tuples, dicts, sets,
    dataclasses and `Outputs`.  `ref[key]` refers to an item of the value.
    Arithmetic and comparison make tasks that compute with it.
    """

    __slots__ = ()

    # pandas then leaves `series + ref` to our operators; numpy asks `__array_ufunc__`.
    __pandas_priority__ = 1_000_000

    # What is in a list, tuple or dict that a task returned is there as well.
    @overload
    def result(self: Ref[Untyped]) -> Any: ...
    @overload
    def result(self: Ref[list[Ref[A]]]) -> list[A]: ...
    @overload
    def result(self: Ref[tuple[Ref[A], Ref[B]]]) -> tuple[A, B]: ...
    @overload
    def result(self: Ref[tuple[Ref[A], ...]]) -> tuple[A, ...]: ...
    @overload
    def result(self: Ref[dict[K, Ref[A]]]) -> dict[K, A]: ...
    @overload
    def result(self: Ref[A]) -> A: ...
    def result(self) -> Any:
        """Wait for the value and return it.

        In a module what is needed runs in parallel on the run's backend; inside
        a task it runs inline, in the worker; elsewhere it is `run(self)`.

        Raises:
            TaskError: The task failed; it is also of the original's class.
        """
        here = scope.get()
        if here is not None:
            return here.resolve(self)
        from fancypipe_core import run

        return run(self)

    def __getitem__(self, key: Any) -> Ref[Any]:
        if isinstance(key, Ref):
            return _operate("getitem", (self, key))
        return Item(self, key)

    def _origin(self) -> Instance[Any]:
        raise NotImplementedError

    def _keys(self) -> tuple[Any, ...]:
        raise NotImplementedError

    def _refuse(self, what: str, instead: str) -> NoReturn:
        raise errors.GraphError(f"{what} {self!r} cannot be known before it has run; {instead}")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # A reference is a name, and a name has no depth.
        return self

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise errors.GraphError(
            f"{self!r} is inside something that is sent to a worker as a whole (a closure, a "
            "global, an attribute of an object); pass it to the task as an input instead"
        )

    __hash__ = object.__hash__

    if not TYPE_CHECKING:  # they would take it that a reference has any attribute

        def __getattr__(self, name: str) -> NoReturn:
            # What begins so is Python or a library asking what we can do, and not the user; and
            # an object in its own `main` stands for no output.
            if name.startswith("_") or not hasattr(self._origin(), "_definition"):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            raise errors.ReferenceAttributeError(
                f"the attribute {name!r} of {self!r} cannot be known before it has run; use it "
                f"inside a task, or write .result().{name}"
            )

        def __setattr__(self, name: str, value: Any) -> None:
            self._refuse(
                f"the attribute {name!r} of",
                "it cannot be set; make a task that returns a changed copy",
            )

        def __delattr__(self, name: str) -> None:
            self._refuse(f"the attribute {name!r} of", f"it cannot be removed; {A_COPY}")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        # `array + ref` comes as a call of numpy's add.
        name = OF_NUMPY.get(ufunc.__name__, ufunc.__name__)
        if method == "__call__" and not kwargs and name in (*_BINARY, *_COMPARE, *_UNARY):
            return _operate(name, inputs)
        return self._refuse(f"what numpy.{ufunc.__name__} gives for", f"call it {IN_A_TASK}")

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> NoReturn:
        what = f"what {function.__module__}.{function.__name__} gives for"
        self._refuse(what, f"call it {IN_A_TASK}")

    if TYPE_CHECKING:
        # Made by _install_operators, below; written here for type checkers.
        def __add__(self, other: Any) -> Ref[Any]: ...
        def __radd__(self, other: Any) -> Ref[Any]: ...
        def __sub__(self, other: Any) -> Ref[Any]: ...
        def __rsub__(self, other: Any) -> Ref[Any]: ...
        def __mul__(self, other: Any) -> Ref[Any]: ...
        def __rmul__(self, other: Any) -> Ref[Any]: ...
        def __truediv__(self, other: Any) -> Ref[Any]: ...
        def __rtruediv__(self, other: Any) -> Ref[Any]: ...
        def __floordiv__(self, other: Any) -> Ref[Any]: ...
        def __rfloordiv__(self, other: Any) -> Ref[Any]: ...
        def __mod__(self, other: Any) -> Ref[Any]: ...
        def __rmod__(self, other: Any) -> Ref[Any]: ...
        def __pow__(self, other: Any) -> Ref[Any]: ...
        def __rpow__(self, other: Any) -> Ref[Any]: ...
        def __matmul__(self, other: Any) -> Ref[Any]: ...
        def __rmatmul__(self, other: Any) -> Ref[Any]: ...
        def __lshift__(self, other: Any) -> Ref[Any]: ...
        def __rlshift__(self, other: Any) -> Ref[Any]: ...
        def __rshift__(self, other: Any) -> Ref[Any]: ...
        def __rrshift__(self, other: Any) -> Ref[Any]: ...
        def __and__(self, other: Any) -> Ref[Any]: ...
        def __rand__(self, other: Any) -> Ref[Any]: ...
        def __or__(self, other: Any) -> Ref[Any]: ...
        def __ror__(self, other: Any) -> Ref[Any]: ...
        def __xor__(self, other: Any) -> Ref[Any]: ...
        def __rxor__(self, other: Any) -> Ref[Any]: ...
        def __eq__(self, other: object) -> Ref[Any]: ...  # type: ignore[override]
        def __ne__(self, other: object) -> Ref[Any]: ...  # type: ignore[override]
        def __lt__(self, other: Any) -> Ref[Any]: ...
        def __le__(self, other: Any) -> Ref[Any]: ...
        def __gt__(self, other: Any) -> Ref[Any]: ...
        def __ge__(self, other: Any) -> Ref[Any]: ...
        def __neg__(self) -> Ref[Any]: ...
        def __pos__(self) -> Ref[Any]: ...
        def __abs__(self) -> Ref[Any]: ...
        def __invert__(self) -> Ref[Any]: ...


# Most tasks are called without keywords, and a graph may have a million of them.
_NO_KWARGS: dict[str, Any] = {}


class Instance(Ref[T_co]):
    """A task with its inputs.  Made by calling the task; runs at most once in a run."""

    __slots__ = ("_args", "_code", "_definition", "_kwargs", "_node", "_offset")

    _definition: Definition
    _args: tuple[Any, ...]
    _kwargs: dict[str, Any]
    _code: CodeType
    _offset: int
    _node: Any  # of the run that marks instances, if it is in that

    # An object of a class with `Task` as its base may have attributes of its own.
    __setattr__ = object.__setattr__
    __delattr__ = object.__delattr__

    def __init__(
        self,
        definition: Definition,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        code: CodeType,
        offset: int,
    ) -> None:
        self._definition = definition
        self._args = args
        self._kwargs = kwargs or _NO_KWARGS
        self._code = code
        self._offset = offset
        self._node = None

    def with_options(
        self,
        *,
        retries: int | EllipsisType = ...,
        timeout: float | EllipsisType | None = ...,
        retry_delay: float | Backoff | EllipsisType = ...,
        needs: GivenNeeds | EllipsisType = ...,
        priority: int | EllipsisType = ...,
        cache: bool | EllipsisType = ...,
        version: str | EllipsisType = ...,
    ) -> Self:
        """Return the same instance with other options; those that are not given stay.

        `fit(image).with_options(needs={"memory": "8G"})`.  This one stays as it is.  Of a map
        its elements have them.  The options are those of `task`.

        Raises:
            GraphError: One is out of range, or this is of a module, which has `cache` and `version`
                only.
        """
        definition = self._definition
        for_jobs = (retries, timeout, retry_delay, needs, priority)
        composes = definition.is_module and definition.element is None
        if composes and any(one is not ... for one in for_jobs):
            raise errors.GraphError(
                f"module {definition.name} runs in the client and has no such options; "
                "give them to the tasks that it makes"
            )
        before = (definition.element or definition).options
        given = (*for_jobs, cache, version)
        values = (
            new if new is not ... else old for new, old in zip(given, before[1:], strict=True)
        )
        try:
            options = options_of(before.name, *values)
        except ValueError as error:
            frame = sys._getframe(1)
            raise refused(f"task {definition.name}", error, frame.f_code, frame.f_lasti) from None
        return self._with(definition.variant(options))

    def _with(self, definition: Definition) -> Self:
        made = object.__new__(type(self))
        Instance.__init__(made, definition, self._args, self._kwargs, self._code, self._offset)
        made.__dict__.update(self._state() or {})
        return made

    def _origin(self) -> Instance[Any]:
        return self

    def _keys(self) -> tuple[Any, ...]:
        return ()

    def _state(self) -> dict[str, Any] | None:
        """The instance's own attributes, for `Task` objects that have some."""
        return None

    def _site(self) -> str:
        return site_of(self._code, self._offset)

    def __repr__(self) -> str:
        return f"<task {self._definition.name}, made at {self._site()}>"


class Reference(Instance[T_co]):
    """The instance of a task that was written as a function: nothing can be set on it.

    It is made as an `Instance`, whose attributes are set at the speed of C, and then given
    this class: see `reference`.  Its name is what messages of C code call it.
    """

    __slots__ = ()

    __setattr__ = Ref.__setattr__
    __delattr__ = Ref.__delattr__

    def _with(self, definition: Definition) -> Self:
        made = reference(definition, self._args, self._kwargs, self._code, self._offset)
        return cast("Self", made)


_bare = object.__new__


def reference(
    definition: Definition,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    code: CodeType,
    offset: int,
) -> Instance[Any]:
    """Return a new `Reference`.

    It does what `Instance.__init__` does, which takes twice as long: C code calls that.
    """
    made: Instance[Any] = _bare(Instance)
    made._definition = definition
    made._args = args
    made._kwargs = kwargs or _NO_KWARGS
    made._code = code
    made._offset = offset
    made._node = None
    made.__class__ = Reference
    return made


class Item(Ref[Any]):
    """An item of what a task will give."""

    __slots__ = ("_base", "_key")

    _base: Ref[Any]
    _key: Any

    def __init__(self, base: Ref[Any], key: Any) -> None:
        object.__setattr__(self, "_base", base)
        object.__setattr__(self, "_key", key)

    def _origin(self) -> Instance[Any]:
        return self._base._origin()

    def _keys(self) -> tuple[Any, ...]:
        keys = []
        ref: Ref[Any] = self
        while isinstance(ref, Item):
            keys.append(ref._key)
            ref = ref._base
        return tuple(reversed(keys))

    def __repr__(self) -> str:
        items = "".join(f"[{key!r}]" for key in self._keys())
        return (
            f"<{items} of task {self._origin()._definition.name}, made at {self._origin()._site()}>"
        )


class Outputs(Mapping[str, Any]):
    """Several named outputs of one task, each carried on its own.

    `return Outputs(mask=m, volume=v)` in a task lets others take `t["mask"]`
    without the volume being moved.  As a value it is a read-only mapping whose
    items are attributes too.
    """

    __slots__ = ("_items",)

    def __init__(self, /, **items: Any) -> None:
        object.__setattr__(self, "_items", items)

    def __getitem__(self, name: str) -> Any:
        try:
            return self._items[name]
        except KeyError:
            raise KeyError(_no_output(name, self._items)) from None

    def __getattr__(self, name: str) -> Any:
        # Names with two underscores are Python asking what we can do, not users.
        if name == "_items" or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(name)
        try:
            return self._items[name]
        except KeyError:
            raise AttributeError(_no_output(name, self._items)) from None

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"outputs are read-only: cannot set {name!r}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"Outputs({', '.join(f'{k}={v!r}' for k, v in self._items.items())})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_make_outputs, (self._items,))


def _make_outputs(items: dict[str, Any]) -> Outputs:
    return Outputs(**items)


def _no_output(name: object, items: Mapping[str, Any]) -> str:
    return f"there is no output {name!r}; there are: {', '.join(items) or 'none'}"


_BINARY = (
    "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul",
    "lshift", "rshift", "and_", "or_", "xor",
)  # fmt: skip
_COMPARE = ("lt", "le", "eq", "ne", "gt", "ge")
_UNARY = ("neg", "pos", "abs", "invert")

_lifted: dict[str, Definition] = {}


def _operate(name: str, args: tuple[Any, ...]) -> Ref[Any]:
    """Return a task of `operator.<name>`, made where the caller's caller stands."""
    definition = _lifted.get(name)
    if definition is None:
        definition = _lifted[name] = plain_definition(getattr(operator, name), name.strip("_"))
    frame = sys._getframe(2)
    return reference(definition, args, {}, frame.f_code, frame.f_lasti)


def _operator(name: str) -> Callable[..., Ref[Any]]:
    return lambda *operands: _operate(name, operands)


def _reflected(name: str) -> Callable[..., Ref[Any]]:
    return lambda right, left: _operate(name, (left, right))


def _install_operators() -> None:
    for name in (*_BINARY, *_COMPARE, *_UNARY):
        setattr(Ref, f"__{name.strip('_')}__", _operator(name))
    for name in _BINARY:
        setattr(Ref, f"__r{name.strip('_')}__", _reflected(name))


def _refusal(what: str, instead: str) -> Callable[..., NoReturn]:
    def refuse(self: Ref[Any], *_: Any, **__: Any) -> NoReturn:
        self._refuse(what, instead)

    return refuse


def _install_refusals() -> None:
    """Refuse what needs the value at once; type checkers know none of it, and refuse it too."""
    for what, (instead, names) in REFUSED.items():
        for name in names.split():
            spelled = name if name == "keys" else f"__{name}__"  # dict(ref) and f(**ref) ask for it
            setattr(Ref, spelled, _refusal(what, instead))


_install_operators()
_install_refusals()
