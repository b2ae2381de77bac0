"""One session for each backend, shared by the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fancypipe_core import Session
from tests.conformance import faulty as f
from tests.remote.cluster import in_force

BACKENDS = ("serial", "threads", "procs")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a module's tests on the backends that it names, by default on those that need nothing.

    A test that names its own has the last word.
    """
    marks = metafunc.definition.iter_markers("parametrize")
    if "backend" in metafunc.fixturenames and not any("backend" in one.args[0] for one in marks):
        names = getattr(metafunc.module, "BACKENDS", BACKENDS)
        metafunc.parametrize("backend", names, indirect=True, scope="module")


@pytest.fixture(scope="module")
def backend(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The name of a backend; for remote with a manager, and a worker of two slots, in force."""
    name: str = request.param
    if name != "remote":
        yield name
        return
    with in_force(tmp_path_factory.mktemp("cluster")):
        yield name


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


@pytest.fixture(scope="module")
def alone(backend: str) -> Iterator[Session]:
    """One worker: what one task leaves behind, the next one meets."""
    with Session(backend, 1, debug=True, grace=5.0) as session:
        session.run(f.good(0))
        yield session


@pytest.fixture
def unharmed(alone: Session, request: pytest.FixtureRequest) -> Iterator[None]:
    """Check that the same worker goes on with its work."""
    worker = alone.run(f.pid())
    yield
    assert alone.run([f.good(i) for i in range(20)]) == list(range(20))
    if "memory" not in request.node.name:  # a process that was out of memory may be replaced
        assert alone.run(f.pid()) == worker, "a worker was lost"
