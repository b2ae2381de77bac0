"""Tracebacks that travel: files, names and lines, without what the frames held."""

from __future__ import annotations

from collections.abc import Iterator
from types import FunctionType, TracebackType
from typing import Any

__all__ = ["reduce_traceback"]


def reduce_traceback(trace: TracebackType) -> Any:
    """Return what a pickler writes down of a traceback."""
    entries = []
    at: TracebackType | None = trace
    while at is not None:
        code, names = at.tb_frame.f_code, at.tb_frame.f_globals
        known = {name: names[name] for name in ("__name__", "__file__") if name in names}
        entries.append((code.co_filename, code.co_name, at.tb_lineno or 0, known))
        at = at.tb_next
    return (_rebuilt, (entries,))


def _stub() -> Iterator[None]:
    yield


def _rebuilt(entries: list[tuple[str, str, int, dict[str, Any]]]) -> TracebackType | None:
    """Make a traceback again; pickles refer to it.

    Its frames are those of generators that never began.  A frame that had run here would
    refer to all that called it, up to who reads the error: a circle, in which each of them
    keeps what it has in hand, such as shared memory, until the next collection.
    """
    rest: TracebackType | None = None
    for file, name, line, known in reversed(entries):
        code = _stub.__code__.replace(co_filename=file, co_name=name, co_firstlineno=line)
        frame = FunctionType(code, dict(known))().gi_frame
        rest = TracebackType(rest, frame, 0, line)  # at 0 there are no columns to be marked
    return rest
