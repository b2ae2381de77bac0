"""Digests of code: what a function does, and all of the project that it reaches.

A function is its bytecode, without file, lines and docstring, so that comments and layout do not
count; with its constants, defaults, closure and what its global names stand for.  Each
function, class and constant has a digest of its own, in which others stand by name only: that
makes recursion harmless, and a difference can be told where it is.  What has no name of its own,
such as a lambda, stands in others with its digest.

What is installed counts by name.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

from fancypipe_core._base.file_digests import FileDigests
from fancypipe_core._base.msgpack import pack
from fancypipe_core._cache.bodies import MISSING, NAMED, Bodies, said_of
from fancypipe_core._cache.names import Import
from fancypipe_core._cache.naming import function_inside, is_found, name_of, outer_name
from fancypipe_core._cache.places import Places
from fancypipe_core._cache.project import Project, module_name
from fancypipe_core._cache.sources import Sources
from fancypipe_core._cache.texts import Texts
from fancypipe_core._cache.things import Part, Reached, Thing, joined
from fancypipe_core._cache.values import CACHED, Unsound, Values
from fancypipe_core._model.definition import Definition
from fancypipe_core._model.task import TaskFunction, definition_of

__all__ = ["Code", "root_of"]

_MOST_WORK = 10_000  # parts that are made for one task


class _Begun:
    """A part that is being made.

    Attributes:
        thing: What it is of.
        reaches: The outermost of those being made that it has met, by its place.
        met: The ids of all that it has met and that has no name of its own.
    """

    def __init__(self, thing: Thing, place: int) -> None:
        self.thing = thing
        self.reaches = place
        self.met: set[int] = set()


class _Made(NamedTuple):
    """A part that was made, or why it cannot be.

    Attributes:
        thing: What it is of; it is kept, so that its id is nobody else's.
        part: The part.
        met: As of `_Begun`.
    """

    thing: Thing
    part: Part | Unsound
    met: set[int]


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
        self._bodies = Bodies(self, values, self._project)
        self._texts = Texts(self._project)
        self._places = Places()
        self._sources = Sources()
        self._parts: dict[tuple[int, str], _Made] = {}
        self._begun: list[_Begun] = []
        self._work = 0

    def forget(self) -> None:
        """Between two runs the user may have changed the code."""
        self.__init__(self._values, self.files)  # type: ignore[misc]  # as new

    def reached(self, roots: list[Thing]) -> Reached:
        """Return what things are made of, with all that they reach.

        Args:
            roots: The things; what they reach is added.

        Raises:
            Unsound: Something has no digest, or its file was changed after it was loaded.
        """
        found: dict[str, list[str]] = {}
        lines: dict[str, str] = {}
        seen: set[tuple[int, str]] = set()
        self._work = 0
        for thing in roots:
            key = thing.key
            if key in seen:
                continue
            seen.add(key)
            part = self._part(thing)
            found.setdefault(thing.name, []).append(part.digest)
            if part.lines:
                lines.setdefault(thing.name, part.lines)
            roots.extend(part.needs)
        why = self.outdated([thing for thing in roots if thing.kind != "text"])
        if why:
            raise Unsound(why)
        return Reached({name: joined(digests) for name, digests in found.items()}, lines)

    def outdated(self, things: Sequence[Thing]) -> str:
        """Return which of these things a worker may load otherwise; empty if none.

        Args:
            things: As `reached` leaves them.
        """
        for thing in things:
            if not self._is_there(thing):
                return f"`{thing.name}` was changed after it was loaded; begin anew to have that"
        return ""

    def _is_there(self, thing: Thing) -> bool:
        kind, what, name, module = thing
        if kind == "function":
            return not self._project.has(what) or self._sources.has(what)
        if kind == "constant":
            return self._sources.has_constant(_file_of(module), name.rpartition(".")[2], what)
        made = self._parts.get(thing.key)
        if kind != "text" or made is None or isinstance(made.part, Unsound):
            return True
        return self._texts.of(what, name).digest == made.part.digest

    def files_of(self, things: Sequence[Thing]) -> tuple[str, ...]:
        """Return the files that things are of."""
        files: dict[str | None, None] = {}
        for kind, what, _, module in things:
            if kind == "function":
                files[what.__code__.co_filename] = None
            elif kind == "text":
                files[what] = None
            elif kind == "constant":
                files[_file_of(module)] = None
        return tuple(file for file in files if file is not None)

    # ---- names ----

    def refer(self, obj: Any, needs: list[Thing]) -> str:
        """Return what stands for a function, class, task or module; what it is goes to `needs`."""
        if isinstance(obj, TaskFunction):
            # Whoever makes such a task is kept with what that gave, and so hides it.
            return f"{self.refer(obj.main, needs)}{said_of(definition_of(obj).options)}"
        if type(obj) is CACHED:
            return f"cached {self.refer(obj.__wrapped__, needs)}"
        if isinstance(obj, ModuleType):
            if self._project.has(obj):
                needs += self._texts_of_module(obj)
            return f"module {module_name(obj.__name__)}"
        if not isinstance(obj, FunctionType):
            compiled = self._machine_code_of(obj)
            if compiled:
                needs += compiled
                return outer_name(obj)
        if not isinstance(obj, (FunctionType, type)):
            inside = function_inside(obj)
            name = outer_name(obj)
            return name if inside is None else f"{name} of {self.refer(inside, needs)}"
        is_ours = self._project.has(obj)
        if not is_ours and not getattr(obj, "__closure__", None):
            return outer_name(obj)
        name = name_of(obj)
        thing = Thing("class" if isinstance(obj, type) else "function", obj, name)
        needs.append(thing)
        if "<" not in name and is_found(obj):
            return name
        begun = self._begun
        if begun:
            begun[-1].met.add(id(obj))
        at = next((at for at, one in enumerate(begun) if one.thing.what is obj), None)
        if at is None:
            return f"{name}~{self._part(thing).digest}"
        # It is being made: what counts is how far above it is, not where that was begun.
        begun[-1].reaches = min(begun[-1].reaches, at)
        return f"{name}^{len(begun) - at}"

    def _machine_code_of(self, obj: Any) -> list[Thing]:
        """Return the file of what is made of machine code, if that is of the project."""
        name = str(getattr(obj, "__module__", ""))
        file = getattr(sys.modules.get(name), "__file__", None)
        if not isinstance(file, str) or file.endswith(".py") or not self._project.has_module(name):
            return []
        return [Thing("text", file, module_name(name))]

    def _texts_of_module(self, module: ModuleType) -> list[Thing]:
        file = getattr(module, "__file__", None)
        return [Thing("text", file, module_name(module.__name__))] if file else []

    def _value(self, value: Any, name: str, module: ModuleType, needs: list[Thing]) -> str:
        """Return what stands for what a global name of a module stands for."""
        if value is MISSING:
            return "nothing"
        if isinstance(value, NAMED):
            return self.refer(value, needs)
        full = f"{module_name(module.__name__)}.{name}"
        needs.append(Thing("constant", value, full, module))
        return full

    def chain(
        self, chain: tuple[str, ...], value: Any, module: ModuleType, needs: list[Thing]
    ) -> str:
        """Return what stands for a name with attributes behind it, as in `helpers.smooth`."""
        name, *attributes = chain
        while isinstance(value, ModuleType):
            if not attributes or not self._project.has(value):
                return f"{self.refer(value, needs)}{self._replaced(value, attributes, needs)}"
            module, name = value, attributes.pop(0)
            value = vars(module).get(name, MISSING)
            if value is MISSING:
                value = sys.modules.get(f"{module.__name__}.{name}", MISSING)
            if value is MISSING and "__getattr__" in vars(module):
                with suppress(Exception):  # of the user; it is then not there for the task either
                    value = getattr(module, name)
        return self._value(value, name, module, needs)

    def _replaced(self, module: ModuleType, attributes: list[str], needs: list[Thing]) -> str:
        """Return what the project has put into something installed; mostly nothing."""
        value: Any = module
        for name in attributes:
            value = vars(value).get(name) if isinstance(value, (ModuleType, type)) else None
        if isinstance(value, (FunctionType, type, TaskFunction)) and self._project.has(value):
            return f".{'.'.join(attributes)} is {self.refer(value, needs)}"
        return ""

    def imported(self, one: Import, package: str, needs: list[Thing]) -> list[str]:
        """Return the names of the modules of the project that an import loads."""
        found = [Thing("text", file, name) for file, name in self._texts.imported(one, package)]
        needs += found
        return [thing.name for thing in found]

    # ---- parts ----

    def _part(self, thing: Thing) -> Part:
        """Return the part of a thing.

        Those without a name of their own that refer to each other are made anew for each of
        them, so that their digests do not depend on which was met first.
        """
        begun = self._begun
        made = self._parts.get(thing.key)
        if made is None or not made.met.isdisjoint([id(one.thing.what) for one in begun]):
            made = self._made(thing)
        if begun:
            begun[-1].met |= made.met
        if isinstance(made.part, Unsound):
            raise made.part
        return made.part

    def _made(self, thing: Thing) -> _Made:
        self._work += 1
        if self._work > _MOST_WORK:
            raise Unsound(f"the functions in `{thing.name}` refer to each other too much")
        begun = self._begun
        one = _Begun(thing, len(begun))
        begun.append(one)
        part: Part | Unsound
        try:
            part = self._make(thing)
        except Unsound as error:
            part = error
        finally:
            begun.pop()
        made = _Made(thing, part, one.met)
        if one.reaches >= len(begun):
            self._parts[thing.key] = made
        else:
            begun[-1].reaches = min(begun[-1].reaches, one.reaches)
        return made

    def _make(self, thing: Thing) -> Part:
        needs: list[Thing] = []
        if thing.kind == "text":
            text = self._texts.of(thing.what, thing.name)
            others = tuple(Thing("text", file, name) for file, name in text.needs)
            return Part(text.digest, text.lines, others)
        told = self._bodies.of(thing, needs)
        if thing.kind == "constant":
            lines = self._places.of_named(thing.of.__name__, thing.name.rpartition(".")[2])
        elif thing.kind == "class":
            lines = self._places.of_named(thing.what.__module__, thing.what.__qualname__)
        else:
            lines = self._places.of_function(thing.what)
        return Part(_digest(told), lines, tuple(needs))


def root_of(definition: Definition, code: Code) -> tuple[str, list[Thing]]:
    """Return how a task is called, and where its code begins."""
    root = definition.target if definition.is_class else definition.main
    needs: list[Thing] = []
    name = code.refer(root, needs)
    return name.partition("~")[0], needs


def _file_of(module: Any) -> str | None:
    file = getattr(module, "__file__", None)
    return file if isinstance(file, str) else None


def _digest(told: Any) -> str:
    return blake2b(pack(told), digest_size=8).hexdigest()
