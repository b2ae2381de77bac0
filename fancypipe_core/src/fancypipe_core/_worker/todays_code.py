"""The code that a file has now, for a function that travels by value and so has that of then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

from fancypipe_core._base import code_names

__all__ = ["is_by_value", "renew"]

_LOCALS = "<locals>"
_OPTIMIZED = 0x01  # of a code object's flags


def is_by_value(target: Any) -> bool:
    """Whether a task, or what is like one, has no name by which it would be found."""
    return code_names.reference(target) is None


def renew(function: Callable[..., Any]) -> bool:
    """Give a function the code that its file has now; tell whether that could be had.

    It has to be told by its name, and to use the same variables of the function around it.

    Args:
        function: What was read from a pickle, for this process only.
    """
    if not isinstance(function, FunctionType):
        return False
    was = function.__code__
    try:
        with open(was.co_filename, "rb") as file:
            whole = compile(file.read(), was.co_filename, "exec", dont_inherit=True)
    except (OSError, ValueError, SyntaxError):
        return False
    wanted = function.__qualname__
    found = [code for name, code in _named(whole, "") if name == wanted]
    if len(found) != 1 or found[0].co_freevars != was.co_freevars:
        return False
    function.__code__ = found[0]
    return True


def _named(outer: CodeType, prefix: str) -> Iterator[tuple[str, CodeType]]:
    """Yield all code inside of some code, each with its qualified name."""
    for code in outer.co_consts:
        if isinstance(code, CodeType):
            name = prefix + code.co_name
            yield name, code
            yield from _named(code, name + (f".{_LOCALS}." if _is_function(code) else "."))


def _is_function(code: CodeType) -> bool:
    """Whether it has variables of its own; the body of a class has names."""
    return bool(code.co_flags & _OPTIMIZED)
