"""Plans of faults, in this process and in those it starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from fancypipe_core._base import faults

Plan = Callable[[str], None]


@pytest.fixture
def plan() -> Iterator[Plan]:
    """Plans faults in this process; at the end frozen threads go on."""
    yield faults.plan
    faults.plan("")


@pytest.fixture
def plan_for_children(monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Plans faults in processes that are started from now on."""
    return lambda text: monkeypatch.setenv(faults.VARIABLE, text)
