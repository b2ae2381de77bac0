"""When values take too much, and when it is enough again."""

from __future__ import annotations

import pytest

from fancypipe_core import Session, task
from fancypipe_core._engine import value_budget
from fancypipe_core._engine.machine.states import Event, Returned, Room
from fancypipe_core._engine.value_budget import ValueBudget


@pytest.mark.parametrize("what", ["memory", "disk"])
def test_it_is_used_up_until_clearly_less_is_held(
    monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    held = 0
    monkeypatch.setattr(value_budget, f"{what}_held", lambda: held)
    said: list[str] = []
    memory, disk = (100, None) if what == "memory" else (None, 100)
    budget = ValueBudget(memory, disk, said.append)
    seen = []
    for held in (50, 100, 101, 90, 80, 79, 100, 200, 10):  # noqa: B007 - it is looked at
        changed = budget.changes()
        seen.append((budget.is_used_up, changed))
    assert [used for used, _ in seen] == [
        False, False, True, True, False, False, False, True, False
    ]  # fmt: skip
    assert [changed for _, changed in seen] == [
        False, False, True, False, True, False, False, True, True
    ]  # fmt: skip
    assert len(said) == 1
    assert f"value_{what}" in said[0]


def test_it_is_used_up_as_long_as_either_is(monkeypatch: pytest.MonkeyPatch) -> None:
    held = [0, 0]
    monkeypatch.setattr(value_budget, "memory_held", lambda: held[0])
    monkeypatch.setattr(value_budget, "disk_held", lambda: held[1])
    said: list[str] = []
    budget = ValueBudget(100, 100, said.append)
    used = []
    for held in ([101, 0], [101, 101], [0, 101], [0, 90], [0, 0]):  # noqa: B007 - it is looked at
        budget.changes()
        used.append(budget.is_used_up)
    assert used == [True, True, True, True, False]
    assert len(said) == 2


@task
def nothing(value: int) -> int:
    return value


def test_it_is_heeded_before_others_get_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes may use it up; who is ready by that is not to be sent with all others."""
    used = ValueBudget(None, None, lambda _: None)
    monkeypatch.setattr(used, "changes", lambda: not used.is_used_up and _use_up(used))
    told: list[Event] = []
    with Session("serial") as session:
        reactor = session._driver._reactor
        reactor.budget = used
        handle = reactor.handle

        def noted(event: Event) -> None:
            told.append(event)
            handle(event)

        monkeypatch.setattr(reactor, "handle", noted)
        assert session.run([nothing(n) for n in range(3)]) == [0, 1, 2]
    ended = next(at for at, event in enumerate(told) if isinstance(event, Returned))
    assert told.index(Room(1, 0)) < ended


def _use_up(budget: ValueBudget) -> bool:
    budget.is_used_up = True
    return True
