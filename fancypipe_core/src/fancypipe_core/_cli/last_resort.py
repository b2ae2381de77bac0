"""The end of a command whose user has asked twice, while the user's code goes on.

A signal raises `KeyboardInterrupt` in the user's code, which may catch it and go on: a loop
that tries again whatever happens.  The engine gets no turn then, so somebody else must end
the process.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import sys
import threading
from collections.abc import Sequence
from time import monotonic, sleep
from types import FrameType

from fancypipe_core._base.signals import Interrupts, how, users_frames
from fancypipe_core._cli.streams import say

__all__ = ["arm"]

_PATIENCE = 0.7  # seconds; what is asked twice is to end within one
_LOOK = 0.05  # seconds between two looks
_OURS = "fancypipe_core."


def arm(interrupts: Interrupts) -> None:
    """From the second signal on, see that the process ends whatever the user's code catches.

    Args:
        interrupts: The signals of a command, which may end its process.
    """

    def begin() -> None:
        # Not by `threading`, whose locks the main thread may hold: this is called in a handler.
        with contextlib.suppress(RuntimeError):  # there are too many
            _thread.start_new_thread(_watch, (interrupts,))

    interrupts.twice = begin


def _watch(interrupts: Interrupts) -> None:
    main = threading.main_thread().ident
    until = monotonic() + _PATIENCE
    while interrupts.count > 1:
        frames = users_frames(sys._current_frames().get(main or 0))
        if not frames:
            # The engine works, or nobody: it ends by itself, or calls the user's code again.
            until = monotonic() + _PATIENCE
        elif monotonic() > until:
            say(f"fancypipe: {how(interrupts.signal)} twice, so the process ends; {_who(frames)}")
            os._exit(128 + interrupts.signal)
        sleep(_LOOK)


def _who(frames: Sequence[FrameType]) -> str:
    theirs = [one for one in frames if not one.f_globals.get("__name__", "").startswith(_OURS)]
    outermost = (theirs or frames)[-1]
    code = outermost.f_code
    return (
        f"{code.co_name} ({code.co_filename}:{outermost.f_lineno}) catches each interruption "
        "and goes on: let KeyboardInterrupt through"
    )
