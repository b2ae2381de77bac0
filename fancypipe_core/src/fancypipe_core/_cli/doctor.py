"""The command `fancypipe doctor`: reading what was asked, showing what was found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from fancypipe_core import errors
from fancypipe_core._cli import streams as _streams
from fancypipe_core._cli.commands import Asked
from fancypipe_core._model import load as _load

if TYPE_CHECKING:
    from fancypipe_core._doctor.examine import Target
    from fancypipe_core._model.definition import Definition

__all__ = ["Read", "doctor", "seconds"]


class Read(NamedTuple):
    """What was read behind the file, once its target was known.

    Attributes:
        args: Inputs by position.
        kwargs: Inputs by name.
        problem: Why no instance can be made of them; None if one can.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    problem: errors.BadInput | None


def seconds(text: str) -> float:
    """Return the number of seconds that was written.

    Raises:
        UsageError: It is none.
    """
    try:
        value = float(text)
        if 0 < value < float("inf"):
            return value
    except ValueError:
        pass
    raise errors.UsageError(f"option --limit must be seconds above 0, not {text!r}")


def doctor(
    asked: Asked,
    words: Sequence[str],
    limit: float,
    as_json: Callable[[], bool],
    read: Callable[[Definition | None, Sequence[str]], Read],
) -> int:
    """Look for what would keep a pipeline from running in worker processes.

    Args:
        asked: What was typed.
        words: The file, if any, and what stands behind it.
        limit: Seconds that a worker may take to import the file, and again to
            read the tasks.
        as_json: Tells whether programs are to read the answer, once `read` was called.
        read: Reads what stands behind the file.

    Returns:
        The exit code.
    """
    from fancypipe_core._doctor import examine as _examine
    from fancypipe_core._doctor import finding as _finding
    from fancypipe_core._doctor import probe as _probe

    found: _examine.Pipeline | None = None
    target: Target = _examine.Target(None)
    _probe.in_force(asked.given())  # what is wrong with the settings is said first
    with _streams.aside():
        if words:
            file, name = _load.split(words[0])
            found = _examine.pipeline(file, limit)
            if found.module is not None:
                target = _target(found, name, words[1:], read)
            else:
                read(None, words[1:])
        chapters = _examine.examine(found, target, _probe.in_force(asked.given()), limit)
    if as_json():
        _streams.write(_finding.as_json(chapters))
    else:
        _streams.write("\n".join(_finding.as_text(chapters)))
    return int(_finding.has_problems(chapters))


def _target(
    found: Any,
    name: str,
    words: Sequence[str],
    read: Callable[[Definition | None, Sequence[str]], Read],
) -> Target:
    from fancypipe_core._doctor import examine as _examine

    try:
        definition = _load.choose(found.module, found.file, name)
    except errors.UsageError as error:
        if name:
            raise
        read(None, words)
        return _examine.Target(None, str(error))
    given = read(definition, words)
    if given.problem is not None:
        return _examine.Target(None, f"{given.problem}; give it behind the file")
    try:
        return _examine.Target(definition.target(*given.args, **given.kwargs))
    except errors.FancyPipeError:
        raise
    except Exception as error:
        raise errors.BadInput(
            f"task {definition.name} does not take these inputs: {type(error).__name__}: {error}"
        ) from error
