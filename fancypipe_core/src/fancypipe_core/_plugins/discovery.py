"""Finding backends, observers and their commands: guarded, and loaded only when asked for."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from fancypipe_core import errors
from fancypipe_core._base.declarations import is_record
from fancypipe_core._base.option_names import plain

if TYPE_CHECKING:
    from fancypipe_core._base.declarations import Command
    from fancypipe_core.backend import BackendPlugin

__all__ = [
    "OURS",
    "BackendEntry",
    "CommandEntry",
    "backends",
    "commands",
    "complain",
    "default_backend",
    "distribution_of",
    "find",
    "installed",
    "is_installed",
    "known",
    "make",
    "object_named",
    "observers",
    "one_line",
    "others",
    "records_of",
    "say",
    "version",
]

_GROUP = "fancypipe.backends"
_OBSERVERS = "fancypipe.plugins"
_VERSIONED = re.compile(r"fancypipe_core-([^-]+)\.(?:dist-info|egg-info)")


class Ours(NamedTuple):
    """What is said of a backend of this project, also where it is not loaded or not there.

    Help is made without loading it, which would take a third as long again; a
    test holds this against the plugin.

    Attributes:
        alias: Its short name.
        commands: What each of its commands does.
        options: Options that who has read of it may give.
        chosen_by: The option that chooses it, for help, and what that does.
    """

    alias: str
    commands: Mapping[str, str] = {}
    options: tuple[str, ...] = ()
    chosen_by: tuple[str, str] | None = None


# Where nobody chooses one, it is the first that is installed.
OURS = {
    "procs": Ours("P"),
    "threads": Ours("T"),
    "serial": Ours("S"),
    "remote": Ours(
        "R",
        {
            "manager": "Let clients and workers meet here, and pass on what they say.",
            "secret": "Make, find and share the secret that all parties need.",
            "status": "Say who is at a manager.",
            "worker": "Run the jobs of clients.",
        },
        ("jobmanager", "jobserver", "jobauth"),
        (
            "--jobmanager, --jobserver HOST[:PORT]",
            "Run on many machines: where the manager is.",
        ),
    ),
}

# Packages of this project that are plugins like those of others, and their short names.
_ENGINES = {"dask": "D", "ray": "Y", "slurm": "SLURM"}

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
        refused: Of its aliases those that are another's, with whose each is.
    """

    name: str
    aliases: tuple[str, ...]
    dist: str
    version: str
    plugin: BackendPlugin | None
    error: str | None
    refused: Mapping[str, str] = {}


def known() -> set[str]:
    """Return the names that plugins have, for all that can be told without loading them.

    Also those that the project brings itself, whether they are installed or not:
    a file may be shared by machines of which some lack one.
    """
    return {*OURS, *_look(_GROUP), *_look(_OBSERVERS)}


def is_installed(name: str) -> bool:
    """Tell whether there is a backend of this name; imports none."""
    return name in _points(_GROUP)


def default_backend() -> str:
    """Return the name of the backend where nobody chooses one: what is installed, best first."""
    return next(name for name in OURS if is_installed(name))


def installed() -> list[str]:
    """Return the names of the installed backends; imports none of them."""
    return sorted(_points(_GROUP))


def _load(name: str, value: str) -> BackendPlugin:
    from fancypipe_core.backend import API_VERSION, BackendPlugin

    try:
        plugin = object_named(value)
    except (Exception, SystemExit) as error:  # what is imported may do anything
        raise errors.PluginError(
            f"backend {name!r} ({value}) cannot be loaded: {one_line(error)}", plugin=name
        ) from error
    why = ""
    if not isinstance(plugin, BackendPlugin):
        why = f": {value} is not a BackendPlugin"
    elif plugin.api != API_VERSION:
        why = (
            f" is written for version {plugin.api} of the backend contract; "
            f"this fancypipe-core has version {API_VERSION}"
        )
    elif plugin.settings is not None and not is_record(plugin.settings):
        why = f": {_BAD_RECORD}, not {plugin.settings!r}"
    if why or not isinstance(plugin, BackendPlugin):
        raise errors.PluginError(f"backend {name!r}{why}", plugin=name)
    return plugin


