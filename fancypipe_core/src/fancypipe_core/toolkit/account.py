"""What one machine has for jobs with needs, what of it they were promised, and what is kept.

It counts memory and devices itself.  Which cores are free it is not told: that is the
affair of who knows what runs there besides.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeVar

from fancypipe_core.backend import Equipment, Job, Needs

__all__ = ["Account", "Promise", "wanted"]

Key = TypeVar("Key", bound=Hashable)
_ONE = Needs()


def wanted(job: Job) -> Needs:
    """Return what a job is to be given by who runs it: not the devices that it has already."""
    needs = job.needs or _ONE
    return needs._replace(gpu=0) if job.devices else needs


class Promise(NamedTuple):
    """What a job has: its needs, and the names of its devices."""

    needs: Needs
    devices: tuple[str, ...]


class Account(Generic[Key]):
    """One machine's.

    Args:
        there: What it has.

    Attributes:
        there: The same.
        promises: What jobs have, by job, or whatever tells those apart that have something.
        kept: What becomes free for a job that does not fit; nobody else gets that.
    """

    def __init__(self, there: Equipment) -> None:
        self.there = there
        self.promises: dict[Key, Promise] = {}
        self.kept: Needs | None = None

    @property
    def cpus(self) -> int:
        """How many cores are promised."""
        return sum(promise.needs.cpus for promise in self.promises.values())

    def within(self, needs: Needs) -> Needs:
        """Return needs as far as this machine can meet them at all."""
        there = self.there
        memory = min(needs.memory, there.memory) if there.memory else needs.memory
        return Needs(min(needs.cpus, there.cpus), memory, min(needs.gpu, len(there.devices)))

    def has(self, needs: Needs) -> bool:
        """Whether memory and devices are free, and not kept."""
        taken = [promise.needs for promise in self.promises.values()]
        taken += [self.kept] if self.kept else []
        memory = needs.memory + sum(one.memory for one in taken)
        devices = needs.gpu + sum(one.gpu for one in taken)
        enough = not (needs.memory and self.there.memory) or memory <= self.there.memory
        return enough and (not needs.gpu or devices <= len(self.there.devices))

    def promise(self, id: Key, needs: Needs) -> tuple[str, ...]:
        """Promise a job what it needs; return the names of its devices."""
        used = {name for promise in self.promises.values() for name in promise.devices}
        free = [name for name in self.there.devices if name not in used]
        names = tuple(free[: needs.gpu])
        self.promises[id] = Promise(needs, names)
        return names

    def end(self, id: Key) -> None:
        """A job needs it no longer."""
        self.promises.pop(id, None)

    def check(self) -> None:
        """Verify what must be true.

        Raises:
            AssertionError: More is promised than there is.
        """
        there, promises = self.there, self.promises.values()
        names = [name for promise in promises for name in promise.devices]
        assert len(names) == len(set(names)), f"devices promised twice: {names}"
        assert set(names) <= set(there.devices), f"devices that are not there: {names}"
        memory = sum(promise.needs.memory for promise in promises)
        assert not there.memory or memory <= there.memory, f"too much memory: {memory}"
        assert self.cpus <= there.cpus, f"too many cores: {self.cpus}"
