"""The inputs of a task, as the command line sees them.

They are the parameters of the task's function: names, annotations, defaults and
docstring.

- Every parameter is an option: `--x 3`.  `*args` takes the words that belong to
  no option; `**kwargs` takes every option that is not known.
- A bool is a flag: `--quick`, `--no-quick`, `--quick=true`.
- A list, tuple or set is an option that may be repeated, or a JSON list.
- A dict, dataclass, NamedTuple or TypedDict is a JSON object.
- A `Path` must exist, unless its default is a path: then it mostly names what
  is to be written.  `Annotated[Path, "input"]` and `Annotated[Path, "output"]`
  say it in so many words, and make a path of a str too.
- `Annotated[X, function]` calls the function with the text.
- Without annotation it is JSON if it can be read as such, else the text, unless
  the default is a bool, text, path or enum member, which says what is meant.
"""

from __future__ import annotations

import enum
import inspect
import json
import numbers
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from fancypipe_core import errors
from fancypipe_core._base.option_names import dashed, near
from fancypipe_core._cli import docstring as _docstring
from fancypipe_core._settings import hints as _hints
from fancypipe_core._settings.types import MISSING, Kind, Mismatch, Typed, dumps, items

if TYPE_CHECKING:
    from fancypipe_core._model.definition import Definition
    from fancypipe_core._settings.parameters import Parameters

__all__ = ["Bound", "Input", "bind", "in_force", "inputs_of"]


@dataclass(frozen=True)
class Input:
    """One input.

    Attributes:
        name: The parameter.
        annotation: Its annotation, evaluated; `inspect.Parameter.empty` if there is none.
        default: Its default; `MISSING` if it has none.
        help: What the docstring says of it, in one line.
        kind: What values it takes.
        role: `option`; `words` for `*args`; `others` for `**kwargs`.
        by_position: Whether it can be passed by position only.
    """

    name: str
    annotation: Any
    default: Any
    help: str
    kind: Kind
    role: Literal["option", "words", "others"] = "option"
    by_position: bool = False

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is MISSING and self.role == "option"

    @property
    def is_flag(self) -> bool:
        """Whether it stands alone on the command line, without a value."""
        return {kind.takes for kind in self._members} - {"none"} == {"flag"}

    @property
    def _members(self) -> Sequence[Kind]:
        return self.kind.members or [self.kind]

    @property
    def explanation(self) -> str:
        """The text for help: what it is for, what it takes, what it is by default."""
        notes = []
        if self.required:
            notes.append("required")
        elif self.role == "option":
            notes.append(f"default: {_as_written(self.default)}")
        else:
            notes.append("any number of words" if self.role == "words" else "any other option")
        if self.kind.takes == "never":
            notes.append("cannot be given here")
        elif self.kind.takes == "any":
            notes.append("JSON, or else the text as it is")
        elif self.kind.many:
            notes.append("may be repeated")
        objects = [f"An object {kind.fields()}." for kind in self._members if kind.fields()]
        return " ".join(filter(None, [self.help, *objects, f"[{'; '.join(notes)}]"]))

    def value(self, texts: Sequence[str]) -> Any:
        """Return the value for what was written.

        Raises:
            BadInput: It is not of the right kind.
        """
        try:
            if self.role == "words":
                return tuple(self.kind.make(Typed(text)) for text in texts)
            return self.kind.of_texts(texts)
        except Mismatch as mismatch:
            raise errors.BadInput(
                f"input {self.name}{mismatch.at} must be {mismatch.expected}, not {mismatch.got}"
            ) from mismatch.__cause__

    def of_data(self, data: Any, place: str) -> Any:
        """Return the value for what stands in a file.

        Raises:
            BadInput: It is not of the right kind.
        """
        try:
            if self.role == "words":
                return items(self.kind, tuple).make(data)
            return self.kind.make(data)
        except Mismatch as mismatch:
            raise errors.BadInput(
                f"{place}{mismatch.at} must be {mismatch.expected}, not {mismatch.got}"
            ) from mismatch.__cause__


Bound = tuple[tuple[Any, ...], dict[str, Any]]
"""Arguments by position, and those by name."""


def inputs_of(definition: Definition) -> list[Input]:
    """Return the inputs of a task, in the order of its signature."""
    main = definition.main
    try:
        parameters = list(inspect.signature(main).parameters.values())
    except ValueError:  # a builtin that does not tell
        raise errors.BadInput(
            f"task {definition.name} does not tell its inputs: {main!r} has no signature"
        ) from None
    if definition.is_class:
        parameters = parameters[1:]
    hints = _hints.hints_of(main)
    texts = {
        **_docstring.read(definition.doc).parameters,
        **_docstring.read(main.__doc__ or "").parameters,
    }
    return [_input(item, hints.get(item.name), texts.get(item.name, "")) for item in parameters]


