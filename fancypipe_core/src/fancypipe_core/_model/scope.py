"""Where user code runs, as a variable of the running context."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, NoReturn, Protocol

__all__ = ["Scope", "end_fork", "scope"]


class Scope(Protocol):
    """Where user code runs: in a task on a worker, or in a module in the client."""

    def resolve(self, ref: Any) -> Any:
        """Wait for a reference's value."""

    def context(self) -> Any:
        """Return what `current()` gives; None in a module."""

    def carries(self, path: str) -> bool:
        """Whether a file's content goes with what names it: others do not see it."""

    def went(self, path: str) -> None:
        """A file's content went with what names it."""

    def landing(self) -> str:
        """Return the folder for files that come with their content; empty in a module."""

    def copy(self, record: Any) -> tuple[str, str]:
        """Return where a file is here whose content did not come with it.

        Also why it is not here, if it was to be; asked for only where nobody else sees the folder.
        """

    def origin(self, path: str) -> str:
        """Return where a file lies that is here as a copy; empty if it is none, or was changed."""

    apart: bool
    """Whether nobody else sees the session's folder."""

    directory: str
    """The session's folder for temporary files; empty in a module."""

    in_fork: bool
    """Whether this process is a fork that was made there."""


scope: ContextVar[Scope | None] = ContextVar("fancypipe_scope", default=None)


def _after_fork() -> None:
    here = scope.get()
    if here is not None:
        here.in_fork = True


def end_fork(code: int = 0, said: str = "") -> NoReturn:
    """End this process, a fork that has come back to the engine, as Python would.

    Args:
        code: The exit code.
        said: A traceback.
    """
    if said:
        print(said, file=sys.stderr)  # noqa: T201 - as Python does
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
