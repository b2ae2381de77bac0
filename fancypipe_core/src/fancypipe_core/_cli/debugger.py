"""The debugger of the standard library, for one task: at its first line, or where it failed."""

from __future__ import annotations

import pdb  # noqa: T100 - the command is for it
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType, TracebackType
from typing import Any

from fancypipe_core._codec.failure import where

__all__ = ["PostMortem", "post_mortem", "stopping_in"]


class PostMortem(pdb.Pdb):
    """Begins at the task's own line, and not in the library that it has called.

    Args:
        place: `file:line` of the innermost frame that is the user's; empty for the innermost.
    """

    def __init__(self, place: str) -> None:
        super().__init__()
        self._place = place

    def get_stack(
        self, f: FrameType | None, t: TracebackType | None
    ) -> tuple[list[tuple[FrameType, int]], int]:
        stack, index = super().get_stack(f, t)
        for at in range(len(stack) - 1, -1, -1):
            frame, line = stack[at]
            if f"{frame.f_code.co_filename}:{line}" == self._place:
                return stack, at
        return stack, index


def post_mortem(error: BaseException) -> None:
    """Let the user look at where an exception was raised."""
    debugger = PostMortem(where(error))
    debugger.reset()
    # Since Python 3.13 the exceptions that led to it can be looked at as well.
    shown: Any = error if sys.version_info >= (3, 13) else error.__traceback__
    debugger.interaction(None, shown)


class _AtFirstLine(pdb.Pdb):
    """Lets all run until one function is called, and stops at its first line.

    Args:
        code: The function's.
    """

    def __init__(self, code: CodeType) -> None:
        super().__init__()
        self._code = code
        self._is_there = False

    def dispatch_call(self, frame: FrameType, arg: Any) -> Any:
        if self._is_there:
            return super().dispatch_call(frame, arg)
        if frame.f_code != self._code:
            return None
        self._is_there = True
        self.botframe = frame.f_back
        self.set_step()
        return self.trace_dispatch


@contextmanager
def stopping_in(code: CodeType) -> Iterator[None]:
    """During the block, stop at the first line of the first call of a function."""
    debugger = _AtFirstLine(code)
    debugger.reset()
    before = sys.gettrace()
    sys.settrace(debugger.trace_dispatch)
    try:
        yield
    finally:
        sys.settrace(before)
