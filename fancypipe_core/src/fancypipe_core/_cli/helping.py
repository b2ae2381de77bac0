"""What the commands have in common: the engine's options, and help."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import click

from fancypipe_core._base.option_names import plain
from fancypipe_core._cli import commands as _commands
from fancypipe_core._cli import options as _options
from fancypipe_core._cli import plugged as _plugged
from fancypipe_core._cli import streams as _streams
from fancypipe_core._cli.options import Found, Option
from fancypipe_core._plugins import discovery
from fancypipe_core._settings import table

__all__ = [
    "ENGINE",
    "FORMAT",
    "FORMS",
    "OF_SETTINGS",
    "backend_section",
    "engine_rows",
    "help_if_asked",
    "is_engine",
    "section",
]

_SETTINGS = table.ENGINE.lines
OF_SETTINGS = tuple(_plugged.option_of(line) for line in _SETTINGS)
"""The options of the engine's settings."""
ENGINE = (*OF_SETTINGS, Option("output", ("output",)))
"""The options of whatever runs a task."""
_ENGINE_KEYS = frozenset(option.key for option in ENGINE)
_OUTPUT_HELP = "Write the result to this file (.json, .pickle, .pkl) and not to standard output."
FORMS = (
    "Options take one dash or two, hyphens or underscores, -option value or -option=value. "
    "Lists and objects are written as JSON; what may be repeated also takes its items one by one."
)
FORMAT = {"max_content_width": 100}


def is_engine(found: Found) -> bool:
    """Tell whether an option is the engine's or a plugin's, and not of a command or a task."""
    return found.key in _ENGINE_KEYS or found.key.startswith(_commands.PLUGIN)


def help_if_asked(ctx: click.Context, line: _options.Line) -> None:
    """Show help and exit, if the command line asks for it."""
    if any(found.key == "help" for found in line.options):
        _streams.write(ctx.get_help())
        ctx.exit()


def section(formatter: click.HelpFormatter, title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Write a section of help; nothing if there are no rows."""
    if rows:
        with formatter.section(title):
            formatter.write_dl(rows, col_max=32)


def backend_section(ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """Show the options of the backend that was chosen; no other is imported for help."""
    name, rows = _plugged.backend_rows(ctx.obj)
    if name:
        section(formatter, f"Options of the backend {name}", rows or [("none", "")])
    else:
        formatter.write_paragraph()
        formatter.write_text("All options of a backend: fancypipe -workertype=NAME --help")


def engine_rows(
    ctx: click.Context, taken: Iterable[str] = (), *, output: bool = True
) -> list[tuple[str, str]]:
    """Return the engine's options for help.

    Args:
        ctx: The command.
        taken: Names that a pipeline's inputs have taken.
        output: Whether there is a result to be written to a file.
    """
    gone = frozenset(taken)
    rows = _plugged.rows(_SETTINGS, gone)
    if not _plugged.backend_rows(ctx.obj)[0]:
        # The option that chooses a backend is sought here, and not among those of the backend.
        for owner, form, text in discovery.OWN_OPTIONS:
            if discovery.is_installed(owner) and plain(form.split()[0].strip("-")) not in gone:
                rows.insert(1, (form, f"{text} ({owner})"))
    if output and "output" not in gone:
        rows.append(("--output FILE", _OUTPUT_HELP))
    return rows
