"""The command `report`: the page of a run, made from its journal."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING

from fancypipe_core import errors
from fancypipe_core._base.signals import Interrupts, at_once
from fancypipe_core._cli import streams as _streams
from fancypipe_core._cli.options import Option

if TYPE_CHECKING:
    from fancypipe_core.plugins.page import LivePage

__all__ = ["FOLLOW", "OPEN", "report"]

OPEN = Option("open", ("open",), is_flag=True)
"""Shows the page in a browser."""

FOLLOW = Option("follow", ("follow",), is_flag=True)
"""Keeps the page up to date until the run is over."""

_PAUSE = 0.5  # seconds between two looks at the journal


def report(words: Sequence[str], *, show: bool, follow: bool) -> None:
    """Make the page of a run from its journal, and write where it is.

    Args:
        words: The run's folder, its journal, or its name; nothing else.
        show: Whether to open the page in a browser.
        follow: Whether to keep it up to date until the run is over.

    Raises:
        UsageError: It is not one run, or there is no journal.
        FancyPipeError: The page cannot be written.
    """
    from fancypipe_core.plugins.page import LivePage, journal_of, write_report

    if len(words) != 1:
        raise errors.UsageError(
            "report takes one run; write: fancypipe report RUN, with the run's folder or name"
        )
    run = words[0]
    if not os.path.lexists(run):
        from fancypipe_core._cli.which_run import run_meant
        from fancypipe_core._settings.session import Given, core_settings

        run = str(run_meant(run, core_settings(Given({})).settings.tempdir))
    try:
        if follow:
            live = LivePage(journal_of(Path(run)).parent)
            with Interrupts.here().told_to(at_once):
                _follow(live, show)
            return
        page = write_report(run)
    except OSError as error:
        why = error.strerror or str(error)
        raise errors.FancyPipeError(f"the page of {run} cannot be made: {why}") from error
    _tell(page, show)


def _follow(live: LivePage, show: bool) -> None:
    """Keep a page up to date until its run is over, or somebody asks for the end."""
    live.begin()
    try:
        _tell(live.page, show)
        while not live.over:
            # What it wrote before it went is still to be read.
            gone = live.is_orphaned()
            sleep(_PAUSE)
            live.step()
            if gone and not live.over:
                _streams.say("fancypipe: the run's process is gone, and its journal has no end")
                break
    finally:
        live.end()


def _tell(page: Path, show: bool) -> None:
    """Write where the page is, and open it if that is asked for."""
    _streams.write(str(page))
    if show:
        _show(page.resolve().as_uri())


def _show(address: str) -> None:
    """Open an address; where no browser can be started, say so and how to see it."""
    import webbrowser

    with _streams.aside():
        started = webbrowser.open(address)
    if not started:
        _streams.say(
            f"fancypipe: no browser could be started; open {address} in one, "
            "on any machine to which you copy the file"
        )
