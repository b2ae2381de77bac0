"""Whether files still say what this process has loaded from them.

A key tells what this process would run.  A worker that is started later loads the files as they
are then: if somebody has edited them meanwhile, what it gives is not the result of that key.  So
a file that was changed after this process began is compiled, and compared with what is loaded.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from types import CodeType, FunctionType
from typing import Any, NamedTuple

from fancypipe_core._base.processes import start_of

__all__ = ["HAS_DOCSTRING", "Sources", "docstring_in"]

_CLOCK = 2.0  # seconds by which the time at which a process began may be wrong
_FUNCTION = 3  # flags of the code of functions
_NO = object()
_State = tuple[int, int, int, int]  # times of change, size, inode

HAS_DOCSTRING = 0x4000000
"""A flag of code, from Python 3.13 on."""


class _Read(NamedTuple):
    """What a file says: its functions and its constants; None if it is as it was."""

    state: _State
    functions: frozenset[Any] | None
    constants: dict[str, Any]


class Sources:
    """Knows which files have changed since they were loaded."""

    def __init__(self) -> None:
        self._began = _began()
        self._read: dict[str, _Read] = {}

    def has(self, function: FunctionType) -> bool:
        """Tell whether the file of a function still has it; true if it is of no file."""
        code = function.__code__
        read = self._look(code.co_filename)
        return read is None or read.functions is None or _shape(code) in read.functions

    def has_constant(self, file: str | None, name: str, value: Any) -> bool:
        """Tell whether a file sets a name to a value; true if that cannot be told from its text."""
        read = self._look(file) if file is not None else None
        if read is None or read.functions is None:
            return True
        said = read.constants.get(name, _NO)
        return said is _NO or _alike(said) == _alike(value)

    @staticmethod
    def states(files: Sequence[str]) -> tuple[_State | None, ...]:
        """Return what is another when one of these files has changed."""
        return tuple([_state(file) for file in files])

    def _look(self, file: str) -> _Read | None:
        state = _state(file)
        if state is None:
            return None  # a cell of a notebook; or it is gone, and nobody can load it
        known = self._read.get(file)
        if known is None or known.state != state:
            is_old = max(state[:2]) / 1e9 < self._began - _CLOCK
            known = _Read(state, None, {}) if is_old else _read(file, state)
            self._read[file] = known
        return known


def _state(file: str) -> _State | None:
    try:
        about = os.stat(file)
    except (OSError, ValueError):
        return None
    return about.st_mtime_ns, about.st_ctime_ns, about.st_size, about.st_ino


def _read(file: str, state: _State) -> _Read:
    constants: dict[str, Any] = {}
    try:
        with open(file, "rb") as opened:
            source = opened.read()
        tree = ast.parse(source)
        functions = frozenset(map(_shape, _all(compile(source, file, "exec", dont_inherit=True))))
    except (OSError, SyntaxError, ValueError):
        return _Read(state, frozenset(), constants)
    for node in tree.body:
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            targets = [node.target]
        else:
            continue
        for target in targets:
            if isinstance(target, ast.Name) and node.value is not None:
                constants.pop(target.id, None)
                with suppress(ValueError, TypeError, SyntaxError, RecursionError):
                    constants[target.id] = ast.literal_eval(node.value)
    return _Read(state, functions, constants)


def _all(code: CodeType) -> Iterator[CodeType]:
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _all(const)


def _shape(code: CodeType) -> Any:
    """Return what a function does, to compare it in this process."""
    consts = code.co_consts[1:] if docstring_in(code) else code.co_consts
    return (
        code.co_name,
        code.co_code,
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
        (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars),
        tuple(_shape(one) if isinstance(one, CodeType) else _alike(one) for one in consts),
    )


def _alike(value: Any) -> Any:
    """Return something that is equal for the same values of literals only."""
    if isinstance(value, (tuple, list)):
        return type(value).__name__, tuple(map(_alike, value))
    if isinstance(value, (set, frozenset)):
        return type(value).__name__, frozenset(map(_alike, value))
    if isinstance(value, dict):
        return "dict", tuple((_alike(key), _alike(one)) for key, one in value.items())
    return type(value).__name__, repr(value)


def docstring_in(code: CodeType) -> bool:
    """Tell whether the first constant of code is its docstring."""
    if sys.version_info >= (3, 13):
        return bool(code.co_flags & HAS_DOCSTRING)
    is_function = code.co_flags & _FUNCTION == _FUNCTION and not code.co_name.startswith("<")
    return is_function and bool(code.co_consts) and isinstance(code.co_consts[0], str)


def _began() -> float:
    """Return when this process began, in seconds since 1970; 0 if the system does not say."""
    with suppress(OSError, ValueError, TypeError):
        ticks = start_of(os.getpid())
        with open("/proc/stat", encoding="ascii") as file:
            boot = next(int(line.split()[1]) for line in file if line.startswith("btime "))
        return boot + int(ticks or "") / os.sysconf("SC_CLK_TCK")
    return 0.0
