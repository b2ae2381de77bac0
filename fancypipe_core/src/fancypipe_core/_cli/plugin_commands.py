"""Commands that plugins add to the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from fancypipe_core import errors
from fancypipe_core._base.signals import Interrupts, at_once
from fancypipe_core._cli import options as _options
from fancypipe_core._cli.commands import Asked
from fancypipe_core._cli.helping import (
    HELP,
    HELP_ROW,
    Command,
    Rows,
    help_if_asked,
    option_of,
    rows,
)
from fancypipe_core._plugins import discovery
from fancypipe_core._plugins.blame import Owner
from fancypipe_core._settings import session, table

if TYPE_CHECKING:
    from fancypipe_core.backend import BackendPlugin

__all__ = ["OfPlugin", "Plugged", "command_of", "find_command", "listed", "status_of"]


def listed() -> list[tuple[str, str]]:
    """Return the commands that plugins bring, for help."""
    found, _ = discovery.commands(own=False)
    found_rows = []
    for owner, ours in discovery.OURS.items():
        if discovery.is_installed(owner):
            found_rows += [(name, f"{text} ({owner})") for name, text in ours.commands.items()]
    mine = {name for name, _ in found_rows}
    for name, entries in found.items():
        for entry in entries:
            plain = len(entries) == 1 and name not in mine
            called = name if plain else f"{entry.owner} {name}"
            found_rows.append((called, f"{entry.command.help} ({entry.owner})"))
    return sorted(found_rows)


def find_command(name: str) -> click.Command | None:
    """Return the command of this name that a plugin brings, or all of the plugin of this name.

    Our own come first.  Of others two may bring the same command: then each is to be called
    with its plugin's name before it, as all may be.

    Returns:
        None if there is none.

    Raises:
        UsageError: Several bring it.
        PluginError: One that is broken may bring it.
    """
    found, broken = discovery.commands()
    entries = found.get(name, [])
    entries = [entry for entry in entries if entry.owner in discovery.OURS] or entries
    if len(entries) > 1:
        owners = " and ".join(repr(entry.owner) for entry in entries)
        ways = " or ".join(f"fancypipe {entry.owner} {name}" for entry in entries)
        raise errors.UsageError(f"the command {name!r} is brought by {owners}: write {ways}")
    if entries:
        return Plugged(name, entries[0])
    mine = {
        command: Plugged(command, entry)
        for command, entries in found.items()
        for entry in entries
        if entry.owner == name
    }
    if mine:
        return OfPlugin(name, mine)
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


class OfPlugin(Command, click.Group):
    """All commands of a plugin, below its name."""

    of_backend = forms = False
    usage = ("COMMAND [options]",)

    def __init__(self, name: str, commands: dict[str, Plugged]) -> None:
        super().__init__(name, f"The commands that {name} brings.")
        self.commands = dict(commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read up to the command: what stands behind it is its own."""
        line = _options.read(args, (HELP,), stop_at_word=True)
        help_if_asked(ctx, line)
        word = args[line.rest] if line.rest < len(args) else ""
        if word not in self.commands:
            there = ", ".join(sorted(self.commands))
            what = f"has no command {word!r}" if word else "needs a command"
            raise errors.UsageError(f"{self.name} {what}; there are: {there}")
        return super().parse_args(ctx, args[line.rest :])

    def sections(self, ctx: click.Context) -> Iterator[tuple[str, Rows]]:
        """Yield its commands."""
        yield "Commands", [(name, one.help or "") for name, one in sorted(self.commands.items())]
        yield "Options", [HELP_ROW]


class Plugged(Command):
    """A command that a plugin brings."""

    of_backend = forms = False

    def __init__(self, name: str, entry: discovery.CommandEntry) -> None:
        super().__init__(name, entry.command.help)
        self.usage = ("[options]", *filter(None, [entry.command.words]))
        self._entry = entry
        self._table = session.command_table(entry)

    @property
    def lines(self) -> Sequence[table.Setting]:
        """The settings that it takes."""
        return self._table.lines

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line as the engine reads its own."""
        mine = [option_of(line) for line in self._table.lines]
        line = _options.read(args, (*mine, HELP), any_words=bool(self._entry.command.words))
        help_if_asked(ctx, line)
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
            owner = Owner(self._entry.kind, self._entry.owner)
            with owner.blaming(f"its command {self.name!r}"):
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

    def sections(self, ctx: click.Context) -> Iterator[tuple[str, Rows]]:
        """Yield its options."""
        yield "Options", [*rows(self._table.lines), HELP_ROW]
