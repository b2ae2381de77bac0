"""Named amounts as users write them, such as `GPU=1,LICENCE=0.5`, and how often one has room."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from fancypipe_core._base.declarations import setting

__all__ = ["EngineSettings", "amounts", "fits"]

_ONE = re.compile(r"\s*(\w+)\s*=\s*(\d+(?:\.\d*)?|\.\d+)\s*", re.ASCII)
_ROUNDING = 1e-9  # 0.3 of what takes 0.1 is three of them, though 0.3 / 0.1 is a little less


def amounts(text: str) -> dict[str, float]:
    """Return what a text such as `GPU=1,LICENCE=0.5` says, in its order.

    For a setting of an engine's own resources: called in `__post_init__` as well, so that a
    mistake is told when the setting is read, and not when a cluster was started.

    Raises:
        ValueError: It is none, or names something twice; the message shows the part that is wrong.
    """
    found: dict[str, float] = {}
    for part in text.split(",") if text.strip() else ():
        one = _ONE.fullmatch(part)
        if one is None:
            raise ValueError(f"argument -resources must be as in GPU=1,DISK=0.5: not {part!r}")
        if one[1] in found:
            raise ValueError(f"argument -resources names {one[1]} twice, in {text!r}")
        found[one[1]] = float(one[2])
    return found


def fits(takes: Mapping[str, float], has: Mapping[str, float]) -> int:
    """Return how many jobs that take such amounts each have room at the same time.

    Args:
        takes: What each takes; what it takes nothing of does not count.
        has: What there is; of what is not named there is nothing.

    Returns:
        Their number; 1 if they take nothing at all, so nothing says how many.
    """
    rooms = [has.get(name, 0.0) / amount for name, amount in takes.items() if amount]
    return int(min(rooms) + _ROUNDING) if rooms else 1


@dataclass(frozen=True)
class EngineSettings:
    """The settings that an `EngineBackend` reads; to be extended by a backend's own.

    Attributes:
        address: Where the engine is; None for one that is made here.
        resources: What each job takes of it, as `amounts` reads it.
    """

    address: str | None = setting(
        None,
        help="The cluster, or a function that makes it.",
        default_text="one is made here",
        value="ADDRESS|MODULE:FUNCTION",
    )
    resources: str = setting(
        "",
        help="What each job takes of a worker's resources.",
        value="NAME=AMOUNT,...",
        default_text="nothing",
    )

    def __post_init__(self) -> None:
        amounts(self.resources)
