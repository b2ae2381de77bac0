"""What is in force for a session: settings, the backend that they choose, who looks on.

The engine's settings choose the backend, and with it which other settings there
are: the ones that the backend brings.  Installed observers bring theirs, whose
options and arguments begin with their names, since all of them are in force.
Only what is needed is imported: another backend only where a setting was given
that the chosen one does not have.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from fancypipe_core import errors
from fancypipe_core._base.declarations import NoSettings
from fancypipe_core._base.option_names import near, plain
from fancypipe_core._plugins import discovery
from fancypipe_core._settings import table as _settings
from fancypipe_core._settings.table import (
    ENGINE,
    Origin,
    Resolved,
    Setting,
    Settings,
    Table,
    lines_of,
)

if TYPE_CHECKING:
    from fancypipe_core._plugins.observers import Observers
    from fancypipe_core._settings.parameters import Parameters
    from fancypipe_core.backend import BackendPlugin

__all__ = [
    "Configured",
    "Given",
    "chosen_by",
    "command_table",
    "configure",
    "core_settings",
    "lines_with",
    "own_settings",
    "table_of",
]

_CORE = frozenset(line.name for line in ENGINE.lines)
_TAKEN = frozenset(plain(name) for one in ENGINE.lines for name in (*one.options, *one.off))


class Given(NamedTuple):
    """What a caller gave.

    Attributes:
        arguments: The engine's settings by name, a plugin's by option or argument.
        spelled: How the caller's user spelled them on a command line.
        defaults: Defaults of the caller's own.
    """

    arguments: Mapping[str, object]
    spelled: Mapping[str, str] | None = None
    defaults: Mapping[str, object] | None = None

    def place(self, name: str) -> str:
        """Return how messages call an argument."""
        return (self.spelled or {}).get(name, name)


class Configured(NamedTuple):
    """What is in force.

    Attributes:
        core: The engine's settings, and where each came from.
        plugin: The backend.
        own: The record of the backend's settings; None if it brings none.
        tables: The settings that plugins bring, the backend's first.
        observers: Who looks on; None if nobody does.
        remarks: What looks like a mistake but is none for sure.
        parameters: Inputs from a file; None if none is named.
    """

    core: Resolved[Settings]
    plugin: BackendPlugin
    own: Any
    tables: tuple[Resolved[Any], ...]
    observers: Observers | None
    remarks: tuple[str, ...]
    parameters: Parameters | None = None


def configure(given: Given, observers: Sequence[object] = ()) -> Configured:
    """Return what is in force.

    Args:
        given: What the caller gave.
        observers: Who looks on, besides those that are installed.

    Raises:
        ConfigError: A setting is unknown, belongs elsewhere, or cannot have that value.
        BackendNotFound: The backend is not installed.
        PluginError: The backend is broken, or a plugin failed to decide.
    """
    core = core_settings(given)
    _check_tables(core)
    rest = {name: value for name, value in given.arguments.items() if name not in _CORE}
    installed: list[tuple[str, object]] = []
    tables: list[Resolved[Any]] = []
    if not core.settings.no_plugins:
        for name, plugin in discovery.observers():
            own = _of_observer(name, plugin, given, rest)
            tables += [own] if own is not None else []
            installed += discovery.make(name, plugin, own.settings if own is not None else None)
    core = _with_implied_backend(core, given, rest)
    watching = None
    if installed or observers:
        from fancypipe_core._plugins.observers import Observers

        watching = Observers(observers, installed)
        core = _changed(core, watching)
    plugin = discovery.find(core.settings.backend)
    own = _resolve(table_of(plugin), given, rest)
    for name in rest:
        raise errors.ConfigError(_misplaced(name, given, plugin.name, core))
    if own.table.lines:
        tables.insert(0, own)
    _refuse_shared(given, tables)
    lines = [*ENGINE.lines, *(line for one in tables for line in one.table.lines)]
    return Configured(
        core,
        plugin,
        None if plugin.settings is None else own.settings,
        tuple(tables),
        watching,
        tuple(_remarks(lines)) if core.remarks or tables else (),
        _parameters(core.settings.configfile),
    )


def _parameters(file: str | None) -> Parameters | None:
    if file is None:
        return None
    from fancypipe_core._settings.parameters import read_parameters  # few sessions have one

    return read_parameters(file)


def _refuse_shared(given: Given, tables: Sequence[Resolved[Any]]) -> None:
    """Nobody is to guess which of two plugins an argument is for."""
    for name in given.arguments:
        owners = [one.table.owner for one in tables if any(one.table.having(name))]
        if name not in _CORE and len(owners) > 1:
            both = " and ".join(map(repr, owners))
            raise errors.ConfigError(
                f"argument {given.place(name)} is brought by the plugins {both}, and both are in "
                "force: set it by their variables or in a file, where each has its own"
            )


def core_settings(given: Given) -> Resolved[Settings]:
    """Return the engine's settings alone, for when the rest cannot be told."""
    return ENGINE.resolve(
        {name: value for name, value in given.arguments.items() if name in _CORE},
        defaults=given.defaults,
        spelled=given.spelled,
    )


