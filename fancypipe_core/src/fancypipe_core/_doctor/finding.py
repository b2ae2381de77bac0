"""What the doctor finds, and how it is shown."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

__all__ = ["Chapter", "Finding", "Mark", "as_json", "as_text", "has_problems", "several", "verdict"]

Mark = Literal["ok", "note", "warning", "problem"]
"""`note` is a fact worth knowing or something that could not be looked at; `warning` will hurt;
with a `problem` the run would fail."""

_WIDTH = 100
_INDENT = " " * 11
_HARD = "\ue000"  # a blank where no line may end


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        mark: What to think of it.
        text: What is so.
        advice: What to do; empty if there is nothing to do.
    """

    mark: Mark
    text: str
    advice: str = ""


class Chapter(NamedTuple):
    """Findings about one thing."""

    title: str
    findings: Sequence[Finding]


def as_text(chapters: Sequence[Chapter]) -> Iterator[str]:
    """Yield the lines that a user reads."""
    for chapter in chapters:
        if chapter.findings:
            yield chapter.title
        for mark, text, advice in chapter.findings:
            yield from _wrapped(text, f"  {mark:9}")
            if advice:
                yield from _wrapped(f"-> {advice}", _INDENT)
    yield verdict(chapters)


def _wrapped(text: str, start: str) -> Iterator[str]:
    # Paths, code and commands must stay whole, to be copied.
    whole = re.sub("`[^`]*`", lambda code: code[0].replace(" ", _HARD), text)
    lines = textwrap.wrap(
        whole,
        _WIDTH,
        initial_indent=start,
        subsequent_indent=_INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return (line.replace(_HARD, " ") for line in lines)


def as_json(chapters: Sequence[Chapter]) -> str:
    """Return the same for programs."""
    import json

    found = [
        {"about": chapter.title, **finding._asdict()}
        for chapter in chapters
        for finding in chapter.findings
    ]
    return json.dumps({"problems": _count(chapters, "problem"), "findings": found}, indent=2)


def verdict(chapters: Sequence[Chapter]) -> str:
    """Return the last line."""
    problems, warnings = (_count(chapters, mark) for mark in ("problem", "warning"))
    if problems:
        return f"{several(problems, 'problem')}, {several(warnings, 'warning')}"
    return f"no problem found, {several(warnings, 'warning')}"


def has_problems(chapters: Sequence[Chapter]) -> bool:
    """Tell whether a run would fail."""
    return _count(chapters, "problem") > 0


def several(count: int, word: str) -> str:
    """Return a number with its word, such as `2 tasks`."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def _count(chapters: Sequence[Chapter], mark: str) -> int:
    return sum(finding.mark == mark for chapter in chapters for finding in chapter.findings)
