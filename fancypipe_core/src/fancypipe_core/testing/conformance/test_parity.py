"""The same pipelines give the same as on the serial backend: values, and errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from fancypipe_core import Session, errors, run
from fancypipe_core.backend import BackendPlugin
from fancypipe_core.testing import _jobs as j
from fancypipe_core.testing.conformance.conftest import Bench

MEBI = 1024 * 1024


@pytest.fixture(scope="module")
def session(plugin: BackendPlugin, request: pytest.FixtureRequest) -> Iterator[Session]:
    """One session for all pipelines; the scheduler checks itself after every event."""
    with Session(plugin.name, request.config.option.workers, debug=True, grace=5.0) as opened:
        yield opened


@pytest.fixture(scope="module")
def single(plugin: BackendPlugin) -> Iterator[Session]:
    """One worker."""
    with Session(plugin.name, 1, grace=5.0) as opened:
        yield opened


EMPTY: list[Any] = [(), [], {}, set(), "", b"", None, j.Block()]


class Outcome(NamedTuple):
    """How a pipeline ended.

    Attributes:
        value: What it gave.
        error: The class of the error's cause, and its text if it is the user's;
            None if there was no error.
        kinds: The names of fancypipe's own classes among the error's.
    """

    value: Any
    error: tuple[str, str] | None = None
    kinds: tuple[str, ...] = ()


def outcome(call: Callable[[Any], Any], target: Any) -> Outcome:
    """Run a target; return how that ended."""
    try:
        return Outcome(call(target))
    except errors.FancyPipeError as error:
        cause = error.__cause__ or error
        ours = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == errors.__name__]
        # The words of the engine's own errors may tell how values were carried.
        text = "" if isinstance(cause, errors.FancyPipeError) else str(cause)
        return Outcome(None, (type(cause).__name__, text), tuple(ours))


def _local_object(value: int) -> Any:
    class Local:
        def __init__(self, value: int) -> None:
            self.value = value

    return Local(value)


def _shared(x: Any) -> list[Any]:
    return [x, x, j.add(x, x)]


PIPELINES: dict[str, Callable[[], Any]] = {
    "one": lambda: j.same(1),
    "plain-value": lambda: {"a": 5},
    "any-shape": lambda: {"a": [j.same(1), (j.add(1, j.same(2)), {"b": j.same({3})})]},
    "shared": lambda: _shared(j.same(4)),
    "operators": lambda: [j.same(3) + 1, 10 - j.same(3), j.same([7, 8])[1], -j.same(2)],
    "fan-in-of-1000": lambda: j.total([j.add(i, i) for i in range(1000)]),
    "chain-of-100": lambda: j.down(100),
    "map-of-1000": lambda: j.total(j.same.map(range(1000))),
    "map-of-a-list": lambda: j.same.map(j.same.map([1, [2], "3", None])),
    "map-with-a-failure": lambda: j.raises_two.map([7] * 9, ["on purpose"] * 9),
    "recursion": lambda: j.fib(9),
    "outputs": lambda: [j.parts(3.0)["half"], j.add(j.parts(2.0)["double"], 1)],
    "all-outputs": lambda: j.same(j.parts(8.0)),
    "item-of-output": lambda: j.parts(8.0)["all"][1]["deep"],
    "retries": lambda: j.works_on(3),
    "retries-used-up": lambda: j.works_on(4),
    "exception": lambda: j.fails("on purpose"),
    "exception-with-own-init": lambda: j.raises_two(7, "two arguments"),
    "exception-of-what-is-needed": lambda: j.add(j.same(1), j.add(j.raises_two(7, "deep"), 1)),
    "sys-exit": lambda: j.leaves(3),
    "keyboard-interrupt": j.interrupts,
    "missing-output": lambda: j.same(j.parts(1.0)["nosuch"]),
    "missing-item": lambda: j.same([1])[5],
    "object-of-a-local-class": lambda: j.attribute(_local_object(6), "value"),
    "10-MB": lambda: j.same(bytes(range(256)) * (10 * MEBI // 256)),
    "10-MB-out-of-band": lambda: j.digest(j.same(j.Block(b"ab") * (5 * MEBI))),
    "empty": lambda: [j.same(x) for x in EMPTY],
}


@pytest.mark.parametrize("name", PIPELINES)
def test_as_on_serial(session: Session, name: str) -> None:
    """Value or error, the outcome is that of the serial backend."""
    make = PIPELINES[name]
    expected = outcome(lambda target: run(target, backend="serial"), make())
    seen = outcome(session.run, make())
    assert seen.error == expected.error, (
        f"serial ends with the error {expected.error}, this backend with {seen.error}"
    )
    assert seen == expected, f"serial gives {_cut(expected)}, this backend {_cut(seen)}"
    assert session.run(j.same(1)) == 1, "the session is of no use after it"


@pytest.mark.parametrize("name", ["recursion", "chain-of-100", "fan-in-of-1000", "any-shape"])
def test_one_worker_is_enough(single: Session, name: str) -> None:
    """A task that returned references gives its worker back, so nesting never deadlocks."""
    make = PIPELINES[name]
    expected = outcome(lambda target: run(target, backend="serial"), make())
    assert outcome(single.run, make()) == expected


def test_keep_going(bench: Bench) -> None:
    """All that can be done is done, and all failures are told."""
    targets = [
        *[j.same(i) for i in range(20)],
        j.raises_two(1, "a"),
        j.add(j.raises_two(2, "b"), 1),
    ]
    with pytest.raises(errors.RunFailed) as caught:
        run(targets, backend=bench.plugin.name, workers=bench.workers, keep_going=True)
    assert sorted(str(failure.__cause__) for failure in caught.value.failures) == ["a (1)", "b (2)"]


def _cut(value: Outcome) -> str:
    text = repr(value)
    return text if len(text) < 300 else f"{text[:300]}..."
