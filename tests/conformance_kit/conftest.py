"""The kit, ready to be run many times."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance_kit.commands import Forks, forks


@pytest.fixture(scope="module")
def ready() -> Iterator[Forks]:
    """A process of which each run of the kit is a fork."""
    with forks() as made:
        yield made
