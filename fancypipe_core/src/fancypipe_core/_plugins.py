"""Finding backends and observers: entry points, guarded, and loaded only when asked for."""

from __future__ import annotations

from importlib import util
from typing import TYPE_CHECKING, NamedTuple

from fancypipe_core import errors

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from fancypipe_core.backend import BackendPlugin

__all__ = ["BackendEntry", "backends", "find", "installed", "is_installed"]

_GROUP = "fancypipe.backends"

# The homes of the backends that this project brings, best first.  Their entry
# points say the same; but to import what reads entry points takes as long as all
# the rest of a start (about 40 ms where a bare interpreter takes 12).
_OWN = {"procs": "fancypipe_procs", "threads": "fancypipe_threads", "serial": "fancypipe_core"}

# Said here as well, so that a backend can be chosen by its short name without
# importing all the others.  Third parties' aliases are found by loading them.
_SHORT = {"S": "serial", "T": "threads", "P": "procs", "R": "remote"}


class BackendEntry(NamedTuple):
    """An installed backend, for `fancypipe backends`.

    Attributes:
        name: Its name.
        aliases: Its short names.
        dist: The distribution that brought it.
        version: That distribution's version.
        help: One line.
        error: Why it cannot be used; None if it can.
    """

    name: str
    aliases: tuple[str, ...]
    dist: str
    version: str
    help: str
    error: str | None


def _entry_points() -> dict[str, EntryPoint]:
    from importlib import metadata

    # By name, the first found wins, as for imports.
    found: dict[str, EntryPoint] = {}
    for point in metadata.entry_points(group=_GROUP):
        found.setdefault(point.name, point)
    return found


def is_installed(name: str) -> bool:
    """Tell whether one of the project's own backends is installed; imports nothing."""
    return util.find_spec(_OWN[name]) is not None


def installed() -> list[str]:
    """Return the names of the installed backends; imports none of them."""
    return sorted(_entry_points())


def _load(point: EntryPoint) -> BackendPlugin:
    from fancypipe_core.backend import API_VERSION, BackendPlugin

    try:
        plugin = point.load()
    except Exception as error:
        raise errors.PluginError(
            f"backend {point.name!r} ({point.value}) cannot be loaded: "
            f"{type(error).__name__}: {error}",
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
    return plugin


def _load_own(name: str) -> BackendPlugin:
    from importlib import import_module

    home = _OWN[name]
    module = import_module(f"{home}._inline" if name == "serial" else home)
    plugin: BackendPlugin = module.plugin
    return plugin


def find(name: str) -> BackendPlugin:
    """Return a backend by its name or alias; only the one asked for is imported.

    Raises:
        BackendNotFound: There is none; the message lists those that there are.
        PluginError: It is installed, but broken.
    """
    own = name if name in _OWN else _SHORT.get(name.upper(), "")
    if own in _OWN and is_installed(own):
        return _load_own(own)
    points = _entry_points()
    point = points.get(name) or points.get(_SHORT.get(name.upper(), ""))
    if point is not None:
        return _load(point)
    for other in points.values():
        try:
            plugin = _load(other)
        except errors.PluginError:
            continue  # not the one that was asked for
        if name in plugin.aliases:
            return plugin
    names = installed()
    missing = _SHORT.get(name.upper(), name)
    hint = (
        f"install it with: pip install fancypipe-{missing}"
        if missing in _SHORT.values()
        else f"installed are: {', '.join(names)}"
    )
    raise errors.BackendNotFound(
        f"there is no backend {name!r}; {hint}", name=name, installed=names
    )


def backends() -> list[BackendEntry]:
    """Return all installed backends; the broken ones say why."""
    entries = []
    for name, point in sorted(_entry_points().items()):
        dist = point.dist
        who = (dist.name, dist.version) if dist is not None else ("", "")
        try:
            plugin = _load(point)
        except errors.PluginError as error:
            entries.append(BackendEntry(name, (), *who, "", str(error)))
        else:
            entries.append(BackendEntry(name, plugin.aliases, *who, plugin.help, None))
    return entries
