"""The settings that a plugin brings: from its dataclass to lines of a table."""

from __future__ import annotations

import enum
import functools
import math
import operator
import os
import pathlib
import typing
from collections.abc import Callable
from typing import Any

from fancypipe_core._cli import hints as _hints
from fancypipe_core._cli.kinds import Flag, Kind
from fancypipe_core._declare import Declared, declared
from fancypipe_core._settings.setting import Setting, toml
from fancypipe_core._spelling import plain

__all__ = ["lines"]


def lines(record: type[Any], owner: str, *, prefixed: bool = False) -> tuple[Setting, ...]:
    """Return a table for the settings of a plugin.

    Args:
        record: A dataclass with fields that `setting` made.
        owner: The plugin's name.
        prefixed: Whether options and arguments begin with that name, as for
            plugins of which several are in force at a time.
    """
    hints = _hints.hints_of(record)
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
    kind = _hints.kind_of(hint, pathlib.PurePath())
    expected = kind.expected if told.least is None else f"{kind.expected} from {told.least:g}"
    is_flag = isinstance(kind, Flag)
    options = [f"{prefix}{one}".replace("_", "-") for one in (name, *told.also)]
    return Setting(
        help=told.help,
        expected=expected,
        parse=_parser(kind, told.least),
        options=tuple(options),
        off=(f"no-{options[0]}",) if is_flag else (),
        value="" if is_flag else told.value or kind.shown,
        default="a secret" if told.secret and default is not None else toml(default),
        is_path=isinstance(hint, type) and issubclass(hint, os.PathLike),
        name=name,
        owner=owner,
        argument=f"{prefix}{name}",
        also=told.also,
        secret=told.secret,
        implies=told.implies,
    )


def _parser(kind: Kind, least: float | None) -> Callable[[object], Any]:
    def parse(value: object) -> Any:
        given = _as_data(value)
        if isinstance(kind, Flag) and not isinstance(given, bool):
            given = str(given)  # a file may have 1 and 0
        made = kind.text(given) if isinstance(given, str) else kind.data(given)
        if isinstance(made, float) and not math.isfinite(made):
            raise ValueError
        if least is not None and made < least:
            raise ValueError
        return made.expanduser() if isinstance(made, pathlib.Path) else made

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
