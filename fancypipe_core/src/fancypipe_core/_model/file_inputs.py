"""Inputs and outputs that are annotated as files: what is given is checked, and made a `File`."""

from __future__ import annotations

import os
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fancypipe_core import errors
from fancypipe_core._model.definition import Definition, positions
from fancypipe_core._model.files import Dir, File, FileOrDir, absent
from fancypipe_core._model.ref import Outputs, Ref

__all__ = ["FileInputs", "checking", "files_of"]


class FileInputs:
    """Which inputs of a task are files or folders, and whether its output is.

    Args:
        name: The task's name, for messages.
        main: Its function.
        positions: The names of the inputs that can be given by position.
    """

    def __init__(self, name: str, main: Callable[..., Any], positions: Sequence[str]) -> None:
        self._name = name
        self._positions = positions
        code = _innermost(main).__code__
        self._rest = ""  # the name of `*args`
        if code.co_flags & 0x04:
            at = code.co_argcount + code.co_kwonlyargcount
            self._rest = code.co_varnames[at]
        hints = _hints(main)
        self._output = hints.pop("return", None)
        self._inputs = hints
        self._defaults = {
            name: value for name, value in _defaults(main).items() if name in hints and value
        }

    def __bool__(self) -> bool:
        return bool(self._inputs) or self._output is not None

    def given(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return a task's arguments with files where paths were given for them.

        References stay: what they come to is looked at where it is used.

        Raises:
            BadInput: Something is not there, or cannot be a path.
        """
        inputs = self._inputs
        if not inputs:
            return args, kwargs
        names = (*self._positions, *[self._rest] * (len(args) - len(self._positions)))
        args = tuple(
            [
                self._made(one, inputs[name], name) if name in inputs else one
                for name, one in zip(names, args, strict=False)
            ]
        )
        kwargs = {
            name: self._made(one, inputs[name], name) if name in inputs else one
            for name, one in kwargs.items()
        }
        return args, kwargs

    def filled(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """As `given`, also with files in the place of defaults that are paths."""
        if self._defaults:
            named = self._positions[: len(args)]
            more = {name: one for name, one in self._defaults.items() if name not in named}
            kwargs = {**more, **kwargs}
        return self.given(args, kwargs)

    def returned(self, value: Any) -> Any:
        """Return what a task returned with files where it returned paths for them.

        Raises:
            BadInput: Something is not there, or cannot be a path.
        """
        return value if self._output is None else self._made(value, self._output, "")

    def _made(self, value: Any, hint: Any, name: str, place: str = "") -> Any:
        if isinstance(value, Ref):
            return value
        cls = _file_class(hint)
        if cls is not None:
            return self._file(value, cls, name, place)
        origin, inner = typing.get_origin(hint), typing.get_args(hint)
        if origin is typing.Annotated:
            return self._made(value, inner[0], name, place)
        if origin in (typing.Union, types.UnionType):
            if any(_is(value, one) for one in inner):
                return value
            return self._made(value, next(filter(_mentions, inner)), name, place)
        if isinstance(value, Mapping) and isinstance(value, (dict, Outputs)) and inner:
            made = {
                key: self._made(one, inner[-1], name, f"{place}[{key!r}]")
                for key, one in value.items()
            }
            return Outputs(**made) if isinstance(value, Outputs) else made
        if type(value) in (list, tuple, set, frozenset) and inner:
            hints = inner
            if len(inner) != len(value) or Ellipsis in inner or origin is not tuple:
                hints = (inner[0],) * len(value)
            parts = enumerate(zip(value, hints, strict=True))
            return type(value)(
                self._made(one, hint, name, f"{place}[{at}]") for at, (one, hint) in parts
            )
        return value

    def _file(self, value: Any, cls: type[FileOrDir], name: str, place: str) -> FileOrDir:
        what = f"input {name}{place}" if name else f"its output{place}"
        if not isinstance(value, (str, os.PathLike)):
            raise errors.BadInput(
                f"task {self._name}: {what} must be a path of a {cls.WHAT}, not {value!r:.100}"
            )
        before, why_not = None, ""
        if isinstance(value, FileOrDir):
            before, why_not = value.size, value._why_not
        path = os.path.abspath(os.fsdecode(value))
        why = absent(cls, path, before, why_not) if os.fspath(value) else "the path is empty"
        if why:
            raise errors.BadInput(f"task {self._name}: {what}: {why}")
        return value if type(value) is cls and os.fspath(value) == path else cls(path)


def files_of(definition: Definition) -> FileInputs:
    """Return which inputs of a definition are files; asked where it `names_files`."""
    if definition.files is None:
        names = positions(_innermost(definition.main), int(definition.is_class))
        definition.files = FileInputs(definition.name, definition.main, names)
    found: FileInputs = definition.files
    return found


def checking(definition: Definition, call: Callable[..., Any]) -> Callable[..., Any]:
    """Return what calls a task with files as inputs, and makes files of its output."""
    files = files_of(definition)
    if not files:
        return call

    def checked(args: tuple[Any, ...], kwargs: dict[str, Any], state: Any) -> Any:
        args, kwargs = files.filled(args, kwargs)
        return files.returned(call(args, kwargs, state))

    checked.inputs = call.inputs  # type: ignore[attr-defined]
    return checked


def _hints(main: Callable[..., Any]) -> dict[str, Any]:
    """Return those annotations of a function that are of files."""
    names = {**vars(typing), "Path": os.PathLike, **getattr(main, "__globals__", {})}
    hints = {}
    for name, written in getattr(main, "__annotations__", {}).items():
        annotation = written
        if isinstance(annotation, str):
            if "File" not in annotation and "Dir" not in annotation:
                continue
            one = types.SimpleNamespace(__annotations__={name: annotation})
            try:
                annotation = typing.get_type_hints(one, names, include_extras=True)[name]
            except Exception:  # noqa: BLE001 - names that only type checkers see
                continue
        if _mentions(annotation):
            hints[name] = annotation
    return hints


def _innermost(main: Any) -> Any:
    """Return the function that a decorator such as `functools.wraps` has wrapped."""
    while hasattr(main, "__wrapped__"):
        main = main.__wrapped__
    return main


def _defaults(main: Any) -> dict[str, Any]:
    """Return the defaults of the inputs that can be given by name."""
    function = _innermost(main)
    code = function.__code__
    defaults = function.__defaults__ or ()
    names = code.co_varnames[code.co_posonlyargcount : code.co_argcount]
    by_place = dict(zip(reversed(names), reversed(defaults), strict=False))
    return {**by_place, **(function.__kwdefaults__ or {})}


def _mentions(hint: Any) -> bool:
    return _file_class(hint) is not None or any(map(_mentions, typing.get_args(hint)))


def _file_class(hint: Any) -> type[FileOrDir] | None:
    return hint if isinstance(hint, type) and hint in (File, Dir) else None


def _is(value: Any, hint: Any) -> bool:
    """Whether a value is of a member of a union as it stands there."""
    if hint is None or hint is type(None):
        return value is None
    cls = typing.get_origin(hint) or hint
    if not isinstance(cls, type) or _mentions(hint):
        return False
    return isinstance(value, cls)
