"""What the commands have in common: the options of settings, and help."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

import click

from fancypipe_core._base.option_names import dashed, plain
from fancypipe_core._cli import options as _options
from fancypipe_core._cli import streams as _streams
from fancypipe_core._cli.commands import PLUGIN, Asked
from fancypipe_core._cli.options import Found, Option
from fancypipe_core._plugins import discovery
from fancypipe_core._settings import session, table

__all__ = [
    "ENGINE",
    "HELP",
    "HELP_ROW",
    "OF_SETTINGS",
    "Command",
    "choosing",
    "engine_rows",
    "finder",
    "help_if_asked",
    "is_engine",
    "option_of",
    "rows",
    "typed_backend",
]

Rows = Sequence[tuple[str, str]]


def option_of(line: table.Setting, key: str = "") -> Option:
    """Return the option of a setting."""
    return Option(key or line.name, line.options, not line.value, line.off)


HELP = Option("help", ("help", "h"), is_flag=True)
HELP_ROW = ("-h, --help", "Show this.")
OF_SETTINGS = tuple(option_of(line) for line in table.ENGINE.lines)
"""The options of the engine's settings."""
ENGINE = (*OF_SETTINGS, Option("output", ("output",)), Option("dry", ("dry-run",), is_flag=True))
"""The options of whatever runs a task."""
_ENGINE_KEYS = frozenset(option.key for option in ENGINE)
_OUTPUT_HELP = "Write the result to this file (.json, .pickle, .pkl) and not to standard output."
_DRY_HELP = "Run nothing: say what would run, and why, and which results are there (see -resume)."
_BACKEND_OPTIONS = "All options of a backend: fancypipe -workertype=NAME --help"
_FORMS = (
    "Options take one dash or two, hyphens or underscores, -option value or -option=value. "
    "Lists and objects are written as JSON; what may be repeated also takes its items one by one."
)


class Command(click.Command):
    """A command whose line is read by us, and whose help has our form.

    Attributes:
        usage: What follows the name in the usage.
        of_backend: Whether it takes the options of a backend.
        forms: Whether its help says how options and inputs are written.
    """

    usage: Sequence[str] = ("[options]",)
    of_backend = True
    forms = True

    def __init__(self, name: str, text: str) -> None:
        super().__init__(
            name, help=text, add_help_option=False, context_settings={"max_content_width": 100}
        )

    def sections(self, ctx: click.Context) -> Iterator[tuple[str, Rows]]:
        """Yield the title and the rows of each section of help."""
        raise NotImplementedError

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return what follows the name in the usage."""
        return list(self.usage)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections; of backends the one that was chosen, no other is imported."""
        sections, texts = list(self.sections(ctx)), [_FORMS] if self.forms else []
        if self.of_backend:
            backend, own = _of_backend(ctx.obj)
            if backend:
                sections.append((f"Options of the backend {backend}", own or [("none", "")]))
            else:
                texts.insert(0, _BACKEND_OPTIONS)
        for title, rows in sections:
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows, col_max=32)
        for text in texts:
            formatter.write_paragraph()
            formatter.write_text(text)


def is_engine(found: Found) -> bool:
    """Tell whether an option is the engine's or a plugin's, and not of a command or a task."""
    return found.key in _ENGINE_KEYS or found.key.startswith(PLUGIN)


def help_if_asked(ctx: click.Context, line: _options.Line) -> None:
    """Show help and exit, if the command line asks for it."""
    if any(found.key == "help" for found in line.options):
        _streams.write(ctx.get_help())
        ctx.exit()


# ---- rows of help --------------------------------------------------------------


def rows(
    lines: Sequence[table.Setting], taken: frozenset[str] = frozenset()
) -> list[tuple[str, str]]:
    """Return options for help, without the names that a pipeline has taken."""
    found = []
    for line in lines:
        # What is off is shown as what turns it on, and the other way round.
        spellings = line.off if line.off_help else line.options
        names = [dashed(name) for name in spellings if plain(name) not in taken]
        if names:
            form = ", ".join(names) + (f" {line.value}" if line.value else "")
            default = f" [default: {line.default}]" if line.value else ""
            found.append((form, line.off_help or line.help + default))
    return found


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
    found = rows(table.ENGINE.lines, gone)
    if not _of_backend(ctx.obj)[0]:
        # The option that chooses a backend is sought here, and not among those of the backend.
        for form, text in choosing():
            if plain(form.split()[0].strip("-,")) not in gone:
                found.insert(1, (form, text))
    if output and "output" not in gone:
        found.append(("--output FILE", _OUTPUT_HELP))
    if output and "dry-run" not in gone:
        found.append(("--dry-run", _DRY_HELP))
    return found


def choosing() -> list[tuple[str, str]]:
    """Return the options that choose a backend of ours, for help."""
    return [
        (ours.chosen_by[0], f"{ours.chosen_by[1]} ({owner})")
        for owner, ours in discovery.OURS.items()
        if ours.chosen_by is not None and discovery.is_installed(owner)
    ]


def _of_backend(asked: Asked | None) -> tuple[str, list[tuple[str, str]]]:
    """Return the name and the options, for help, of the backend that was typed or implied."""
    backend = None if asked is None else session.chosen_by(asked.given())
    if backend is None:
        return "", []
    plugin = discovery.find(backend)
    return plugin.name, rows(session.table_of(plugin).lines)


# ---- options of plugins --------------------------------------------------------


def finder(argv: Sequence[str], *, chosen_only: bool = False) -> Callable[[str], Option | None]:
    """Return what finds the option of a plugin by its name.

    Which backend is meant may stand behind the option, so the words are looked
    through for it; and if the engine's settings say, they are asked.

    Args:
        argv: The words of the command line.
        chosen_only: Whether to look for what the chosen backend and the observers
            bring, and not at other backends.
    """

    def find(name: str) -> Option | None:
        backend = typed_backend(argv) or table.ENGINE.resolve({}).settings.backend
        for line in session.lines_with(name, backend, chosen_only=chosen_only):
            # Not the table's: which backend it will be is known at the end only.
            return option_of(line, f"{PLUGIN}{line.options[0]}")
        return None

    return find


def typed_backend(argv: Sequence[str]) -> str | None:
    """Return the backend that words name last, if one does."""
    names = {plain(name) for option in OF_SETTINGS if option.key == "backend"
             for name in option.spellings}  # fmt: skip
    found = None
    for word, following in pairwise([*argv, ""]):
        spelled, equals, value = word.partition("=")
        if word.startswith("-") and plain(spelled.removeprefix("-").removeprefix("-")) in names:
            found = value if equals else following
    return found
