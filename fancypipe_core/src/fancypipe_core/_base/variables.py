"""The process's environment variables: whether one was set or removed, and how all are put back.

To compare them with what they were takes 150 instructions for each variable; a login on a cluster
has hundreds, and calls that take microseconds are compared after each.  So while it is watched,
whoever sets or removes one leaves a note, and it is the note that is looked at.
"""

from __future__ import annotations

import os
import time
from typing import Any

__all__ = ["note", "put_back", "variables", "watch", "watch_no_more"]


class _Note:
    """What was left by the latest who set or removed one: another object each time."""

    __slots__ = ("latest",)

    def __init__(self) -> None:
        self.latest = object()


note = _Note()


class _Watched(os._Environ[Any]):
    """`os.environ`, or `os.environb`, while it is watched: that object, in this class."""

    def __setitem__(self, name: Any, value: Any) -> None:
        super().__setitem__(name, value)
        note.latest = object()

    def __delitem__(self, name: Any) -> None:
        super().__delitem__(name)
        note.latest = object()


_PLAIN: Any = os._Environ


def watch() -> None:
    """From now on whoever sets or removes a variable leaves a note."""
    for one in (os.environ, getattr(os, "environb", None)):
        if type(one) is _PLAIN:  # another class is somebody's own
            one.__class__ = _Watched


def watch_no_more() -> None:
    """All is as it was."""
    for one in (os.environ, getattr(os, "environb", None)):
        if type(one) is _Watched:
            one.__class__ = _PLAIN


def variables() -> dict[Any, Any]:
    """Return what `os.environ` keeps them in, as the system writes them: not to be changed."""
    return os.environ._data  # type: ignore[attr-defined, no-any-return]


def put_back(before: dict[Any, Any], imported: bool) -> None:
    """Make them what they were.

    Args:
        before: A copy of `variables()`.
        imported: Whether modules have been imported since: what those have added stays.
    """
    environ: Any = os.environ
    now = dict(variables())
    for name in now.keys() - before.keys():
        if not imported:
            del environ[environ.decodekey(name)]
    for name, value in before.items():
        if now.get(name) != value:
            environ[environ.decodekey(name)] = environ.decodevalue(value)
    if hasattr(time, "tzset"):
        time.tzset()
