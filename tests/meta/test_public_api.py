"""What can be imported from `fancypipe_core` is this list; a change is a decision."""

from __future__ import annotations

import importlib

import pytest

import fancypipe_core
from tests.meta.repo import python

PUBLIC = [
    "Backoff",
    "Dir",
    "Exec",
    "File",
    "Module",
    "Outputs",
    "Ref",
    "Session",
    "Task",
    "__version__",
    "current",
    "errors",
    "module",
    "run",
    "task",
]


def test_all_is_this_list() -> None:
    assert sorted(fancypipe_core.__all__) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_the_name_resolves_first_thing(name: str) -> None:
    """In a fresh interpreter, since names are looked up when they are first asked for."""
    code = f"from fancypipe_core import {name} as found; assert found is not None"
    over = python(code)
    assert over.returncode == 0, over.stderr


def test_dir_shows_the_names() -> None:
    assert set(PUBLIC) <= set(dir(fancypipe_core))


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(fancypipe_core, "no_such_name")  # noqa: B009  # a type checker knows it is not there


@pytest.mark.parametrize("name", ["backend", "errors", "hooks"])
def test_public_modules_say_what_is_public(name: str) -> None:
    module = importlib.import_module(f"fancypipe_core.{name}")
    names = module.__all__
    assert len(set(names)) == len(names)
    for public in names:
        assert getattr(module, public) is not None
