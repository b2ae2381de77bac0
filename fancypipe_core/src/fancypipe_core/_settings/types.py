"""Types of values, as users write them: on a command line, in a variable, in a file.

A `Kind` makes a value of what was given, or raises `Mismatch`.  What was given is
data as it comes out of JSON and TOML, or a text that somebody has typed, which
is `Typed`: `"5"` in JSON is a text, `5` on the command line may be a number.
Kinds are made of annotations by `hints`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING
from typing import Any, NamedTuple

from fancypipe_core._base.option_names import near

__all__ = [
    "ANYTHING",
    "FLAG",
    "MISSING",
    "NOTHING",
    "Kind",
    "Mismatch",
    "Typed",
    "choice",
    "dumps",
    "either",
    "items",
    "record",
    "row",
    "scalar",
    "table",
    "unwritable",
]


# The module json is not imported where a run begins, which reads none.


def dumps(value: Any) -> str:
    """Return a value as JSON, and what has none as Python shows it."""
    import json

    return json.dumps(value, ensure_ascii=False, default=str)


def _loads(text: str) -> Any:
    import json

    return json.loads(text)


class Typed(str):
    """A text that may be read as what it says."""

    __slots__ = ()


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


class Kind(NamedTuple):
    """What an annotation accepts.

    Attributes:
        shown: For help: `INTEGER`, `a|b`.
        expected: For messages, to follow "must be".
        read: Makes a value of what was given, or raises any exception.
        order: When a union tries it: what is picky comes first.
        many: Whether the option may be repeated to give several items.
        takes: What sort it is, where somebody asks: `any`, `flag`, `none`, `path`,
            `text`, or `never` for what cannot be written.
        why: Whether messages say what the exception says.
        members: Those of a union.
        fields: The fields of an object for help: their names, kinds and defaults.
    """

    shown: str
    expected: str
    read: Callable[[Any], Any]
    order: int = 5
    many: bool = False
    takes: str = ""
    why: bool = False
    members: tuple[Kind, ...] = ()
    fields: Callable[[], str] = str

    def make(self, given: Any) -> Any:
        """Make a value.

        Raises:
            Mismatch: It is not of this kind.
        """
        try:
            return self.read(given)
        except Mismatch:
            raise
        except Exception as error:
            expected = f"{self.expected} ({error})" if self.why else self.expected
            raise Mismatch(expected, _quoted(given)) from error

    def of_texts(self, texts: Sequence[str]) -> Any:
        """Make a value of the texts of an option: the last one counts, unless it takes many."""
        typed = [Typed(text) for text in texts]
        return self.make(typed if self.many else typed[-1])


def _quoted(given: Any) -> str:
    """Return what was given for a message, cut where it is long."""
    if isinstance(given, list) and len(given) == 1 and isinstance(given[0], Typed):
        given = given[0]
    if isinstance(given, Typed):
        return repr(str(given))
    text = dumps(given)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _at(at: str, kind: Kind, given: Any) -> Any:
    """Make a value that stands in another one."""
    try:
        return kind.make(given)
    except Mismatch as mismatch:
        raise Mismatch(mismatch.expected, mismatch.got, at + mismatch.at) from mismatch.__cause__


# ---- what is written as one text -----------------------------------------------


def scalar(
    shown: str,
    expected: str,
    order: int,
    text: Callable[[str], Any],
    data: Callable[[Any], Any] | None = None,
    *,
    takes: str = "",
    why: bool = False,
) -> Kind:
    """Return the kind of what is written as one text; in JSON it is a text too, without `data`."""

    def read(given: Any) -> Any:
        if isinstance(given, Typed):
            return text(str(given))
        if data is not None:
            return data(given)
        if not isinstance(given, str):
            raise Mismatch(expected, _quoted(given))
        return text(given)

    return Kind(shown, expected, read, order, takes=takes, why=why)


def _is_one_of(*values: Any) -> Callable[[Any], Any]:
    # 1 is equal to True, and is another thing.
    return lambda data: next(value for value in values if value is data)


def _json_or_text(text: str) -> Any:
    try:
        return _loads(text)
    except ValueError:
        return text


_WORDS = {"true": True, "yes": True, "on": True, "1": True,
          "false": False, "no": False, "off": False, "0": False}  # fmt: skip
_NONE = {"none": None, "null": None}


def _word(words: Mapping[str, Any]) -> Callable[[str], Any]:
    return lambda text: words[text.strip().lower()]


ANYTHING = scalar("JSON|TEXT", "JSON", 8, _json_or_text, lambda data: data, takes="any")
"""No annotation: JSON if it is that, else the text itself."""
FLAG = scalar(
    "true|false", "true or false", 3, _word(_WORDS), _is_one_of(True, False), takes="flag"
)
"""bool: on the command line `--x`, `--no-x`, `--x=true`."""
NOTHING = scalar("none", "none", 0, _word(_NONE), _is_one_of(None), takes="none")
"""None."""


def choice(choices: Mapping[str, Any]) -> Kind:
    """Return the kind of one of several values: a Literal, or an Enum by name."""
    expected = f"one of {', '.join(choices)}" if len(choices) > 1 else "".join(choices)

    def find(text: str) -> Any:
        if text not in choices:
            raise Mismatch(expected, repr(text) + near(text, choices))
        return choices[text]

    def data(data: Any) -> Any:
        # A number stands for itself, but true is not 1.
        return find(data if isinstance(data, str) else dumps(data))

    return scalar("|".join(choices), expected, 0, find, data)


def unwritable(name: str) -> Kind:
    """Return the kind of a type that no text can be made into, such as an open file."""
    expected = f"of type {name}, which cannot be written on a command line"
    return Kind(name, expected, {}.__getitem__, 9, takes="never")


# ---- what is made of others: written as JSON, or item by item ------------------


def items(item: Kind, make: Callable[[Iterable[Any]], Any]) -> Kind:
    """Return the kind of a list, a set, or a tuple of any length."""
    is_set = make in (set, frozenset)  # and what is in one must be hashable
    expected = f"a {'set' if is_set else 'list'}, each item {item.expected}"

    def read(given: Any) -> list[Any]:
        made: list[Any] = []
        for number, one in enumerate(
            [given] if isinstance(given, Typed) else _a(list, given, expected)
        ):
            data = _json_list(one)
            try:
                at = "" if isinstance(one, Typed) else f"[{number}]"
                made += [_at(at, item, one)] if data is None else read(data)
            except Mismatch:
                # "[1, 2]" may also be one item, where items are lists.
                if data is None or not item.many:
                    raise
                made.append(item.make(one))
        return made

    return Kind(item.shown, expected, lambda given: make(read(given)), many=True, why=is_set)


def row(kinds: Sequence[Kind]) -> Kind:
    """Return the kind of a tuple with a kind for each item."""
    expected = f"{len(kinds)} items ({', '.join(kind.expected for kind in kinds)})"

    def read(given: Any) -> Any:
        given = [given] if isinstance(given, Typed) else _a(list, given, expected)
        data = _json_list(given[0]) if len(given) == 1 else None
        given = given if data is None else data
        if len(given) != len(kinds):
            raise Mismatch(expected, f"{len(given)} items")
        pairs = enumerate(zip(kinds, given, strict=True))
        return tuple(_at(f"[{number}]", kind, one) for number, (kind, one) in pairs)

    return Kind(" ".join(kind.shown for kind in kinds), expected, read, many=True)


def table(key: Kind, value: Kind) -> Kind:
    """Return the kind of a dict; its keys are texts in JSON, whatever they are in Python."""
    expected = "a JSON object"

    def read(given: Any) -> Any:
        return {
            _at(f" key {name!r}", key, Typed(name)): _at(f"[{name!r}]", value, one)
            for name, one in _a(dict, given, expected).items()
        }

    return Kind("JSON", expected, read)


def record(
    make: type[Any], defaults: Mapping[str, Any], kinds: Callable[[], Mapping[str, Kind]]
) -> Kind:
    """Return the kind of a dataclass, NamedTuple or TypedDict: a JSON object with its fields.

    Args:
        make: The class, which makes one of keyword arguments.
        defaults: For each field its default, or MISSING.
        kinds: Gives the kind of each field.  Asked when it is needed and not
            before: a record may hold others like itself.
    """
    expected = f"a JSON object with {', '.join(defaults) or 'no fields'}"

    def read(given: Any) -> Any:
        data, known = _a(dict, given, expected), kinds()
        for name in data:
            if name not in known:
                raise Mismatch(expected, f"one with {name!r}{near(name, known)}")
        for name, default in defaults.items():
            if default is MISSING and name not in data:
                raise Mismatch(expected, f"one without {name!r}")
        values = {name: _at(f".{name}", known[name], data[name]) for name in data}
        try:
            return make(**values)
        except Exception as error:
            raise Mismatch(f"right for {make.__name__} ({error})", _quoted(data)) from error

    def fields() -> str:
        parts = []
        for name, kind in kinds().items():
            default = defaults[name]
            value = "..." if default is ... else dumps(default)
            parts.append(f"{name}: {kind.shown}" + ("" if default is MISSING else f" = {value}"))
        return f"{{{', '.join(parts)}}}"

    return Kind("JSON", expected, read, fields=fields)


def either(kinds: Sequence[Kind]) -> Kind:
    """Return the kind of a union."""
    members = tuple(sorted(kinds, key=lambda kind: kind.order))
    expected = " or ".join(dict.fromkeys(kind.expected for kind in kinds))
    real = [kind for kind in kinds if kind is not NOTHING]
    # "none" is a text like others where any text is welcome.
    any_text = any(kind.takes in ("any", "text") for kind in kinds)

    def read(given: Any) -> Any:
        tried: Sequence[Kind] = members
        if isinstance(given, list) and any(isinstance(one, Typed) for one in given):
            if len(given) == 1:
                given = given[0]
            else:
                tried = [kind for kind in members if kind.many]
        if isinstance(given, Typed) and any_text:
            tried = [kind for kind in tried if kind is not NOTHING]
        missed: list[Mismatch] = []
        for kind in tried:
            try:
                return kind.make(given)
            except Mismatch as mismatch:
                missed += [mismatch] if kind is not NOTHING else []
        raise missed[0] if len(missed) == 1 else Mismatch(expected, missed[-1].got)

    return Kind(
        "|".join(dict.fromkeys(kind.shown for kind in real)) or "none",
        expected,
        read,
        max(kind.order for kind in kinds),
        any(kind.many for kind in real),
        members=members,
    )


def _a(cls: type[Any], given: Any, expected: str) -> Any:
    """Return what was given, or what it says in JSON, if it is a list or a dict."""
    data = _loads(given) if isinstance(given, Typed) else given
    if not isinstance(data, cls):
        raise Mismatch(expected, _quoted(data))
    return data


def _json_list(given: Any) -> list[Any] | None:
    if isinstance(given, Typed) and given.lstrip().startswith("["):
        data = _json_or_text(given)
        return data if isinstance(data, list) else None
    return None
