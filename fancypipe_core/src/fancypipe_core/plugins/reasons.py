"""Says why tasks ran, or did not, of what runs have written down when they looked for results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from fancypipe_core._base.option_names import several
from fancypipe_core._cache.parts import KeyParts, differences
from fancypipe_core.plugins.cache import NAME
from fancypipe_core.plugins.runs import find_runs

__all__ = ["Looked", "Reasons", "looked_up", "of_elements"]

_MOST = 50  # earlier runs that are looked at
_DEEP = 20  # tasks above that are followed
_SPANS = 5  # places of a map that are named


class Looked(NamedTuple):
    """A task whose result was looked for; see `CacheEvent`."""

    kind: str
    task: int
    path: str
    key: str
    about: KeyParts | None
    why: str = ""
    there: int = 0
    ran: Sequence[Sequence[int]] = ()

    @property
    def how_many_ran(self) -> int:
        """Of `elements`, the number of those that were not there."""
        return sum(count for _, count in self.ran)

    def has(self, index: int) -> bool:
        """Tell whether an element of a map ran."""
        return any(start <= index < start + count for start, count in self.ran)


def looked_up(run: Path) -> Iterator[Looked]:
    """Yield what a run has looked for, in order; nothing if it has not.

    Args:
        run: Its folder.
    """
    codes: dict[int, dict[str, Any]] = {}
    with suppress(FileNotFoundError), (run / NAME).open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            with suppress(ValueError, KeyError, TypeError):
                told = json.loads(line)
                if told["kind"] == "code":
                    codes[told["code"]] = told["of"]
                    continue
                about = None
                if "code" in told:
                    about = KeyParts(
                        **codes[told["code"]], inputs=told["inputs"], version=told["version"]
                    )
                yield Looked(
                    told["kind"], told["task"], told["path"], told.get("key", ""), about,
                    told.get("why", ""), told.get("there", 0), told.get("ran", ()),
                )  # fmt: skip


def of_elements(one: Looked, ran: str = "ran") -> str:
    """Say of a map which of its elements were there.

    Args:
        one: Of the kind `elements`.
        ran: What became, or is to become, of the others.
    """
    count = one.how_many_ran
    said = f"{one.there:,} of {several(one.there + count, 'element')} {_was(one.there)} there"
    if count:
        spans = [f"{a:,}" if n == 1 else f"{a:,} to {a + n - 1:,}" for a, n in one.ran[:_SPANS]]
        more = f" and {len(one.ran) - _SPANS} more places" if len(one.ran) > _SPANS else ""
        said += f"; {ran}: {', '.join(spans)}{more}"
    if one.why:
        said += f"; not all that ran are kept: {one.why}"
    return said


def _was(count: int) -> str:
    return "was" if count == 1 else "were"


class Reasons:
    """Knows what earlier runs have looked for.

    Args:
        folder: Where the folders of runs are.
        before: The folder of the run that is asked about; None for one that is to come.
    """

    def __init__(self, folder: Path, before: Path | None = None) -> None:
        runs = find_runs(folder)
        if before is not None:
            names = [one.resolve() for one in runs]
            with suppress(ValueError):
                runs = runs[: names.index(before.resolve())]
        self._runs = runs[: -_MOST - 1 : -1]  # the latest first
        self._read: list[dict[str, Looked]] = []

    def _earlier(self, path: str) -> tuple[Path, Looked] | None:
        """Return the latest run that has looked for a task, and what it found."""
        for at, run in enumerate(self._runs):
            if at == len(self._read):
                known = {one.path: one for one in looked_up(run) if one.about is not None}
                self._read.append(known)
            if path in self._read[at]:
                return run, self._read[at][path]
        return None

    def of(self, one: Looked, others: dict[str, Looked]) -> list[str]:
        """Return why a task ran or is to run; one line for each reason.

        Args:
            one: What was looked for.
            others: The tasks of the same run by their keys: what it needs is among them.
        """
        return [*dict.fromkeys(self._of(one, others, _DEEP))]

    def _of(self, one: Looked, others: dict[str, Looked], deep: int) -> Iterator[str]:
        if one.kind == "no-key":
            yield f"its result cannot be taken from before: {one.why}"
            return
        earlier = self._earlier(one.path)
        if one.about is None or earlier is None or earlier[1].about is None:
            yield "no earlier run that took results from before has met it"
            return
        run, then = earlier
        if then.key == one.key:
            yield (
                f"nothing has changed since run {run.name}, but its result is not there: it failed "
                "or was not over then, could not be kept, or had to make room"
            )
            return
        assert then.about is not None
        for said in differences(then.about, one.about):
            above = self._above(said, one, others) if deep else None
            if above is None:
                yield said
                continue
            for why in self._of(above, others, deep - 1):
                yield why if why.startswith("upstream ") else f"upstream {above.path}: {why}"

    @staticmethod
    def _above(said: str, one: Looked, others: dict[str, Looked]) -> Looked | None:
        """Return the task that a difference is about, if it is about one."""
        assert one.about is not None
        for name, value in one.about.inputs.items():
            if said == f"input `{name}`: the task that makes it changed":
                return others.get(value.removeprefix("task:").partition("[")[0])
        return None