def own_settings(plugin: BackendPlugin) -> Any:
    """Return the record of a backend's settings where nobody gives arguments; None if none."""
    return None if plugin.settings is None else table_of(plugin).resolve({}).settings


# ---- tables of plugins ---------------------------------------------------------


def table_of(plugin: BackendPlugin) -> Table[Any]:
    """Return the table of the settings that a backend brings; empty if it brings none.

    Raises:
        PluginError: One of them has a name that is taken.
    """
    return _table(plugin.name, plugin.settings or NoSettings, plugin)


def command_table(entry: discovery.CommandEntry) -> Table[Any]:
    """Return the table of the settings of a plugin's command."""
    record = entry.command.settings
    keys = _keys(entry.records, entry.owner)
    return Table(entry.owner, record, lines_of(record, entry.owner), keys)


def chosen_by(given: Given) -> str | None:
    """Return the backend that arguments choose by name or imply; None if they leave it open."""
    rest = {name: value for name, value in given.arguments.items() if name not in _CORE}
    core = _with_implied_backend(core_settings(given), given, rest)
    return core.settings.backend if core.origins["backend"].kind == "argument" else None


def lines_with(name: str, backend: str, *, chosen_only: bool = False) -> Iterator[Setting]:
    """Yield the settings of plugins that have this name as an option or argument.

    Args:
        name: The name, in any spelling.
        backend: The backend that is chosen, which comes first; then come the
            observers and the other backends.
        chosen_only: Leave out the other backends.

    Raises:
        BackendNotFound: That backend is not installed.
        PluginError: It is broken.
    """
    chosen = discovery.find(backend)
    yield from table_of(chosen).having(name)
    for observer, plugin in discovery.observers(only=name):
        with suppress(errors.PluginError):
            table = _table_of_observer(observer, plugin)
            yield from table.having(name) if table is not None else ()
    for other in () if chosen_only else discovery.others(chosen.name):
        with suppress(errors.PluginError):
            yield from table_of(other).having(name)


def _table_of_observer(name: str, plugin: Any) -> Table[Any] | None:
    record = getattr(plugin, "settings", None)
    if not isinstance(plugin, type) or record is None:
        return None
    return _table(name, record, plugin, prefixed=True)


def _table(owner: str, record: type[Any], plugin: Any, *, prefixed: bool = False) -> Table[Any]:
    try:
        lines = lines_of(record, owner, prefixed=prefixed)
        keys = _keys(discovery.records_of(plugin), owner)
    except Exception as error:
        raise errors.PluginError(
            f"the settings of {owner!r} cannot be read: {discovery.one_line(error)}", plugin=owner
        ) from error
    for line in lines:
        taken = _TAKEN & {plain(option) for option in (*line.options, *line.off)}
        if taken:
            raise errors.PluginError(
                f"{owner!r} brings a setting {line.name!r}, and fancypipe has one of its own that "
                f"is called {', '.join(sorted(taken))}",
                plugin=owner,
            )
    return Table(owner, record, lines, keys)


def _keys(records: Sequence[type[Any]], owner: str) -> frozenset[str]:
    lines = (line for record in records for line in lines_of(record, owner))
    return frozenset(plain(key) for line in lines for key in line.keys)


# ---- the engine's settings -----------------------------------------------------


def _check_tables(core: Resolved[Settings]) -> None:
    for file, key in core.tables:
        known = discovery.known()
        if plain(key) not in map(plain, known) and "?" not in known:
            hint = near(key, known) or f"; there are: {', '.join(sorted(known))}"
            raise errors.ConfigError(
                f"{file}: the table [{key}] belongs to no backend and no plugin that is "
                f"installed{hint}"
            )


