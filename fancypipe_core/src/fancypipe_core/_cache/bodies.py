"""What functions, classes and constants are made of, with names for what they refer to."""

from __future__ import annotations

import builtins
import enum
import functools
import gc
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from types import (
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    ModuleType,
)
from typing import Any, Protocol

from fancypipe_core._base import main_module
from fancypipe_core._base.file_digests import FileDigests
from fancypipe_core._cache.names import Import, Names, names_in
from fancypipe_core._cache.naming import outer_name
from fancypipe_core._cache.project import Project, module_name
from fancypipe_core._cache.sources import HAS_DOCSTRING, docstring_in
from fancypipe_core._cache.things import Thing
from fancypipe_core._cache.values import CACHED, Unsound, Values
from fancypipe_core._model.definition import names_files
from fancypipe_core._model.options import Options
from fancypipe_core._model.ref import Ref
from fancypipe_core._model.task import TaskFunction

__all__ = ["MISSING", "NAMED", "Bodies", "Refers", "Watch", "said_of"]

_MOST_LOOKED_AT = 10_000  # objects, for code that nobody names

MISSING = object()
"""What stands for a global that is not there."""

NAMED = (TaskFunction, type, FunctionType, ModuleType, CACHED)
"""What stands for code, each in its way."""

# What differs from process to process, and not in what a task gives.
_HARMLESS = type(threading.Lock()), type(threading.RLock()), threading.local
# Of a class: what Python makes of the rest of it, or of its text; and our options.
_DERIVED = frozenset(
    {
        *("__module__", "__qualname__", "__dict__", "__weakref__", "__doc__", "__slots__"),
        "__slotnames__",  # written by who pickles an object of it
        *("__firstlineno__", "__static_attributes__", "__abstractmethods__", "_abc_impl"),
        *("__parameters__", "__annotations__", "__annotate__", "__annotate_func__"),
        *("__annotations_cache__", "__dataclass_fields__", "__dataclass_params__"),
        *("__match_args__", "__orig_bases__", "__type_params__", "_options", "_composes"),
    }
)


def said_of(options: Any) -> str:
    """Return what counts of a task's options for those that make it; mostly nothing."""
    if not isinstance(options, Options) or (options.cache and options.version is None):
        return ""
    return f" version={options.version!r} cache={options.cache}"


class Refers(Protocol):
    """Gives names to what is referred to, and adds what these stand for to `needs`."""

    files: FileDigests

    def refer(self, obj: Any, needs: list[Thing]) -> str:
        """Return what stands for a function, class, task or module."""

    def chain(
        self, chain: tuple[str, ...], value: Any, module: ModuleType, needs: list[Thing]
    ) -> str:
        """Return what stands for a name with attributes behind it, as in `helpers.smooth`."""

    def imported(self, one: Import, package: str, needs: list[Thing]) -> list[str]:
        """Return the names of the modules of the project that an import loads."""


class Watch:
    """Collects the code that is met in a value.

    Attributes:
        needs: What was met.
    """

    def __init__(self, code: Refers, needs: list[Thing] | None = None) -> None:
        self._code = code
        self.needs: list[Thing] = [] if needs is None else needs

    def code(self, obj: Any) -> str:
        return self._code.refer(obj, self.needs)

    def task(self, ref: Ref[Any]) -> str:
        raise Unsound(f"it has {ref!r} in it; pass it as an input")

    def file(self, path: str) -> str:
        return self._code.files.of(path)


