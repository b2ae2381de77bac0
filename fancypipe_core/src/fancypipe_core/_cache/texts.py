"""Modules of the project that count as texts: those that functions import while they run.

Such an import is often late because the module is not to be loaded here.  So it is found
without loading it, and counts with all that its text imports of the project in turn; always, for
a key must not depend on what happens to be loaded.  A text counts without comments, layout and
docstrings.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator
from hashlib import blake2b
from importlib.machinery import PathFinder
from typing import NamedTuple

from fancypipe_core._base.installed import OURS
from fancypipe_core._cache.names import Import
from fancypipe_core._cache.places import lines_of
from fancypipe_core._cache.project import Project
from fancypipe_core._cache.values import Unsound

__all__ = ["Text", "Texts"]


class Text(NamedTuple):
    """A module's text.

    Attributes:
        digest: Of what it says.
        lines: See `KeyParts`.
        needs: The files of the project that it imports, each with its module's name.
    """

    digest: str
    lines: str
    needs: tuple[tuple[str, str], ...]


class Texts:
    """Finds and reads modules.

    Args:
        project: Tells which are of the project.
    """

    def __init__(self, project: Project) -> None:
        self._project = project

    def imported(self, one: Import, package: str) -> Iterator[tuple[str, str]]:
        """Yield the files of the project that an import loads, each with its module's name.

        Args:
            one: The import.
            package: The package of the module in which it stands.
        """
        name = one.module
        if one.level:
            base = package.split(".")[: len(package.split(".")) - one.level + 1]
            name = ".".join([*base, *filter(None, [name])])
        parts = name.split(".")
        if parts[0] in OURS:
            return
        # Whatever stands above it is loaded, too; what is taken from it may be a module.
        names = [".".join(parts[:length]) for length in range(1, len(parts) + 1)]
        names += [f"{name}.{taken}" for taken in one.names if taken != "*"]
        for full in names:
            file = _file(full)
            if file and self._project.has_file(file):
                yield file, full

    def of(self, file: str, module: str) -> Text:
        """Return what a module's file says.

        Args:
            file: Its path.
            module: The module's name.

        Raises:
            Unsound: It cannot be read.
        """
        try:
            with open(file, "rb") as opened:
                data = opened.read()
        except OSError as error:
            raise Unsound(f"its code uses {file}, which cannot be read ({error})") from None
        if not file.endswith(".py"):
            return Text(blake2b(data, digest_size=8).hexdigest(), "", ())
        try:
            tree = ast.parse(data)
        except (SyntaxError, ValueError) as error:
            raise Unsound(f"its code uses {file}, which is no Python ({error})") from None
        is_package = os.path.basename(file) == "__init__.py"
        package = module if is_package else module.rpartition(".")[0]
        needs: dict[tuple[str, str], None] = {}
        for node in ast.walk(tree):
            for one in _imports(node):
                needs.update(dict.fromkeys(self.imported(one, package)))
            _drop_docstring(node)
        digest = blake2b(ast.dump(tree).encode(), digest_size=8).hexdigest()
        lines = lines_of(file, 1, data.count(b"\n") + 1)
        return Text(digest, lines, tuple(one for one in needs if one[0] != file))


def _file(name: str) -> str:
    """Return a module's file, without loading anything; empty if there is none."""
    loaded = getattr(sys.modules.get(name), "__file__", None)
    if isinstance(loaded, str):
        return os.path.abspath(loaded)
    path: list[str] | None = None
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        full = ".".join(parts[:length])
        try:
            spec = PathFinder.find_spec(full, path)
        except (ImportError, ValueError):
            return ""
        if spec is None:
            return ""
        found = spec.submodule_search_locations
        path = list(found) if found is not None else []
    origin = spec.origin if spec is not None else None
    return os.path.abspath(origin) if origin and os.path.isfile(origin) else ""


def _imports(node: ast.AST) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(0, alias.name, ())
    elif isinstance(node, ast.ImportFrom):
        yield Import(node.level, node.module or "", tuple(alias.name for alias in node.names))


def _drop_docstring(node: ast.AST) -> None:
    if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and (
        node.body
        and isinstance(node.body[0], ast.Expr)
        and isinstance(node.body[0].value, ast.Constant)
        and isinstance(node.body[0].value.value, str)
    ):
        node.body[0].value.value = ""
