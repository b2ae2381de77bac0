"""Finding backends, observers and their commands: guarded, and loaded only when asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import util
from typing import TYPE_CHECKING, Any, NamedTuple

from fancypipe_core import errors
from fancypipe_core._base.declarations import is_record
from fancypipe_core._base.option_names import plain

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from fancypipe_core._base.declarations import Command
    from fancypipe_core.backend import BackendPlugin

__all__ = [
    "OWN_COMMANDS",
    "OWN_OPTIONS",
    "SHORT",
    "BackendEntry",
    "CommandEntry",
    "backends",
    "commands",
    "complain",
    "default_backend",
    "find",
    "installed",
    "is_installed",
    "known",
    "make",
    "observers",
    "one_line",
    "others",
    "records_of",
    "say",
    "told_names",
]

_GROUP = "fancypipe.backends"
_OBSERVERS = "fancypipe.plugins"

# The homes of the backends that this project brings, best first.  Their entry
# points say the same; but to import what reads entry points takes as long as all
# the rest of a start (about 40 ms where a bare interpreter takes 12).
_OWN = {
    "procs": "fancypipe_procs",
    "threads": "fancypipe_threads",
    "serial": "fancypipe_core",
    "remote": "fancypipe_remote",
}

# What one of them adds to the command line, for help: a test holds it against the plugin.
OWN_COMMANDS = {
    "remote": {
        "manager": "Let clients and workers meet here, and pass on what they say.",
        "secret": "Make, find and share the secret that all parties need.",
        "status": "Say who is at a manager.",
        "worker": "Run the jobs of clients.",
    }
}

# The options that choose one of them by being given, for help; the same test.
OWN_OPTIONS = [
    (
        "remote",
        "--jobmanager, --jobserver HOST[:PORT]",
        "Run on many machines: where the manager is.",
    )
]

# Said here as well, so that a backend can be chosen by its short name without
# importing all the others.  Third parties' aliases are found by loading them.
SHORT = {"S": "serial", "T": "threads", "P": "procs", "R": "remote"}


_BAD_RECORD = "its settings must be a dataclass of which each field has a default"


class BackendEntry(NamedTuple):
    """An installed backend, for `fancypipe backends`.

    Attributes:
        name: Its name.
        aliases: Its short names.
        dist: The distribution that brought it.
        version: That distribution's version.
        plugin: What it says of itself; None if it cannot be used.
        error: Why it cannot be used; None if it can.
    """

    name: str
    aliases: tuple[str, ...]
    dist: str
    version: str
    plugin: BackendPlugin | None
    error: str | None


def _entry_points(group: str = _GROUP) -> dict[str, EntryPoint]:
    from importlib import metadata

    # By name, the first found wins, as for imports.
    found: dict[str, EntryPoint] = {}
    for point in metadata.entry_points(group=group):
        found.setdefault(point.name, point)
    return found


def known() -> set[str]:
    """Return the names that plugins have, for all that can be told without loading them.

    Also those that the project brings itself, whether they are installed or not:
    a file may be shared by machines of which some lack one.
    """
    return told_names(_GROUP) | told_names(_OBSERVERS) | set(SHORT.values())


def is_installed(name: str) -> bool:
    """Tell whether one of the project's own backends is installed; imports nothing."""
    return util.find_spec(_OWN[name]) is not None


def default_backend() -> str:
    """Return the name of the backend where nobody chooses one: what is installed, best first."""
    return next(name for name in ("procs", "threads", "serial") if is_installed(name))


def installed() -> list[str]:
    """Return the names of the installed backends; imports none of them."""
    return sorted(_entry_points())


