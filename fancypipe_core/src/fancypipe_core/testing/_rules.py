"""The rules' own words, for messages that an author of a backend understands."""

from __future__ import annotations

import re
from functools import lru_cache

from fancypipe_core.backend import protocols

__all__ = ["broken", "rules"]


@lru_cache(maxsize=1)
def rules() -> dict[int, str]:
    """Return the text of each rule of the contract by its number."""
    text = protocols.__doc__ or ""
    found = re.findall(r"^(\d+)\.\s+(.*?)(?=\n\d+\.|\n\n)", text, re.DOTALL | re.MULTILINE)
    return {int(number): " ".join(words.split()) for number, words in found}


def broken(number: int, seen: str) -> str:
    """Return the message for a broken rule: what was seen, and what the rule says."""
    return f"rule {number} is broken.\n  Seen: {seen}\n  Rule {number}: {rules()[number]}"
