"""A task as its author wrote it: the callable, its name, its options."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import CodeType
from typing import Any, NamedTuple

from fancypipe_core._base.backoff import Backoff

__all__ = ["Definition", "Options", "plain_definition", "positions", "site_of"]

_VARARGS = 0x04  # of a code object's flags


class Options(NamedTuple):
    """What a task's author says about how it is to be run.

    Attributes:
        name: How messages call it; None for the function's or class's own name.
        retries: How often it is tried again after an exception, 0 or more.
        timeout: Seconds that one attempt may take; None for no limit.
        retry_delay: How long further attempts wait; None if they do not.
    """

    name: str | None = None
    retries: int = 0
    timeout: float | None = None
    retry_delay: Backoff | None = None


class Definition:
    """A task as its author wrote it.

    Attributes:
        name: How messages call it.
        main: The function; it takes `self` first if `is_class`.
        target: What to call to make an instance; also what travels to workers.
        is_class: Whether it was written as a class.
        is_module: Whether it only composes, so that it runs in the client.
        options: The author's options.
    """

    __slots__ = ("is_class", "is_module", "main", "name", "options", "target")

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
        self.name = options.name or getattr(target, "__name__", None) or repr(main)

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

    def positions(self) -> tuple[str, ...]:
        """Return the names of the inputs that can be given by position, in order."""
        return positions(self.main, int(self.is_class))

    def check(self, args: tuple[Any, ...], kwargs: dict[str, Any], first: int = 0) -> None:
        """Raise TypeError, in the caller's line, if the inputs do not fit the signature."""
        code = getattr(self.main, "__code__", None)
        if code is not None and not kwargs and not code.co_kwonlyargcount:
            high = code.co_argcount - first
            low = high - len(self.main.__defaults__ or ())
            if low <= len(args) and (len(args) <= high or code.co_flags & _VARARGS):
                return
        from fancypipe_core._model.signature import (
            misfit,  # imports inspect: only when something is wrong
        )

        fault = misfit(self.main, args, kwargs, first)
        if fault:
            raise TypeError(f"task {self.name}{fault}")

    def __repr__(self) -> str:
        return f"<definition of {'module' if self.is_module else 'task'} {self.name}>"


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