def _load(point: EntryPoint) -> BackendPlugin:
    from fancypipe_core.backend import API_VERSION, BackendPlugin

    try:
        plugin = point.load()
    except (Exception, SystemExit) as error:  # what is imported may do anything
        raise errors.PluginError(
            f"backend {point.name!r} ({point.value}) cannot be loaded: {one_line(error)}",
            plugin=point.name,
        ) from error
    if not isinstance(plugin, BackendPlugin):
        raise errors.PluginError(
            f"backend {point.name!r}: {point.value} is not a BackendPlugin", plugin=point.name
        )
    if plugin.api != API_VERSION:
        raise errors.PluginError(
            f"backend {point.name!r} is written for version {plugin.api} of the backend contract; "
            f"this fancypipe-core has version {API_VERSION}",
            plugin=point.name,
        )
    if plugin.settings is not None and not is_record(plugin.settings):
        raise errors.PluginError(
            f"backend {point.name!r}: {_BAD_RECORD}, not {plugin.settings!r}",
            plugin=point.name,
        )
    return plugin


def _load_own(name: str) -> BackendPlugin:
    from importlib import import_module

    home = _OWN[name]
    module = import_module(f"{home}._worker.inline" if name == "serial" else home)
    plugin: BackendPlugin = module.plugin
    return plugin


def find(name: str) -> BackendPlugin:
    """Return a backend by its name or alias; only the one asked for is imported.

    Raises:
        BackendNotFound: There is none; the message lists those that there are.
        PluginError: It is installed, but broken.
    """
    own = name if name in _OWN else SHORT.get(name.upper(), "")
    if own in _OWN and is_installed(own):
        return _load_own(own)
    points = _entry_points()
    point = points.get(name) or points.get(SHORT.get(name.upper(), ""))
    if point is not None:
        return _load(point)
    for other in points.values():
        try:
            plugin = _load(other)
        except errors.PluginError:
            continue  # not the one that was asked for
        if name.upper() in (alias.upper() for alias in plugin.aliases):
            return plugin
    names = installed()
    missing = SHORT.get(name.upper(), name)
    hint = (
        f"install it with: pip install fancypipe-{missing}"
        if missing in SHORT.values()
        else f"installed are: {', '.join(names)}"
    )
    raise errors.BackendNotFound(
        f"there is no backend {name!r}; {hint}", name=name, installed=names
    )


def backends() -> list[BackendEntry]:
    """Return all installed backends; the broken ones say why."""
    entries = []
    for name, point in sorted(_entry_points().items()):
        who = _distribution(point)
        try:
            plugin = _load(point)
        except errors.PluginError as error:
            entries.append(BackendEntry(name, (), *who, None, str(error)))
        else:
            entries.append(BackendEntry(name, plugin.aliases, *who, plugin, None))
    return entries


def others(name: str) -> Iterator[BackendPlugin]:
    """Yield the installed backends but that one; what is broken is left out."""
    for other, point in sorted(_entry_points().items()):
        if other != name:
            with suppress(errors.PluginError):
                yield find(other) if other in _OWN else _load(point)


def _distribution(point: EntryPoint) -> tuple[str, str]:
    dist = point.dist
    if dist is None:
        return "", ""
    try:
        return str(dist.name), str(dist.version)
    except Exception:  # noqa: BLE001 - an installation can be broken in many ways
        return "", ""


# ---- observers ----------------------------------------------------------------

_complained: set[str] = set()


def observers(only: str = "") -> list[tuple[str, Any]]:
    """Return what the entry points of observers name, by name; what is broken is said once.

    Args:
        only: Leave out those whose name `only` does not begin with, if given.
    """
    found: list[tuple[str, Any]] = []
    if not told_names(_OBSERVERS):
        return found
    for name, point in sorted(_entry_points(_OBSERVERS).items()):
        if only and not plain(only).startswith(f"{plain(name)}_"):
            continue
        try:
            plugin: Any = point.load()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - what is imported may do anything
            complain(name, f"({point.value}) cannot be loaded: {one_line(error)}")
            continue
        record = getattr(plugin, "settings", None)
        if isinstance(plugin, type) and record is not None and not is_record(record):
            complain(name, f"({point.value}) is left out: {_BAD_RECORD}, not {record!r}")
            continue
        found.append((name, plugin))
    return found


def make(name: str, plugin: Any, settings: Any = None) -> list[tuple[str, object]]:
    """Return the observer of an entry point with its name; nothing if it cannot be made.

    An entry point names an object or a module with hooks, or a class: then a new
    object is made for each session, of its settings if it brings some.
    """
    try:
        if not isinstance(plugin, type):
            return [(name, plugin)]
        return [(name, plugin() if settings is None else plugin(settings))]
    except (Exception, SystemExit) as error:  # noqa: BLE001 - it is a stranger's
        complain(name, f"cannot be made: {one_line(error)}")
        return []


