"""Runs of the scheduler's machine by chances of our own, for planted bugs.

What hypothesis tries depends on the numbers in all modules that are loaded, so nobody knows with
which seed it finds a bug; and each of its steps costs ten times as much.
"""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis.stateful import Rule

from tests.core.test_scheduler_machine import OPTIONS, Machine

__all__ = ["play"]

STEPS = 60


def play(machine: type[Machine], seed: int) -> None:
    """Let a machine run once.

    Args:
        machine: The machine.
        seed: Decides what happens.

    Raises:
        AssertionError: The scheduler is wrong; or any other error.
    """
    rnd = Random(seed)
    one = machine()
    parts = machine.setup_state()
    (begin,) = parts.initializers
    begin.function(one, **_arguments(begin, rnd))
    # Not all that may happen happens in each run: what is rare comes up often then.
    share = rnd.choice((0.3, 0.6, 0.9, 1.0))
    chosen = {id(rule) for rule in parts.rules if rnd.random() < share}
    try:
        for _ in range(STEPS):
            able = [rule for rule in parts.rules if all(so(one) for so in rule.preconditions)]
            rule = rnd.choice([rule for rule in able if id(rule) in chosen] or able)
            rule.function(one, **_arguments(rule, rnd))
            one.look()
    finally:
        one.teardown()


def _arguments(rule: Rule, rnd: Random) -> dict[str, Any]:
    return {name: rnd.choice(OPTIONS[id(one)]) for name, one in rule.arguments.items()}
