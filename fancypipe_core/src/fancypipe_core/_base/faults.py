"""Fault points: named places where a test kills, freezes or breaks the engine.

The code says `fault("child.before_report")` where a death would hurt most.  That
does nothing, unless the environment variable `FANCYPIPE_FAULTS` plans something
there, as in `child.before_report=kill@3`.  Children inherit the variable.

A plan is a list, separated by `;`, of

    POINT=ACTION[@N[+]][!FILE]

which acts at the N-th time that this process passes the point (default 1), with
a `+` from that time on, and with a file only in the process that manages to
create it: in one of many.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["VARIABLE", "InjectedFault", "fault", "plan"]

VARIABLE = "FANCYPIPE_FAULTS"


class InjectedFault(RuntimeError):
    """What the action `raise` raises: a bug of the engine, as far as others can tell."""


class _Fault(NamedTuple):
    action: str
    at: int
    often: bool
    file: str


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _exit() -> None:
    os._exit(7)


def _freeze() -> None:
    thaw = _thaw
    while not thaw.wait(3600):
        continue


def _raise() -> None:
    raise InjectedFault("a test planned this")


ACTIONS: dict[str, Callable[[], None]] = {
    "kill": _kill,  # SIGKILL for this process
    "stop": _stop,  # SIGSTOP for this process
    "exit": _exit,  # this process ends with code 7, and cleans nothing up
    "freeze": _freeze,  # this thread goes on when another plan is made: never in a child
    "raise": _raise,
}

_plan: dict[str, _Fault] = {}
_passed: dict[str, int] = {}
_counting = threading.Lock()
_thaw = threading.Event()


def fault(point: str) -> None:
    """Say that this place was reached.  It costs some 30 ns when nothing is planned."""
    if _plan:
        _reached(point)


def plan(text: str) -> None:
    """Plan faults in this process, instead of what was planned; frozen threads go on.

    Args:
        text: As described in this module's text; empty for none.

    Raises:
        ValueError: The text is not a plan.
    """
    global _thaw  # noqa: PLW0603 - who is frozen waits for the event of the plan that did it
    found = {}
    for entry in filter(None, (part.strip() for part in text.split(";"))):
        point, _, rest = entry.partition("=")
        rest, _, file = rest.partition("!")
        action, _, at = rest.partition("@")
        number = at.removesuffix("+") or "1"
        if not point or action not in ACTIONS or not number.isdecimal():
            raise ValueError(f"{VARIABLE}: {entry!r} is not POINT=ACTION[@N[+]][!FILE]")
        found[point] = _Fault(action, int(number), at.endswith("+"), file)
    _plan.clear()
    _passed.clear()
    _plan.update(found)
    _thaw.set()
    _thaw = threading.Event()


def _reached(point: str) -> None:
    planned = _plan.get(point)
    if planned is None:
        return
    with _counting:
        passed = _passed[point] = _passed.get(point, 0) + 1
    if passed != planned.at and not (planned.often and passed > planned.at):
        return
    if planned.file:
        try:
            os.close(os.open(planned.file, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
    ACTIONS[planned.action]()


plan(os.environ.get(VARIABLE, ""))
