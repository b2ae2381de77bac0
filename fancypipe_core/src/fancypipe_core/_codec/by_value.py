"""Code that has no name goes by value, with cloudpickle.

Lambdas, closures, local classes, and everything of a notebook.  It is written
into the same pickle as what uses it, so functions and classes that know each
other stay together, and a reference in a closure is a reference like any other.

A class keeps its identity: it travels with a token, and who knows the token
takes the class that it has, so `isinstance` and `except` work on what comes
back.  So do the few other objects that Python writes down as a name only: type
variables, cached functions, sentinels.
"""

from __future__ import annotations

import builtins
import copyreg
import functools
import gc
import io
import marshal
import os
import sys
import threading
import types
import typing
import weakref
from collections import ChainMap, OrderedDict
from collections.abc import Callable
from types import CellType, CodeType, FunctionType
from typing import Any, NamedTuple

from fancypipe_core._base import code_names, main_module

__all__ = [
    "NAMED",
    "Cache",
    "NeedsValue",
    "pickler",
    "reduce_builtin",
    "reduce_class",
    "reduce_function",
    "reduce_homeless",
    "reduce_named",
    "reduce_ufunc",
]

Cache = dict[int, tuple[Any, Any]]
"""id(class) -> (class, reduction): kept for a run, since code may change between runs."""


class NeedsValue(Exception):
    """A plain pickler met code that has no name; `pickler` makes one that writes it down."""


_DICTS: tuple[dict[Any, Any], ...] = ({}, OrderedDict())
# What cloudpickle can write, pickle cannot, and is no code: refused as anywhere else.
_NO_CODE = frozenset(
    [io.TextIOWrapper, memoryview]
    + [type(view) for of in _DICTS for view in (of.keys(), of.values(), of.items())]
)
_LOCKS = {type(threading.Lock()): threading.Lock, type(threading.RLock()): threading.RLock}


class _Token(NamedTuple):
    """A class's name among processes.

    Attributes:
        id: Unique for the class.
        version: Counts up when its code has changed, as in a notebook where a
            global that it uses was set anew.
    """

    id: str
    version: int


@functools.cache
def pickler(plain: Any) -> Any:
    """Return a subclass of a plain pickler that writes code down.

    Args:
        plain: The class, derived from `pickle.Pickler`; its objects have a `cache`.
    """
    import cloudpickle

    theirs: Any = cloudpickle.Pickler
    own: dict[type, Any] = {CellType: _reduce_cell, CodeType: _reduce_code}
    rest = {kind: how for kind, how in theirs.dispatch_table.items() if kind not in _NO_CODE}

    class ByValue(plain, theirs):  # type: ignore[misc]  # known when it runs
        by_value = theirs.reducer_override
        fingerprint: Any = None

    class Fingerprint(ByValue):
        """Writes what is compared and never read: the same code gives the same bytes."""

    table = ChainMap(own, rest, copyreg.dispatch_table)
    ByValue.dispatch_table = table
    Fingerprint.dispatch_table = ChainMap({CodeType: _reduce_code_alike}, *table.maps)
    ByValue.fingerprint, Fingerprint.fingerprint = Fingerprint, None
    return ByValue


def reduce_function(function: FunctionType, pickler: Any) -> Any:
    """Return the reduction of a function by value."""
    reduced = _by_value(function, pickler)
    if not isinstance(reduced, tuple):
        return reduced
    make, args, (state, slots), *rest = reduced
    used = {name: _carried(value) for name, value in slots["__globals__"].items()}
    return (make, args, (state, {**slots, "__globals__": used}), *rest)


def reduce_class(cls: type, pickler: Any) -> Any:
    """Return the reduction of a class by value, with its token."""
    known = pickler.cache.get(id(cls))
    if known is not None:
        return known[1]
    reduced = _by_value(cls, pickler)
    if not isinstance(reduced, tuple):
        return reduced
    make, args, state, _, _, fill = _with_slots(cls, *reduced)
    # The last but one is cloudpickle's own token, which knows no versions.
    args = (*args[:-2], None, args[-1])
    token = _token_of.get(cls)
    if token is None:
        token = _token_of[cls] = _Token(os.urandom(16).hex(), 0)
        _made[token.id] = cls
    if pickler.fingerprint is None:
        return (_skeleton, (token.id, make, args), state, None, None, fill)
    if token.id in _made:
        import hashlib  # takes longer than all else that is imported here

        file = io.BytesIO()
        pickler.fingerprint(file, {}).dump(cls)
        digest = hashlib.blake2b(file.getvalue()).digest()
        if _digest_of.setdefault(cls, digest) != digest:
            _digest_of[cls] = digest
            token = _token_of[cls] = _Token(token.id, token.version + 1)
    whole = (_skeleton, (*token, make, args), (state, fill), None, None, _fill)
    pickler.cache[id(cls)] = (cls, whole)
    return whole


