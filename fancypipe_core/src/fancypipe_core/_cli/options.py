"""Reading a command line with all the spellings that fancypipe takes.

`-option value` and `-option=value`, one dash or two, hyphens or underscores; a
flag stands alone, or is `--no-flag`, or `--flag=true`.  Click then gets each
option in one spelling, `--option=value`, so that its help and its commands
work as ever.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from fancypipe_core import errors
from fancypipe_core._base.option_names import dashed, near, plain
from fancypipe_core._plugins.discovery import OURS

__all__ = ["Found", "Line", "Option", "is_option", "read"]

_NUMBER = re.compile(r"-(\d|\.\d|inf\b|nan\b)", re.IGNORECASE)
_SWITCHES = frozenset({"true", "false", "yes", "no", "on", "off"})


class Option(NamedTuple):
    """An option.

    Attributes:
        key: What it sets.
        spellings: Its names, without dashes.
        is_flag: Whether it stands alone, without a value.
        off: Names that turn a flag off.
    """

    key: str
    spellings: tuple[str, ...]
    is_flag: bool = False
    off: tuple[str, ...] = ()


class Found(NamedTuple):
    """An option on a command line.

    Attributes:
        key: What it sets; for what is in no table, its name as it was written.
        value: What was written; `true` or `false` for a flag that stood alone.
        spelled: As the user wrote it, with its dashes.
        first: The index of its first word on the command line.
        last: The index after its last word.
    """

    key: str
    value: str
    spelled: str
    first: int
    last: int


class Line(NamedTuple):
    """A command line that was read.

    Attributes:
        options: In the order in which they were found.
        words: What belongs to no option.
        rest: The index of what was not read, where reading stopped at a word.
    """

    options: list[Found]
    words: list[str]
    rest: int

    def given(self) -> dict[str, list[str]]:
        """Return the values of each option."""
        values: dict[str, list[str]] = {}
        for found in self.options:
            values.setdefault(found.key, []).append(found.value)
        return values


def _hint(name: str, known: list[str]) -> str:
    """Return what may help who has typed an option that is not there."""
    for owner, ours in OURS.items():
        if plain(name) in ours.options:
            return f": it comes with fancypipe-{owner}; install that"
    return near(name, known)


def read(
    argv: Sequence[str],
    options: Iterable[Option],
    *,
    stop_at_word: bool = False,
    any_option: bool = False,
    any_words: bool = False,
    advice: str = "",
    more: Callable[[str], Option | None] = lambda _name: None,
) -> Line:
    """Read a command line.

    Args:
        argv: Its words.
        options: What may stand there.  The first that has a name gets it.
        stop_at_word: Whether to stop at the first word that belongs to no option.
        any_option: Whether unknown options are welcome; they take a value.
        any_words: Whether words that belong to no option are welcome.
        advice: Added to the message about an unknown option or word.
        more: Finds an option that is not among these by its name.

    Raises:
        UsageError: An option is unknown or lacks its value, or a word is not welcome.
    """
    names = _names(options)
    line = Line([], [], len(argv))
    at = 0
    while at < len(argv):
        word = argv[at]
        if word == "--":
            line.words.extend(argv[at + 1 :])
            break
        if not is_option(word):
            if stop_at_word:
                return line._replace(rest=at)
            line.words.append(word)
            at += 1
            continue
        spelled, equals, value = word.partition("=")
        name = spelled.removeprefix("-").removeprefix("-")
        if plain(name) not in names:
            further = more(name)
            names |= _names([further] if further is not None else [])
        option, switch = names.get(plain(name), (None, True))
        if option is None and not any_option:
            hint = _hint(name, [dashed(known) for known, (_, on) in names.items() if on])
            raise errors.UsageError(f"there is no option {spelled}{hint or advice}")
        end = at + 1
        following = argv[end] if end < len(argv) else ""
        if option is not None and option.is_flag:
            if equals:
                value = value if switch else _negated(spelled, value)
            elif switch and not any_words and not stop_at_word and following.lower() in _SWITCHES:
                value, end = following, end + 1
            else:
                value = "true" if switch else "false"
        elif not equals:
            value, end = _value(spelled, argv, end, names), end + 1
        key = option.key if option is not None else plain(name)
        line.options.append(Found(key, value, spelled, at, end))
        at = end
    if line.words and not any_words:
        raise errors.UsageError(
            f"{line.words[0]!r} belongs to no option{_again(argv, line) or advice}"
        )
    return line


def _again(argv: Sequence[str], line: Line) -> str:
    """Return what to write if the first word was meant as one more item of an option."""
    word = line.words[0]
    for one in line.options:
        if one.value == argv[one.last - 1] and word in argv[one.last : one.last + 1]:
            both = f"{one.spelled} {one.value} {one.spelled} {word}"
            return f"; {one.spelled} takes one word: for a list write {both}"
    return ""


def _names(options: Iterable[Option]) -> dict[str, tuple[Option, bool]]:
    names: dict[str, tuple[Option, bool]] = {}
    options = list(options)
    for option in options:
        for name in option.spellings:
            names.setdefault(plain(name), (option, True))
    # `no-x` may be an option in its own right.
    for option in options:
        for name in option.off:
            names.setdefault(plain(name), (option, False))
    return names


def is_option(word: str) -> bool:
    """Tell whether a word is an option, and not a value such as -1."""
    return len(word) > 1 and word.startswith("-") and not _NUMBER.match(word)


def _negated(spelled: str, value: str) -> str:
    raise errors.UsageError(f"{spelled} stands alone, it takes no value such as {value!r}")


def _value(spelled: str, argv: Sequence[str], at: int, names: Iterable[str]) -> str:
    if at < len(argv):
        word = argv[at]
        name = word.partition("=")[0].removeprefix("-").removeprefix("-")
        if word != "--" and not (is_option(word) and plain(name) in names):
            return word
        raise errors.UsageError(
            f"option {spelled} needs a value; if {word} is meant, write {spelled}={word}"
        )
    raise errors.UsageError(f"option {spelled} needs a value")
