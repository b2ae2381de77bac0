"""Things with an entry of their own in a key, and what all of them come to."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["Part", "Reached", "Thing", "joined", "merged"]


class Reached(NamedTuple):
    """What a task's code is: see `KeyParts`."""

    code: dict[str, str]
    lines: dict[str, str]


class Thing(NamedTuple):
    """Something with an entry of its own.

    Attributes:
        kind: `function`, `class`, `constant` or `text`.
        what: The function or class; the constant's value; the path of a module's file.
        name: How it is called.
        of: The module of a constant.
    """

    kind: str
    what: Any
    name: str
    of: Any = None

    @property
    def key(self) -> tuple[int, str]:
        """What it is told apart by."""
        return (0, self.what) if self.kind == "text" else (id(self.what), self.name)


class Part(NamedTuple):
    """What a thing is.

    Attributes:
        digest: Of itself, in which others stand by name.
        lines: See `KeyParts`.
        needs: The others.
    """

    digest: str
    lines: str
    needs: tuple[Thing, ...]


def merged(one: Reached, other: Reached) -> Reached:
    """Return what both are made of together."""
    if not one.code:
        return other
    code = dict(other.code)
    for name, digest in one.code.items():
        had = code.get(name)
        both = [*digest.split("+"), *had.split("+")] if had is not None else [digest]
        code[name] = joined(both)
    return Reached(code, {**one.lines, **other.lines})


def joined(digests: list[str]) -> str:
    """Return what stands for all that has one name."""
    return digests[0] if len(digests) == 1 else "+".join(sorted({*digests}))
