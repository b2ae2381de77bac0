"""Names that tasks use and that are only set below `if __name__ == "__main__":`.

A worker imports the main script under another name, so what stands below that
line does not exist there.
"""

from __future__ import annotations

import ast
import dis
from collections.abc import Iterator, Sequence
from types import CodeType, FunctionType, ModuleType

from fancypipe_core._doctor.finding import Finding
from fancypipe_core._model.definition import Definition

__all__ = ["look"]

_SCOPES = (
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
)


def look(module: ModuleType, definitions: list[Definition], file: str) -> Iterator[Finding]:
    """Yield a finding for each task that uses such a name.

    Args:
        module: The file, loaded under another name than `__main__`.
        definitions: The tasks that stand in it.
        file: As the user wrote it.
    """
    with open(str(module.__file__), "rb") as stream:
        tree = ast.parse(stream.read())
    below = _set_below(tree)
    if not below:
        return
    for definition in definitions:
        if definition.is_module:
            continue  # runs in the client
        code = getattr(definition.main, "__code__", None)
        if code is None or code.co_filename != module.__file__:
            continue
        for name, line in _used(code, module).items():
            if name not in below:
                continue
            missing = not hasattr(module, name)
            yield Finding(
                "problem" if missing else "warning",
                f"task {definition.name} uses {name!r} ({file}:{line}), which "
                + (
                    f"is set in line {below[name]} only, "
                    if missing
                    else f"is set anew in line {below[name]}, "
                )
                + 'below `if __name__ == "__main__":`: '
                + ("workers do not have it" if missing else "workers have the one from before"),
                "pass it to the task as an input, or set it above that line",
            )


def _set_below(tree: ast.Module) -> dict[str, int]:
    """Return the names that are set below the guard, with their lines."""
    below: dict[str, int] = {}
    instead: dict[str, int] = {}  # for everybody else, by an `else`
    for node in tree.body:
        if isinstance(node, ast.If) and _is_guard(node.test):
            below.update(_set_by(node.body))
            instead.update(_set_by(node.orelse))
    return {name: line for name, line in below.items() if name not in instead}


def _set_by(statements: Sequence[ast.stmt]) -> dict[str, int]:
    names: dict[str, int] = {}
    for statement in statements:
        for one in _own_scope(statement):
            if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
                names.setdefault(one.id, one.lineno)
            elif isinstance(one, (ast.FunctionDef, ast.ClassDef)):
                names.setdefault(one.name, one.lineno)
            elif isinstance(one, (ast.Import, ast.ImportFrom)):
                for alias in one.names:
                    name = alias.asname or alias.name.partition(".")[0]
                    names.setdefault(name, one.lineno)
    return names


def _is_guard(test: ast.expr) -> bool:
    if not (isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.Eq)):
        return False
    sides = [test.left, *test.comparators]
    return any(isinstance(side, ast.Name) and side.id == "__name__" for side in sides) and any(
        isinstance(side, ast.Constant) and side.value == "__main__" for side in sides
    )


def _own_scope(node: ast.AST) -> Iterator[ast.AST]:
    """Walk what is done in the file's own scope, and not in functions or classes in it."""
    yield node
    if isinstance(node, _SCOPES):
        return
    for child in ast.iter_child_nodes(node):
        yield from _own_scope(child)


def _used(code: CodeType, module: ModuleType) -> dict[str, int]:
    """Return the globals that a function uses, itself or by functions of the file that it calls."""
    used: dict[str, int] = {}
    stored: set[str] = set()
    codes, seen = [code], {code}
    while codes:
        code = codes.pop()
        found = [const for const in code.co_consts if isinstance(const, CodeType)]
        lines = dict(dis.findlinestarts(code))
        line = code.co_firstlineno
        for step in dis.get_instructions(code):
            line = lines.get(step.offset) or line
            if step.opname == "STORE_GLOBAL":
                stored.add(step.argval)  # a task may set it first
            elif step.opname == "LOAD_GLOBAL":
                used.setdefault(step.argval, line)
                value = getattr(module, step.argval, None)
                if isinstance(value, FunctionType) and value.__globals__ is vars(module):
                    found.append(value.__code__)
        for other in found:
            if other not in seen:
                seen.add(other)
                codes.append(other)
    return {name: line for name, line in used.items() if name not in stored}