def _with_slots(cls: type, *reduced: Any) -> tuple[Any, ...]:
    """Return a class's reduction with its slots, which cloudpickle leaves out."""
    if not vars(cls).get("__slots__"):
        return reduced
    make, (meta, name, bases, given, *ids), (attributes, slots), *rest = reduced
    given = {**given, "__slots__": vars(cls)["__slots__"]}
    others = {k: v for k, v in attributes.items() if type(v) is not types.MemberDescriptorType}
    return (make, (meta, name, bases, given, *ids), (others, slots), *rest)


_made: weakref.WeakValueDictionary[str, type] = weakref.WeakValueDictionary()
_loaded: weakref.WeakValueDictionary[_Token, type] = weakref.WeakValueDictionary()
_token_of: weakref.WeakKeyDictionary[type, _Token] = weakref.WeakKeyDictionary()
_digest_of: weakref.WeakKeyDictionary[type, bytes] = weakref.WeakKeyDictionary()
_unfilled: weakref.WeakSet[type] = weakref.WeakSet()


def _by_value(obj: Any, pickler: Any) -> Any:
    how = getattr(pickler, "by_value", None)
    if how is None:
        raise NeedsValue
    return how(obj)


def _skeleton(id: str, version: int, make: Callable[..., type], args: tuple[Any, ...]) -> type:
    token = _Token(id, version)
    cls = _made.get(id) or _loaded.get(token)
    if cls is None:
        cls = make(*args)
        _unfilled.add(cls)
        _loaded[token] = cls
        _token_of[cls] = token
    return cls


def _fill(cls: type, how: tuple[Any, Callable[[type, Any], Any]]) -> None:
    state, fill = how
    if cls in _unfilled:
        fill(cls, state)
        # Only now: another thread that met it meanwhile fills it too, with the same.
        _unfilled.discard(cls)


def _reduce_code(code: CodeType) -> Any:
    # cloudpickle's own way drops the file's name, which errors are to tell.
    return (marshal.loads, (marshal.dumps(code),))


def _reduce_code_alike(code: CodeType) -> Any:
    # What marshal writes of the same code may differ.
    return (tuple, ((code.co_code, code.co_consts, code.co_names, code.co_freevars),))


def _reduce_cell(cell: CellType) -> Any:
    try:
        content = cell.cell_contents
    except ValueError:
        return (CellType, ())
    return (CellType, (_carried(content),))


def _carried(value: Any) -> Any:
    """Return what travels of a thing that code uses: a lock guards threads of one process."""
    make = _LOCKS.get(type(value))
    return value if make is None else _Made(make)


class _Made:
    """Is pickled as a call without arguments."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make

    def __reduce__(self) -> Any:
        return (self.make, ())


def reduce_builtin(cls: type) -> Any:
    """Return the reduction of a type of Python's own, also of one that `builtins` does not have."""
    if vars(builtins).get(cls.__name__) is cls or cls not in _TYPES:
        return NotImplemented
    return (getattr, (types, _TYPES[cls]))


_TYPES = {kind: name for name, kind in vars(types).items() if type(kind) is type}


def reduce_named(obj: Any, pickler: Any) -> Any:
    """Return the reduction of an object that pickle writes by name; its kind is `NAMED`."""
    named = code_names.reference(obj)
    if named is not None:
        return named
    if not hasattr(pickler, "by_value"):
        raise NeedsValue
    return _with_token(obj, *NAMED[type(obj)](obj))


def reduce_homeless(obj: Any) -> Any:
    """Return the reduction of an object whose own is a name that only this process knows."""
    reduced = obj.__reduce_ex__(5)
    if not isinstance(reduced, str):
        return reduced
    return _with_token(obj, _bare, (type(obj), dict(getattr(obj, "__dict__", {}))))