def object_named(value: str) -> Any:
    """Return what an entry point names, `module:attribute`; the module is imported."""
    from importlib import import_module

    module, _, path = value.partition("[")[0].partition(":")
    found: Any = import_module(module.strip())
    for attribute in filter(None, path.strip().split(".")):
        found = getattr(found, attribute)
    return found


def find(name: str) -> BackendPlugin:
    """Return a backend by its name or alias; only the one asked for is imported.

    Raises:
        BackendNotFound: There is none; the message lists those that there are.
        PluginError: It is installed, but broken.
    """
    points = _points(_GROUP)
    full = next((ours for ours, said in OURS.items() if said.alias == name.upper()), name)
    # A name in any case is nobody's alias.
    for one in (name, full, *(one for one in points if one.upper() == name.upper())):
        if one in points:
            return _load(one, points[one])
    for plugin in others(*OURS):
        if name.upper() in (alias.upper() for alias in plugin.aliases):
            return plugin
    full = next((one for one, alias in _ENGINES.items() if alias == name.upper()), full.lower())
    hint = (
        f"install it with: pip install fancypipe-{full}"
        if full in OURS or full in _ENGINES
        else f"installed are: {', '.join(installed())}"
    )
    raise errors.BackendNotFound(
        f"there is no backend {name!r}; {hint}", name=name, installed=installed()
    )


def distribution_of(kind: str, name: str) -> str:
    """Return which distribution brought a plugin, in brackets; empty if none did."""
    with suppress(Exception):  # an installation can be broken in many ways
        _, dist, version = _distributions(_GROUP if kind == "backend" else _OBSERVERS)[name]
        return f" ({dist} {version})" if dist else ""
    return ""


def backends() -> list[BackendEntry]:
    """Return all installed backends; the broken ones say why."""
    entries = []
    # As `find` has it: names before aliases, ours before others, and then by name.
    owners = {name.upper(): name for name in installed()}
    owners.update((ours.alias, name) for name, ours in OURS.items())
    for name, (value, dist, version) in sorted(_distributions(_GROUP).items()):
        try:
            plugin = _load(name, value)
        except errors.PluginError as error:
            entries.append(BackendEntry(name, (), dist, version, None, str(error)))
            continue
        whose = {alias: owners.setdefault(alias.upper(), name) for alias in plugin.aliases}
        aliases = tuple(alias for alias, owner in whose.items() if owner == name)
        refused = {alias: owner for alias, owner in whose.items() if owner != name}
        entries.append(BackendEntry(name, aliases, dist, version, plugin, None, refused))
    return entries


def others(*names: str) -> Iterator[BackendPlugin]:
    """Yield the installed backends but those; what is broken is left out."""
    for other, value in sorted(_points(_GROUP).items()):
        if other not in names:
            with suppress(errors.PluginError):
                yield _load(other, value)


# ---- observers ----------------------------------------------------------------

_complained: set[str] = set()


