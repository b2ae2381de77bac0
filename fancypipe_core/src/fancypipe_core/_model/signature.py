"""What is wrong with a task's inputs, all of it at once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from fancypipe_core._base.option_names import near, several

__all__ = ["misfit"]


def misfit(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], first: int
) -> str:
    """Return the function's signature and why these arguments do not fit it; empty if they do.

    Args:
        function: What is to be called.
        args: Arguments by position.
        kwargs: Arguments by name.
        first: How many of its parameters are given by others, such as `self`.
    """
    try:
        signature = inspect.signature(function)
    except ValueError:  # a builtin that does not tell
        return ""
    try:
        signature.bind(*((None,) * first), *args, **kwargs)
    except TypeError as error:
        parameters = list(signature.parameters.values())[first:]
        faults = "; ".join(_faults(parameters, args, kwargs))
        return f"{signature.replace(parameters=parameters)}: {faults or error}"
    return ""


def _faults(
    parameters: Sequence[inspect.Parameter], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Iterator[str]:
    kinds = {one.kind for one in parameters}
    by_position = [
        one.name
        for one in parameters
        if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
    ]
    by_name = [
        one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
    ]
    given = by_position[: len(args)]
    missing = [
        one.name
        for one in parameters
        if one.default is one.empty
        and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
        and one.name not in given
        and not (one.name in kwargs and one.name in by_name)
    ]
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        for name in kwargs:
            if name in by_name:
                continue
            if name in by_position:
                yield f"the input {name!r} can be given by position only"
            else:
                # What is missing is more likely to be meant than what is there.
                yield f"there is no input {name!r}{near(name, missing) or near(name, by_name)}"
    for name in given:
        if name in kwargs and name in by_name:
            yield f"the input {name!r} is given twice, by position and by name"
    if missing:
        yield f"missing: {', '.join(repr(name) for name in missing)}"
    if len(args) > len(by_position) and inspect.Parameter.VAR_POSITIONAL not in kinds:
        yield f"it takes {several(len(by_position), 'input')} by position, not {len(args)}"