def reduce_ufunc(ufunc: Any, pickler: Any) -> Any:
    """Return the reduction of a function of numpy; what `frompyfunc` made has no name."""
    for name, module in list(sys.modules.items()):
        if name != main_module.GUARDED and getattr(module, ufunc.__name__, None) is ufunc:
            return NotImplemented
    # What stands in sys.modules may be anything.
    spaces = {k: getattr(v, "__dict__", {}) for k, v in list(sys.modules.items())}
    spaces[main_module.MAIN] = main_module.main_names()
    for where, names in spaces.items():
        for name, value in list(names.items()):
            named = code_names.item(where, name, ufunc) if value is ufunc else None
            if named is not None:
                # A string would be looked for in the module that pickle thinks it is of.
                return named if isinstance(named, tuple) else (getattr, (sys.modules[where], name))
    inside = [found for found in gc.get_referents(ufunc) if callable(found)]
    if len(inside) != 1:
        return NotImplemented  # pickle says what is wrong
    if not hasattr(pickler, "by_value"):
        raise NeedsValue
    make = functools.partial(sys.modules["numpy"].frompyfunc, identity=ufunc.identity)
    return _with_token(ufunc, make, (inside[0], ufunc.nin, ufunc.nout))


class _Known:
    """Objects that are the same in all processes, by a token of theirs."""

    def __init__(self) -> None:
        self._by_token: dict[str, Callable[[], Any]] = {}
        self._tokens: dict[int, str] = {}

    def token(self, obj: Any) -> str:
        return self._tokens.get(id(obj)) or self.keep(os.urandom(16).hex(), obj)

    def keep(self, token: str, obj: Any) -> str:
        key = id(obj)

        def forget(_: Any) -> None:
            self._tokens.pop(key, None)
            self._by_token.pop(token, None)

        try:
            self._by_token[token] = weakref.ref(obj, forget)
        except TypeError:
            self._by_token[token] = lambda: obj
        self._tokens[key] = token
        return token

    def forget(self) -> None:
        self._by_token.clear()
        self._tokens.clear()

    def recall(self, token: str) -> Any:
        return self._by_token.get(token, lambda: None)()


_known = _Known()


def forget() -> None:
    """In a worker: take no class or object any more for one that has come or gone before."""
    for known in (_made, _loaded, _token_of, _digest_of, _unfilled):
        known.clear()
    _known.forget()


def _with_token(obj: Any, make: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    return (_recalled, (_known.token(obj), make, args))


def _recalled(token: str, make: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    found = _known.recall(token)
    if found is None:
        found = make(*args)
        _known.keep(token, found)
    return found


def _bare(cls: Any, state: dict[str, Any]) -> Any:
    made = cls.__new__(cls)
    if state:
        made.__dict__.update(state)
    return made


def _of_typevar(var: Any) -> Any:
    how = {
        "bound": var.__bound__,
        "covariant": var.__covariant__,
        "contravariant": var.__contravariant__,
    }
    return _typevar, (var.__name__, var.__module__, var.__constraints__, how)


def _typevar(name: str, module: str, constraints: tuple[Any, ...], how: dict[str, Any]) -> Any:
    made = typing.TypeVar(name, *constraints, **how)  # type: ignore[misc]  # made as it was
    made.__module__ = module
    return made


def _of_newtype(new: Any) -> Any:
    return _newtype, (new.__name__, new.__qualname__, new.__module__, new.__supertype__)


def _newtype(name: str, qualname: str, module: str, of: Any) -> Any:
    made: Any = typing.NewType(name, of)  # type: ignore[misc]  # made as it was
    made.__qualname__, made.__module__ = qualname, module
    return made


def _of_cached(cached: Any) -> Any:
    mine = ("__wrapped__", "cache_parameters")
    more = {name: value for name, value in vars(cached).items() if name not in mine}
    return _cached, (cached.__wrapped__, cached.cache_parameters(), more)


def _cached(function: Callable[..., Any], how: dict[str, Any], more: dict[str, Any]) -> Any:
    made = functools.lru_cache(**how)(function)
    vars(made).update(more)
    return made


NAMED: dict[type, Callable[[Any], tuple[Callable[..., Any], tuple[Any, ...]]]] = {
    typing.TypeVar: _of_typevar,
    typing.ParamSpec: lambda var: (typing.ParamSpec, (var.__name__,)),
    typing.NewType: _of_newtype,
    type(functools.lru_cache(int)): _of_cached,
}
"""Kinds of objects that pickle writes by name, and how each is made again."""