class Bodies:
    """Says what things are made of: what `msgspec` can write down.

    Args:
        refers: Gives names.
        values: Digests of values.
        project: Tells what is of the project.
    """

    def __init__(self, refers: Refers, values: Values, project: Project) -> None:
        self._refers = refers
        self._values = values
        self._project = project

    def of(self, thing: Thing, needs: list[Thing]) -> Any:
        """Return what a function, class or constant is made of.

        Args:
            thing: Which.
            needs: What it refers to is added to it.

        Raises:
            Unsound: Something in it has no digest.
        """
        if thing.kind == "constant":
            return self._constant(thing, Watch(self._refers, needs))
        if thing.kind == "class":
            return list(self._class(thing.what, thing.name, needs))
        return list(self._function(thing.what, thing.name, needs))

    def _constant(self, thing: Thing, met: Watch) -> str:
        value = thing.what
        if isinstance(value, _HARMLESS) or _is_logger(value):
            return type(value).__name__
        try:
            return self._values.digest(value, met)
        except Unsound as error:
            raise Unsound(f"its code uses `{thing.name}`: {error.why}") from None

    def _function(self, function: FunctionType, name: str, needs: list[Thing]) -> Iterator[Any]:
        met = Watch(self._refers, needs)
        ours = self._project.has(function)

        def digest(value: Any, what: str) -> str:
            if isinstance(value, _HARMLESS) or _is_logger(value):
                return type(value).__name__
            try:
                return self._values.digest(value, met)
            except Unsound as error:
                if not ours:  # what an installed decorator keeps for itself
                    inside = [self._refers.refer(one, needs) for one in self._inside(value)]
                    return " ".join([type(value).__name__, *inside])
                raise Unsound(f"its code uses {what} of `{name}`: {error.why}") from None

        yield "function"
        names = None
        if ours:
            yield self._code(function.__code__, met)
            names = names_in(function.__code__)
            yield list(self._globals(names, function, needs))
            yield list(self._imports(names, function, needs))
        else:
            yield outer_name(function)
        yield digest(function.__defaults__, "a default")
        yield digest(function.__kwdefaults__, "a default")
        yield list(self._closure(function, names, digest, needs))
        for key, value in vars(function).items():
            if key != "__wrapped__" and ours:
                yield key, digest(value, f"the attribute `{key}`")
        if ours and names_files(function):
            # What is given and returned is made a file, or not.
            yield [(key, _said(one)) for key, one in function.__annotations__.items()]

    def _inside(self, value: Any) -> list[Any]:
        """Return the functions and classes of the project that an object holds, or may hold."""
        found: dict[int, Any] = {}
        seen = {id(value)}
        todo = [value]
        for one in todo:  # grows while we go
            for other in gc.get_referents(one):
                if id(other) in seen or isinstance(other, ModuleType):
                    continue
                seen.add(id(other))
                if isinstance(other, (FunctionType, type, TaskFunction)):
                    if self._project.has(other):
                        found[id(other)] = other
                elif len(todo) < _MOST_LOOKED_AT:
                    todo.append(other)
        return list(found.values())

    def _code(self, code: CodeType, met: Watch) -> Any:
        consts = code.co_consts
        if docstring_in(code):
            consts = (None, *consts[1:])
        plain = tuple(one for one in consts if not isinstance(one, CodeType))
        return (
            code.co_code,
            getattr(code, "co_exceptiontable", b""),
            code.co_flags & ~HAS_DOCSTRING,
            (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
            (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars),
            self._values.digest(plain, met),
            [
                (at, one.co_name, self._code(one, met))
                for at, one in enumerate(consts)
                if isinstance(one, CodeType)
            ],
        )

    def _globals(self, names: Names, function: FunctionType, needs: list[Thing]) -> Iterator[Any]:
        space = function.__globals__
        name = str(space.get("__name__", ""))
        module = sys.modules[name] if name in sys.modules else ModuleType(name)
        for chain in names.of_globals:
            value = space.get(chain[0], MISSING)
            if value is MISSING and hasattr(builtins, chain[0]):
                continue  # the bytecode has its name
            yield ".".join(chain), self._refers.chain(chain, value, module, needs)

    def _imports(self, names: Names, function: FunctionType, needs: list[Thing]) -> Iterator[Any]:
        space = function.__globals__
        package = space.get("__package__") or ""
        for one in names.imports:
            yield self._refers.imported(one, package, needs)

    def _closure(
        self, function: FunctionType, names: Names | None, digest: Any, needs: list[Thing]
    ) -> Iterator[Any]:
        chains: dict[str, list[tuple[str, ...]]] = {}
        for chain in names.free if names is not None else ():
            chains.setdefault(chain[0], []).append(chain)
        for name, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=False
        ):
            try:
                value = cell.cell_contents
            except ValueError:
                yield name, "nothing"
                continue
            if isinstance(value, ModuleType):
                for chain in chains.get(name, [(name,)]):
                    yield ".".join(chain), self._refers.chain(chain, value, value, needs)
            elif isinstance(value, NAMED):
                yield name, self._refers.refer(value, needs)
            else:
                yield name, digest(value, f"the variable `{name}`")

    # ---- classes ----

    def _class(self, cls: type, name: str, needs: list[Thing]) -> Iterator[Any]:
        met = Watch(self._refers, needs)
        yield f"class{said_of(vars(cls).get('_options'))}"
        yield [self._refers.refer(base, needs) for base in (type(cls), *cls.__bases__)]
        yield _annotations(cls)
        for key, value in _kept_by_metaclass(cls):
            with suppress(Unsound):  # made of what the class is written with
                yield key, self._values.digest(value, met)
        if issubclass(cls, enum.Enum):
            for key, member in cls.__members__.items():
                yield key, self._attribute(member.value, f"{name}.{key}", met, needs)
        for key, value in vars(cls).items():
            is_of_enum = issubclass(cls, enum.Enum) and (
                key in cls.__members__ or (key[:1] == "_" != key[1:2])
            )
            if key in _DERIVED or is_of_enum or type(value) is MemberDescriptorType:
                continue
            try:
                yield key, self._attribute(value, f"{name}.{key}", met, needs)
            except Unsound as error:
                # What metaclasses keep there is made of what the class is written with.
                if not (key.startswith("__") and key.endswith("__")):
                    raise Unsound(f"its code uses `{name}.{key}`: {error.why}") from None

    def _attribute(self, value: Any, name: str, met: Watch, needs: list[Thing]) -> Any:
        if isinstance(value, (staticmethod, classmethod)):
            return type(value).__name__, self._attribute(value.__func__, name, met, needs)
        if isinstance(value, property):
            parts = (value.fget, value.fset, value.fdel)
            return "property", [self._attribute(one, name, met, needs) for one in parts]
        if isinstance(value, functools.cached_property):
            return "cached", self._attribute(value.func, name, met, needs)
        if isinstance(value, FunctionType) and value.__code__.co_filename.startswith("<"):
            # Made by Python or a library for this class, as the `__init__` of a dataclass.
            return "made", list(self._function(value, name, needs))
        if isinstance(value, NAMED):
            return self._refers.refer(value, needs)
        if isinstance(value, _HARMLESS) or _is_logger(value):
            return type(value).__name__
        return self._values.digest(value, met)


def _annotations(cls: type) -> list[tuple[str, str]]:
    """Return what a class says of types: libraries make checks, and more, of it."""
    with suppress(Exception):  # written by users, and read by few
        own = [*cls.__annotations__.items()]
        own += [("", one) for one in vars(cls).get("__orig_bases__", ())]
        return [(key, _said(value)) for key, value in own]
    return []


def _kept_by_metaclass(cls: type) -> Iterator[tuple[str, Any]]:
    """Yield what a metaclass keeps of a class where its `vars` do not show it."""
    own: type = type(cls)
    for meta in own.__mro__:
        if meta is type:
            return
        for key, value in vars(meta).items():
            if type(value) in (MemberDescriptorType, GetSetDescriptorType):
                with suppress(Exception):  # such as one that is not set
                    yield key, getattr(cls, key)


def _said(value: Any) -> str:
    main = f"{module_name(main_module.MAIN)}."
    return re.sub(r" at 0x[0-9a-f]+", "", str(value)).replace(f"{main_module.MAIN}.", main)


def _is_logger(value: Any) -> bool:
    logging = sys.modules.get("logging")
    return logging is not None and isinstance(value, (logging.Logger, logging.LoggerAdapter))
