"""What plugins add to the command line: options and commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import click

from fancypipe_core import errors
from fancypipe_core._base.option_names import dashed, plain
from fancypipe_core._base.signals import Interrupts, at_once
from fancypipe_core._cli import options as _options
from fancypipe_core._cli import streams as _streams
from fancypipe_core._cli.commands import PLUGIN, Asked
from fancypipe_core._cli.options import Option
from fancypipe_core._plugins import discovery
from fancypipe_core._settings import session
from fancypipe_core._settings import table as _settings

if TYPE_CHECKING:
    from fancypipe_core.backend import BackendPlugin

__all__ = [
    "HELP",
    "HELP_ROW",
    "Plugged",
    "backend_rows",
    "command_of",
    "find_command",
    "finder",
    "listed",
    "option_of",
    "rows",
    "status_of",
    "typed_backend",
]

HELP = Option("help", ("help", "h"), is_flag=True)
HELP_ROW = ("-h, --help", "Show this.")


def option_of(line: _settings.Setting, key: str = "") -> Option:
    """Return the option of a setting."""
    return Option(key or line.name, line.options, not line.value, line.off)


# ---- options -------------------------------------------------------------------


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
        typed = typed_backend(argv)
        backend = typed or _settings.ENGINE.resolve({}).settings.backend
        for _, line in session.tables_with(name, backend, chosen_only=chosen_only):
            # Not the table's: which backend it will be is known at the end only.
            return option_of(line, f"{PLUGIN}{line.options[0]}")
        return None

    return find


def typed_backend(argv: Sequence[str]) -> str | None:
    """Return the backend that words name last, if one does."""
    names = {plain(name) for one in _settings.ENGINE.lines if one.name == "backend"
             for name in one.options}  # fmt: skip
    found = None
    for word, following in pairwise([*argv, ""]):
        spelled, equals, value = word.partition("=")
        if word.startswith("-") and plain(spelled.removeprefix("-").removeprefix("-")) in names:
            found = value if equals else following
    return found


def rows(
    lines: Sequence[_settings.Setting], taken: frozenset[str] = frozenset()
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


def backend_rows(asked: Asked | None) -> tuple[str, list[tuple[str, str]]]:
    """Return the name and the options, for help, of the backend that was typed or implied."""
    backend = None if asked is None else session.chosen_by(asked.given())
    if backend is None:
        return "", []
    plugin = discovery.find(backend)
    table = session.table_of(plugin)
    return plugin.name, rows(table.lines) if table is not None else []


# ---- commands ------------------------------------------------------------------


def listed() -> list[tuple[str, str]]:
    """Return the commands that plugins bring, for help."""
    found, _ = discovery.commands(own=False)
    rows = [
        (name, f"{entry.command.help} ({entry.owner})")
        for name, entries in found.items()
        for entry in entries
    ]
    for owner, brought in discovery.OWN_COMMANDS.items():
        if discovery.is_installed(owner):
            rows += [(name, f"{text} ({owner})") for name, text in brought.items()]
    return sorted(rows)


def find_command(name: str) -> click.Command | None:
    """Return the command of this name that a plugin brings; None if none does.

    Raises:
        PluginError: Several bring it, or one that is broken may bring it.
    """
    found, broken = discovery.commands()
    entries = found.get(name, [])
    if len(entries) > 1:
        owners = " and ".join(repr(entry.owner) for entry in entries)
        raise errors.PluginError(
            f"the command {name!r} is brought by {owners}; uninstall one of them"
        )
    if entries:
        return Plugged(name, entries[0])
    if broken:
        raise errors.PluginError(
            f"there is no file and no command {name!r}, unless by a plugin that is broken: "
            + "; ".join(broken)
        )
    return None


def status_of(asked: Asked) -> click.Command | None:
    """Return the command that says what is there, of the backend that was typed or implied."""
    backend = session.chosen_by(asked.given())
    plugin = None if backend is None else discovery.find(backend)
    if plugin is None or "status" not in plugin.commands:
        return None
    return command_of(plugin, "status")


def command_of(plugin: BackendPlugin, name: str) -> click.Command:
    """Return a command of a backend."""
    records = discovery.records_of(plugin)
    return Plugged(name, discovery.CommandEntry(plugin.name, plugin.commands[name], records))


class Plugged(click.Command):
    """A command that a plugin brings."""

    def __init__(self, name: str, entry: discovery.CommandEntry) -> None:
        super().__init__(name, help=entry.command.help, add_help_option=False)
        self.context_settings = {"max_content_width": 100}
        self._entry = entry
        self._table = session.command_table(entry)

    @property
    def lines(self) -> Sequence[_settings.Setting]:
        """The settings that it takes."""
        return self._table.lines

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line as the engine reads its own."""
        mine = [option_of(line) for line in self._table.lines]
        line = _options.read(args, (*mine, HELP), any_words=bool(self._entry.command.words))
        if any(found.key == "help" for found in line.options):
            _streams.write(ctx.get_help())
            ctx.exit()
        ctx.params = {"found": line.options}
        ctx.args = line.words
        return ctx.args

    def invoke(self, ctx: click.Context) -> Any:
        """Call the function with the settings in force; what it returns is the exit code."""
        last = {found.key: found for found in ctx.params["found"]}
        resolved = self._table.resolve(
            {key: found.value for key, found in last.items()},
            spelled={key: found.spelled for key, found in last.items()},
        )
        function = self._function()
        # A signal that it has no way of its own for interrupts it as it does any program.
        with Interrupts.here().told_to(at_once):
            return function(resolved.settings, ctx.args)

    def _function(self) -> Callable[[Any, list[str]], Any]:
        target = self._entry.command.target
        module, _, name = target.partition(":")
        try:
            found = getattr(import_module(module), name)
            if callable(found):
                function: Callable[[Any, list[str]], Any] = found
                return function
            why = f"{name} is not a function"
        except (Exception, SystemExit) as error:  # noqa: BLE001 - what is imported may do anything
            why = discovery.one_line(error)
        raise errors.PluginError(
            f"the command {self.name!r} of {self._entry.owner!r} ({target}) cannot be loaded: "
            f"{why}",
            plugin=self._entry.owner,
        )

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return what follows the name in the usage."""
        return ["[options]", *filter(None, [self._entry.command.words])]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options."""
        with formatter.section("Options"):
            formatter.write_dl([*rows(self._table.lines), HELP_ROW], col_max=32)
