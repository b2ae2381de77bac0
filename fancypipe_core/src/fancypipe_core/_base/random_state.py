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
import struct
import sys
import threading
from collections.abc import Callable, Sequence
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


def _in_memory(kind: str, address: int, count: int = 0) -> Any:
    """Return what gives access to memory: to one item of a kind of C, or to an array of so many."""
    # Not the whole of `ctypes`, which takes milliseconds to import.
    from _ctypes import Array, _SimpleCData

    one: Any = type("_One", (_SimpleCData,), {"_type_": kind})
    many: Any = type("_Many", (Array,), {"_type_": one, "_length_": count}) if count else one
    return many.from_address(address)


class _Python:
    """That of `random`."""

    def __init__(self) -> None:
        self._generator: Any = random._inst
        self._word: _Word = _NoWord()
        self._memory: Any = None  # the index of the next word, and the words
        self._find()
        self._seen = -2
        self._ready: list[Any] = []

    def _find(self) -> None:
        """See where in memory it is: to have its state as a tuple takes 20 times as long."""
        if sys.implementation.name != "cpython":
            return
        address = id(self._generator) + object.__basicsize__
        try:
            memory = _in_memory("c", address, 4 * (_WORDS + 1))
            _, words, _ = self._generator.getstate()
            if memory.raw == _raw(words[-1], words[:-1]):
                self._memory, self._word = memory, _in_memory("I", address + 8)
        except ImportError:
            return

    def moved(self) -> bool:
        return self._word.value != self._seen

    def renew(self) -> None:
        # `seed()` lets other threads go on while it asks for entropy, and they would draw.
        self._put(self._ready.pop() if self._ready else self._fresh())
        self._generator.random()  # all words are made anew now, and then not for long
        if not isinstance(self._word, _NoWord):
            self._seen = self._word.value

    def prepare(self) -> None:
        if not self._ready:
            self._ready.append(self._fresh())

    def _fresh(self) -> Any:
        words = os.urandom(4 * _WORDS)
        if self._memory is None:
            return 3, (*memoryview(words).cast("I"), _WORDS), None
        return _raw(_WORDS, ()) + words, None

    def _put(self, state: Any) -> None:
        if self._memory is None:
            self._generator.setstate(state)
        else:
            self._memory.raw, self._generator.gauss_next = state

    def _state(self) -> Any:
        if self._memory is None:
            return self._generator.getstate()
        return self._memory.raw, self._generator.gauss_next

    def save(self) -> Callable[[], None]:
        callers = self._state()

        def give_back() -> None:
            if not (self._ready or self.moved()):
                self._ready.append(self._state())  # the next run goes on with these numbers
            self._put(callers)

        return give_back

    def forget(self) -> None:
        """This process is a fork: what is ready is its parent's."""
        self._ready.clear()


def _raw(index: int, words: Sequence[int]) -> bytes:
    return struct.pack(f"{len(words) + 1}I", index, *words)


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
            self._word = _in_memory("I", bits.ctypes.state_address + 4)
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

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_PYTHON.forget)


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


@functools.lru_cache(maxsize=8)  # to make one takes microseconds, and each run needs them
def _noting(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def seed(*args: Any, **kwargs: Any) -> Any:
        seeders.add(threading.get_ident())
        return original(*args, **kwargs)

    return seed
