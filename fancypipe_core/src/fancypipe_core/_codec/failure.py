"""Describing an exception: where, why, and the frames that are the user's."""

from __future__ import annotations

import os
import traceback
from functools import lru_cache
from types import FrameType, TracebackType
from typing import TYPE_CHECKING

from fancypipe_core._base.resources import host_name

if TYPE_CHECKING:
    import re
    from collections.abc import Callable

    from fancypipe_core.backend import Encoded, Err, Live

__all__ = ["code_of", "describe", "said", "user_text", "user_traceback", "without_engine"]

_LIMIT = 64 * 1024  # characters of a message or traceback that travel
_FRAMES = 100
_LONGEST_LINE = 500  # characters of a message, where one line must do
_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_PACKAGES = (f"{os.sep}fancypipe_procs{os.sep}", f"{os.sep}fancypipe_threads{os.sep}",
             f"{os.sep}fancypipe_remote{os.sep}")  # fmt: skip


def _is_ours(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_OURS)


def user_traceback(error: BaseException) -> TracebackType | None:
    """Return the error's traceback from the first frame that is not the engine's.

    A traceback of more than 100 frames, as an endless recursion leaves it, is
    cut in its middle; what is shown as text is cut by Python itself.
    """
    first = error.__traceback__
    while first is not None and _is_ours(first.tb_frame) and first.tb_next is not None:
        first = first.tb_next
    frames = []
    at = first
    while at is not None:
        frames.append(at)
        at = at.tb_next
    if len(frames) <= _FRAMES:
        return first
    rest: TracebackType | None = None
    for entry in reversed(frames[: _FRAMES // 2] + frames[-_FRAMES // 2 :]):
        rest = TracebackType(rest, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return rest


def without_engine(error: BaseException) -> TracebackType | None:
    """Return what of an error's traceback is not the engine's; for what `run()` raises.

    That is nothing but for errors that began in the user's own code.
    """
    kept: list[TracebackType] = []
    at = error.__traceback__
    while at is not None:
        file = at.tb_frame.f_code.co_filename
        if not file.startswith(_OURS) and not any(part in file for part in _PACKAGES):
            kept.append(at)
        at = at.tb_next
    rest: TracebackType | None = None
    for entry in reversed(kept):
        rest = TracebackType(rest, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return rest


def said(type_name: str, message: str, text: str) -> str:
    """Return one line for an exception: its class and its message.

    Args:
        type_name: The name of its class.
        message: What it says.
        text: Its formatted traceback; of what says nothing, the line that raised it is told.
    """
    lines = message.strip().splitlines()
    if lines:
        first = lines[0]
        first = first if len(first) <= _LONGEST_LINE else f"{first[:_LONGEST_LINE]} ..."
        return f"{type_name}: {first}"
    code = code_of(text)
    return f"{type_name} in `{code}`" if code else type_name


def code_of(text: str) -> str:
    """Return the line of code that raised an exception, from its formatted traceback."""
    lines = text.splitlines()
    for number in range(len(lines) - 2, -1, -1):
        if lines[number].startswith('  File "'):
            code = lines[number + 1]
            return code.strip()[:_LONGEST_LINE] if code.startswith("    ") else ""
    return ""


def where(error: BaseException) -> str:
    """Return `file:line` of the innermost frame that is the user's; empty if there is none.

    A frame of the standard library or of an installed package is named only if
    no frame is the user's own.
    """
    own = library = ""
    for frame, line in traceback.walk_tb(user_traceback(error)):
        file = frame.f_code.co_filename
        if _is_ours(frame):
            continue
        if file.startswith((*_libraries(), "<frozen")):
            library = f"{file}:{line}"
        else:
            own = f"{file}:{line}"
    return own or library


@lru_cache(maxsize=1)
def _libraries() -> tuple[str, ...]:
    import sysconfig

    return tuple(os.path.join(path, "") for path in {*sysconfig.get_paths().values()} if path)


def describe(
    error: BaseException,
    carry: Callable[[BaseException], Encoded | Live | None],
    final: bool = False,
    inputs: str = "",
) -> Err:
    """Make the reply for an exception.  It never raises, whatever the exception is like.

    Args:
        error: What was raised.
        carry: Writes the exception down; None if it cannot travel.
        final: Whether trying again cannot help.
        inputs: The task's inputs in a few words.
    """
    from fancypipe_core.backend import Err

    try:
        error.__traceback__ = user_traceback(error)
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        place, carried = where(error), carry(error)
    except BaseException as odd:  # noqa: BLE001 - its class may replace all that was used here
        text = f"(its traceback cannot be shown: {name_of(odd)})\n"
        place, carried = "", None
    return Err(
        type_name=name_of(error),
        message=cut(text_of(error)),
        text=cut(text),
        where=place,
        error=carried,
        host=host_name(),
        pid=os.getpid(),
        final=final,
        inputs=inputs,
    )


def name_of(error: BaseException) -> str:
    """Return the name of an exception's class, whatever its metaclass does."""
    name: str = type.__dict__["__qualname__"].__get__(type(error))
    return name


def text_of(error: BaseException) -> str:
    """Return an exception's text, whatever its `__str__` does: it may call `sys.exit()`."""
    try:
        text = str(error)
    except BaseException as odd:  # noqa: BLE001 - it is the user's __str__
        return f"(its text cannot be shown: __str__ raised {name_of(odd)})"
    # A subclass of `str` may do odd things as well.
    return text if type(text) is str else str.__str__(text)


def shown(value: object) -> str:
    """Return a value's `repr`, cut, whatever its `__repr__` does."""
    try:
        return cut(repr(value))
    except BaseException as odd:  # noqa: BLE001 - it is the user's __repr__
        return f"<{type(value).__name__}, which cannot be shown: {name_of(odd)}>"


def cut(text: str) -> str:
    """Cut a text at 64 KiB, and say so."""
    if len(text) <= _LIMIT:
        return text
    cut_out = len(text) - _LIMIT
    return f"{text[: _LIMIT // 2]}\n... cut {cut_out} characters ...\n{text[-_LIMIT // 2 :]}"


@lru_cache(maxsize=1)
def _engine() -> re.Pattern[str]:
    """Return what matches the line of a formatted traceback that names a file of the engine's."""
    import re

    return re.compile(
        r'\s*File "(?:'
        + re.escape(_OURS)
        + r"|.*[/\\](?:site-packages|dist-packages|src)[/\\]"
        + r"fancypipe_(?:core|procs|threads|remote)[/\\]|<frozen )"
    )


def user_text(text: str) -> str:
    """Return a formatted traceback without the engine's own frames."""
    kept: list[str] = []
    dropping = False
    for line in text.splitlines():
        if line.lstrip().startswith('File "'):
            dropping = bool(_engine().match(line))
        elif not line.startswith(("    ", "  [Previous")):
            dropping = False
        if not dropping:
            kept.append(line)
    shorter = "\n".join(kept)
    # An error of the engine itself has no other frames.
    return shorter if 'File "' in shorter else text.rstrip()
