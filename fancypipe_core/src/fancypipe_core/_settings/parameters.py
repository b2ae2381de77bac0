"""Inputs from a file: those of the pipeline, and those of tasks inside of it.

The file is TOML, JSON or YAML, by its name.  At its top are inputs of what the command line
runs; a table `tasks` has a table for each task, by the task's name.  They count more than the
defaults that stand in the code, and less than what a caller or the command line gives.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from fancypipe_core import errors
from fancypipe_core._base.option_names import near
from fancypipe_core._model.definition import Definition
from fancypipe_core._model.task import definition_of, is_definition
from fancypipe_core._settings.config import toml_of
from fancypipe_core._settings.hints import hints_of, kind_of
from fancypipe_core._settings.types import Mismatch

__all__ = ["Parameters", "read_parameters"]

_TASKS = "tasks"
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Parameters(NamedTuple):
    """What a file says.

    Attributes:
        file: The file, as the user wrote it.
        inputs: Those of the pipeline.
        tasks: Those of other tasks, by the task's name.
    """

    file: str
    inputs: dict[str, Any]
    tasks: dict[str, dict[str, Any]]

    def of(self, name: str, main: Callable[..., Any], skip: int) -> dict[str, Any]:
        """Return the inputs of a task; see `fancypipe_core._model.presets`."""
        given = self.tasks.get(name)
        if not given:
            return {}
        parameters = list(inspect.signature(main).parameters.values())[skip:]
        known = {one.name: one for one in parameters if one.kind in _BY_NAME}
        takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters)
        hints = hints_of(main)
        values: dict[str, Any] = {}
        for key, value in given.items():
            place = f"{self.file}: {_TASKS}.{name}.{key}"
            one = known.get(key)
            if one is None:
                if not takes_any:
                    said = near(key, known) or f"; it has: {', '.join(known) or 'none'}"
                    raise errors.BadInput(f"{place}: task {name} has no input {key!r}{said}")
                values[key] = value
            elif one.default is one.empty:
                raise errors.BadInput(
                    f"{place}: the input {key} of task {name} has no default, so whoever calls the "
                    "task gives it; give it a default, and leave it out where it is to be that of "
                    "the file"
                )
            else:
                hint = hints.get(key, one.annotation)
                try:
                    values[key] = kind_of(hint, one.default).make(value)
                except Mismatch as wrong:
                    raise errors.BadInput(
                        f"{place}{wrong.at} must be {wrong.expected}, not {wrong.got}"
                    ) from None
        return values

    def check(self, for_pipeline: bool = True) -> Iterator[str]:
        """Look at the tasks that are known by now; yield a remark for each that is not.

        Args:
            for_pipeline: Whether somebody takes `inputs`, as the command line does.

        Raises:
            BadInput: A task cannot have what the file gives it, or nobody takes something.
        """
        if self.inputs and not for_pipeline:
            raise errors.BadInput(
                f"{self.file}: {', '.join(self.inputs)}: what stands outside of [{_TASKS}] is for "
                "the command line; in Python give it where the pipeline is called"
            )
        found: dict[str, list[Definition]] = {}
        for one in _definitions():
            found.setdefault(one.name, []).append(one)
        for name in self.tasks:
            refused: list[errors.BadInput] = []
            for one in found.get(name, ()):
                try:
                    self.of(name, one.main, int(one.is_class))
                except errors.BadInput as error:
                    refused.append(error)
            if refused and len(refused) == len(found[name]):  # others may be of the same name
                raise refused[0]
            if name not in found:
                yield (
                    f"{self.file}: no task {name!r} is known yet, so what stands in "
                    f"[{_TASKS}.{name}] holds for one that is made while it runs"
                    f"{near(name, found)}"
                )


def _definitions() -> Iterator[Definition]:
    """Yield the tasks in the modules that were imported, each as often as it has names."""
    for module in list(sys.modules.values()):
        for value in list(getattr(module, "__dict__", {}).values()):
            with suppress(Exception):  # objects of users may refuse anything
                if is_definition(value):
                    yield definition_of(value)


def read_parameters(file: str) -> Parameters:
    """Return what a file says.

    Raises:
        ConfigError: It cannot be read, or is not what it should be.
    """
    try:
        with open(file, "rb") as stream:
            data = stream.read()
    except OSError as error:
        raise errors.ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    kind = os.path.splitext(file)[1].lower()
    if kind not in _READERS:
        raise errors.ConfigError(
            f"{file}: inputs are read from a file whose name ends in {', '.join(_READERS)}"
        )
    content = _READERS[kind](file, data)
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise errors.ConfigError(f"{file}: must be a table of inputs, by their names")
    inputs = dict(content)
    tasks = inputs.pop(_TASKS, {})
    if not isinstance(tasks, dict) or not all(isinstance(one, dict) for one in tasks.values()):
        raise errors.ConfigError(
            f"{file}: {_TASKS} must have a table for each task, such as [{_TASKS}.smooth], and in "
            "it the task's inputs"
        )
    return Parameters(file, inputs, tasks)


def _json(file: str, data: bytes) -> Any:
    import json

    try:
        return json.loads(data)
    except ValueError as error:
        raise errors.ConfigError(f"{file}: is not JSON: {error}") from None


def _yaml(file: str, data: bytes) -> Any:
    try:
        import yaml
    except ImportError:
        raise errors.ConfigError(
            f"{file}: YAML is read with PyYAML, which is not installed; install it, or write the "
            "file as TOML or JSON: pip install 'fancypipe-core[yaml]'"
        ) from None
    try:
        return yaml.safe_load(data) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise errors.ConfigError(f"{file}: is not YAML: {' '.join(str(error).split())}") from None


_READERS: Mapping[str, Callable[[str, bytes], Any]] = {
    ".toml": toml_of,
    ".json": _json,
    ".yaml": _yaml,
    ".yml": _yaml,
}
