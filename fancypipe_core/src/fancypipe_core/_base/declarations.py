"""What declares settings and commands: the engine's own and those that plugins bring.

Settings are a frozen dataclass, whose fields are made by `setting`:

    @dataclass(frozen=True)
    class PoolSettings:
        start: Literal["spawn", "forkserver"] = setting("spawn", help="How workers are started.")

The annotation says which values there are: bool, int, float, str, Path, an Enum,
a Literal, a list of these, or one of them or None, for what may be left out.
What one field cannot say `__post_init__` can, with a `ValueError`.
"""

from __future__ import annotations

from copy import copy
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any, NamedTuple

__all__ = ["Command", "Declared", "NoSettings", "declared", "is_record", "setting"]

_KEY = "fancypipe"


class Declared(NamedTuple):
    """What `setting` was given, but for the default."""

    help: str
    option: str
    also: tuple[str, ...]
    off: tuple[str, ...]
    off_help: str
    least: float | None
    expected: str
    value: str
    default_text: str
    secret: bool
    implies: bool


def setting(  # noqa: PLR0913 - each by its name, and most left out
    default: Any,
    *,
    help: str,  # noqa: A002 - the word that everybody uses
    option: str = "",
    also: tuple[str, ...] = (),
    off: tuple[str, ...] = (),
    off_help: str = "",
    least: float | None = None,
    expected: str = "",
    value: str = "",
    default_text: str = "",
    secret: bool = False,
    implies: bool = False,
) -> Any:
    """Return a dataclass field that is a setting.

    Args:
        default: The value where nobody says another; None for none.  A function
            is called for each record.
        help: What it does; one sentence.
        option: Its usual name on the command line, if that is not the field's.
        also: Further names on the command line and in files.
        off: Names that turn it off, for a bool; `no-` and its name does so as well.
        off_help: What turning it off does, for what is on by default on the
            command line.
        least: The smallest number that it may be.
        expected: What it must be, for messages; by default the type says it.
        value: What help shows for the value, such as `HOST[:PORT]`; by default
            the type says it.
        default_text: The default in words, where the value says too little.
        secret: Never shown: not in help, in messages, in `fancypipe config` and
            in the record's `repr`.
        implies: Who gives it as an option or as an argument thereby chooses the
            backend that it belongs to.
    """
    told = Declared(
        help, option, also, off, off_help, least, expected, value, default_text, secret, implies
    )
    metadata = {_KEY: told}
    if callable(default):
        return field(default_factory=default, metadata=metadata, repr=not secret)
    if isinstance(default, (list, dict, set)):
        return field(default_factory=lambda: copy(default), metadata=metadata, repr=not secret)
    return field(default=default, metadata=metadata, repr=not secret)


def is_record(record: object) -> bool:
    """Tell whether this is a dataclass of which each field has a default."""
    if not (isinstance(record, type) and is_dataclass(record)):
        return False
    return not any(
        item.init and item.default is MISSING and item.default_factory is MISSING
        for item in fields(record)
    )


def declared(record: type[Any]) -> list[tuple[str, Declared, Any]]:
    """Return (name, what was declared, default) for each setting of a record.

    A default that is computed is not, where the declaration has words for it.
    """
    found = []
    for item in fields(record):
        told = item.metadata.get(_KEY)
        if told is not None:
            factory = item.default_factory
            default = item.default if factory is MISSING or told.default_text else factory()
            found.append((item.name, told, default))
    return found


@dataclass(frozen=True)
class NoSettings:
    """The record of who has none."""


class Command(NamedTuple):
    """A command that a plugin adds to `fancypipe`.

    The engine reads its command line as it reads its own, and calls the function
    with the record of the settings in force and a list of the words.  What that
    returns is the exit code; None is 0.  A `FancyPipeError` that it raises is
    said in one line.

    Attributes:
        help: One line.
        target: `module:function`; imported when the command is called.
        settings: The record of its settings.
        words: The words that it takes, as help shows them, such as `new|show-path`;
            empty for none.
    """

    help: str
    target: str
    settings: type[Any] = NoSettings
    words: str = ""
