"""Which run a command is about: a word of its line, and below which folder that is looked for."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

import click

from fancypipe_core import errors
from fancypipe_core._base.option_names import some
from fancypipe_core._cli.options import Option

__all__ = ["TEMPDIR", "TEMPDIR_ROW", "run_meant", "tempdir_of"]

TEMPDIR = Option("tempdir", ("tempdir", "workdir"))
TEMPDIR_ROW = (
    "--tempdir FOLDER",
    "Where the run is that is named. [default: as for a run of this folder]",
)


def tempdir_of(ctx: click.Context) -> str | None:
    """Return the folder below which runs are looked for by their names; None for the project's."""
    from fancypipe_core._settings.session import Given, core_settings

    given: str | None = ctx.params.get("tempdir") or core_settings(Given({})).settings.tempdir
    return given


def run_meant(word: str, tempdir: str | None) -> Path:
    """Return the folder of the run that is meant by a word.

    Args:
        word: The folder, or its name, id, or the beginning of one.
        tempdir: The folder below which it is looked for by its name; None for that of the project.

    Raises:
        UsageError: There is none, or there are several.
    """
    from fancypipe_core.plugins.journal import HERE
    from fancypipe_core.plugins.runs import find_run

    base = HERE if tempdir is None else Path(tempdir)
    found, names = find_run(word, base)
    if found is not None:
        return found
    if not names:
        raise errors.UsageError(f"there is no run {word!r}: no run has left a journal in {base}")
    if len(names) > 1 and all(word in name for name in names):
        raise errors.UsageError(f"several runs are called {word!r}: {some(names)}")
    near = get_close_matches(word, names, n=3, cutoff=0.4) or names[-3:]
    raise errors.UsageError(f"there is no run {word!r} in {base}; there are: {some(near)}")