def observers(only: str = "") -> list[tuple[str, Any]]:
    """Return what the entry points of observers name, by name; what is broken is said once.

    Args:
        only: Leave out those whose name `only` does not begin with, if given.
    """
    found: list[tuple[str, Any]] = []
    for name, value in sorted(_points(_OBSERVERS).items()):
        if only and not plain(only).startswith(f"{plain(name)}_"):
            continue
        try:
            plugin = object_named(value)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - what is imported may do anything
            complain(name, f"({value}) cannot be loaded: {one_line(error)}")
            continue
        record = getattr(plugin, "settings", None)
        if isinstance(plugin, type) and record is not None and not is_record(record):
            complain(name, f"({value}) is left out: {_BAD_RECORD}, not {record!r}")
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
        kind: Whether that is a `backend` or a `plugin`.
    """

    owner: str
    command: Command
    records: tuple[type[Any], ...]
    kind: str = "backend"


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
    for name, value in sorted(_points(_GROUP).items()):
        if name in OURS and not (own and OURS[name].commands):
            continue
        try:
            plugins.append((name, _load(name, value)))
        except errors.PluginError as error:
            broken.append(str(error))
    found: dict[str, list[CommandEntry]] = {}
    kinds = [("backend", *one) for one in plugins] + [("plugin", *one) for one in observers()]
    for kind, name, plugin in kinds:
        brought = getattr(plugin, "commands", None)
        if isinstance(brought, Mapping):
            for command, how in brought.items():
                entry = CommandEntry(name, how, records_of(plugin), kind)
                found.setdefault(command, []).append(entry)
    return found, broken


def records_of(plugin: Any) -> tuple[type[Any], ...]:
    """Return the records of the settings of a plugin and of its commands."""
    brought = getattr(plugin, "commands", None) or {}
    records = [command.settings for command in brought.values()]
    return tuple(filter(is_record, [getattr(plugin, "settings", None), *records]))


# ---- entry points -------------------------------------------------------------

# The entry points by group, and the `sys.path` for which they were looked for.
_looked: dict[tuple[str, ...], dict[str, dict[str, str]]] = {}


def _points(group: str) -> dict[str, str]:
    """Return the entry points of a group: what each names, by its name."""
    found = _look(group)
    if "?" in found:
        return {name: value for name, (value, *_) in _distributions(group).items()}
    return found


def _distributions(group: str) -> dict[str, tuple[str, str, str]]:
    """Return the same with the name and the version of the distribution."""
    from importlib import metadata

    found: dict[str, tuple[str, str, str]] = {}
    for point in metadata.entry_points(group=group):
        who = ("", "")
        with suppress(Exception):  # an installation can be broken in many ways
            who = (point.dist.name, point.dist.version) if point.dist is not None else who
        # By name, the first found wins, as for imports.
        found.setdefault(point.name, (point.value, *who))
    return found


def _look(group: str) -> dict[str, str]:
    """Return the entry points of a group, without `importlib.metadata`.

    Every session asks, and to read the files of the distributions is some ten
    times cheaper than to import what reads them properly (about 40 ms where a
    bare interpreter takes 12).  An archive on the path may hold anything: it is
    there as the name "?".
    """
    path = tuple(sys.path)
    if path not in _looked:
        _looked.clear()
        _looked[path] = found = {
            _GROUP: {"serial": "fancypipe_core._worker.inline:plugin"},
            _OBSERVERS: {},
        }
        for folder in path:
            _look_into(folder, found)
    return _looked[path][group]


def _look_into(folder: str, found: dict[str, dict[str, str]]) -> None:
    try:
        names = os.listdir(folder or ".")
    except OSError:
        if os.path.isfile(folder):
            for group in found.values():
                group["?"] = ""
        return
    for name in names:
        if name.endswith((".dist-info", ".egg-info", ".egg")):
            inner = "EGG-INFO" if name.endswith(".egg") else ""
            with suppress(OSError):
                file = os.path.join(folder, name, inner, "entry_points.txt")
                with open(file, "rb", buffering=0) as opened:
                    _read_points(opened.read(), found)


def _read_points(data: bytes, found: dict[str, dict[str, str]]) -> None:
    if b"[fancypipe." not in data:
        return
    group: dict[str, str] | None = None
    for line in data.decode(errors="replace").splitlines():
        if line.startswith("["):
            group = found.get(line.strip(" []"))
        elif group is not None and "=" in line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            # The first found wins, as for imports.
            group.setdefault(name.strip(), value.strip())


def complain(name: str, why: str) -> None:
    """Say once on standard error what is wrong with an installed observer."""
    if name not in _complained:
        _complained.add(name)
        say(f"fancypipe: plugin {name!r} {why}")


@lru_cache(maxsize=1)
def version() -> str:
    """Return the version of this package; empty if nobody knows.

    By the names of folders: to import what reads them properly takes long, see `_look`.
    """
    for folder in sys.path:
        with suppress(OSError):
            for name in os.listdir(folder or "."):
                found = _VERSIONED.fullmatch(name)
                if found is not None:
                    return found[1]
    return ""


def say(text: str) -> None:
    """Write to standard error, if there is one."""
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"{text}\n")


def one_line(error: BaseException) -> str:
    """Return an exception as one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
