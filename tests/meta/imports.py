"""Reads which module imports which, without running any of them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

When = Literal["start", "later", "types"]


class Import(NamedTuple):
    """One imported module."""

    importer: str
    """The module that imports, as in `modules_of`."""
    target: str
    """The whole dotted name of what it imports; a module's, where that can be told."""
    when: When
    """When the importer starts, later inside a function, or only for the type checker."""
    line: int


def modules_of(source: Path) -> dict[str, Path]:
    """Return the modules of a package by name, without the package's own: `plugins.console`.

    A package in it has its folder's name, the outer one is `__init__`.
    """
    modules = {}
    for path in sorted(source.rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        if parts[-1] == "__init__" and len(parts) > 1:
            parts = parts[:-1]
        modules[".".join(parts)] = path
    return modules


def imports_of(source: Path, *others: Path) -> list[Import]:
    """Return all imports in the modules of a package; `others` may be imported by it."""
    modules = modules_of(source)
    whole = {f"{one.name}.{name}" for one in (source, *others) for name in modules_of(one)}
    found = []
    for name, path in modules.items():
        tree = ast.parse(path.read_text("utf-8"), str(path))
        home = [source.name, *path.relative_to(source).parts[:-1]]
        for node, when in _statements(tree, "start"):
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            else:
                base = home[: len(home) - node.level + 1] if node.level else []
                module = ".".join([*base, *filter(None, [node.module])])
                # `from package import name` may mean a module of it.
                inner = [f"{module}.{alias.name}" for alias in node.names]
                targets = [full if full in whole else module for full in inner]
            found += [Import(name, target, when, node.lineno) for target in targets]
    return found


def _statements(node: ast.AST, when: When) -> Iterator[tuple[ast.Import | ast.ImportFrom, When]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child, when
        elif isinstance(child, ast.If) and _asks_for_types(child.test):
            for inner in child.body:
                yield from _statements(ast.Module([inner], []), "types")
            for inner in child.orelse:
                yield from _statements(ast.Module([inner], []), when)
        else:
            function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from _statements(child, "later" if function and when == "start" else when)


def _asks_for_types(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"


def names_in_strings(source: Path, package: str) -> list[tuple[str, str, int]]:
    """Return (module, name, line) for each string that is a dotted name in `package`."""
    found = []
    for name, path in modules_of(source).items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"), str(path))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                parts = node.value.replace(":", ".").split(".")
                if parts[0] == package and all(part.isidentifier() for part in parts):
                    found.append((name, node.value, node.lineno))
    return found