def _input(parameter: inspect.Parameter, hint: Any, text: str) -> Input:
    annotation = parameter.annotation if hint is None else hint
    default = MISSING if parameter.default is inspect.Parameter.empty else parameter.default
    role: Literal["option", "words", "others"] = "option"
    if parameter.kind is parameter.VAR_POSITIONAL:
        role = "words"
    elif parameter.kind is parameter.VAR_KEYWORD:
        role = "others"
    return Input(
        parameter.name,
        annotation,
        default,
        text,
        _hints.kind_of(annotation, default),
        role,
        parameter.kind is parameter.POSITIONAL_ONLY,
    )


def bind(
    name: str,
    inputs: Sequence[Input],
    given: Mapping[str, Sequence[str]],
    words: Sequence[str] = (),
    parameters: Parameters | None = None,
) -> Bound:
    """Return the arguments for what was written on the command line, and in a file.

    Args:
        name: The task's name, for messages.
        inputs: Its inputs.
        given: What was written, by the input's name, or by any name where the
            task takes `**kwargs`.
        words: What belongs to no option.
        parameters: Inputs from a file, which count where nothing was written.

    Raises:
        BadInput: Something is missing, unknown or of the wrong kind.
    """
    values = _from_file(name, inputs, parameters)
    values.update(_from_line(name, inputs, given))
    missing = [one for one in inputs if one.required and one.name not in values]
    if missing:
        raise errors.BadInput(_what_is_missing(name, missing))
    rest = next((one for one in inputs if one.role == "words"), None)
    if words and rest is None:
        raise errors.BadInput(f"task {name} takes its inputs by name, not as {words[0]!r}")
    behind = values.pop(rest.name, ()) if rest else ()
    if words and rest:
        behind = rest.value(words)
    args: list[Any] = []
    # What stands before `*args` can only be passed by position once some follow.
    before = inputs.index(rest) if rest is not None and behind else 0
    for place, one in enumerate(inputs):
        if one is rest:
            args += behind
        elif one.by_position or place < before:
            args.append(values.pop(one.name, one.default))
    return tuple(args), values


def in_force(
    name: str,
    inputs: Sequence[Input],
    given: Mapping[str, Sequence[str]],
    words: Sequence[str] = (),
    parameters: Parameters | None = None,
) -> Iterator[str]:
    """Yield a line for each input: its value, and where that comes from; arguments as of `bind`.

    Raises:
        BadInput: Something is unknown or of the wrong kind.
    """
    shown = {
        one.name: "is not given" if one.required else f"= {_as_written(one.default)}  # default"
        for one in inputs
        if one.role == "option"
    }
    if parameters is not None:
        for key in _from_file(name, inputs, parameters):
            shown[key] = f"= {dumps(parameters.inputs[key])}  # input file: {parameters.file}"
    for key, value in _from_line(name, inputs, given).items():
        shown[key] = f"= {_as_written(value)}  # argument: {dashed(key)}"
    for one in inputs:
        if words and one.role == "words":
            shown[one.name] = f"= {_as_written(one.value(words))}  # arguments"
    for key, text in shown.items():
        yield f"{key} {text}"


def _from_line(
    name: str, inputs: Sequence[Input], given: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    known = {one.name: one for one in inputs if one.role == "option"}
    others = next((one for one in inputs if one.role == "others"), None)
    values: dict[str, Any] = {}
    for key, texts in given.items():
        if key in known:
            values[key] = known[key].value(texts)
        elif others is not None:
            values[key] = replace(others, name=key).value(texts)
        else:
            raise errors.BadInput(f"task {name} has no input {key!r}")
    return values


def _from_file(name: str, inputs: Sequence[Input], parameters: Parameters | None) -> dict[str, Any]:
    if parameters is None:
        return {}
    known = {one.name: one for one in inputs if one.role != "others"}
    takes_any = any(one.role == "others" for one in inputs)
    values: dict[str, Any] = {}
    for key, given in parameters.inputs.items():
        one = known.get(key)
        if one is not None:
            values[key] = one.of_data(given, f"{parameters.file}: {key}")
        elif takes_any:
            values[key] = given
        else:
            hint = near(key, known) or f"; it has: {', '.join(known) or 'none'}"
            raise errors.BadInput(f"{parameters.file}: task {name} has no input {key!r}{hint}")
    return values


def _what_is_missing(name: str, missing: Sequence[Input]) -> str:
    for one in missing:
        if one.kind.takes == "never":
            return (
                f"task {name} cannot be run from the command line: its input {one.name} must be "
                f"{one.kind.expected}; run it from Python, or from a module that makes it"
            )
    listed = " and ".join(f"{dashed(one.name)} {one.kind.shown}" for one in missing)
    return f"task {name} needs {listed}"


def _as_written(value: Any) -> str:
    """Return a default as one would write it on the command line."""
    text = repr(value)
    if value is None or isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, enum.Enum):
        text = value.name
    elif isinstance(value, (str, os.PathLike)):
        text = os.fspath(value) or '""'
    elif isinstance(value, numbers.Number):
        text = str(value)
    elif isinstance(value, (list, tuple, dict, set, frozenset)):
        plain = sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value
        with suppress(TypeError, ValueError):
            text = json.dumps(plain, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
