"""The command `report`: the page of a run, made from its journal."""

from __future__ import annotations

from collections.abc import Sequence

from fancypipe_core import errors
from fancypipe_core._cli import streams as _streams
from fancypipe_core._cli.options import Option

__all__ = ["OPEN", "report"]

OPEN = Option("open", ("open",), is_flag=True)
"""Shows the page in a browser."""


def report(words: Sequence[str], *, show: bool) -> None:
    """Make the page of a run from its journal, and write where it is.

    Args:
        words: The run's folder, or its journal; nothing else.
        show: Whether to open the page in a browser.

    Raises:
        UsageError: It is not one run, or there is no journal.
        FancyPipeError: The page cannot be written.
    """
    from fancypipe_core.plugins.page import write_report

    if len(words) != 1:
        raise errors.UsageError(
            "report takes one run; write: fancypipe report RUN, with the run's folder, "
            "in which its journal.jsonl is"
        )
    try:
        page = write_report(words[0])
    except OSError as error:
        why = error.strerror or str(error)
        raise errors.FancyPipeError(f"the page of {words[0]} cannot be made: {why}") from error
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
