"""Plans of faults, in this process and in those it starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from fancypipe_core import _faults

Plan = Callable[[str], None]


@pytest.fixture
def plan() -> Iterator[Plan]:
    """Plans faults in this process; at the end frozen threads go on."""
    yield _faults.plan
    _faults.plan("")


@pytest.fixture
def plan_for_children(monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Plans faults in processes that are started from now on."""
    return lambda text: monkeypatch.setenv(_faults.VARIABLE, text)
