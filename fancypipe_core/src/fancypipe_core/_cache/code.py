"""Digests of code: what a function does, and all of the project that it reaches.

A function is its bytecode, without file, lines and docstring, so that comments and layout do not
count; with its constants, defaults, closure and what its global names stand for.  Each
function, class and constant has a digest of its own, in which others stand by name only: that
makes recursion harmless, and a difference can be told where it is.  What has no name of its own,
such as a lambda, stands in others with its digest.

What is installed counts by name.
"""

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
from contextvars import ContextVar
from hashlib import blake2b
from types import CodeType, FunctionType, MemberDescriptorType, ModuleType
from typing import Any, NamedTuple

import msgspec

from fancypipe_core._base.file_digests import FileDigests
from fancypipe_core._cache.names import Names, names_in
from fancypipe_core._cache.places import Places
from fancypipe_core._cache.project import Project, module_name
from fancypipe_core._cache.texts import Texts
from fancypipe_core._cache.values import CACHED, Unsound, Values
from fancypipe_core._model.definition import Definition
from fancypipe_core._model.ref import Ref
from fancypipe_core._model.task import TaskFunction

__all__ = ["Code", "Reached", "merged", "root_of"]

_HAS_DOCSTRING = 0x4000000  # a flag of code, from Python 3.13 on
_MISSING = object()
_MOST_WORK = 10_000  # parts that are made for one task
# What differs from process to process, and not in what a task gives.
_HARMLESS: tuple[type, ...] = (
    type(threading.Lock()), type(threading.RLock()), threading.local, ContextVar,
)  # fmt: skip
# Of a class: what Python makes of the rest of it, or of its text; and our options.
_DERIVED = frozenset(
    {
        *("__module__", "__qualname__", "__dict__", "__weakref__", "__doc__", "__slots__"),
        *("__firstlineno__", "__static_attributes__", "__abstractmethods__", "_abc_impl"),
        *("__parameters__", "__annotations__", "__annotate__", "__annotate_func__"),
        *("__annotations_cache__", "__dataclass_fields__", "__dataclass_params__"),
        *("__match_args__", "_options", "_composes"),
    }
)
# What stands for code, each in its way.
_NAMED = (TaskFunction, type, FunctionType, ModuleType, CACHED)


class Reached(NamedTuple):
    """What a task's code is: see `KeyParts`."""

    code: dict[str, str]
    lines: dict[str, str]


class _Thing(NamedTuple):
    """Something with an entry of its own.

    Attributes:
        kind: `function`, `class`, `constant` or `text`.
        what: The function or class; the constant's value; the path of a module's file.
        name: How it is called.
        of: The module of a constant.
    """

    kind: str
    what: Any
    name: str
    of: Any = None


class _Part(NamedTuple):
    digest: str
    lines: str
    needs: tuple[_Thing, ...]


class _Begun:
    """A part that is being made.

    Attributes:
        thing: What it is of.
        reaches: The outermost of those being made that it has met, by its place.
    """

    def __init__(self, thing: _Thing, place: int) -> None:
        self.thing = thing
        self.reaches = place


