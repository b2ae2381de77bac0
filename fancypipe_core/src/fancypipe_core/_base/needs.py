"""What a task needs of the machine that it runs on, and what a machine has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Equipment", "Needs", "bytes_of", "in_units", "needs_of"]

_MOST = 1_000_000  # cpus or devices
_MOST_MEMORY = 2**62  # bytes
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50}


class Needs(NamedTuple):
    """What a task needs while it runs.

    Attributes:
        cpus: Cores, 1 or more.
        memory: Bytes; 0 if it does not say.
        gpu: Devices that it has to itself.
    """

    cpus: int = 1
    memory: int = 0
    gpu: int = 0

    @property
    def names(self) -> frozenset[str]:
        """Which of them it says, beyond the one core that every task has."""
        said = {"cpus": self.cpus > 1, "memory": self.memory > 0, "gpu": self.gpu > 0}
        return frozenset(name for name, does in said.items() if does)

    def fault(self) -> str:
        """Return what is wrong with it, a phrase; empty if nothing is."""
        for name, value, least, most in (
            ("cpus", self.cpus, 1, _MOST),
            ("memory", self.memory, 0, _MOST_MEMORY),
            ("gpu", self.gpu, 0, _MOST),
        ):
            if type(value) is not int or not least <= value <= most:
                return f"{name} must be a whole number from {least}, not {value!r}"
        return ""

    def __str__(self) -> str:
        parts = []
        if self.cpus != 1 or not (self.memory or self.gpu):
            parts.append(f"{self.cpus} cpu{'s' * (self.cpus != 1)}")
        if self.memory:
            parts.append(f"{in_units(self.memory)} of memory")
        if self.gpu:
            parts.append(f"{self.gpu} gpu{'s' * (self.gpu != 1)}")
        return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


def needs_of(given: Mapping[str, Any] | Needs | None) -> Needs | None:
    """Return what a task's author says that it needs; None for one core and nothing else.

    Raises:
        ValueError: There is no such need, or not so much of it; the text is a phrase.
    """
    if given is None:
        return None
    made = given if isinstance(given, Needs) else Needs(**_checked(given))
    if why := made.fault():
        raise ValueError(f"needs: {why}")
    return made if made.names else None


def _checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an author says, with memory in bytes."""
    if not isinstance(given, Mapping):
        raise ValueError(  # noqa: TRY004 - all faults of options are told alike
            f'needs must be a dict such as {{"cpus": 4}}, not {given!r}'
        )
    for name in given:
        if name not in Needs._fields:
            raise ValueError(f"needs: there is no {name!r}{_meant(name)} (cpus, memory, gpu)")
    made = dict(given)
    memory = made.get("memory", 0)
    if isinstance(memory, str):
        made["memory"] = bytes_of(memory)
    if type(made.get("memory", 0)) is not int or made.get("memory", 0) < 0:
        raise ValueError(
            f'needs: memory must be bytes, or a text such as "500M" or "8G", not {memory!r}'
        )
    return made


def _meant(name: object) -> str:
    from difflib import get_close_matches  # few make a mistake

    close = get_close_matches(str(name), Needs._fields, 1)
    return f", did you mean {close[0]!r}?" if close else ""


def bytes_of(text: str) -> int | None:
    """Return how many bytes `500M`, `8G`, `8GB` or `8GiB` are; None if the text is no such number.

    Each unit is 1024 of the one before, whichever way it is written.
    """
    number = text.strip().upper().removesuffix("B").removesuffix("I")
    unit = number[-1:] if number[-1:] in _UNITS else ""
    try:
        count = float(number.removesuffix(unit))
    except ValueError:
        return None
    return round(count * _UNITS[unit]) if 0 <= count < _MOST_MEMORY else None


def in_units(count: int) -> str:
    """Return a number of bytes as `bytes_of` reads it, rounded to a tenth of its unit."""
    unit = next((one for one in reversed(_UNITS) if count >= _UNITS[one]), "")
    return f"{round(count / _UNITS[unit], 1):g}{unit}" if unit else f"{count} bytes"


class Equipment(NamedTuple):
    """What there is for tasks.

    Attributes:
        cpus: Tasks of one core that run at the same time.
        memory: Bytes that all tasks together may be promised; 0 if nobody knows.
        devices: Names of the devices.
    """

    cpus: int
    memory: int = 0
    devices: tuple[str, ...] = ()

    def lacks(self, needs: Needs) -> str:
        """Say why it can never meet these needs; empty if it can."""
        if needs.cpus > self.cpus:
            return f"there {_are(self.cpus, 'cpu')}"
        if self.memory and needs.memory > self.memory:
            return f"there is {in_units(self.memory)} of memory"
        if needs.gpu > len(self.devices):
            return f"there {_are(len(self.devices), 'gpu')}"
        return ""


def _are(count: int, what: str) -> str:
    if not count:
        return f"is no {what}"
    return f"is 1 {what}" if count == 1 else f"are {count} {what}s"