# ---- commands -----------------------------------------------------------------


class CommandEntry(NamedTuple):
    """A command that is brought by a plugin.

    Attributes:
        owner: The plugin's name.
        command: What it says of the command.
        records: All the records of this plugin's settings.
    """

    owner: str
    command: Command
    records: tuple[type[Any], ...]


def commands(*, own: bool = True) -> tuple[dict[str, list[CommandEntry]], list[str]]:
    """Return the commands that plugins bring, by name.

    Also what is wrong with the backends that cannot be loaded: one of them may
    be the one that brings what is looked for.

    Args:
        own: Also those of the project's own backends, which are loaded for that.
            Without them most help is made without loading anything.
    """
    plugins: list[tuple[str, Any]] = []
    broken: list[str] = []
    if own:
        plugins += [(name, _load_own(name)) for name in OWN_COMMANDS if is_installed(name)]
    if told_names(_GROUP) - set(_OWN):
        for name, point in sorted(_entry_points().items()):
            try:
                plugins += [] if name in _OWN else [(name, _load(point))]
            except errors.PluginError as error:
                broken.append(str(error))
    found: dict[str, list[CommandEntry]] = {}
    for name, plugin in [*plugins, *observers()]:
        brought = getattr(plugin, "commands", None)
        if isinstance(brought, Mapping):
            for command, how in brought.items():
                entry = CommandEntry(name, how, records_of(plugin))
                found.setdefault(command, []).append(entry)
    return found, broken


def records_of(plugin: Any) -> tuple[type[Any], ...]:
    """Return the records of the settings of a plugin and of its commands."""
    brought = getattr(plugin, "commands", None) or {}
    records = [command.settings for command in brought.values()]
    return tuple(filter(is_record, [getattr(plugin, "settings", None), *records]))


# ---- a quick look -------------------------------------------------------------

# The names that entry points have, by group, and the `sys.path` for which they were
# looked for.
_looked: dict[tuple[str, ...], dict[str, set[str]]] = {}


def told_names(group: str) -> set[str]:
    """Return the names in a group of entry points, without `importlib.metadata`.

    Every session asks, and nearly always there is nothing but our own.  To read
    the files of the distributions is some ten times cheaper than to import what
    reads them properly.  An archive on the path may hold anything: it is there
    as the name "?".
    """
    path = tuple(sys.path)
    if path not in _looked:
        _looked.clear()
        _looked[path] = _look(path)
    return _looked[path].get(group, set())


def _look(path: tuple[str, ...]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {_GROUP: set(), _OBSERVERS: set()}
    for folder in path:
        try:
            names = os.listdir(folder or ".")
        except OSError:
            if os.path.isfile(folder):
                for group in found.values():
                    group.add("?")
            continue
        for name in names:
            if not name.endswith((".dist-info", ".egg-info", ".egg")):
                continue
            inner = "EGG-INFO" if name.endswith(".egg") else ""
            with suppress(OSError):
                file = os.path.join(folder, name, inner, "entry_points.txt")
                with open(file, "rb", buffering=0) as opened:
                    _read_names(opened.read(), found)
    return found


def _read_names(data: bytes, found: dict[str, set[str]]) -> None:
    if b"[fancypipe." not in data:
        return
    group: set[str] | None = None
    for line in data.decode(errors="replace").splitlines():
        if line.startswith("["):
            group = found.get(line.strip(" []"))
        elif group is not None and "=" in line:
            group.add(line.partition("=")[0].strip())


def complain(name: str, why: str) -> None:
    """Say once on standard error what is wrong with an installed observer."""
    if name not in _complained:
        _complained.add(name)
        say(f"fancypipe: plugin {name!r} {why}")


def say(text: str) -> None:
    """Write to standard error, if there is one."""
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"{text}\n")


def one_line(error: BaseException) -> str:
    """Return an exception as one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