class Code:
    """Digests of code, remembered until `forget`.

    Args:
        values: Digests of values.
        files: Digests of files.
    """

    def __init__(self, values: Values, files: FileDigests) -> None:
        self._values = values
        self.files = files
        self._project = Project()
        self._texts = Texts(self._project)
        self._places = Places()
        # The thing is kept, so that its id is nobody else's.
        self._parts: dict[tuple[int, str], tuple[_Thing, _Part | Unsound]] = {}
        self._begun: list[_Begun] = []
        self._work = 0

    def forget(self) -> None:
        """Between two runs the user may have changed the code."""
        self.__init__(self._values, self.files)  # type: ignore[misc]  # as new

    def reached(self, roots: list[_Thing]) -> Reached:
        """Return what things are made of, with all that they reach.

        Raises:
            Unsound: Something has no digest.
        """
        found: dict[str, list[str]] = {}
        lines: dict[str, str] = {}
        seen: set[tuple[int, str]] = set()
        self._work = 0
        for thing in roots:
            key = _key(thing)
            if key in seen:
                continue
            seen.add(key)
            part = self._part(thing)
            found.setdefault(thing.name, []).append(part.digest)
            if part.lines:
                lines.setdefault(thing.name, part.lines)
            roots.extend(part.needs)
        return Reached({name: _joined(digests) for name, digests in found.items()}, lines)

    def watch(self) -> Watch:
        """Return what collects the code that is met in a value."""
        return Watch(self)

    # ---- names ----

    def refer(self, obj: Any, needs: list[_Thing]) -> str:
        """Return what stands for a function, class, task or module; what it is goes to `needs`."""
        if isinstance(obj, TaskFunction):
            obj = obj.main
        if type(obj) is CACHED:
            return f"cached {self.refer(obj.__wrapped__, needs)}"
        if isinstance(obj, ModuleType):
            if self._project.has(obj):
                needs += self._texts_of_module(obj)
            return f"module {module_name(obj.__name__)}"
        if not isinstance(obj, (FunctionType, type)):
            inside = _inside(obj)
            name = _outer_name(obj)
            return name if inside is None else f"{name} of {self.refer(inside, needs)}"
        is_ours = self._project.has(obj)
        if not is_ours and not getattr(obj, "__closure__", None):
            return _outer_name(obj)
        name = _name(obj)
        thing = _Thing("class" if isinstance(obj, type) else "function", obj, name)
        needs.append(thing)
        if "<" not in name and _found(obj):
            return name
        at = next((at for at, one in enumerate(self._begun) if one.thing.what is obj), None)
        if at is None:
            return f"{name}~{self._part(thing).digest}"
        # It is being made: what counts is how far above it is, not where that was begun.
        self._begun[-1].reaches = min(self._begun[-1].reaches, at)
        return f"{name}^{len(self._begun) - at}"

    def _texts_of_module(self, module: ModuleType) -> list[_Thing]:
        file = getattr(module, "__file__", None)
        return [_Thing("text", file, module_name(module.__name__))] if file else []

    def _value(self, value: Any, name: str, module: ModuleType, needs: list[_Thing]) -> str:
        """Return what stands for what a global name of a module stands for."""
        if value is _MISSING:
            return "nothing"
        if isinstance(value, _NAMED):
            return self.refer(value, needs)
        full = f"{module_name(module.__name__)}.{name}"
        needs.append(_Thing("constant", value, full, module))
        return full

    def _chain(
        self, chain: tuple[str, ...], value: Any, module: ModuleType, needs: list[_Thing]
    ) -> str:
        """Return what stands for a name with attributes behind it, as in `helpers.smooth`."""
        name, *attributes = chain
        while isinstance(value, ModuleType):
            if not attributes or not self._project.has(value):
                return self.refer(value, needs)
            module, name = value, attributes.pop(0)
            value = vars(module).get(name, _MISSING)
            if value is _MISSING:
                value = sys.modules.get(f"{module.__name__}.{name}", _MISSING)
        return self._value(value, name, module, needs)

    # ---- parts ----

    def _part(self, thing: _Thing) -> _Part:
        """Return the part of a thing.

        Those without a name of their own that refer to each other are made anew for each of
        them, so that their digests do not depend on which was met first.
        """
        key = _key(thing)
        known = self._parts.get(key)
        if known is None:
            self._work += 1
            if self._work > _MOST_WORK:
                raise Unsound(f"the functions in `{thing.name}` refer to each other too much")
            begun = self._begun
            begun.append(_Begun(thing, len(begun)))
            part: _Part | Unsound
            try:
                part = self._make(thing)
            except Unsound as error:
                part = error
            one = begun.pop()
            known = thing, part
            if one.reaches >= len(begun):
                self._parts[key] = known
            else:
                begun[-1].reaches = min(begun[-1].reaches, one.reaches)
        if isinstance(known[1], Unsound):
            raise known[1]
        return known[1]

    def _make(self, thing: _Thing) -> _Part:
        needs: list[_Thing] = []
        if thing.kind == "text":
            text = self._texts.of(thing.what, thing.name)
            others = tuple(_Thing("text", file, name) for file, name in text.needs)
            return _Part(text.digest, text.lines, others)
        if thing.kind == "constant":
            met = Watch(self, needs)
            told: Any = self._constant(thing, met)
            lines = self._places.of_named(thing.of.__name__, thing.name.rpartition(".")[2])
        elif thing.kind == "class":
            cls = thing.what
            told = list(self._class(cls, thing.name, needs))
            lines = self._places.of_named(cls.__module__, cls.__qualname__)
        else:
            told = list(self._function(thing.what, thing.name, needs))
            lines = self._places.of_function(thing.what)
        return _Part(_digest(told), lines, tuple(needs))

    def _constant(self, thing: _Thing, met: Watch) -> str:
        value = thing.what
        if isinstance(value, _HARMLESS) or _is_logger(value):
            return type(value).__name__
        try:
            return self._values.digest(value, met)
        except Unsound as error:
            raise Unsound(f"its code uses `{thing.name}`: {error.why}") from None

    def _function(self, function: FunctionType, name: str, needs: list[_Thing]) -> Iterator[Any]:
        met = Watch(self, needs)
        ours = self._project.has(function)

        def digest(value: Any, what: str) -> str:
            if isinstance(value, _HARMLESS) or _is_logger(value):
                return type(value).__name__
            try:
                return self._values.digest(value, met)
            except Unsound as error:
                if not ours:  # what an installed decorator keeps for itself
                    return type(value).__name__
                raise Unsound(f"its code uses {what} of `{name}`: {error.why}") from None

        yield "function"
        names = None
        if ours:
            yield self._code(function.__code__, met)
            names = names_in(function.__code__)
            yield list(self._globals(names, function, needs))
            yield list(self._imports(names, function, needs))
        else:
            yield _outer_name(function)
        yield digest(function.__defaults__, "a default")
        yield digest(function.__kwdefaults__, "a default")
        yield list(self._closure(function, names, digest, needs))
        for key, value in vars(function).items():
            if key != "__wrapped__" and ours:
                yield key, digest(value, f"the attribute `{key}`")

    def _code(self, code: CodeType, met: Watch) -> Any:
        consts = code.co_consts
        if _has_docstring(code):
            consts = (None, *consts[1:])
        plain = tuple(one for one in consts if not isinstance(one, CodeType))
        return (
            code.co_code,
            getattr(code, "co_exceptiontable", b""),
            code.co_flags & ~_HAS_DOCSTRING,
            (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
            (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars),
            self._values.digest(plain, met),
            [
                (at, one.co_name, self._code(one, met))
                for at, one in enumerate(consts)
                if isinstance(one, CodeType)
            ],
        )

    def _globals(self, names: Names, function: FunctionType, needs: list[_Thing]) -> Iterator[Any]:
        space = function.__globals__
        name = str(space.get("__name__", ""))
        module = sys.modules[name] if name in sys.modules else ModuleType(name)
        for chain in names.of_globals:
            value = space.get(chain[0], _MISSING)
            if value is _MISSING and hasattr(builtins, chain[0]):
                continue  # the bytecode has its name
            yield ".".join(chain), self._chain(chain, value, module, needs)

    def _imports(self, names: Names, function: FunctionType, needs: list[_Thing]) -> Iterator[Any]:
        space = function.__globals__
        package = space.get("__package__") or ""
        for one in names.imports:
            for file, name in self._texts.imported(one, package):
                needs.append(_Thing("text", file, name))
                yield name

    def _closure(
        self, function: FunctionType, names: Names | None, digest: Any, needs: list[_Thing]
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
                    yield ".".join(chain), self._chain(chain, value, value, needs)
            elif isinstance(value, _NAMED):
                yield name, self.refer(value, needs)
            else:
                yield name, digest(value, f"the variable `{name}`")

    # ---- classes ----

    def _class(self, cls: type, name: str, needs: list[_Thing]) -> Iterator[Any]:
        met = Watch(self, needs)
        yield "class"
        yield [self.refer(base, needs) for base in (type(cls), *cls.__bases__)]
        yield _annotations(cls)
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

    def _attribute(self, value: Any, name: str, met: Watch, needs: list[_Thing]) -> Any:
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
        if isinstance(value, _NAMED):
            return self.refer(value, needs)
        if isinstance(value, _HARMLESS) or _is_logger(value):
            return type(value).__name__
        return self._values.digest(value, met)


class Watch:
    """Collects the code that is met in a value.

    Attributes:
        needs: What was met.
    """

    def __init__(self, code: Code, needs: list[_Thing] | None = None) -> None:
        self._code = code
        self.needs: list[_Thing] = [] if needs is None else needs

    def code(self, obj: Any) -> str:
        return self._code.refer(obj, self.needs)

    def task(self, ref: Ref[Any]) -> str:
        raise Unsound(f"it has {ref!r} in it; pass it as an input")

    def file(self, path: str) -> str:
        return self._code.files.of(path)


def root_of(definition: Definition, code: Code) -> tuple[str, list[_Thing]]:
    """Return how a task is called, and where its code begins."""
    root = definition.target if definition.is_class else definition.main
    needs: list[_Thing] = []
    name = code.refer(root, needs)
    return name.partition("~")[0], needs


def _key(thing: _Thing) -> tuple[int, str]:
    if thing.kind == "text":
        return 0, thing.what
    return id(thing.what), thing.name


def merged(one: Reached, other: Reached) -> Reached:
    """Return what both are made of together."""
    if not one.code:
        return other
    code = dict(other.code)
    for name, digest in one.code.items():
        had = code.get(name)
        both = [*digest.split("+"), *had.split("+")] if had is not None else [digest]
        code[name] = _joined(both)
    return Reached(code, {**one.lines, **other.lines})


def _joined(digests: list[str]) -> str:
    """Return what stands for all that has one name."""
    return digests[0] if len(digests) == 1 else "+".join(sorted({*digests}))


def _digest(told: Any) -> str:
    return blake2b(msgspec.msgpack.encode(told), digest_size=8).hexdigest()


def _name(obj: Any) -> str:
    if isinstance(obj, FunctionType):
        # A decorator may have given it the name of what it wraps.
        qualname = getattr(obj.__code__, "co_qualname", None)
        if qualname is None:
            qualname = obj.__qualname__
            if qualname.rpartition(".")[2] != obj.__code__.co_name:
                qualname = f"<wrapped>.{obj.__code__.co_name}"
        module = obj.__globals__.get("__name__") or obj.__module__
    else:
        module, qualname = obj.__module__, obj.__qualname__
    return f"{module_name(str(module))}.{qualname}"


def _outer_name(obj: Any) -> str:
    if isinstance(obj, FunctionType):
        return _name(obj)
    name = getattr(obj, "__qualname__", None) or getattr(obj, "__name__", None) or repr(type(obj))
    module = getattr(obj, "__module__", None)
    if module is None:
        owner = getattr(obj, "__self__", None) or getattr(obj, "__objclass__", None)
        module = getattr(owner, "__name__", None) or type(obj).__module__
    return f"{module_name(str(module))}.{name}"


def _inside(obj: Any) -> Any:
    """Return the function in what is made of one by a function of C; None for others."""
    if type(obj).__name__ == "ufunc":  # of `numpy.frompyfunc`
        return next((one for one in gc.get_referents(obj) if isinstance(one, FunctionType)), None)
    return None


def _found(obj: Any) -> bool:
    """Tell whether what is found by its name is this, or wraps it."""
    found: Any = sys.modules.get(obj.__module__)
    for name in obj.__qualname__.split("."):
        found = getattr(found, "__dict__", {}).get(name, None)
        if isinstance(found, (staticmethod, classmethod)):
            found = found.__func__
    while found is not None and found is not obj:
        found = found.main if isinstance(found, TaskFunction) else None
    return found is obj


def _has_docstring(code: CodeType) -> bool:
    if sys.version_info >= (3, 13):
        return bool(code.co_flags & _HAS_DOCSTRING)
    is_function = code.co_flags & 3 == 3 and not code.co_name.startswith("<")
    return is_function and bool(code.co_consts) and isinstance(code.co_consts[0], str)


def _annotations(cls: type) -> list[tuple[str, str]]:
    with suppress(Exception):  # written by users, and read by few
        own = vars(cls).get("__annotations__") or {}
        return [(key, re.sub(r" at 0x[0-9a-f]+", "", str(value))) for key, value in own.items()]
    return []


def _is_logger(value: Any) -> bool:
    logging = sys.modules.get("logging")
    return logging is not None and isinstance(value, (logging.Logger, logging.LoggerAdapter))
