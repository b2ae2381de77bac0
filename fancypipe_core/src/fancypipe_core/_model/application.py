"""A call of any function, as a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import FrameType
from typing import Any

from fancypipe_core._model.definition import Definition
from fancypipe_core._model.options import Options
from fancypipe_core._model.ref import Instance

__all__ = ["application"]

_NAMES = 256  # of functions that are remembered


def application(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], frame: FrameType
) -> Instance[Any]:
    """Return a task that calls a function, which need not be one; it has the function's name.

    Args:
        function: What to call.
        args: Its arguments by position.
        kwargs: Its arguments by name.
        frame: Who asks for it.
    """
    name = getattr(function, "__name__", None) or type(function).__name__
    given = (function, tuple(args), dict(kwargs))
    return Instance(_definition(name), given, {}, frame.f_code, frame.f_lasti)


@lru_cache(_NAMES)
def _definition(name: str) -> Definition:
    return Definition(apply, apply, Options(name))


def apply(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Call the function."""
    return function(*args, **kwargs)
