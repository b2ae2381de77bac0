"""The tasks of a file and their inputs, read without running anything: for tab completion.

What the file does when it is loaded may take long, or print, or be wrong half way through
an edit; nobody expects any of that from the tab key.  What only running it would tell is
not completed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from fancypipe_core._model.call_graph import outermost

__all__ = ["Parameter", "Sketch", "outline"]

_PATHS = {"Path", "PurePath", "PathLike", "PosixPath"}


class Parameter(NamedTuple):
    """One input.

    Attributes:
        name: The parameter.
        is_flag: Whether it stands alone.
        is_path: Whether its value is a path.
        choices: The values that it may have; empty if not told.
    """

    name: str
    is_flag: bool = False
    is_path: bool = False
    choices: tuple[str, ...] = ()


class Sketch(NamedTuple):
    """A task.

    Attributes:
        name: As the file calls it.
        is_module: Whether it only composes.
        inputs: Those that are options.
        words: Whether it takes words that belong to no option.
    """

    name: str
    is_module: bool
    inputs: tuple[Parameter, ...]
    words: bool


def outline(file: str) -> tuple[list[Sketch], Sketch | None]:
    """Return the tasks of a file, and the one that is meant where none is named.

    A file that cannot be read has none.
    """
    try:
        with open(file, "rb") as stream:
            tree = ast.parse(stream.read())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return [], None
    top = list(_top(tree.body))
    words = _Words(top)
    enums = {
        node.name: tuple(_members(node))
        for node in top
        if isinstance(node, ast.ClassDef) and any("Enum" in _last(base) for base in node.bases)
    }
    found: dict[str, Sketch] = {}
    for node in top:
        kind = words.kind_of(node)
        if isinstance(node, ast.FunctionDef) and kind in ("task", "module"):
            found[node.name] = _sketch(node.name, kind == "module", node.args, enums)
        elif isinstance(node, ast.ClassDef) and kind in ("Task", "Module"):
            words.meant[node.name] = kind  # a base for others
            for one in node.body:
                if isinstance(one, ast.FunctionDef) and one.name == "main":
                    args = ast.arguments(**dict(ast.iter_fields(one.args)))
                    args.args = args.args[1:]
                    found[node.name] = _sketch(node.name, kind == "Module", args, enums)
    names = {name: _names_in(node) for node in top for name in _defined(node)}
    called = {name: {name} for name in found}
    shown = [sketch for name, sketch in found.items() if not name.startswith("_")]
    modules = [sketch.name for sketch in shown if sketch.is_module]
    meant = outermost(names, called, modules or [sketch.name for sketch in shown])
    return shown, found[meant[0]] if len(meant) == 1 else None


class _Words:
    """What the file calls `task`, `module`, `Task` and `Module`."""

    def __init__(self, top: Iterable[ast.stmt]) -> None:
        self.meant: dict[str, str] = {}
        self._libraries: set[str] = set()
        for node in top:
            if isinstance(node, ast.ImportFrom) and node.module == "fancypipe_core":
                for name in node.names:
                    if name.name == "*":
                        self.meant |= {one: one for one in ("task", "module", "Task", "Module")}
                    self.meant[name.asname or name.name] = name.name
            elif isinstance(node, ast.Import):
                self._libraries |= {
                    name.asname or name.name for name in node.names if name.name == "fancypipe_core"
                }

    def kind_of(self, node: ast.stmt) -> str:
        """Return what makes a function or class a task; empty if nothing does."""
        if isinstance(node, ast.FunctionDef):
            marks = [self._meaning(one) for one in node.decorator_list]
        elif isinstance(node, ast.ClassDef):
            marks = [self._meaning(one) for one in node.bases]
        else:
            return ""
        return next((mark for mark in marks if mark), "")

    def _meaning(self, node: ast.expr) -> str:
        if isinstance(node, ast.Call):
            node = node.func
        if isinstance(node, ast.Name):
            return self.meant.get(node.id, "")
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            return node.attr if node.value.id in self._libraries else ""
        return ""


def _top(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield what stands at the top level, also below a condition."""
    for node in body:
        yield node
        for part in ("body", "orelse", "handlers", "finalbody"):
            if isinstance(node, (ast.If, ast.Try, ast.With)):
                for inner in getattr(node, part, []):
                    yield from _top(inner.body if isinstance(inner, ast.ExceptHandler) else [inner])


def _sketch(
    name: str, is_module: bool, args: ast.arguments, enums: dict[str, tuple[str, ...]]
) -> Sketch:
    plain = [*args.posonlyargs, *args.args]
    defaults: list[ast.expr | None] = [None] * (len(plain) - len(args.defaults))
    pairs = [
        *zip(plain, [*defaults, *args.defaults], strict=False),
        *zip(args.kwonlyargs, args.kw_defaults, strict=True),
    ]
    inputs = tuple(_parameter(arg, default, enums) for arg, default in pairs)
    return Sketch(name, is_module, inputs, args.vararg is not None)


def _parameter(
    arg: ast.arg, default: ast.expr | None, enums: dict[str, tuple[str, ...]]
) -> Parameter:
    annotation = arg.annotation
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            annotation = ast.parse(annotation.value, mode="eval").body
        except SyntaxError:
            annotation = None
    if annotation is None:
        is_flag = isinstance(default, ast.Constant) and isinstance(default.value, bool)
        is_path = isinstance(default, ast.Call) and _last(default.func) in _PATHS
        return Parameter(arg.arg, is_flag, is_path)
    names = {_last(node) for node in ast.walk(annotation)}
    choices = [
        str(one.value)
        for node in ast.walk(annotation)
        if isinstance(node, ast.Subscript) and _last(node.value) == "Literal"
        for one in ast.walk(node.slice)
        if isinstance(one, ast.Constant) and isinstance(one.value, (str, int))
    ]
    for name in sorted(names & set(enums)):
        choices += enums[name]
    is_flag = names - {"None", "Optional", "Union", ""} == {"bool"}
    return Parameter(arg.arg, is_flag, bool(names & _PATHS), tuple(choices))


def _last(node: ast.AST) -> str:
    """Return the last part of a dotted name; empty if it is none."""
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""


def _members(node: ast.ClassDef) -> Iterator[str]:
    for one in node.body:
        if isinstance(one, ast.Assign):
            for target in one.targets:
                if isinstance(target, ast.Name) and not target.id.startswith("_"):
                    yield target.id


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [_last(target) for target in node.targets]
    return []


def _names_in(node: ast.stmt) -> set[str]:
    return {_last(one) for one in ast.walk(node)} - {""}
