"""What a code object refers to by name: globals with the attributes behind them, and imports."""

from __future__ import annotations

import dis
from collections.abc import Iterator
from types import CodeType
from typing import NamedTuple

__all__ = ["Import", "Names", "names_in"]

_GLOBAL = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
_FREE = {"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"}
_ATTRIBUTE = {"LOAD_ATTR", "LOAD_METHOD"}
_BETWEEN = {"PUSH_NULL", "CACHE", "EXTENDED_ARG", "NOP"}


class Import(NamedTuple):
    """An import inside of a function.

    Attributes:
        level: How many dots stand before it.
        module: The module's name.
        names: What is taken from it.
    """

    level: int
    module: str
    names: tuple[str, ...]


class Names(NamedTuple):
    """What is referred to.

    Attributes:
        of_globals: Each a global's name and the attributes behind it: `("helpers", "smooth")`.
        free: The same of variables of functions around it.
        imports: What is imported when it runs.
    """

    of_globals: tuple[tuple[str, ...], ...]
    free: tuple[tuple[str, ...], ...]
    imports: tuple[Import, ...]


def names_in(code: CodeType) -> Names:
    """Return what code refers to, that of the functions and classes in it included, in order."""
    of_globals: dict[tuple[str, ...], None] = {}
    free: dict[tuple[str, ...], None] = {}
    imports: dict[Import, None] = {}
    for one in _all(code):
        _look(one, of_globals, free, imports)
    return Names(tuple(of_globals), tuple(free), tuple(imports))


def _all(code: CodeType) -> Iterator[CodeType]:
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _all(const)


def _look(
    code: CodeType,
    of_globals: dict[tuple[str, ...], None],
    free: dict[tuple[str, ...], None],
    imports: dict[Import, None],
) -> None:
    chain: list[str] = []
    into = of_globals
    before: list[object] = [None, None]  # the last two values that were loaded
    for told in dis.get_instructions(code):
        name = told.opname
        if name in _BETWEEN:
            continue
        if name in _ATTRIBUTE and chain:
            chain.append(told.argval)
            continue
        if chain:
            into[tuple(chain)] = None
            chain = []
        if name in _GLOBAL or name in _FREE:
            chain = [told.argval]
            into = of_globals if name in _GLOBAL else free
        elif name == "IMPORT_NAME":
            level, names = before
            imports[
                Import(
                    level if isinstance(level, int) else 0,
                    told.argval,
                    names if isinstance(names, tuple) else (),
                )
            ] = None
        before = [before[1], told.argval]
    if chain:
        into[tuple(chain)] = None
