"""What a setting is: its line in a table, made of the field that declares it."""

from __future__ import annotations

import enum
import functools
import math
import operator
import os
import typing
from collections.abc import Callable
from typing import Any, NamedTuple

from fancypipe_core._base.declarations import Declared, declared
from fancypipe_core._base.option_names import plain
from fancypipe_core._settings.hints import hints_of, kind_of
from fancypipe_core._settings.types import Kind, Typed

__all__ = ["Setting", "lines_of", "shown", "toml"]


class Setting(NamedTuple):
    """One line of a table.

    Attributes:
        name: The field.
        owner: The plugin that brings it; empty for the engine's own.
        argument: The argument of `run()`.
        help: What it does; one sentence.
        expected: What values it takes, to follow "must be".
        parse: Makes a value of a text or of a value from a file or a caller;
            raises `ValueError` if it cannot be one.
        keys: How it may be called in a file.
        options: How it is spelled on the command line, the usual one first.
        off: How it is turned off on the command line, for what is on or off.
        off_help: What turning it off does, for what is on by default there.
        value: What help shows for its value; empty for what is on or off.
        default: The default in words.
        is_path: Whether it is a path, which in a file begins at that file's folder.
        secret: Whether its value is never shown.
        implies: Whether giving it chooses the backend that brings it.
    """

    name: str
    owner: str
    argument: str
    help: str
    expected: str
    parse: Callable[[object], Any]
    keys: tuple[str, ...]
    options: tuple[str, ...]
    off: tuple[str, ...]
    off_help: str
    value: str
    default: str
    is_path: bool
    secret: bool
    implies: bool

    @property
    def variable(self) -> str:
        """The environment variable."""
        return "_".join(filter(None, ("FANCYPIPE", plain(self.owner), self.name))).upper()


def lines_of(record: type[Any], owner: str = "", *, prefixed: bool = False) -> tuple[Setting, ...]:
    """Return the table of the settings of a record.

    Args:
        record: A dataclass with fields that `setting` made.
        owner: The plugin's name; empty for the engine.
        prefixed: Whether options and arguments begin with that name, as for
            plugins of which several are in force at a time.
    """
    hints = hints_of(record)
    prefix = f"{plain(owner)}_" if prefixed else ""
    return tuple(
        _line(name, told, default, hints.get(name), owner, prefix)
        for name, told, default in declared(record)
    )


def _line(name: str, told: Declared, default: Any, hint: Any, owner: str, prefix: str) -> Setting:
    parts = [part for part in typing.get_args(hint) if part is not type(None)]
    if type(None) in typing.get_args(hint):
        # None is what is there when nobody gives a value; it cannot be given.
        hint = functools.reduce(operator.or_, parts)
    # The default of a path says whether it must exist; a setting's may be made later.
    kind = kind_of(hint, "")
    expected = kind.expected if told.least is None else f"{kind.expected} from {told.least:g}"
    keys = tuple(filter(None, (told.option, name, *told.also)))
    options = tuple(f"{prefix}{one}".replace("_", "-") for one in keys)
    is_flag = kind.takes == "flag"
    negated = f"no-{options[0]}".replace("no-no-", "")
    is_hidden = told.secret and default is not None
    return Setting(
        name=name,
        owner=owner,
        argument=f"{prefix}{name}",
        help=told.help,
        expected=told.expected or expected,
        parse=_parser(kind, told.least),
        keys=keys,
        options=options,
        off=(*told.off, negated) if is_flag else (),
        off_help=told.off_help,
        value="" if is_flag else told.value or kind.shown,
        default="a secret" if is_hidden else told.default_text or toml(default),
        is_path=kind.takes == "path",
        secret=told.secret,
        implies=told.implies,
    )


def _parser(kind: Kind, least: float | None) -> Callable[[object], Any]:
    def parse(value: object) -> Any:
        given = _as_data(value)
        if kind.takes == "flag" and not isinstance(given, bool):
            given = str(given)  # a file may have 1 and 0
        made = kind.make(Typed(given) if isinstance(given, str) else given)
        if isinstance(made, float) and not math.isfinite(made):
            raise ValueError
        if (least is not None and made < least) or (type(given) is float and type(made) is int):
            raise ValueError
        return type(made)(os.path.expanduser(made)) if kind.takes == "path" else made

    return parse


def _as_data(value: object) -> Any:
    """Return what a caller gave as a file would have it."""
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (tuple, set, frozenset, list)):
        return [_as_data(item) for item in value]
    return value


def shown(line: Setting, value: object) -> str:
    """Return a setting's value for a human, and nothing of a secret."""
    return "a secret" if line.secret and value is not None else toml(value)


def toml(value: object) -> str:
    """Return a setting's value as a configuration file would have it."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return f"[{', '.join(map(toml, value))}]"
    text = value.name if isinstance(value, enum.Enum) else str(value)
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
