"""Finding backends and observers: entry points, guarded, and loaded only when asked for."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import util
from typing import TYPE_CHECKING, Any, NamedTuple

from fancypipe_core import errors

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from fancypipe_core.backend import BackendPlugin

__all__ = [
    "BackendEntry",
    "backends",
    "complain",
    "find",
    "installed",
    "is_installed",
    "observers",
    "one_line",
    "say",
]

_GROUP = "fancypipe.backends"
_OBSERVERS = "fancypipe.plugins"

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


def _entry_points(group: str = _GROUP) -> dict[str, EntryPoint]:
    from importlib import metadata

    # By name, the first found wins, as for imports.
    found: dict[str, EntryPoint] = {}
    for point in metadata.entry_points(group=group):
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
        if name.upper() in (alias.upper() for alias in plugin.aliases):
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
        who = _distribution(point)
        try:
            plugin = _load(point)
        except errors.PluginError as error:
            entries.append(BackendEntry(name, (), *who, "", str(error)))
        else:
            entries.append(BackendEntry(name, plugin.aliases, *who, plugin.help, None))
    return entries


def _distribution(point: EntryPoint) -> tuple[str, str]:
    dist = point.dist
    if dist is None:
        return "", ""
    try:
        return str(dist.name), str(dist.version)
    except Exception:  # noqa: BLE001 - an installation can be broken in many ways
        return "", ""


# ---- observers ----------------------------------------------------------------

# The files to look into, by the `sys.path` for which they were looked for.
_looked: dict[tuple[str, ...], bool] = {}
_complained: set[str] = set()


def observers() -> list[tuple[str, object]]:
    """Return the installed observers with their names; one that cannot be loaded is named once.

    An entry point names an object or a module with hooks, or a class: then a
    new object is made for each session.
    """
    path = tuple(sys.path)
    if path not in _looked:
        _looked.clear()
        _looked[path] = _may_have_observers(path)
    if not _looked[path]:
        return []
    found: list[tuple[str, object]] = []
    for name, point in sorted(_entry_points(_OBSERVERS).items()):
        try:
            plugin: Any = point.load()
            found.append((name, plugin() if isinstance(plugin, type) else plugin))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - what is imported may do anything
            complain(name, f"({point.value}) cannot be loaded: {one_line(error)}")
    return found


def _may_have_observers(path: tuple[str, ...]) -> bool:
    """Tell whether an installed distribution has observers, without `importlib.metadata`.

    Every session asks, and nearly always the answer is no.  To look for the
    group's name in the files of the distributions is some ten times cheaper than
    to import what reads them properly.
    """
    group = f"[{_OBSERVERS}]".encode()
    for folder in path:
        try:
            names = os.listdir(folder or ".")
        except OSError:
            if os.path.isfile(folder):
                return True  # an archive; it may hold anything
            continue
        for name in names:
            if not name.endswith((".dist-info", ".egg-info", ".egg")):
                continue
            inner = "EGG-INFO" if name.endswith(".egg") else ""
            with suppress(OSError):
                file = os.path.join(folder, name, inner, "entry_points.txt")
                with open(file, "rb", buffering=0) as opened:
                    if group in opened.read():
                        return True
    return False


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
