"""Of what events tell, and who is told: what the makers of events know of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from fancypipe_core.hooks import TaskEvent, TaskNote, Wants

__all__ = ["Listeners", "TaskNode"]


class TaskNode(Protocol):
    """What is read of a task: a node of the engine's graph."""

    filled_by: Sequence[int]
    value: Any

    @property
    def id(self) -> int:
        """Its number in the session."""

    @property
    def parent(self) -> TaskNode | None:
        """Who made it."""

    @property
    def instance(self) -> Any:
        """What it was made of; None if a worker made it."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def step(self) -> str:
        """What its path ends with."""

    @property
    def where(self) -> str:
        """Where it was made."""

    @property
    def brief(self) -> str:
        """Its inputs in a few words."""


class Listeners(Protocol):
    """Who looks on."""

    @property
    def want_notes(self) -> bool:
        """Whether somebody wants to hear what is said."""

    def wanted(self) -> Wants:
        """Return what they want together."""

    def task_events(self, events: Sequence[TaskEvent]) -> None:
        """Take what has happened."""

    def notes(self, notes: Sequence[TaskNote]) -> None:
        """Take what was said."""
