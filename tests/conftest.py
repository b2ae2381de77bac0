"""Settings for all tests, and the gate that no leak passes."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
import time
from collections.abc import Generator, Iterator
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import pytest

from fancypipe_core import Session
from tests import leaks

try:
    import hypothesis
except ImportError:  # on the other Pythons of test_pythons, which run no test that needs it
    pass
else:
    # How long an example takes says more of the machine than of the code.
    hypothesis.settings.register_profile("fancypipe", deadline=None)
    hypothesis.settings.load_profile("fancypipe")

QUICK = {"core", "meta", "pool"}  # folders; `pytest -m quick` takes less than a minute


def pytest_configure(config: pytest.Config) -> None:
    """Give this process a folder for temporary files of its own, and its orphans a home."""
    # Where pytest keeps its own stays as it is: it outlives the tests.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    folder = tempfile.mkdtemp(prefix="tests-")
    # After what multiprocessing removes itself, at -100.
    Finalize(None, shutil.rmtree, (folder, True), exitpriority=-200)
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    # Where this is set, as containers like to, each of a thousand interpreters would compile
    # all that it imports.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    leaks.adopt_orphans()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected stays: no collection of garbage is to look at all of it, nor any later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is quick, and begin with what is slow: nobody waits for it at the end then."""
    quick = {Path(__file__).parent / folder for folder in QUICK}
    for item in items:
        if not quick.isdisjoint(item.path.parents):
            item.add_marker(pytest.mark.quick)
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.hookimpl(optionalhook=True, wrapper=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """Tests that wait for processes leave their core to others: `auto` is half as many again."""
    count = yield
    return count if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else count + (count + 1) // 2


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Let who is done take from those who are not, however long their tests are."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log) if config.getoption("dist") == "load" else None


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


@pytest.fixture
def loaded_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as older than this process: pytest has rewritten what it says of a test's.

    A file that was edited right before is compared with what was loaded of it, to keep no result
    of other code; a test's code, and the lists in which it notes what ran, differ from their text.
    """
    from fancypipe_core._cache import sources

    monkeypatch.setattr(sources, "_began", lambda: time.time() + 3600)
