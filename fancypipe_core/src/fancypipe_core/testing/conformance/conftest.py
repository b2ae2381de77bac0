"""What the tests of the kit are given."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest

from fancypipe_core._plugins import discovery
from fancypipe_core.backend import BackendPlugin
from fancypipe_core.testing import _jobs as j
from fancypipe_core.testing._leaks import Holdings, holdings
from fancypipe_core.testing._leftovers import Leftovers
from fancypipe_core.testing._pace import Patience
from fancypipe_core.testing._rig import Gate, Rig
from fancypipe_core.testing.pytest_plugin import leftovers_of, plugin_of

__all__ = ["Bench", "Traits"]


class Traits(NamedTuple):
    """What the kit found out about a backend before it tests it.

    Attributes:
        isolates: Each of its workers is a process of its own.
        inline: Its jobs run in the thread that drives it.
    """

    isolates: bool
    inline: bool


class Bench(NamedTuple):
    """The backend to be tested, and how.

    Attributes:
        plugin: The backend.
        workers: How many jobs may run at the same time.
        limit: Seconds that one wait may take.
        folder: A folder for this test.
        traits: What is known of the backend.
        leftovers: What its engine is known to leave.
    """

    plugin: BackendPlugin
    workers: int
    limit: float
    folder: Path
    traits: Traits
    leftovers: Leftovers

    def left(self, before: Holdings, sessions: int = 1) -> list[str]:
        """Return a phrase for each thing that sessions should not have left in this process."""
        return self.leftovers.undeclared(holdings().more_than(before), sessions)

    def rig(self) -> Rig:
        """Return a session of the backend that has not been started."""
        directory = self.folder / f"session-{os.urandom(4).hex()}"
        return Rig(self.plugin, self.workers, str(directory), self.limit)

    def needs_isolation(self, why: str) -> None:
        """Skip the test for a backend whose jobs run in this process."""
        if not self.traits.isolates:
            pytest.skip(f"{self.plugin.name} has no process for each worker: {why}")

    def needs_another_thread(self, why: str) -> None:
        """Skip the test for a backend that runs jobs in the caller's thread."""
        if self.traits.inline:
            pytest.skip(f"{self.plugin.name} runs jobs in the caller's thread: {why}")


@pytest.fixture(autouse=True, scope="session")
def _records_hold_text() -> Iterator[None]:
    """Have what is logged be text from the beginning.

    Records are kept until the test is over, also those of an error with all that its frames hold:
    that would count as left by the backend.
    """
    before, formatter = logging.getLogRecordFactory(), logging.Formatter()

    def made(*args: Any, **more: Any) -> logging.LogRecord:
        record = before(*args, **more)
        with suppress(Exception):  # a mistake in it is told where it is written
            record.msg, record.args = record.getMessage(), ()
        if record.exc_info:
            record.exc_text, record.exc_info = formatter.formatException(record.exc_info), None
        return record

    logging.setLogRecordFactory(made)
    yield
    logging.setLogRecordFactory(before)


@pytest.fixture(scope="session")
def plugin(request: pytest.FixtureRequest) -> Iterator[BackendPlugin]:
    """The backend, also for sessions that look for it by its name."""
    chosen = plugin_of(request.config)
    find = discovery.find

    def find_ours(name: str) -> BackendPlugin:
        return chosen if name == chosen.name else find(name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(discovery, "find", find_ours)
        yield chosen


@pytest.fixture(scope="session")
def traits(plugin: BackendPlugin, request: pytest.FixtureRequest) -> Traits:
    """Try the backend with a few jobs.  What it sets up once for all is set up then."""
    folder = tempfile.mkdtemp(prefix="fancypipe-kit-")
    meeting = tempfile.mkdtemp(prefix="fancypipe-kit-")
    limit = request.config.option.limit
    rig = Rig(plugin, 2, folder, limit)
    try:
        with rig:
            count = rig.slots.count
            seen = rig.run(*[j.where(meeting, count, limit / 2) for _ in range(count)])
    finally:
        rig.stop(0.0)
        for path in (folder, meeting):
            shutil.rmtree(path, ignore_errors=True)
    processes = {os.getpid(), *(pid for pid, _ in seen)}
    return Traits(len(processes) == count + 1, (os.getpid(), threading.get_ident()) in seen)


@pytest.fixture
def bench(
    plugin: BackendPlugin, traits: Traits, request: pytest.FixtureRequest, tmp_path: Path
) -> Bench:
    """The backend on the bench."""
    option = request.config.option
    leftovers = leftovers_of(request.config)
    return Bench(plugin, option.workers, option.limit, tmp_path, traits, leftovers)


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """A gate that is shut."""
    return Gate(tmp_path)


@pytest.fixture
def rig(bench: Bench) -> Iterator[Rig]:
    """A started session of the backend; it is stopped after the test, and the rules hold then."""
    with bench.rig() as rig:
        yield rig


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """No test takes longer than three waits: a call that never comes back is interrupted."""
    seconds = 3 * item.config.option.limit
    patience = Patience(seconds)

    def bark(_number: int, _frame: FrameType | None) -> None:
        if not patience.is_over():
            return  # the machine is loaded
        raise AssertionError(
            f"the test took longer than {seconds:g} s: look in this traceback for the call of "
            "the backend that did not come back"
        )

    before = signal.signal(signal.SIGALRM, bark)
    # Again and again: the first one may be caught, or what comes after it may hang as well.
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