def _changed(core: Resolved[Settings], watching: Observers) -> Resolved[Settings]:
    """Let plugins change the settings."""
    values = dict(vars(core.settings))
    origins = dict(core.origins)
    lines = {line.name: line for line in ENGINE.lines}
    for name, changes in watching.configure(values):
        try:
            for key, value in dict(changes).items():
                values[key] = lines[key].parse(value)
                origins[key] = Origin("plugin", name)
        except Exception as error:
            raise errors.PluginError(
                f"plugin {name!r} returned from fancypipe_configure what cannot be set: "
                f"{changes!r} ({discovery.one_line(error)})",
                plugin=name,
            ) from error
    return core.with_(Settings(**values), origins)


def _remarks(lines: Sequence[Setting]) -> Iterator[str]:
    # Another backend's variables are no mistakes.
    starts = tuple(f"FANCYPIPE_{plain(name).upper()}_" for name in discovery.known())
    mine = {line.variable.rpartition("_")[0] + "_" for line in lines if line.owner}
    env = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith(starts) or name.startswith(tuple(mine))
    }
    return iter(_settings.remarks(env, lines))


# ---- what plugins bring ----------------------------------------------------------


def _of_observer(
    name: str, plugin: Any, given: Given, rest: dict[str, object]
) -> Resolved[Any] | None:
    """Return an observer's settings in force, if it brings some; takes them out of the rest."""
    try:
        table = _table_of_observer(name, plugin)
        return None if table is None else _resolve(table, given, rest)
    except errors.PluginError as error:
        discovery.complain(name, f"is used without its settings: {error}")
        return None


def _resolve(table: Table[Any], given: Given, rest: dict[str, object]) -> Resolved[Any]:
    arguments: dict[str, object] = {}
    spelled: dict[str, str] = {}
    for name in list(rest):
        for line in table.having(name):
            arguments[line.name] = rest.pop(name)
            spelled[line.name] = given.place(name)
    return table.resolve(arguments, spelled=spelled)


def _with_implied_backend(
    core: Resolved[Settings], given: Given, rest: Mapping[str, object]
) -> Resolved[Settings]:
    """Choose the backend that a setting implies, unless the caller said which one."""
    if not rest or "backend" in given.arguments:
        return core
    with suppress(errors.BackendNotFound, errors.PluginError):
        table = table_of(discovery.find(core.settings.backend))
        if all(any(table.having(name)) for name in rest):
            return core
    implied: dict[str, str] = {}  # by backend: the first argument that does so
    for other in discovery.others(""):
        with suppress(errors.PluginError):
            for name in rest:
                if any(line.implies for line in table_of(other).having(name)):
                    implied.setdefault(other.name, name)
    if not implied:
        return core
    backend, name = next(iter(implied.items()))
    if len(implied) > 1:
        # One of them may have all that was given.
        having = {one: table_of(discovery.find(one)) for one in implied}
        fit = [one for one in implied if all(any(having[one].having(name)) for name in rest)]
        if len(fit) > 1:
            ways = " or ".join(
                f"{'-workertype=' if given.spelled else 'backend='}{one}" for one in fit
            )
            raise errors.ConfigError(
                f"argument {given.place(name)} is brought by the backends "
                f"{' and '.join(map(repr, fit))}; say which: {ways}"
            )
        backend = fit[0] if fit else backend
        name = implied[backend]
    origin = Origin("argument", f"{given.place(name)}, which implies it")
    origins = {**core.origins, "backend": origin}
    values = {**vars(core.settings), "backend": backend}
    return core.with_(Settings(**values), origins)


def _misplaced(name: str, given: Given, backend: str, core: Resolved[Settings]) -> str:
    """Return what is wrong with an argument that is not the chosen backend's."""
    place = given.place(name)
    for line in lines_with(name, backend):
        if line.argument != line.name:
            off = core.origins["no_plugins"]
            return f"argument {place} belongs to the plugin {line.owner!r}; they are off ({off})"
        how = "-workertype=" if given.spelled else "backend="
        owners = [line.owner for line in lines_with(name, backend)]
        whose = ", ".join(map(repr, dict.fromkeys(owners)))
        backends = "backend" if whose.count("'") == 2 else "backends"
        others = " or ".join(f"{how}{owner}" for owner in dict.fromkeys(owners))
        return (
            f"argument {place} belongs to the {backends} {whose}, and the backend is "
            f"{backend!r} ({core.origins['backend']}); choose the other by {others}"
        )
    lines = [*ENGINE.lines, *table_of(discovery.find(backend)).lines]
    return _settings.unknown(place, "argument", lines)
