"""A task as its author wrote it: the callable, its name, its options."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import CodeType
from typing import Any

from fancypipe_core import errors
from fancypipe_core._model.options import Options

__all__ = [
    "Definition",
    "Mapped",
    "map_of",
    "names_files",
    "plain_definition",
    "positions",
    "refused",
    "site_of",
]

_VARARGS = 0x04  # of a code object's flags
_FILES = ("File", "Dir")
_MODULE = "fancypipe_core._model.files"


class Mapped:
    """What the instance of a map calls: a task, for each element.

    Args:
        target: The task, or the class of tasks.
        options: Those of its elements; None for the task's own.
    """

    __slots__ = ("options", "target")

    def __init__(self, target: Any, options: Options | None = None) -> None:
        self.target = target
        self.options = options

    def __reduce__(self) -> tuple[Any, ...]:
        return (Mapped, (self.target, self.options))


class Definition:
    """A task as its author wrote it.

    Attributes:
        name: How messages call it.
        main: The function; it takes `self` first if `is_class`.
        target: What to call to make an instance; also what travels to workers.
        is_class: Whether it was written as a class.
        is_module: Whether it only composes, so that it runs in the client.
        options: The author's options.
        mapped: The definition of its maps, once there is one.
        element: Of a map's definition: that of its elements.
        origin: What this one is but for its options; itself for one as it was written.
        files: Which inputs are files, once that was asked: see `file_inputs`.
        names_files: Whether an annotation may be of a file or folder: then what is given is
            looked at.
        least: So many inputs by position fit without a look at the signature, and no more
            than `most`; nothing fits where a look is needed.
        most: See `least`.
    """

    __slots__ = (
        "_variants", "element", "files", "is_class", "is_module", "least", "main", "mapped",
        "most", "name", "names_files", "options", "origin", "target",
    )  # fmt: skip

    def __init__(
        self,
        main: Callable[..., Any],
        target: Any,
        options: Options,
        *,
        is_class: bool = False,
        is_module: bool = False,
    ) -> None:
        self.main = main
        self.target = target
        self.options = options
        self.is_class = is_class
        self.is_module = is_module
        self.mapped: Definition | None = None
        self.element: Definition | None = None
        self.origin = self
        self._variants: dict[Options, Definition] | None = None
        self.name = options.name or getattr(target, "__name__", None) or repr(main)
        self.names_files = names_files(main)
        self.files: Any = None
        self.least, self.most = (1, 0) if self.names_files else _fitting(main, int(is_class))

    @property
    def runs_each_time(self) -> bool:
        """Whether its author has set `cache=False`; of a map, its elements' author."""
        return not (self.element or self).options.cache

    @property
    def doc(self) -> str:
        """The author's docstring; empty if there is none."""
        if self.is_class and self.target.__doc__ and "__doc__" in vars(self.target):
            return str(self.target.__doc__)
        return self.main.__doc__ or ""

    @property
    def file(self) -> str:
        """The file that it stands in; empty for what is not Python code."""
        code = getattr(self.main, "__code__", None)
        return code.co_filename if code else ""

    @property
    def line(self) -> int:
        """The line that it begins at; 0 for what is not Python code."""
        code = getattr(self.main, "__code__", None)
        return code.co_firstlineno if code else 0

    @property
    def where(self) -> str:
        """`file:line` of the definition, for messages."""
        code = getattr(self.main, "__code__", None)
        return site_of(code, -1) if code else f"{self.name} (not Python code)"

    def variant(self, options: Options) -> Definition:
        """Return the same definition with other options; always the same one for these.

        Of a map its elements have them.
        """
        if self.element is not None:
            return map_of(self.element.variant(options))
        if options == self.origin.options:
            return self.origin
        variants = self.origin._variants
        if variants is None:
            variants = self.origin._variants = {}
        made = variants.get(options)
        if made is None:
            made = variants[options] = Definition(
                self.main,
                self.target,
                options,
                is_class=self.is_class,
                is_module=self.is_module,
            )
            made.origin = self.origin
        return made

    def positions(self) -> tuple[str, ...]:
        """Return the names of the inputs that can be given by position, in order."""
        return positions(self.main, int(self.is_class))

    def check(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise TypeError, in the caller's line, if the inputs do not fit the signature."""
        if not kwargs and self.least <= len(args) <= self.most:
            return
        from fancypipe_core._model.signature import (
            misfit,  # imports inspect: only when something is wrong
        )

        fault = misfit(self.main, args, kwargs, int(self.is_class))
        if fault:
            raise TypeError(f"task {self.name}{fault}")

    def __repr__(self) -> str:
        return f"<definition of {'module' if self.is_module else 'task'} {self.name}>"


def map_of(definition: Definition) -> Definition:
    """Return the definition of a task's maps."""
    if definition.mapped is None:
        own = None if definition.origin is definition else definition.options
        target, name = Mapped(definition.target, own), f"{definition.name}.map"
        definition.mapped = Definition(definition.main, target, Options(name), is_module=True)
        definition.mapped.element = definition
    return definition.mapped


def names_files(main: Callable[..., Any]) -> bool:
    """Tell whether an annotation may be of a file or folder.  Costs little: each task is asked."""
    annotate = getattr(main, "__annotate__", None)
    if annotate is not None:  # Python 3.14 evaluates them when they are asked for
        code = getattr(annotate, "__code__", None)
        return code is not None and any(name in _FILES for name in code.co_names)
    for one in (getattr(main, "__annotations__", None) or {}).values():
        if isinstance(one, str):
            if "File" in one or "Dir" in one:
                return hasattr(main, "__code__")
        elif _MODULE in sys.modules and _holds_file(one):
            return hasattr(main, "__code__")
    return False


def _holds_file(annotation: Any) -> bool:
    if getattr(annotation, "__module__", "") == _MODULE:
        return True
    return any(map(_holds_file, getattr(annotation, "__args__", ())))


def _fitting(main: Callable[..., Any], first: int) -> tuple[int, int]:
    """Return how many inputs by position surely fit, at least and at most."""
    code = getattr(main, "__code__", None)
    if not isinstance(code, CodeType) or code.co_kwonlyargcount:
        return 1, 0
    high = code.co_argcount - first
    low = high - len(getattr(main, "__defaults__", None) or ())
    return low, sys.maxsize if code.co_flags & _VARARGS else high


def plain_definition(function: Callable[..., Any], name: str) -> Definition:
    """Return a definition that calls `function` as it is, such as an operator."""
    return Definition(function, function, Options(name))


def positions(main: Callable[..., Any], skip: int) -> tuple[str, ...]:
    """Return the names of a function's parameters by position, without the first `skip`."""
    code = getattr(main, "__code__", None)
    return code.co_varnames[skip : code.co_argcount] if isinstance(code, CodeType) else ()


def site_of(code: CodeType, offset: int) -> str:
    """Return `file:line` of a place in code; the file relative to the current folder if below."""
    line = code.co_firstlineno
    for start, end, number in code.co_lines():
        if start <= offset < end and number is not None:
            line = number
    path = code.co_filename
    here = os.path.join(os.getcwd(), "")
    return f"{path.removeprefix(here)}:{line}"


def refused(what: str, error: ValueError, code: CodeType | None, offset: int = -1) -> Exception:
    """Return the error for options that cannot be.

    Args:
        what: What they were given for, such as `task smooth`.
        error: Why not.
        code: Where; None for what is not Python code.
        offset: The place in that; its first line by default.
    """
    where = f" ({site_of(code, offset)})" if code is not None else ""
    return errors.GraphError(f"{what}: {error}{where}")
