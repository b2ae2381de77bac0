"""Settings for all tests, and the gate that no leak passes."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from multiprocessing.util import Finalize

import hypothesis
import pytest

from fancypipe_core import Session
from tests import leaks

# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile("fancypipe", deadline=None)
hypothesis.settings.load_profile("fancypipe")


def pytest_configure(config: pytest.Config) -> None:
    """Give this process a folder for temporary files of its own, and its orphans a home."""
    # Where pytest keeps its own stays as it is: it outlives the tests.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    folder = tempfile.mkdtemp(prefix="tests-")
    # After what multiprocessing removes itself, at -100.
    Finalize(None, shutil.rmtree, (folder, True), exitpriority=-200)
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    leaks.adopt_orphans()


@pytest.fixture(autouse=True, scope="module")
def _no_leaks_of_module() -> Iterator[None]:
    """What the tests of a module share is gone at its end."""
    before = leaks.held()
    yield
    _fail_on(leaks.wait_for_none(before))


@pytest.fixture(autouse=True)
def _no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test leaves nothing behind.

    A session that tests share may start and lose workers in each of them; what
    such a test leaves is seen at the end of its module.
    """
    if any(isinstance(value, Session) for value in request.node.funcargs.values()):
        yield
        return
    before = leaks.held()
    yield
    _fail_on(leaks.wait_for_none(before))


def _fail_on(left: list[str]) -> None:
    if left:
        pytest.fail("left behind: " + "; ".join(left), pytrace=False)
