"""Keeps the page of each run beside the journal that another observer writes."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from fancypipe_core.errors import UsageError
from fancypipe_core.hooks import Outcome, RunInfo, hookimpl
from fancypipe_core.plugins.page.live import LivePage
from fancypipe_core.plugins.page.orphans import sweep
from fancypipe_core.plugins.page.report import write_report

__all__ = ["Page"]

_DELAY = 1.0  # seconds that a run takes before it is worth to be followed
_PAUSE = 1.0  # seconds between two steps: as often as the page asks
_END = 5.0  # seconds that the thread has to end


class Page:
    """The observer.  It has to come after the one that writes the journal.

    The journal is read by a thread that wakes up once in a second and lives no longer than the run,
    so a slow disk slows no task.  What cannot be written is said, and harms nothing.

    Args:
        folder: Tells the run's folder, in which the journal is; None if there is none.  Its name
            ends with the run's id.

    Attributes:
        page: The page of the run that was last, once it is whole; None if there is none.
    """

    def __init__(self, folder: Callable[[], Path | None]) -> None:
        self.page: Path | None = None
        self._folder = folder
        self._run: Path | None = None
        self._live: LivePage | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @hookimpl
    def fancypipe_run_started(self, run: RunInfo) -> None:
        """Begin to follow."""
        self.page = None
        folder = self._folder()
        # Who writes the journal may have failed, and then that is the one of an earlier run.
        self._run = folder if folder is not None and folder.name.endswith(f"-{run.id}") else None
        if self._run is None:
            return
        self._live = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="fancypipe-page", daemon=True)
        self._thread.start()

    @hookimpl
    def fancypipe_run_over(self, run: RunInfo, outcome: Outcome) -> None:
        """Put all into the page."""
        if self._run is None or self._thread is None:
            return
        self._stop.set()
        self._thread.join(_END)
        try:
            if self._thread.is_alive():
                raise TimeoutError(None, f"the file system has not answered for {_END:.0f} s")
            if self._live is not None:
                self._live.end()
                self.page = self._live.page
            else:
                self.page = write_report(self._run)
        except OSError as error:
            _say(self._run, error)
        except UsageError as error:  # the journal could not be written: that was said
            _write(f"fancypipe: this run has no page: {error}\n")
        self._run = self._thread = self._live = None

    def _follow(self) -> None:
        run, stop = self._run, self._stop
        assert run is not None
        if stop.wait(_DELAY):
            return
        live = LivePage(run)
        try:
            live.begin()
            self._live = live
            sweep(run.parent)
            while not stop.wait(_PAUSE):
                live.step()
        except OSError as error:
            _say(run, error)


def _say(run: Path, error: OSError) -> None:
    _write(
        f"fancypipe: the page of this run cannot be written ({error.strerror}); the run goes "
        f"on, and afterwards 'fancypipe report {run}' makes it\n"
    )


def _write(text: str) -> None:
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(text)
