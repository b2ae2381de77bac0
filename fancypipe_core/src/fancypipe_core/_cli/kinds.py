"""Kinds of values, as they are written on the command line.

A kind takes a text, or data as it comes out of JSON, and makes a value of it or
raises `Mismatch`.  Here are the simple ones; `_structures` has those that are
made of others, and `_hints` makes kinds of annotations.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fancypipe_core._spelling import near

__all__ = [
    "MISSING",
    "Anything",
    "Called",
    "Choice",
    "File",
    "Flag",
    "Kind",
    "Mismatch",
    "Nothing",
    "Number",
    "Text",
    "Unwritable",
    "shown",
]

MISSING = dataclasses.MISSING


class Mismatch(ValueError):
    """A value is not of the kind.

    Args:
        expected: What would have been right, to follow "must be".
        got: What was found, as text.
        at: Where in the value, such as `.sizes[2]`.
    """

    def __init__(self, expected: str, got: str, at: str = "") -> None:
        super().__init__(expected, got, at)
        self.expected = expected
        self.got = got
        self.at = at

    def inside(self, at: str) -> Mismatch:
        """Return the same, seen from the value around it."""
        return Mismatch(self.expected, self.got, at + self.at)


def shown(value: object) -> str:
    """Return a value as JSON for a message, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= 60 else f"{text[:57]}..."


class Kind:
    """What an annotation accepts.

    Attributes:
        shown: For help: `INTEGER`, `a|b`.
        expected: For messages, to follow "must be".
        many: Whether the option may be repeated to give several items.
        order: When a union tries it: what is picky comes first.
    """

    shown = "JSON"
    expected = "JSON"
    many = False
    order = 5

    def text(self, text: str) -> Any:
        """Make a value of a text."""
        try:
            data = json.loads(text)
        except ValueError:
            raise Mismatch(self.expected, repr(text)) from None
        return self.data(data)

    def texts(self, texts: Sequence[str]) -> Any:
        """Make a value of the texts of an option that was repeated: the last one counts."""
        return self.text(texts[-1])

    def data(self, data: Any) -> Any:
        """Make a value of data out of JSON."""
        raise NotImplementedError


class Anything(Kind):
    """No annotation: JSON if it is that, else the text itself."""

    shown = "JSON|TEXT"
    order = 8

    def text(self, text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            return text

    def data(self, data: Any) -> Any:
        return data


class Unwritable(Kind):
    """A type that no text can be made into, such as an open file."""

    order = 9

    def __init__(self, name: str) -> None:
        self.shown = name
        self.expected = f"of type {name}, which cannot be written on a command line"

    def text(self, text: str) -> Any:
        raise Mismatch(self.expected, repr(text))

    def data(self, data: Any) -> Any:
        raise Mismatch(self.expected, shown(data))


class Called(Kind):
    """A type, or a function, that is called with the text."""

    order = 4

    def __init__(self, call: Callable[[str], Any], name: str, shown: str = "") -> None:
        self._call = call
        self.shown = shown or name.upper()
        self.expected = f"a text that {name} takes"

    def text(self, text: str) -> Any:
        try:
            return self._call(text)
        except Exception as error:
            raise Mismatch(f"{self.expected} ({error})", repr(text)) from error

    def data(self, data: Any) -> Any:
        if not isinstance(data, str):
            raise Mismatch(self.expected, shown(data))
        return self.text(data)


class Number(Kind):
    """int, float, or a class that is made of one."""

    def __init__(self, base: type[int | float], cls: Callable[[Any], Any]) -> None:
        self._base = base
        self._cls = cls
        whole = base is int
        self.shown = "INTEGER" if whole else "FLOAT"
        self.expected = "a whole number" if whole else "a number"
        self.order = 1 if whole else 2

    def text(self, text: str) -> Any:
        try:
            return self._cls(self._base(text))
        except (ValueError, OverflowError):
            raise Mismatch(self.expected, repr(text)) from None

    def data(self, data: Any) -> Any:
        if isinstance(data, bool) or not isinstance(data, (int, float)):
            raise Mismatch(self.expected, shown(data))
        if self._base is int and data != data // 1:
            raise Mismatch(self.expected, shown(data))
        return self._cls(self._base(data))


class Text(Kind):
    """str, or a subclass."""

    shown = "TEXT"
    expected = "a text"
    order = 7

    def __init__(self, cls: Callable[[str], Any] = str) -> None:
        self._cls = cls

    def text(self, text: str) -> Any:
        return self._cls(text)

    def data(self, data: Any) -> Any:
        if not isinstance(data, str):
            raise Mismatch(self.expected, shown(data))
        return self.text(data)


class Flag(Kind):
    """bool: on the command line `--x`, `--no-x`, `--x=true`."""

    expected = "true or false"
    shown = "true|false"
    order = 3

    def text(self, text: str) -> bool:
        word = text.strip().lower()
        if word in ("true", "yes", "on", "1"):
            return True
        if word in ("false", "no", "off", "0"):
            return False
        raise Mismatch(self.expected, repr(text))

    def data(self, data: Any) -> bool:
        if not isinstance(data, bool):
            raise Mismatch(self.expected, shown(data))
        return data


class Nothing(Kind):
    """None: `none` or `null`."""

    shown = "none"
    expected = "none"
    order = 0

    def text(self, text: str) -> None:
        if text.strip().lower() not in ("none", "null"):
            raise Mismatch(self.expected, repr(text))

    def data(self, data: Any) -> None:
        if data is not None:
            raise Mismatch(self.expected, shown(data))


class File(Kind):
    """A path, which must exist unless it is there to be written."""

    order = 6

    def __init__(self, cls: Callable[[str], Any], must_exist: bool) -> None:
        self._cls = cls
        self._must_exist = must_exist
        self.shown = "PATH"
        self.expected = "a file or folder that exists" if must_exist else "a path"

    def text(self, text: str) -> Any:
        if not text or "\0" in text:
            raise Mismatch(self.expected, repr(text))
        if self._must_exist and not os.path.exists(text):
            raise Mismatch(self.expected, repr(text))
        return self._cls(text)

    def data(self, data: Any) -> Any:
        if not isinstance(data, str):
            raise Mismatch(self.expected, shown(data))
        return self.text(data)


class Choice(Kind):
    """One of several values: a Literal, or an Enum by name."""

    order = 0

    def __init__(self, choices: Mapping[str, Any]) -> None:
        self._choices = choices
        self.shown = "|".join(choices)
        self.expected = f"one of {', '.join(choices)}" if len(choices) > 1 else self.shown

    def text(self, text: str) -> Any:
        if text not in self._choices:
            raise Mismatch(self.expected, repr(text) + near(text, self._choices))
        return self._choices[text]

    def data(self, data: Any) -> Any:
        # A number stands for itself, but true is not 1.
        return self.text(data if isinstance(data, str) else json.dumps(data))
