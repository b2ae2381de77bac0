"""A state machine whose modules are compiled anew: changed, and its steps watched."""

from __future__ import annotations

import sys
from collections.abc import Container, Mapping, Sequence
from enum import Enum
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from unittest.mock import patch

__all__ = ["Kind", "Watched"]


class Kind(NamedTuple):
    """The class whose objects have the states.

    Attributes:
        module: The last word of its module's name.
        name: Its own.
        later: An attribute that is there once the first state is.
    """

    module: str
    name: str
    later: str


class Watched:
    """Modules of a machine.

    Args:
        names: Theirs, in the order in which they import each other; the last is the machine.
        kind: Of the objects that have states.
        transitions: Which states may follow each.
        changes: For the last word of a module's name, what to replace in its source by what.

    Attributes:
        module: The machine's module.
        steps: The transitions that were made.
    """

    def __init__(
        self,
        names: Sequence[str],
        kind: Kind,
        transitions: Mapping[Any, Container[Any]],
        changes: Mapping[str, Sequence[tuple[str, str]]] | None,
    ) -> None:
        self.steps: set[tuple[Any, Any]] = set()
        parts: dict[str, ModuleType] = {}
        for name in names:
            short = name.rpartition(".")[2]
            there = util.find_spec(name)
            assert there is not None
            source = Path(there.origin or "").read_text("utf-8")
            for old, new in (changes or {}).get(short, ()):
                assert source.count(old) == 1, f"{short} has {source.count(old)} times:\n{old}"
                source = source.replace(old, new)
            spec = util.spec_from_loader(name, None)
            assert spec is not None
            part = util.module_from_spec(spec)
            with patch.dict(sys.modules, parts):
                exec(compile(source, f"<{short}, changed>", "exec"), part.__dict__)
            if short == kind.module:
                vars(part)[kind.name] = self._watch(getattr(part, kind.name), kind, transitions)
            parts[name] = part
        self.module = parts[names[-1]]

    def _watch(self, made: Any, kind: Kind, transitions: Mapping[Any, Container[Any]]) -> Any:
        steps, slot = self.steps, made.state

        def write(self: Any, state: Enum) -> None:
            before = slot.__get__(self) if hasattr(self, kind.later) else None
            if before not in (None, state):
                assert state in transitions[before], f"from {before.name} to {state.name}"
                steps.add((before, state))
            slot.__set__(self, state)

        return type(kind.name, (made,), {"__slots__": (), "state": property(slot.__get__, write)})
