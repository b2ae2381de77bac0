"""The environment and the folder of the caller, as they are when a run begins."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from fancypipe_core.backend import Environment

__all__ = ["Caller", "apply"]

_NAMES = """
    HOME USER LOGNAME SHELL PWD OLDPWD PATH TMPDIR TMP TEMP HOSTNAME DISPLAY TERM COLUMNS LINES
    LC_CTYPE PYTHONHOME PYTHONPATH VIRTUAL_ENV
"""
_OF_THE_MACHINE = frozenset(_NAMES.split())
_BEGINNINGS = ("FANCYPIPE", "LD_", "DYLD_", "SSH_", "XDG_", "JPY_", "PYTEST_")


def _given() -> dict[bytes, bytes]:
    """Return the variables that this process was started with, as far as that can be known."""
    with suppress(OSError), open("/proc/self/environ", "rb") as file:
        pairs = (one.partition(b"=") for one in file.read().split(b"\0"))
        return {name: value for name, equals, value in pairs if equals}
    return dict(os.environb) if os.supports_bytes_environ else {}


class Caller:
    """Looks at the environment of this process, and knows what the pipeline has set in it.

    That is what the process was not started with, apart from what names things of this
    machine and what is the engine's.
    """

    def __init__(self) -> None:
        self._last: tuple[Any, str] | None = None
        self._own: set[str] = set()

    def changed(self) -> Environment | None:
        """Return how it is now; None if that is as it was when this was asked last."""
        variables: Any = os.environ
        raw = getattr(variables, "_data", variables)
        now = dict(raw), _folder()
        if now == self._last:
            return None
        self._last = now
        given = {os.fsdecode(name): os.fsdecode(value) for name, value in _given().items()}
        here = dict(os.environ)
        self._own |= {
            name
            for name in given.keys() | here.keys()
            if given.get(name) != here.get(name)
            and name not in _OF_THE_MACHINE
            and not name.startswith(_BEGINNINGS)
        }
        own = {name: here.get(name) for name in sorted(self._own)}
        return Environment(here, own, now[1])


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""  # it was removed


def apply(variables: dict[str, str | None], folder: str) -> None:
    """Set variables, or unset them, and go into the folder if it is here."""
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    if folder and os.path.isdir(folder):
        os.chdir(folder)
