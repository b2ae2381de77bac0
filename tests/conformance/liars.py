"""Objects that are not what they say.  Workers import this."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

from fancypipe_core import task


class Yes:
    """Answers whatever it is asked."""

    def __getattr__(self, name: str) -> Any:
        return Yes()

    def __call__(self, *args: Any) -> Any:
        return Yes()


class Numbers:
    def __getattr__(self, name: str) -> Any:
        return lambda *_: 1


class Proxy:
    """Asks for ever where it has no attributes yet."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def _says(kind: type) -> type:
    return type(f"Says{kind.__name__}", (), {"__class__": property(lambda _: kind)})


SaysDict, SaysType, SaysError = _says(dict), _says(type), _says(ValueError)


class NeverEqual:
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise ValueError("cannot be compared")

    def __len__(self) -> int:
        raise ValueError("has no length")

    def __bool__(self) -> bool:
        raise ValueError("neither true nor false")

    def __iter__(self) -> Any:
        raise ValueError("has no items")

    def __repr__(self) -> str:
        raise ValueError("cannot be shown")


class NoItems(dict[str, int]):
    def items(self) -> Any:
        raise ValueError("has no items")


class NoState:
    def __getstate__(self) -> Any:
        raise ValueError("has no state")


class ReducesTo:
    def __init__(self, what: Any) -> None:
        self.what = what

    def __reduce__(self) -> Any:
        return self.what


class TwoArguments:
    def __init__(self, one: int, two: int) -> None:
        self.two = two

    def __reduce__(self) -> Any:
        return (TwoArguments, (1,))


LIARS: dict[str, Callable[[], Any]] = {
    "answers everything": Yes,
    "answers with numbers": Numbers,
    "asks for ever": lambda: Proxy([1]),
    "says dict": SaysDict,
    "says type": SaysType,
    "says error": SaysError,
    "raises": NeverEqual,
    "no items": lambda: NoItems(a=1),
    "no state": NoState,
    "a name": lambda: ReducesTo("nothing"),
    "no callable": lambda: ReducesTo((1, 2)),
    "a number": lambda: ReducesTo(42),
    "too few arguments": lambda: TwoArguments(1, 2),
    "mock": mock.Mock,
    "specified mock": lambda: mock.Mock(spec=dict),
}


@task
def kind_of(first: int, second: Any) -> str:
    return type(second).__name__


@task
def makes(liar: str) -> Any:
    return LIARS[liar]()


@task
def one() -> int:
    return 1
