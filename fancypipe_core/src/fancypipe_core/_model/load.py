"""Loading a pipeline's file, and finding the task in it that is meant."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Sequence
from types import CodeType, ModuleType
from typing import Any

from fancypipe_core import errors
from fancypipe_core._base import main_module
from fancypipe_core._base.option_names import near
from fancypipe_core._model import task
from fancypipe_core._model.call_graph import outermost
from fancypipe_core._model.definition import Definition

__all__ = [
    "LoadError",
    "choose",
    "load",
    "loading",
    "may_be_command",
    "split",
]

_loading: str | None = None


class LoadError(Exception):
    """The pipeline's file raised an exception, which is the cause, while it was loaded."""


def loading() -> str | None:
    """Return the file that is being loaded, if one is."""
    return _loading


def may_be_command(target: str) -> bool:
    """Tell whether a word that is no file looks like the name of a command."""
    return not (
        os.path.exists(target) or os.sep in target or ":" in target or target.endswith(".py")
    )


def split(target: str, commands: tuple[str, ...] = ()) -> tuple[str, str]:
    """Split `FILE[:NAME]`, and see that the file is there.

    Args:
        target: What was written.
        commands: What else could have been meant, for the message.

    Raises:
        UsageError: There is no such file.
    """
    file, name = target, ""
    if not os.path.exists(target) and ":" in target:
        file, _, name = target.rpartition(":")
    if os.path.isdir(file):
        raise errors.UsageError(f"{file} is a folder, not the file of a pipeline")
    if not os.path.exists(file):
        if os.sep not in file and not file.endswith(".py"):
            if not commands:
                raise errors.UsageError(f"there is no file {file}")
            hint = near(file, commands) or f"; the commands are: {', '.join(commands)}"
            raise errors.UsageError(f"there is no file and no command {file!r}{hint}")
        folder = os.path.dirname(file)
        others = _pipelines(folder or os.curdir)
        hint = near(os.path.basename(file), others)
        raise errors.UsageError(f"there is no file {file}{hint}")
    return file, name


def _pipelines(folder: str) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if name.endswith(".py")]
    except OSError:
        return []


def load(file: str) -> ModuleType:
    """Load a pipeline's file, as the main module of this process.

    Raises:
        LoadError: It raised an exception, or is not Python.
        UsageError: It cannot be read.
    """
    global _loading  # noqa: PLW0603 - whether a file is being loaded is a fact of the process
    path = os.path.abspath(file)
    try:
        with open(path, "rb") as stream:
            source = stream.read()
    except OSError as error:
        raise errors.UsageError(f"{file} cannot be read: {error.strerror}") from None
    if not getattr(sys.flags, "safe_path", False):
        # As for `python FILE`, so that it can import its neighbours.
        sys.path.insert(0, os.path.dirname(path))
    _loading = file
    try:
        return main_module.run_file(path, source)
    except (Exception, SystemExit) as error:
        raise LoadError(file) from error
    finally:
        _loading = None


def choose(module: ModuleType, file: str, name: str = "") -> Definition:
    """Return the task or module that is meant.

    Args:
        module: What was loaded.
        file: As the user wrote it.
        name: As the user wrote it; empty to take the only module that the file
            defines, or the only task; of several the one that no other uses.

    Raises:
        UsageError: There is none, or there are several.
    """
    found = {
        key: value
        for key, value in vars(module).items()
        if task.is_definition(value) and not key.startswith("_")
    }
    own = {key: value for key, value in found.items() if value.__module__ == module.__name__}
    known = own or found
    if name:
        return _named(module, file, name, list(known))
    if not known:
        raise errors.UsageError(
            f"{file} defines no task or module: decorate a function with @task or @module"
        )
    # One definition may have several names.
    definitions = {id(value): task.definition_of(value) for value in known.values()}
    modules = [definition for definition in definitions.values() if definition.is_module]
    candidates = modules or list(definitions.values())
    names = [key for key, value in known.items() if task.definition_of(value) in candidates]
    if len(candidates) > 1:
        candidates = _outermost(module, candidates, list(definitions.values()))
    if len(candidates) == 1:
        return candidates[0]
    kind = "modules" if modules else "tasks"
    raise errors.UsageError(
        f"{file} has several {kind}, say which is meant: "
        + ", ".join(f"{file}:{key}" for key in names)
    )


def _outermost(
    module: ModuleType,
    candidates: Sequence[Definition],
    all_of_them: Sequence[Definition],
) -> list[Definition]:
    """Return the candidates that no other definition uses."""
    names = {
        key: _names_in(value)
        for key, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__ or isinstance(value, _HOLDERS)
    }
    called = {
        id(definition): {key for key, value in vars(module).items() if value is definition.target}
        for definition in all_of_them
    }
    chosen = outermost(names, called, [id(one) for one in candidates])
    return [one for one in candidates if id(one) in chosen]


_HOLDERS = (list, tuple, dict)


def _names_in(value: Any) -> set[str]:
    """Return the names that stand in the code of a function, class, task, or what holds some."""
    if isinstance(value, _HOLDERS):
        items = value.values() if isinstance(value, dict) else value
        return {name for one in items if (name := getattr(one, "__name__", None))}
    found: set[str] = set()
    codes = [getattr(inspect.unwrap(value), "__code__", None)]
    if isinstance(value, type):
        codes += [getattr(one, "__code__", None) for one in vars(value).values()]
        found |= {base.__name__ for base in value.__bases__}
    while codes:
        code = codes.pop()
        if isinstance(code, CodeType):
            found |= {*code.co_names}
            codes += code.co_consts
    return found


def _named(module: ModuleType, file: str, name: str, known: list[str]) -> Definition:
    value: Any = module
    for part in name.split("."):
        value = getattr(value, part, None)
    if value is not None and task.is_definition(value):
        return task.definition_of(value)
    if value is not None and value is not module:
        raise errors.UsageError(
            f"{name} in {file} is no task or module, but of type {type(value).__name__}; "
            + (f"there are: {', '.join(known)}" if known else "there is none")
        )
    there = near(name, known) or (f"; there are: {', '.join(known)}" if known else "")
    raise errors.UsageError(f"{file} has no task or module {name!r}{there}")
