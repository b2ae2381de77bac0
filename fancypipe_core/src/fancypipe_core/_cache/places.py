"""Where code stands, with short digests of its lines: for `why`, and no part of a key."""

from __future__ import annotations

import ast
import linecache
import os
import sys
from base64 import b64encode
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from types import CodeType, FunctionType

from fancypipe_core._cache.parts import LINE, NO_CODE

__all__ = ["Places", "lines_of"]


class Places:
    """Finds lines.  Each returns `file:line:` and a digest for each line; empty if unknown."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, tuple[int, int]]] = {}

    def of_function(self, function: FunctionType) -> str:
        """Return where a function stands."""
        code = function.__code__
        first, last = code.co_firstlineno, code.co_firstlineno
        todo = [code]
        for one in todo:
            last = max([last, *(line or 0 for *_, line in one.co_lines())])
            todo += [const for const in one.co_consts if isinstance(const, CodeType)]
        return lines_of(code.co_filename, first, last)

    def of_named(self, module: str, qualname: str) -> str:
        """Return where a class stands, or where a module sets a constant."""
        file = getattr(sys.modules.get(module), "__file__", None)
        if not isinstance(file, str):
            return ""
        found = self._found.get(file)
        if found is None:
            found = self._found[file] = _definitions(file)
        return lines_of(file, *found[qualname]) if qualname in found else ""


def _definitions(file: str) -> dict[str, tuple[int, int]]:
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return {}
    return {name: lines for node in tree.body for name, lines in _in(node, "")}


def _in(node: ast.stmt, above: str) -> Iterator[tuple[str, tuple[int, int]]]:
    lines = node.lineno, node.end_lineno or node.lineno
    if isinstance(node, ast.ClassDef):
        yield (
            above + node.name,
            (min([lines[0], *(d.lineno for d in node.decorator_list)]), lines[1]),
        )
        for inner in node.body:
            if isinstance(inner, ast.ClassDef):
                yield from _in(inner, f"{above}{node.name}.")
    elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        for name in ast.walk(node):
            if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store):
                yield name.id, lines


def lines_of(file: str, first: int, last: int) -> str:
    """Return lines of a file as `Places` does."""
    lines = linecache.getlines(file)[first - 1 : last]
    return f"{_shown(file)}:{first}:{_digests(lines)}" if lines else ""


def _shown(file: str) -> str:
    """Return a file's path as messages have it: relative to the current folder if below."""
    try:
        here = os.path.join(os.getcwd(), "")
    except OSError:
        return file
    return os.path.abspath(file).removeprefix(here)


def _digests(lines: Sequence[str]) -> str:
    told = []
    for line in lines:
        text = line.strip()
        if not text or text.startswith("#"):
            told.append(NO_CODE)
        else:
            digest = blake2b(text.encode(errors="replace"), digest_size=3).digest()
            told.append(b64encode(digest)[:LINE].decode("ascii"))
    return "".join(told)
