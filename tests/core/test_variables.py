"""Environment variables that calls set are noticed, and cost nothing while nobody sets one."""

from __future__ import annotations

import os
from typing import Any

import pytest

from fancypipe_core._base.isolation import Ambient

NAME = "A_VARIABLE_OF_A_TEST"
environ: Any = os.environ


class _Compared(dict[Any, Any]):
    """Variables that know how often they were compared as a whole."""

    times = 0

    def __eq__(self, other: object) -> bool:
        self.times += 1
        return super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        self.times += 1
        return super().__ne__(other)

    __hash__ = None


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> _Compared:
    made = _Compared(environ._data)
    monkeypatch.setattr(environ, "_data", made)
    monkeypatch.setattr(os.environb, "_data", made)
    return made


def _call(ambient: Ambient, *names: str) -> None:
    here = ambient.begin()
    for name in names:
        os.environ[name] = "set"
    ambient.end(here)


def test_calls_that_set_none_compare_none(data: _Compared) -> None:
    ambient = Ambient()
    with ambient.lent():
        _call(ambient)
        before = data.times
        for _ in range(10):
            _call(ambient)
        here = ambient.begin()
        assert ambient.between(here) is here
        ambient.end(here)
        assert data.times == before


def test_after_one_was_put_back_they_are_not_compared_for_ever(data: _Compared) -> None:
    ambient = Ambient()
    with ambient.lent():
        _call(ambient, NAME)
        _call(ambient)
        before = data.times
        _call(ambient)
        assert data.times == before


@pytest.mark.parametrize("how", ["set", "removed", "as bytes", "between", "twice"])
def test_what_a_call_changes_is_put_back(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setenv("KEPT_BY_A_TEST", "1")
    monkeypatch.delenv(NAME, raising=False)
    before = dict(os.environ)
    ambient = Ambient()
    with ambient.lent():
        for _ in range(1 + (how == "twice")):
            here = ambient.begin()
            if how == "removed":
                del os.environ["KEPT_BY_A_TEST"]
            elif how == "as bytes":
                os.environb[NAME.encode()] = b"1"
            else:
                os.environ.update({NAME: "1"})
            if how == "between":
                here = ambient.between(here)
                assert dict(os.environ) == before
            ambient.end(here)
            assert dict(os.environ) == before


def test_the_caller_may_change_his_own_between_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    ambient = Ambient()
    for value in "ab":
        monkeypatch.setenv(NAME, value)
        with ambient.lent():
            _call(ambient, NAME)
            assert os.environ[NAME] == value
    assert os.environ[NAME] == "b"


def test_nothing_of_ours_is_left_in_what_is_the_systems() -> None:
    kinds = type(os.environ), type(os.environb)
    ambient = Ambient()
    with ambient.lent():
        with ambient.lent():
            _call(ambient)
        assert type(os.environ) is not kinds[0], "a run goes on"
    assert (type(os.environ), type(os.environb)) == kinds
