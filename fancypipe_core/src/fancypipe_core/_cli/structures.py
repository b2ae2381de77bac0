"""Kinds of values that are made of others: lists, tuples, objects, unions.

They are written as JSON; what has several items may also be given item by item.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fancypipe_core._cli.kinds import MISSING, Anything, Kind, Mismatch, Nothing, Text, shown
from fancypipe_core._spelling import near

__all__ = ["Either", "Items", "Record", "Row", "Table"]


class Items(Kind):
    """A list, a set, or a tuple of any length."""

    many = True

    def __init__(self, item: Kind, make: Callable[[Iterable[Any]], Any], name: str) -> None:
        self._item = item
        self._make = make
        self.shown = item.shown
        self.expected = f"a {name}, each item {item.expected}"

    def texts(self, texts: Sequence[str]) -> Any:
        items: list[Any] = []
        for text in texts:
            data = _json_list(text)
            try:
                items += [self._item.text(text)] if data is None else self._items(data)
            except Mismatch:
                # "[1, 2]" may also be one item, where items are lists.
                if data is None or not self._item.many:
                    raise
                items.append(self._item.text(text))
        return self._collect(items)

    def text(self, text: str) -> Any:
        return self.texts([text])

    def data(self, data: Any) -> Any:
        if not isinstance(data, list):
            raise Mismatch(self.expected, shown(data))
        return self._collect(self._items(data))

    def _items(self, data: list[Any]) -> list[Any]:
        return [_at(f"[{number}]", self._item.data, item) for number, item in enumerate(data)]

    def _collect(self, items: list[Any]) -> Any:
        try:
            return self._make(items)
        except TypeError as error:  # what cannot be in a set
            raise Mismatch(self.expected, str(error)) from None


class Row(Kind):
    """A tuple with a kind for each item."""

    many = True

    def __init__(self, items: Sequence[Kind]) -> None:
        self._kinds = items
        self.shown = " ".join(item.shown for item in items)
        self.expected = f"{len(items)} items ({', '.join(item.expected for item in items)})"

    def texts(self, texts: Sequence[str]) -> Any:
        if len(texts) == 1:
            data = _json_list(texts[0])
            if data is not None:
                return self.data(data)
        return self._row(texts, [kind.text for kind in self._kinds])

    def text(self, text: str) -> Any:
        return self.texts([text])

    def data(self, data: Any) -> Any:
        if not isinstance(data, list):
            raise Mismatch(self.expected, shown(data))
        return self._row(data, [kind.data for kind in self._kinds])

    def _row(self, given: Sequence[Any], makers: Sequence[Callable[[Any], Any]]) -> Any:
        if len(given) != len(makers):
            raise Mismatch(self.expected, f"{len(given)} items")
        return tuple(
            _at(f"[{number}]", make, item)
            for number, (make, item) in enumerate(zip(makers, given, strict=True))
        )


class Table(Kind):
    """A dict; its keys are texts in JSON, whatever they are in Python."""

    expected = "a JSON object"
    shown = "JSON"

    def __init__(self, key: Kind, value: Kind) -> None:
        self._key = key
        self._value = value

    def data(self, data: Any) -> Any:
        if not isinstance(data, dict):
            raise Mismatch(self.expected, shown(data))
        return {
            _at(f" key {key!r}", self._key.text, key): _at(f"[{key!r}]", self._value.data, value)
            for key, value in data.items()
        }


class Record(Kind):
    """A dataclass, NamedTuple or TypedDict: a JSON object with its fields.

    Args:
        name: The class's name.
        make: Makes one of keyword arguments.
        defaults: For each field its default, or MISSING.
        kinds: Gives the kind of each field.  Asked when it is needed and not
            before: a record may hold others like itself.
    """

    def __init__(
        self,
        name: str,
        make: Callable[..., Any],
        defaults: Mapping[str, Any],
        kinds: Callable[[], Mapping[str, Kind]],
    ) -> None:
        self._name = name
        self._make = make
        self._defaults = defaults
        self.kinds = kinds
        self.expected = f"a JSON object with {', '.join(defaults) or 'no fields'}"

    @property
    def fields(self) -> str:
        """The fields for help: their names, kinds and defaults."""
        parts = []
        for name, kind in self.kinds().items():
            default = self._defaults[name]
            value = "..." if default is ... else json.dumps(default, default=str)
            parts.append(f"{name}: {kind.shown}" + ("" if default is MISSING else f" = {value}"))
        return ", ".join(parts)

    def data(self, data: Any) -> Any:
        if not isinstance(data, dict):
            raise Mismatch(self.expected, shown(data))
        kinds = self.kinds()
        for name in data:
            if name not in kinds:
                hint = near(name, kinds)
                raise Mismatch(self.expected, f"one with {name!r}{hint}")
        for name, default in self._defaults.items():
            if default is MISSING and name not in data:
                raise Mismatch(self.expected, f"one without {name!r}")
        values = {name: _at(f".{name}", kinds[name].data, data[name]) for name in data}
        try:
            return self._make(**values)
        except Exception as error:
            raise Mismatch(f"right for {self._name} ({error})", shown(data)) from error


class Either(Kind):
    """A union."""

    def __init__(self, members: Sequence[Kind]) -> None:
        self.members = sorted(members, key=lambda kind: kind.order)
        real = [kind for kind in members if not isinstance(kind, Nothing)]
        self.order = max(kind.order for kind in members)
        self.many = any(kind.many for kind in real)
        self.shown = "|".join(dict.fromkeys(kind.shown for kind in real)) or "none"
        self.expected = " or ".join(dict.fromkeys(kind.expected for kind in members))

    def text(self, text: str) -> Any:
        # "none" is a text like others where any text is welcome.
        anything = any(isinstance(kind, (Text, Anything)) for kind in self.members)
        return self._first(
            [kind for kind in self.members if not (anything and isinstance(kind, Nothing))],
            lambda kind: kind.text(text),
        )

    def texts(self, texts: Sequence[str]) -> Any:
        if len(texts) == 1:
            return self.text(texts[0])
        many = [kind for kind in self.members if kind.many]
        return self._first(many or self.members, lambda kind: kind.texts(texts))

    def data(self, data: Any) -> Any:
        return self._first(self.members, lambda kind: kind.data(data))

    def _first(self, members: Sequence[Kind], make: Callable[[Kind], Any]) -> Any:
        missed: list[Mismatch] = []
        for kind in members:
            try:
                return make(kind)
            except Mismatch as mismatch:
                if not isinstance(kind, Nothing):
                    missed.append(mismatch)
        if len(missed) == 1:
            raise missed[0]
        raise Mismatch(self.expected, missed[-1].got)


def _at(at: str, make: Callable[[Any], Any], value: Any) -> Any:
    try:
        return make(value)
    except Mismatch as mismatch:
        raise mismatch.inside(at) from None


def _json_list(text: str) -> list[Any] | None:
    if text.lstrip().startswith("["):
        try:
            data = json.loads(text)
        except ValueError:
            return None
        if isinstance(data, list):
            return data
    return None
