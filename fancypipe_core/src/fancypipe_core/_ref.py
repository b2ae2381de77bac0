"""References: what stands for an output before it is there.

A task instance is a reference to its own output; `t["key"]` and `t[0]` refer to
an item of it.  Operators on references make small tasks.  Whatever would need
the value at once (truth, iteration, `len`, text) raises `GraphError` and says
what to write instead.
"""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from types import CodeType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from fancypipe_core import errors

if TYPE_CHECKING:
    from typing_extensions import Self

    from fancypipe_core._task import Definition

T = TypeVar("T")

__all__ = ["Instance", "Item", "Outputs", "Ref", "site_of"]


class Ref(Generic[T]):
    """Stands for a value that a task will give.

    Pass it to other tasks, alone or anywhere inside lists, tuples, dicts, sets,
    dataclasses and `Outputs`.  `ref[key]` refers to an item of the value.
    Arithmetic and comparison make tasks that compute with it.
    """

    __slots__ = ()

    # numpy then leaves `array + ref` to our operators.
    __array_ufunc__ = None

    def result(self) -> T:
        """Wait for the value and return it.

        In a module what is needed runs in parallel on the run's backend; inside
        a task it runs inline, in the worker; elsewhere it is `run(self)`.

        Raises:
            TaskError: The task failed; it is also of the original's class.
        """
        from fancypipe_core import _context

        value: T = _context.resolve(self)
        return value

    def __getitem__(self, key: Any) -> Ref[Any]:
        if isinstance(key, Ref):
            return _operate("getitem", (self, key))
        return Item(self, key)

    def _origin(self) -> Instance[Any]:
        raise NotImplementedError

    def _keys(self) -> tuple[Any, ...]:
        raise NotImplementedError

    def _refuse(self, what: str, instead: str) -> NoReturn:
        raise errors.GraphError(f"{what} {self!r} is not known before it has run; {instead}")

    def __bool__(self) -> bool:
        self._refuse(
            "the truth value of",
            "decide inside a task or module that gets it as an input, or write .result()",
        )

    def __iter__(self) -> Iterator[Any]:
        self._refuse(
            "the items of",
            "take them by key (ref[0]), loop inside a task or module that gets it as an input, "
            "or write .result()",
        )

    def __len__(self) -> int:
        self._refuse("the length of", "make a task that returns it, or write .result()")

    def __contains__(self, item: object) -> bool:
        self._refuse("what is in", "ask inside a task, or write .result()")

    def __str__(self) -> str:
        self._refuse("the text of", "format it inside a task, or write .result() (repr() works)")

    def __format__(self, spec: str) -> str:
        self._refuse("the text of", "format it inside a task, or write .result() (or use {ref!r})")

    def __int__(self) -> int:
        self._refuse("the number of", "convert it inside a task, or write .result()")

    def __float__(self) -> float:
        self._refuse("the number of", "convert it inside a task, or write .result()")

    def __complex__(self) -> complex:
        self._refuse("the number of", "convert it inside a task, or write .result()")

    def __index__(self) -> int:
        self._refuse("the number of", "index inside a task, or write .result()")

    def __fspath__(self) -> str:
        self._refuse("the path of", "open it inside a task, or write .result()")

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        self._refuse("the array of", "compute inside a task, or write .result()")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._refuse("what to call of", "call it inside a task, or write .result()")

    def __setitem__(self, key: Any, value: Any) -> None:
        self._refuse("the items of", "they cannot be set; make a task that returns a changed copy")

    def __delitem__(self, key: Any) -> None:
        self._refuse(
            "the items of", "they cannot be removed; make a task that returns a changed copy"
        )

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


class Instance(Ref[T]):
    """A task with its inputs.  Made by calling the task; runs at most once in a run."""

    __slots__ = ("__weakref__", "_args", "_code", "_definition", "_kwargs", "_offset")

    _definition: Definition
    _args: tuple[Any, ...]
    _kwargs: dict[str, Any]
    _code: CodeType
    _offset: int

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

    def _origin(self) -> Instance[Any]:
        return self

    def _keys(self) -> tuple[Any, ...]:
        return ()

    def _state(self) -> dict[str, Any] | None:
        """The instance's own attributes, for `Task` objects that have some."""
        return getattr(self, "__dict__", None) or None

    def _site(self) -> str:
        return site_of(self._code, self._offset)

    def __repr__(self) -> str:
        return f"<task {self._definition.name}, made at {self._site()}>"


class Item(Ref[Any]):
    """An item of what a task will give."""

    __slots__ = ("_base", "_key")

    def __init__(self, base: Ref[Any], key: Any) -> None:
        self._base = base
        self._key = key

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


def site_of(code: CodeType, offset: int) -> str:
    """Return `file:line` of a place in code; the file relative to the current folder if below."""
    line = code.co_firstlineno
    for start, end, number in code.co_lines():
        if start <= offset < end and number is not None:
            line = number
    path = code.co_filename
    here = os.path.join(os.getcwd(), "")
    return f"{path.removeprefix(here)}:{line}"


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
        from fancypipe_core._task import plain_definition

        definition = _lifted[name] = plain_definition(getattr(operator, name), name.strip("_"))
    frame = sys._getframe(2)
    return Instance(definition, args, {}, frame.f_code, frame.f_lasti)


def _operator(name: str) -> Callable[..., Ref[Any]]:
    return lambda *operands: _operate(name, operands)


def _reflected(name: str) -> Callable[..., Ref[Any]]:
    return lambda right, left: _operate(name, (left, right))


def _install_operators() -> None:
    for name in (*_BINARY, *_COMPARE, *_UNARY):
        setattr(Ref, f"__{name.strip('_')}__", _operator(name))
    for name in _BINARY:
        setattr(Ref, f"__r{name.strip('_')}__", _reflected(name))


_install_operators()
