"""Exceptions whose state is kept by C, outside of `args` and `__dict__`."""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ET
from collections.abc import Callable

from fancypipe_core import task


class WithBoth(SyntaxError):
    """Of the user's, with state of both kinds."""

    def __init__(self, text: str, note: str) -> None:
        super().__init__(text)
        self.note = note


def _raises(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


def _name() -> None:
    eval("nothing_here")


def _imports() -> None:
    import no_such_module  # type: ignore[import-not-found]  # noqa: F401


WAYS: dict[str, Callable[[], object]] = {
    "decode": b"\xff".decode,
    "encode": "\udc80".encode,
    "translate": _raises(UnicodeTranslateError("text", 1, 2, "why")),
    "syntax": lambda: compile("a b", "x.py", "exec"),
    "indentation": lambda: compile("if 1:\nx", "y.py", "exec"),
    "xml": lambda: ET.fromstring("<a"),
    "json": lambda: json.loads("{"),
    "stop": _raises(StopIteration([1, 2])),
    "exit": _raises(SystemExit("said")),
    "name": _name,
    "attribute": lambda: json.no_such,  # type: ignore[attr-defined]
    "import": _imports,
    "file": lambda: os.listdir("/nonexistent/file"),
    "rename": _raises(OSError(2, "No such file", "a", None, "b")),
    "both": _raises(WithBoth("text", "note")),
}
FIELDS = (
    *("encoding", "object", "start", "end", "reason", "msg", "filename", "filename2", "lineno"),
    *("offset", "text", "end_lineno", "end_offset", "value", "code", "name", "path", "errno"),
    *("strerror", "note", "doc", "pos", "position"),
)


@task
def raises(way: str) -> None:
    WAYS[way]()
