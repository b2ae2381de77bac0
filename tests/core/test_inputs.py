"""Inputs: from a signature to options, and from text to values."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import re
import typing
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType, Optional, TypedDict, Union

import numpy as np
import pytest

from fancypipe_core import Task, errors, task
from fancypipe_core._cli import docstring as _docstring
from fancypipe_core._cli import options as _options
from fancypipe_core._cli.inputs import Input, bind, inputs_of
from fancypipe_core._cli.options import Option
from fancypipe_core._model.task import definition_of

if typing.TYPE_CHECKING:
    from somewhere import Unseen  # type: ignore[import-not-found]


class Color(enum.Enum):
    RED = "r"
    BLUE = "b"


@dataclasses.dataclass
class Node:
    x: int
    kids: list[Node] = dataclasses.field(default_factory=list)
    where: Path | None = None

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("x is below 0")


class Pair(NamedTuple):
    a: int
    b: str = "q"


class Movie(TypedDict):
    title: str
    year: int


Meters = NewType("Meters", float)
NO_DEFAULT = object()
CHOICE = Literal["a", 3, True, None]  # noqa: PYI061 - None is one of the choices


def one(annotation: Any, default: Any = NO_DEFAULT) -> Input:
    """Return the input of a task with one parameter `x` of this annotation."""

    def f(x: Any) -> None: ...

    f.__annotations__ = {} if annotation is NO_DEFAULT else {"x": annotation}
    if default is not NO_DEFAULT:
        f.__defaults__ = (default,)
    (found,) = inputs_of(definition_of(task(f)))
    return found


def value_of(annotation: Any, *texts: str, default: Any = NO_DEFAULT) -> Any:
    return one(annotation, default).value(texts)


@pytest.mark.parametrize(
    ("annotation", "texts", "value"),
    [
        (int, ["-5"], -5),
        (float, ["5"], 5.0),
        (float, ["-1e-3"], -0.001),
        (str, ["5"], "5"),
        (bool, ["true"], True),
        (bool, ["no"], False),
        (Meters, ["2.5"], 2.5),
        (np.float32, ["0.5"], np.float32(0.5)),
        (np.int16, ["3"], np.int16(3)),
        (Decimal, ["1.50"], Decimal("1.50")),
        (date, ["2024-02-29"], date(2024, 2, 29)),
        (complex, ["1+2j"], 1 + 2j),
        (CHOICE, ["a"], "a"),
        (CHOICE, ["3"], 3),
        (CHOICE, ["true"], True),
        (CHOICE, ["null"], None),
        (Color, ["BLUE"], Color.BLUE),
        (list[int], ["1", "2"], [1, 2]),
        (list[int], ["[1, 2]", "3"], [1, 2, 3]),
        (list[int], ["[]"], []),
        (list[str], ["[x"], ["[x"]),
        (list[list[int]], ["[1, 2]", "[3]"], [[1, 2], [3]]),
        (list[list[int]], ["[[1, 2], [3]]"], [[1, 2], [3]]),
        (list, ["1", "x"], [1, "x"]),
        (typing.List[float], ["1"], [1.0]),  # noqa: UP006 - what users still write
        (collections.abc.Sequence[int], ["1"], [1]),
        (set[str], ["a", "b", "a"], {"a", "b"}),
        (frozenset[int], ["[1]"], frozenset({1})),
        (tuple[int, ...], ["1", "2", "3"], (1, 2, 3)),
        (tuple[int, str], ["1", "2"], (1, "2")),
        (tuple[int, str], ['[1, "2"]'], (1, "2")),
        (dict[str, float], ['{"a": 1}'], {"a": 1.0}),
        (dict[int, list[int]], ['{"1": [2]}'], {1: [2]}),
        (dict, ['{"a": {"b": null}}'], {"a": {"b": None}}),
        (Optional[int], ["none"], None),  # noqa: UP045 - what users still write
        (Optional[int], ["3"], 3),  # noqa: UP045
        (Optional[str], ["none"], "none"),  # noqa: UP045
        (Union[str, int], ["5"], 5),  # noqa: UP007
        (Union[str, int], ["x"], "x"),  # noqa: UP007
        (int | float, ["5"], 5),
        (int | float, ["5.5"], 5.5),
        (bool | int, ["1"], 1),
        (bool | int, ["true"], True),
        (list[int] | None, ["1", "2"], [1, 2]),
        (Literal["auto"] | int, ["auto"], "auto"),
        (Literal["auto"] | int, ["4"], 4),
        (Node, ['{"x": 1, "kids": [{"x": 2}]}'], Node(1, [Node(2)])),
        (Node | None, ["none"], None),
        (Pair, ['{"a": 1}'], Pair(1)),
        (Movie, ['{"title": "M", "year": 1931}'], {"title": "M", "year": 1931}),
        (Annotated[Any, partial(int, base=16)], ["ff"], 255),
        (Any, ['{"a": [1]}'], {"a": [1]}),
        (Any, ["plain text"], "plain text"),
        (NO_DEFAULT, ["[1]"], [1]),
        (NO_DEFAULT, ["text"], "text"),
        ("Unseen", ["text"], "text"),
        (int, ["1", "2"], 2),
    ],
)
def test_values(annotation: Any, texts: list[str], value: Any) -> None:
    got = value_of(annotation, *texts)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("annotation", "texts", "message"),
    [
        (int, ["abc"], "x must be a whole number, not 'abc'"),
        (int, ["2.5"], "x must be a whole number, not '2.5'"),
        (float, ["abc"], "x must be a number, not 'abc'"),
        (bool, ["maybe"], "x must be true or false, not 'maybe'"),
        (Color, ["BLEU"], "x must be one of RED, BLUE, not 'BLEU'; did you mean BLUE?"),
        (Literal["a", 3], ["true"], "x must be one of a, 3, not 'true'"),
        (list[int], ["1", "b"], "x must be a whole number, not 'b'"),
        (list[int], ['[1, "2"]'], 'x[1] must be a whole number, not "2"'),
        (list[int], ["[true]"], "x[0] must be a whole number, not true"),
        (list[int], ["[2.5]"], "x[0] must be a whole number, not 2.5"),
        (list[str], ["[3]"], "x[0] must be a text, not 3"),
        (tuple[int, str], ["1"], "x must be 2 items (a whole number, a text), not 1 items"),
        (dict[str, int], ["5"], "x must be a JSON object, not 5"),
        (dict[str, int], ["{"], "x must be a JSON object, not '{'"),
        (dict[str, int], ['{"a": "b"}'], "x['a'] must be a whole number, not \"b\""),
        (Node, ["{}"], "x must be a JSON object with x, kids, where, not one without 'x'"),
        (Node, ['{"kid": []}'], "x must be a JSON object with x, kids, where, not one with 'kid';"),
        (Node, ['{"x": 1, "kids": [{"x": "2"}]}'], 'x.kids[0].x must be a whole number, not "2"'),
        (Node, ['{"x": -1}'], 'x must be right for Node (x is below 0), not {"x": -1}'),
        (int | None, ["x"], "x must be a whole number, not 'x'"),
        (type(None), ["x"], "x must be none, not 'x'"),
        (set, ["[[1]]"], "x must be a set, each item JSON ("),
        (int | Color, ["x"], "x must be a whole number or one of RED, BLUE, not 'x'"),
        (date, ["yesterday"], "x must be a text that date takes"),
        (Callable, ["f"], "x must be of type Callable, which cannot be written on a command line"),
    ],
)  # fmt: skip
def test_what_is_refused(annotation: Any, texts: list[str], message: str) -> None:
    with pytest.raises(errors.BadInput, match=re.escape(f"input {message}")) as caught:
        value_of(annotation, *texts)
    assert "\n" not in str(caught.value)


def test_a_path_must_exist_unless_it_is_there_to_be_written(tmp_path: Path) -> None:
    there, nowhere = str(tmp_path), str(tmp_path / "new")
    refused = []
    for annotation, default in [
        (Path, NO_DEFAULT),
        (Path, None),
        (Path | None, None),
        (list[Path], []),
        (Annotated[Path, "input"], Path("x")),
        (Annotated[str, "input"], NO_DEFAULT),
        (Annotated[str, "output"], NO_DEFAULT),
        (Path, Path("x")),
        (Annotated[Path, "output"], NO_DEFAULT),
        (Annotated[Path, "output"], None),
    ]:
        assert value_of(annotation, there, default=default) in (Path(there), [Path(there)], there)
        try:
            value_of(annotation, nowhere, default=default)
        except errors.BadInput as error:
            refused.append(str(error))
        else:
            refused.append("")
    message = f"input x must be a file or folder that exists, not {nowhere!r}"
    assert refused == [message] * 6 + [""] * 4


@pytest.mark.parametrize(
    ("default", "text", "value"),
    [
        (False, "true", True),
        ("a", "5", "5"),
        (Color.RED, "BLUE", Color.BLUE),
        (Path("a"), "b", Path("b")),
        (3, "x", "x"),
        (3, "4", 4),
        (None, "none", "none"),
    ],
)
def test_a_default_may_say_what_is_meant(default: Any, text: str, value: Any) -> None:
    assert value_of(NO_DEFAULT, text, default=default) == value


def test_that_a_list_may_be_left_out_says_nothing_of_its_items() -> None:
    assert value_of(list[int], "none", default=None) is None
    with pytest.raises(errors.BadInput, match="input x must be none, not 'x'"):
        value_of(type(None), "x", default=None)
    with pytest.raises(errors.BadInput, match=r"input x\[0\] must be a whole number, not null"):
        value_of(list[int], "[null]", default=None)


def test_flags() -> None:
    flags = [one(bool).is_flag, one(bool | None, None).is_flag, one(NO_DEFAULT, False).is_flag]
    assert flags == [True] * 3
    assert not one(bool | int).is_flag
    assert not one(type(None)).is_flag


def test_help() -> None:
    @task
    def f(  # noqa: PLR0913, PLR0917 - one of each
        image: Path,
        size: tuple[int, int] = (3, 4),
        color: Color = Color.RED,
        node: Node | None = None,
        loose: Any = None,
        rate: float = 0.1,
        empty: str = "",
        hook: Callable[[], None] = print,
        *more: int,
        **others: str,
    ) -> None:
        """Do it.

        Args:
            image: The image,
                in any format.
            others: Passed on.
        """

    found = inputs_of(definition_of(f))
    shown = {one.name: (one.kind.shown, one.explanation) for one in found}
    assert shown == {
        "image": ("PATH", "The image, in any format. [required]"),
        "size": ("INTEGER INTEGER", "[default: [3, 4]; may be repeated]"),
        "color": ("RED|BLUE", "[default: RED]"),
        "node": (
            "JSON",
            "An object {x: INTEGER, kids: JSON = [], where: PATH = null}. [default: none]",
        ),
        "loose": ("JSON|TEXT", "[default: none; JSON, or else the text as it is]"),
        "rate": ("FLOAT", "[default: 0.1]"),
        "empty": ("TEXT", '[default: ""]'),
        "hook": ("Callable", "[default: <built-in function print>; cannot be given here]"),
        "more": ("INTEGER", "[any number of words]"),
        "others": ("TEXT", "Passed on. [any other option]"),
    }


def bound(target: Any, words: tuple[str, ...] = (), **given: str) -> Any:
    definition = definition_of(target)
    texts = {name: [text] for name, text in given.items()}
    return bind(definition.name, inputs_of(definition), texts, words)


def test_binding() -> None:
    @task
    def f(a: int, /, b: float = 2, *rest: str, c: bool = False, **others: int) -> None: ...

    assert bound(f, a="1") == ((1,), {})
    assert bound(f, a="1", b="3", c="true") == ((1,), {"b": 3.0, "c": True})
    # Words can only be passed when what stands before them is passed by position too.
    assert bound(f, ("x", "y"), a="1", c="true") == ((1, 2, "x", "y"), {"c": True})
    assert bound(f, a="1", other="5") == ((1,), {"other": 5})
    with pytest.raises(errors.BadInput, match="input other must be a whole number"):
        bound(f, a="1", other="x")


def test_what_is_missing_or_unknown() -> None:
    @task
    def f(a_b: int, c: str, d: int = 1) -> None: ...

    with pytest.raises(errors.BadInput, match=r"^task f needs --a-b INTEGER and -c TEXT$"):
        bound(f)
    with pytest.raises(errors.BadInput, match="task f has no input 'z'"):
        bound(f, a_b="1", c="x", z="1")

    @task
    def g(file: typing.IO[str]) -> None: ...

    with pytest.raises(errors.BadInput, match=r"^task g cannot be run from the command line: its"):
        bound(g)


def test_a_class_has_the_inputs_of_its_main() -> None:
    class Smooth(Task):
        """Smooth it.

        Args:
            width: In pixels.
        """

        def main(self, width: int = 3) -> int:
            return width

    (found,) = inputs_of(definition_of(Smooth))
    assert (found.name, found.help, found.default) == ("width", "In pixels.", 3)


def test_annotations_that_cannot_be_seen_hurt_nobody_else() -> None:
    @task
    def f(a: Unseen, b: int, c: Optional[Path] = None) -> None: ...  # noqa: UP045

    assert [found.kind.shown for found in inputs_of(definition_of(f))] == [
        "JSON|TEXT",
        "INTEGER",
        "PATH",
    ]


GOOGLE = """Do it.

    In two
    paragraphs.

    Args:
        a: The first,
            longer.
        b (int, optional): The second: with a colon.
        *rest: Others.

    Returns:
        c: nothing.
    """
NUMPY = """Do it.

    In two
    paragraphs.

    Parameters
    ----------
    a : int
        The first,
        longer.
    b, c : int, optional
        The second: with a colon.
    *rest
        Others.

    Returns
    -------
    d : int
        nothing
    """
REST = """Do it.

    In two
    paragraphs.

    :param a: The first,
        longer.
    :param int b: The second: with a colon.
    :param rest: Others.
    :returns: nothing
    :rtype: int
    """


@pytest.mark.parametrize("docstring", [GOOGLE, NUMPY, REST], ids=["google", "numpy", "rest"])
def test_docstrings(docstring: str) -> None:
    doc = _docstring.read(docstring)
    assert doc.summary == "Do it."
    assert doc.text == "Do it.\n\nIn two\nparagraphs."
    parameters = dict(doc.parameters)
    assert parameters.pop("c", "The second: with a colon.") == "The second: with a colon."
    assert parameters == {
        "a": "The first, longer.",
        "b": "The second: with a colon.",
        "rest": "Others.",
    }


def test_a_line_that_cannot_be_read_costs_no_other_its_text() -> None:
    doc = _docstring.read(
        """Do it.

        Args:
            and these, too
            a: The first,
            which is not indented.
            b: The second.

        Parameters:

        Inputs:
            c: The third.
        """
    )
    assert doc.text == "Do it."
    assert doc.parameters == {"a": "The first,", "b": "The second.", "c": "The third."}


def test_docstrings_that_are_only_prose() -> None:
    text = "It does three things:\n\n- one\n- two: more\n\nSee http://example.org: there."
    assert _docstring.read(text) == (text, {})
    assert _docstring.read("") == ("", {})


OPTIONS = (
    Option("in:x1", ("x1",)),
    Option("in:quick", ("quick",), is_flag=True, off=("no-quick",)),
    Option("backend", ("workertype", "backend")),
    Option("max_losses", ("max-losses",)),
    Option("progress", ("progress",), is_flag=True, off=("quiet", "q")),
    Option("late", ("x1", "no-quick")),
)


def read(*argv: str, **how: Any) -> tuple[dict[str, list[str]], list[str]]:
    line = _options.read(argv, OPTIONS, **how)
    return line.given(), line.words


@pytest.mark.parametrize(
    ("argv", "given"),
    [
        (["--x1", "3"], {"in:x1": ["3"]}),
        (["--x1=3"], {"in:x1": ["3"]}),
        (["-x1", "3"], {"in:x1": ["3"]}),
        (["-x1=3"], {"in:x1": ["3"]}),
        (["-x1=a=b"], {"in:x1": ["a=b"]}),
        (["-x1="], {"in:x1": [""]}),
        (["-x1", "-5"], {"in:x1": ["-5"]}),
        (["-x1", "-.5e3"], {"in:x1": ["-.5e3"]}),
        (["-x1", "-inf"], {"in:x1": ["-inf"]}),
        (["-x1", "--unknown"], {"in:x1": ["--unknown"]}),
        (["-x1", "1", "--x1", "2"], {"in:x1": ["1", "2"]}),
        (["--max_losses", "1", "-max-losses=2"], {"max_losses": ["1", "2"]}),
        (["-backend", "T", "--workertype=P"], {"backend": ["T", "P"]}),
        (["--quick"], {"in:quick": ["true"]}),
        (["--quick=no"], {"in:quick": ["no"]}),
        (["--quick", "false"], {"in:quick": ["false"]}),
        (["-q", "--progress"], {"progress": ["false", "true"]}),
        # An option in its own right beats the negation of another.
        (["--no-quick", "v"], {"late": ["v"]}),
    ],
)
def test_the_forms_of_options(argv: list[str], given: dict[str, list[str]]) -> None:
    assert read(*argv) == (given, [])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--x1"], "option --x1 needs a value"),
        (["-x1", "--quick"], "option -x1 needs a value; if --quick is meant, write -x1=--quick"),
        (["-x1", "--"], "option -x1 needs a value; if -- is meant, write -x1=--"),
        (["--quik"], "there is no option --quik; did you mean --quick?"),
        (
            ["-jobauth=x"],
            "there is no option -jobauth: it comes with fancypipe-remote; install that",
        ),
        (["--zzzzz"], "there is no option --zzzzz; see the help"),
        (["--quiet=1"], "--quiet stands alone, it takes no value such as '1'"),
        (["word"], "'word' belongs to no option; see the help"),
        (["--quick", "maybe"], "'maybe' belongs to no option; see the help"),
        (["-5"], "'-5' belongs to no option; see the help"),
        (
            ["--x1", "3", "4"],
            "'4' belongs to no option; --x1 takes one word: for a list write --x1 3 --x1 4",
        ),
        (["--x1=3", "4"], "'4' belongs to no option; see the help"),
    ],
)
def test_command_lines_that_are_refused(argv: list[str], message: str) -> None:
    with pytest.raises(errors.UsageError) as caught:
        read(*argv, advice="; see the help")
    assert str(caught.value) == message


def test_words_and_unknown_options_where_they_are_welcome() -> None:
    given, words = read("a", "--new", "1", "-5", "--", "--x1", any_words=True, any_option=True)
    assert (given, words) == ({"new": ["1"]}, ["a", "-5", "--x1"])
    line = _options.read(["-q", "-backend", "T", "file", "--other"], OPTIONS, stop_at_word=True)
    assert (line.rest, line.words) == (3, [])
    assert [(found.first, found.last) for found in line.options] == [(0, 1), (1, 3)]
