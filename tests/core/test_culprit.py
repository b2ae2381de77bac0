"""The path to what cannot travel leads there, however deep it is, in whatever it is."""

from __future__ import annotations

import collections
import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancypipe_core import Outputs, errors
from fancypipe_core._codec.pickler import Encoder
from fancypipe_core.backend import Live


@dataclass
class Data:
    first: Any
    second: Any = 0


class Plain:
    def __init__(self, value: Any) -> None:
        self.value = value


class Slotted:
    __slots__ = ("__hidden", "other")

    def __init__(self, value: Any) -> None:
        self.__hidden = 1
        self.other = value


class Pair(NamedTuple):
    left: Any
    right: Any


class Named(list[Any]):
    """A list with an attribute."""

    def __init__(self, value: Any) -> None:
        super().__init__([1, 2])
        self.value = value


class Forgetful:
    """Writes down only a part of itself: its lock is not to blame."""

    def __init__(self, value: Any) -> None:
        self.lock = threading.Lock()
        self.kept = value

    def __getstate__(self) -> dict[str, Any]:
        return {"kept": self.kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["kept"])  # type: ignore[misc]


class Reduced:
    def __init__(self, value: Any) -> None:
        self.elsewhere = (value,)

    def __reduce__(self) -> tuple[Any, ...]:
        return (Reduced, self.elsewhere)


class Blamed(Exception):
    pass


class Leaf:
    """What cannot be written, read, or only raises what is no `Exception`."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __reduce__(self) -> Any:
        if self.how == "write":
            raise TypeError("not to be written")
        if self.how == "exit":
            raise SystemExit(3)
        return (_refuse, ())


def _refuse() -> None:
    raise ValueError("not to be read")


WRAPPERS: list[Callable[[Any], Any]] = [
    lambda x: [1, "two", x],
    lambda x: (x, 3),
    lambda x: {"key": 1, ("a", 2): x},
    lambda x: {1: [], "k": {"deeper": x}},
    lambda x: collections.OrderedDict(a=1, b=x),
    lambda x: collections.defaultdict(list, a=x),
    Data,
    lambda x: Data([], x),
    Plain,
    Slotted,
    lambda x: Pair(0, x),
    Named,
    Forgetful,
    Reduced,
    lambda x: Blamed("a", x),
    lambda x: functools.partial(print, 1, x),
    lambda x: Plain(x).__init__,  # type: ignore[misc]  # a bound method
]


def there_and_back(value: Any) -> None:
    encoder = Encoder()
    packed = encoder.encode_result(value)
    assert not isinstance(packed.body, Live)
    assert packed.odd
    encoder.read_back(value, packed.body)


@pytest.mark.fault(5)
@given(st.lists(st.sampled_from(WRAPPERS), max_size=7), st.sampled_from(["write", "exit", "read"]))
def test_the_path_is_an_expression_that_leads_to_the_culprit(
    wrappers: list[Callable[[Any], Any]], how: str
) -> None:
    leaf = Leaf(how)
    value: Any = leaf
    for wrap in wrappers:
        value = wrap(value)
    with pytest.raises(errors.EncodeError) as caught:
        there_and_back(value)
    path = caught.value.path
    assert str(caught.value).startswith(path + " c")
    assert eval(path, {"result": value}) is leaf


@pytest.mark.fault(5)
@given(st.lists(st.sampled_from(WRAPPERS), max_size=4), st.booleans())
def test_the_path_begins_with_the_name_of_the_input(
    wrappers: list[Callable[[Any], Any]], named: bool
) -> None:
    leaf = Leaf("write")
    value: Any = leaf
    for wrap in wrappers:
        value = wrap(value)
    args, kwargs = ((1,), {"image": value}) if named else ((1, value), {})
    with pytest.raises(errors.EncodeError) as caught:
        Encoder().encode_inputs(args, kwargs, None, lambda: ["mask", "image"])
    assert eval(caught.value.path, {"inputs": {"mask": 1, "image": value}}) is leaf


def test_what_has_no_expression_has_words() -> None:
    key = (Plain(threading.Lock()),)
    offset = (number for number in range(3))

    def closure() -> Any:
        return offset

    for value, path in [
        ({key: 1}, r"result.<key (<tests.core.test_culprit.Plain object"),
        ({1: {key}}, r"result[1]{...}[0].value"),
        ([closure], r"result[0].<closure offset>"),
    ]:
        with pytest.raises(errors.EncodeError) as caught:
            Encoder().encode_result(value)
        assert caught.value.path.startswith(path), caught.value.path


def test_the_search_itself_is_never_hurt() -> None:
    class Nasty:
        lock = property(lambda _self: _refuse())

        def __reduce_ex__(self, protocol: Any) -> Any:
            raise SystemExit(3)

        def __getattribute__(self, name: str) -> Any:
            if name in ("__dict__", "lock"):
                raise SystemExit(3)
            return super().__getattribute__(name)

        def __repr__(self) -> str:
            raise ValueError("no repr")

    for value in ([Nasty()], {Nasty(): 1}):
        with pytest.raises(errors.EncodeError, match="Nasty"):
            Encoder().encode_result(value)
    deep: Any = threading.Lock()
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(errors.EncodeError, match="nested too deeply"):
        Encoder().encode_result(deep)


def test_outputs_name_the_output() -> None:
    with pytest.raises(errors.EncodeError) as caught:
        Encoder().encode_result(Outputs(good=1, bad=[threading.Lock()]))
    assert caught.value.path == "result['bad'][0]"
