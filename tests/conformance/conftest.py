"""One session for each backend, shared by the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fancypipe_core import Session

BACKENDS = ("serial", "threads", "procs")


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def session(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """Two workers; the scheduler checks itself after every event."""
    folder = tmp_path_factory.mktemp(backend)
    with Session(backend, 2, debug=True, tempdir=str(folder), grace=5.0) as opened:
        yield opened


@pytest.fixture(scope="module")
def single(backend: str) -> Iterator[Session]:
    """One worker."""
    with Session(backend, 1) as opened:
        yield opened
