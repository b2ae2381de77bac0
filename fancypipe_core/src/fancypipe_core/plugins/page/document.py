"""The page's text: HTML, style, scripts and the journal, joined into one file.

The journal's lines are never part of the HTML as they are: they are compressed, and written in
base64, which has no character that HTML could take for its own.  What runs in the page is named
by its hash in the page's policy, so no other script could run even if one got into it.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pkgutil import get_data

__all__ = ["MODULES", "document", "packed", "pieces_of"]

MODULES = (
    "dom",
    "model",
    "feed",
    "list",
    "search",
    "pictures",
    "tree",
    "details",
    "timeline",
    "layers",
    "graph",
    "kinds",
    "output",
    "app",
)
"""The scripts, each after those that it uses; all share one scope."""

_PIECE = 1 << 20  # bytes of the journal, about, that a piece holds
_LEVEL = 3  # of compression: higher ones take thrice the time for a tenth


def document(
    pieces: Iterable[str] = (), *, live: str = "", summary: Sequence[str] = ()
) -> Iterator[str]:
    """Make the page, in parts that make it when they are joined.

    Args:
        pieces: The journal, in pieces that were packed.
        live: The folder beside the page, whose files it follows instead; empty for none.
        summary: Lines that say what the run took its time for.

    Yields:
        The parts of the text.
    """
    before, after = _frame()
    yield before
    if live:
        yield f'<script type="text/plain" class="live">{live}</script>\n'
    if summary:
        yield f'<script type="text/plain" class="summary">{packed(_joined(summary))}</script>\n'
    for piece in pieces:
        yield f'<script type="text/plain" class="journal">{piece}</script>\n'
    yield after


def _joined(lines: Sequence[str]) -> bytes:
    return "\n".join(lines).encode("utf-8", "replace")


def packed(lines: bytes) -> str:
    """Return whole lines of a journal as the page holds them: compressed, in base64."""
    return base64.b64encode(gzip.compress(lines, _LEVEL, mtime=0)).decode()


def pieces_of(lines: Iterable[bytes]) -> Iterator[str]:
    """Pack the lines of a journal, so many in a piece that a browser takes them in one breath."""
    held: list[bytes] = []
    size = 0
    for line in lines:
        held.append(line)
        size += len(line)
        if size >= _PIECE:
            yield packed(b"".join(held))
            held, size = [], 0
    if held:
        yield packed(b"".join(held))


@cache
def _frame() -> tuple[str, str]:
    """Return the page before and behind the journal."""
    script = "\n".join(['"use strict";', "{", *(_read(f"{name}.js") for name in MODULES), "}"])
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = _read("page.html")
    for name, text in (
        # Files beside the page may be scripts too: a run that goes on is read from them.
        ("policy", f"'sha256-{digest}' 'self' file:"),
        ("style", _read("page.css")),
        ("script", script),
    ):
        page = page.replace(f"@{name}@", text)
    before, _, after = page.partition("@data@\n")
    return before, after


def _read(name: str) -> str:
    # importlib.resources would be asked for more, and costs each run more than all else here.
    data = get_data(__package__, name)
    assert data is not None
    return data.decode()
