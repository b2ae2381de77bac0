"""Numbers in messages."""

from __future__ import annotations

__all__ = ["several"]


def several(count: int, word: str) -> str:
    """Return a number with its word, such as `1 slot` or `2 slots`."""
    return f"{count} {word}{'' if count == 1 else 's'}"
