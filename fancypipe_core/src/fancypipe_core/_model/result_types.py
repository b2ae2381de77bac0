"""Types of results, for type checkers; nothing of this is used in a run."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar, final

T_co = TypeVar("T_co", covariant=True)

__all__ = ["HasMain", "HasResult", "Untyped"]


@final
class Untyped:
    """The type of no value: only where nothing is said of a type, this one fits as any does."""


class HasResult(Protocol[T_co]):
    """A reference, by the type of its result."""

    def result(self) -> T_co:
        """Wait for the value and return it."""


class HasMain(Protocol[T_co]):
    """A task that was written as a class, by the type that its `main` returns."""

    def main(self, *args: Any, **kwargs: Any) -> T_co:
        """What the task does."""
