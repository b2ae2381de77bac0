"""What a clean interpreter says to the doctor."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["Anything", "Imported", "Unread"]


class Imported(msgspec.Struct):
    """How it went to import the main script.

    Attributes:
        seconds: How long it took.
        error: Why it failed, in one line; empty if it did not.
        traceback: The traceback, if it failed.
        unguarded: Whether it failed since the script starts a run.
        memory: Bytes of memory that the process has afterwards; 0 if unknown.
    """

    seconds: float
    error: str
    traceback: str
    unguarded: bool
    memory: int


class Unread(msgspec.Struct):
    """A task that could not be read.

    Attributes:
        number: The job's.
        why: In one line.
        in_inputs: Whether its code could be read, and its inputs could not.
        sure: Whether that is sure to happen in a run as well.
    """

    number: int
    why: str
    in_inputs: bool
    sure: bool


class Anything:
    """Stands where a task's result will be."""

    def __getitem__(self, key: Any) -> Anything:
        return self
