"""Functions, classes and other things that stand in a function: no import finds them.

Also read from standard input by a test, as a prompt has it.
"""

from __future__ import annotations

import abc
import collections
import dataclasses
import enum
import functools
import threading
import typing
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from fancypipe_core import Session, Task, current, task

plus_one = np.frompyfunc(lambda x: x + 1, 1, 1)


class Unset:
    def __reduce__(self) -> str:
        return "UNSET"


UNSET = Unset()


def make() -> dict[str, Any]:  # noqa: C901 - one function is the point
    T = TypeVar("T", bound=int)
    P = typing.ParamSpec("P")  # noqa: N806 - the name that these have
    Name = typing.NewType("Name", str)
    lock = threading.Lock()

    @functools.lru_cache(maxsize=7)
    def cached(n: int) -> int:
        return n if n < 2 else cached(n - 1) + cached(n - 2)

    def factorial(n: int) -> int:
        return 1 if n < 2 else n * factorial(n - 1)

    def even(n: int) -> bool:
        return n == 0 or odd(n - 1)

    def odd(n: int) -> bool:
        return n != 0 and even(n - 1)

    class Flag(enum.IntFlag):
        RED = 1
        BLUE = 2

    class Shape(enum.Enum):
        SQUARE = "s"
        ROUND = "r"

        @property
        def upper(self) -> str:
            return str(self.value).upper()

        @classmethod
        def default(cls) -> Any:
            return cls.SQUARE

    class Area(abc.ABC):
        @abc.abstractmethod
        def area(self) -> float: ...

    @dataclasses.dataclass(frozen=True)
    class Square(Area):
        side: float
        tags: list[str] = dataclasses.field(default_factory=list)

        def area(self) -> float:
            return self.side**2

        def twin(self) -> Any:
            return Square(self.side)

    @dataclasses.dataclass(slots=True)
    class Slotted:
        a: int

    class Private:
        __slots__ = ("__hidden", "open")

        def __init__(self) -> None:
            self.__hidden = 3
            self.open = 4

        def __eq__(self, other: object) -> bool:
            return type(other) is Private and other.__hidden + other.open == 7

        __hash__ = None  # type: ignore[assignment]

    class Box(Generic[T]):
        def __init__(self, x: Any) -> None:
            self.x = x

        def __eq__(self, other: object) -> bool:
            return type(other) is Box and self.x == other.x

        __hash__ = None  # type: ignore[assignment]

    class Pair(NamedTuple):
        a: int
        b: int = 2

    Old = collections.namedtuple("Old", "x y")  # noqa: PYI024 - the old kind is meant

    class Meta(type):
        def __call__(cls, *args: Any) -> Any:
            made = super().__call__(*args)
            made.by_meta = True
            return made

    class Parent(metaclass=Meta):
        def hello(self) -> str:
            return "parent"

    class Child(Parent):
        def hello(self) -> str:
            return super().hello() + str(__class__.__name__)  # type: ignore[name-defined]

    class Wrong(Exception):
        def __init__(self, code: int, what: str) -> None:
            super().__init__(what)
            self.code = code

    class Tree:
        def leaf(self) -> Any:
            return Leaf(self)

    class Leaf:
        def __init__(self, tree: Any) -> None:
            self.tree = tree

        def back(self) -> Any:
            return Tree()

    double = np.frompyfunc(lambda x: 2 * x, 1, 1)

    class Scaled(Task, name="scaled", retries=1):
        def main(self, x: Any, factor: Any = 2) -> Any:
            with lock:
                return x * factor

    @task
    def add(a: Any, b: Any) -> Any:
        return a + b

    @task
    def fibonacci(n: int) -> Any:
        return n if n < 2 else add(fibonacci(n - 1), fibonacci(n - 2))

    @task
    def who() -> str:
        return current().name

    @task
    def fails() -> None:
        raise Wrong(7, "went wrong")

    return locals()


@task
def same(x: Any) -> Any:
    return x


@task
def call(function: Any, *args: Any) -> Any:
    return function(*args)


@task
def grow(tree: Any) -> Any:
    leaf = tree.leaf()
    return type(leaf.back()) is type(tree), leaf


def check(session: Session) -> None:
    made = make()
    run = session.run
    for name, thing in made.items():
        if name not in ("lock", "factorial", "even", "odd", "add", "fibonacci", "who", "fails"):
            assert run(same(thing)) is thing, name
    assert run(same(UNSET), same(plus_one), same(np.sin)) == (UNSET, plus_one, np.sin)
    assert run(call(lambda x: x is UNSET, UNSET))
    assert run(call(plus_one, 1), call(made["double"], 4)) == (2, 8)
    assert run(call(made["cached"], 20), call(made["factorial"], 5)) == (6765, 120)
    assert run(call(made["even"], 10), call(made["odd"], 10)) == (True, False)
    for value in (
        *(made["Flag"].RED, made["Flag"].RED | made["Flag"].BLUE, made["Shape"].ROUND),
        *(made["Square"](2), made["Slotted"](1), made["Private"](), made["Box"](3)),
        *(made["Pair"](1), made["Old"](1, 2)),
    ):
        got = run(same(value))
        assert type(got) is type(value)
        assert got == value
    assert run(same(made["Shape"].ROUND)) is made["Shape"].ROUND
    shape = run(call(lambda s: (s.ROUND.upper, s.default(), s("r"), s["ROUND"]), made["Shape"]))
    assert shape == ("R", made["Shape"].SQUARE, made["Shape"].ROUND, made["Shape"].ROUND)
    assert run(call(lambda s: (s.area(), type(s.twin()) is type(s)), made["Square"](2))) == (
        4,
        True,
    )
    assert run(call(lambda c: (c.hello(), c.by_meta), made["Child"]())) == ("parentChild", True)
    right, leaf = run(grow(made["Tree"]()))
    assert right
    assert type(leaf) is made["Leaf"]
    assert type(leaf.tree) is made["Tree"]
    assert run(made["fibonacci"](8), made["Scaled"](4), made["who"]()) == (21, 8, "who")
    try:
        run(made["fails"]())
    except made["Wrong"] as error:
        assert error.code == 7  # noqa: PT017 - there is no pytest at a prompt
        assert error.where.endswith(f":{made['fails'].main.__code__.co_firstlineno + 2}")  # noqa: PT017
    else:
        raise AssertionError("did not fail")
    inside = made["add"](1, 2)
    assert run(call(lambda: inside)) == 3


if __name__ == "__main__":
    with Session(workers=1) as opened:
        check(opened)
        print("all is right")  # noqa: T201 - for the test that reads it
