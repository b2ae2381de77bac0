"""Names as users spell them: hyphens for underscores, and the near miss."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["closest", "dashed", "near", "plain", "several", "some"]

_NAMED = 5  # names in a message


def plain(name: str) -> str:
    """Return what two spellings of one name have in common."""
    return name.replace("-", "_")


def closest(name: str, known: Iterable[str]) -> str:
    """Return the known name that a name resembles most; empty if it resembles none."""
    import difflib

    shown = {plain(other).strip("_").lower(): other for other in known}
    found = difflib.get_close_matches(plain(name).strip("_").lower(), shown, n=1, cutoff=0.6)
    return shown[found[0]] if found else ""


def near(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean ...?` for a name that resembles a known one, else nothing."""
    meant = closest(name, known)
    return f"; did you mean {meant}?" if meant else ""


def dashed(name: str) -> str:
    """Return a name as an option is usually written."""
    name = name.replace("_", "-")
    return f"-{name}" if len(name) == 1 else f"--{name}"


def several(count: int, word: str) -> str:
    """Return a number with its word, such as `1 task` or `2,000 tasks`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def some(words: Sequence[Any]) -> str:
    """Return the first five of these, and how many more there are."""
    more = len(words) - _NAMED
    shown = ", ".join(map(str, words[:_NAMED]))
    return f"{shown} and {more:,} more" if more > 0 else shown
