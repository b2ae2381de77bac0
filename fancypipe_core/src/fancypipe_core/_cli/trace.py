"""The command `trace`: a run for Perfetto, made from its journal."""

from __future__ import annotations

import click

from fancypipe_core import errors
from fancypipe_core._cli import streams as _streams
from fancypipe_core._cli.builtin import Builtin
from fancypipe_core._cli.options import Option
from fancypipe_core._cli.which_run import TEMPDIR, TEMPDIR_ROW, run_meant, tempdir_of

__all__ = ["Trace"]

_OPTIONS = (Option("file", ("file",)), TEMPDIR)
_ROWS = (("--file FILE", "Where to. [default: trace.json, beside the journal]"), TEMPDIR_ROW)


class Trace(Builtin):
    """`fancypipe trace`, whose options have values."""

    def __init__(self) -> None:
        super().__init__(
            "trace",
            "Make a trace of a run for Perfetto (ui.perfetto.dev) from its journal.",
            lambda _asked, _own, _words: None,
            own=_OPTIONS,
            rows=_ROWS,
            words="RUN",
        )

    def invoke(self, ctx: click.Context) -> None:
        """Write it, and say where it is.

        Raises:
            UsageError: There is no such run.
            FancyPipeError: It cannot be read or written.
        """
        if len(ctx.args) != 1:
            raise errors.UsageError(
                "trace takes one run; write: fancypipe trace RUN, with the run's folder or name"
            )
        from fancypipe_core.plugins.trace import write_trace

        run = run_meant(ctx.args[0], tempdir_of(ctx))
        try:
            target = write_trace(run, ctx.params.get("file"))
        except OSError as error:
            why = error.strerror or str(error)
            raise errors.FancyPipeError(f"the trace of {run} cannot be made: {why}") from error
        _streams.write(str(target))
