"""No class keeps something of its own under a name that a class above it uses for its own.

Both write `self._folder`, each means another folder, and who writes last wins: no type checker
says so where the types agree.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from importlib import import_module
from textwrap import dedent
from typing import Any

import pytest

from tests.meta.repo import CORE, ENGINES, SIBLINGS, source_of


def classes_of(package: str) -> Iterator[type[Any]]:
    """Yield the classes that a package's modules define on their own level."""
    folder = source_of(package)
    for path in sorted(folder.rglob("*.py")):
        if path.stem == "__main__":
            continue
        parts = path.relative_to(folder.parent).with_suffix("").parts
        module = import_module(".".join(part for part in parts if part != "__init__"))
        for value in list(vars(module).values()):
            if inspect.isclass(value) and value.__module__ == module.__name__:
                yield value


def made_by(one: type[Any]) -> set[str]:
    """Return the private attributes that a class gives its objects in `__init__`."""
    init = vars(one).get("__init__")
    if not inspect.isfunction(init) or init.__code__.co_filename.startswith("<"):
        return set()  # it is a class of records, say, whose names are its interface
    tree = ast.parse(dedent(inspect.getsource(init)))
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
        and node.attr.startswith("_")
    }


def shared(one: type[Any]) -> list[str]:
    """Return what a class and one above it both make."""
    own = made_by(one)
    return [
        f"{one.__module__}.{one.__qualname__} and {above.__module__}.{above.__qualname__}: {name}"
        for above in one.__mro__[1:]
        if above.__module__.startswith("fancypipe")
        for name in sorted(own & made_by(above))
    ]


@pytest.mark.parametrize("package", [CORE, *SIBLINGS, *ENGINES])
def test_no_class_uses_what_another_has_for_itself(package: str) -> None:
    try:
        found = [line for one in classes_of(package) for line in shared(one)]
    except ModuleNotFoundError as error:
        pytest.skip(f"{error.name} is not installed")
    assert not found


class Above:
    def __init__(self) -> None:
        self._kept = self.given = 1


class Below(Above):
    def __init__(self) -> None:
        self.given, self._kept = 2, 3
        super().__init__()


def test_one_that_does_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Above, "__module__", "fancypipe_core.above")
    assert [line.rpartition(": ")[2] for line in shared(Below)] == ["_kept"]
    assert not shared(Above)
