"""The generators of random numbers that all code of a process shares, and how they are told apart.

A call that seeds one must not make others draw the same, and a call must not move
the caller's.  To seed one anew for each call would cost more than the call.  So one
word of its state is watched, which changes when it is seeded, or once in 624 draws:
only then is it given fresh entropy.
"""

from __future__ import annotations

import functools
import os
import random
import sys
import threading
from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["Generator", "generators", "seeders", "watch_no_more", "watch_seeding"]

seeders: set[int] = set()
"""The threads that have seeded, while it is watched who does."""


_WORDS = 624  # of a Mersenne Twister's state


class Generator(Protocol):
    """One of them."""

    def moved(self) -> bool:
        """Whether it may have been seeded since `renew`."""

    def renew(self) -> None:
        """Give it fresh entropy."""

    def prepare(self) -> None:
        """Have fresh entropy ready."""

    def save(self) -> Callable[[], None]:
        """Return what puts it back to where it is now."""


def generators() -> list[Generator]:
    """Return those of the modules that are loaded now."""
    found: list[Generator] = [_PYTHON]
    mtrand = sys.modules.get("numpy.random.mtrand")
    # It is in the table of modules before it is whole.
    if getattr(mtrand, "_rand", None) is not None:
        found.append(_NumPy(mtrand))
    return found


class _Word(Protocol):
    """32 bits somewhere in memory."""

    value: int


class _NoWord:
    value = -1


def _word(address: int) -> _Word:
    # Not the whole package, which takes milliseconds to import.
    from _ctypes import _SimpleCData

    kind: Any = type("_Bits", (_SimpleCData,), {"_type_": "I"})
    word: _Word = kind.from_address(address)
    return word


class _Python:
    """That of `random`."""

    def __init__(self) -> None:
        self._generator: random.Random = random._inst
        self._word = self._second_word()
        self._seen = -2
        self._ready: list[Any] = []

    def _second_word(self) -> _Word:
        if sys.implementation.name != "cpython":
            return _NoWord()
        try:
            # The object's head, the index of the next word, and then the words.
            word = _word(id(self._generator) + object.__basicsize__ + 8)
        except ImportError:
            return _NoWord()
        return word if word.value == self._generator.getstate()[1][1] else _NoWord()

    def moved(self) -> bool:
        return self._word.value != self._seen

    def renew(self) -> None:
        # `seed()` lets other threads go on while it asks for entropy, and they would draw.
        state = self._ready.pop() if self._ready else self._fresh()
        self._generator.setstate(state)
        self._generator.random()  # all words are made anew now, and then not for long
        if not isinstance(self._word, _NoWord):
            self._seen = self._word.value

    def prepare(self) -> None:
        if not self._ready:
            self._ready.append(self._fresh())

    @staticmethod
    def _fresh() -> Any:
        return 3, (*memoryview(os.urandom(4 * _WORDS)).cast("I"), _WORDS), None

    def save(self) -> Callable[[], None]:
        state = self._generator.getstate()
        return lambda: self._generator.setstate(state)


class _NumPy:
    """That of the functions of `numpy.random`.

    Args:
        mtrand: The module `numpy.random.mtrand`.
    """

    def __init__(self, mtrand: Any) -> None:
        self._mtrand = mtrand
        self._generator = mtrand._rand
        self._bits: Any = None  # what it takes them from, as far as we know that kind
        self._word: _Word = _NoWord()
        self._seen = -2
        self._ready: list[Any] = []

    def moved(self) -> bool:
        return self._word.value != self._seen or self._generator._bit_generator is not self._bits

    def renew(self) -> None:
        generator, bits = self._generator, self._generator._bit_generator
        if type(bits).__name__ != "MT19937":
            # The caller has put another in; while calls run there is one that we know.
            bits = self._mtrand._MT19937()
            self._mtrand.set_bit_generator(bits)
        if bits is not self._bits:
            self._bits = bits
            self._word = _word(bits.ctypes.state_address + 4)
        state = self._ready.pop() if self._ready else self._fresh()
        generator.set_state(state)
        generator.random_sample()
        self._seen = self._word.value

    def prepare(self) -> None:
        if not self._ready:
            self._ready.append(self._fresh())

    @staticmethod
    def _fresh() -> Any:
        frombuffer = sys.modules["numpy"].frombuffer
        return "MT19937", frombuffer(os.urandom(4 * _WORDS), "u4"), _WORDS

    def save(self) -> Callable[[], None]:
        bits = self._generator._bit_generator
        state = self._generator.get_state(legacy=False)

        def put_back() -> None:
            if self._generator._bit_generator is not bits:
                self._mtrand.set_bit_generator(bits)
            self._generator.set_state(state)

        return put_back


_PYTHON = _Python()


# ---- who seeds, where calls run beside each other ----

_watched: list[tuple[Any, str, Any]] = []  # what was replaced, and by what


def watch_seeding() -> None:
    """Note which threads seed, from now on: that a state has changed does not say by whom."""
    owners: list[tuple[Any, tuple[str, ...]]] = [(random, ("seed", "setstate"))]
    numbers = sys.modules.get("numpy.random")
    if getattr(numbers, "set_state", None) is not None:
        owners.append((numbers, ("seed", "set_state")))
    for owner, names in owners:
        if not any(one is owner for one, _, _ in _watched):
            for name in names:
                original = getattr(owner, name)
                _watched.append((owner, name, original))
                setattr(owner, name, _noting(original))


def watch_no_more() -> None:
    """All is as it was."""
    while _watched:
        owner, name, original = _watched.pop()
        setattr(owner, name, original)
    seeders.clear()


def _noting(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def seed(*args: Any, **kwargs: Any) -> Any:
        seeders.add(threading.get_ident())
        return original(*args, **kwargs)

    return seed
