"""What a setting is: its line in a table of settings, and the values that it may take."""

from __future__ import annotations

import enum
import math
import os
from collections.abc import Callable
from dataclasses import field
from typing import Any, NamedTuple

from fancypipe_core._settings import cores as _cores
from fancypipe_core._spelling import plain

__all__ = [
    "Setting",
    "folder",
    "from_one",
    "name",
    "seconds",
    "setting",
    "shown",
    "switch",
    "toml",
    "workers_or_auto",
]


class Setting(NamedTuple):
    """One line of the table.

    Attributes:
        help: What it does; one sentence.
        expected: What values it takes, to follow "must be".
        parse: Makes a value of a text or of a value from a file or a caller;
            raises `ValueError` or `TypeError` if it cannot be one.
        options: How it is spelled on the command line, the usual one first; the
            engine's own may be spelled so in a file as well.
        off: How it is turned off on the command line, for what is on or off.
        off_help: What turning it off does, for what is on by default there.
        value: What help shows for its value; empty for what is on or off.
        default: The default in words; empty for what `name` has in the record.
        is_path: Whether it is a path, which in a file begins at that file's folder.
        name: The field and the key in a file; for the engine's own also the
            argument of `run()`.
        owner: The plugin that brings it; empty for the engine's own.
        argument: The argument of `run()`; empty if that is the name.
        also: Further keys in a file, for what a plugin brings.
        secret: Whether its value is never shown.
        implies: Whether giving it chooses the backend that brings it.
    """

    help: str
    expected: str
    parse: Callable[[object], Any]
    options: tuple[str, ...]
    off: tuple[str, ...] = ()
    off_help: str = ""
    value: str = ""
    default: str = ""
    is_path: bool = False
    name: str = ""
    owner: str = ""
    argument: str = ""
    also: tuple[str, ...] = ()
    secret: bool = False
    implies: bool = False

    @property
    def variable(self) -> str:
        """The environment variable."""
        return "_".join(filter(None, ("FANCYPIPE", plain(self.owner), self.name))).upper()


def shown(line: Setting, value: object) -> str:
    """Return a setting's value for a human, and nothing of a secret."""
    return "a secret" if line.secret and value is not None else toml(value)


def setting(default: Any, line: Setting) -> Any:
    """Return a dataclass field for a line of the table; `default` may be a function."""
    if callable(default):
        return field(default_factory=default, metadata={"setting": line})
    line = line._replace(default=line.default or toml(default))
    return field(default=default, metadata={"setting": line})


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


# ---- what values are ---------------------------------------------------------

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def switch(value: object) -> bool:
    """Take what is on or off."""
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text not in _TRUE | _FALSE:
        raise ValueError
    return text in _TRUE


def _whole(value: object) -> int:
    if isinstance(value, str):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    return value


def from_one(value: object) -> int:
    """Take a whole number from 1."""
    number = _whole(value)
    if number < 1:
        raise ValueError
    return number


def workers_or_auto(value: object) -> int:
    """Take a whole number from 1, or `auto` for the cores that may be used."""
    if isinstance(value, str) and value.strip().lower() == "auto":
        return _cores.usable_cores()
    return from_one(value)


def seconds(value: object) -> float:
    """Take seconds, 0 or more."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise TypeError
    number = float(value)
    if not 0 <= number < math.inf:
        raise ValueError
    return number


def name(value: object) -> str:
    """Take a name."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value.strip()


def folder(value: object) -> str:
    """Take a folder; `~` is the home."""
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        raise ValueError
    return os.path.expanduser(os.fspath(value))
