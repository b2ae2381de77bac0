"""Named amounts as users write them, such as `GPU=1,LICENCE=0.5`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fancypipe_core._base.declarations import setting

__all__ = ["ResourceSettings", "amounts"]

_ONE = re.compile(r"\s*(\w+)\s*=\s*(\d+(?:\.\d*)?|\.\d+)\s*", re.ASCII)


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


@dataclass(frozen=True)
class ResourceSettings:
    """Settings of a backend whose engine has resources of its own; to be extended."""

    resources: str = setting(
        "", help="What each job takes of a worker's resources.", value="NAME=AMOUNT,..."
    )

    def __post_init__(self) -> None:
        amounts(self.resources)
