"""Where a client's own code is: the entries of `sys.path` that no installation has put there."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlparse

import msgspec

__all__ = ["OURS", "Roots", "container", "editable_installs", "is_installed", "is_wide", "roots"]

OURS = {
    *("fancypipe_core", "fancypipe_procs", "fancypipe_remote", "fancypipe_threads"),
    *("fancypipe_dask", "fancypipe_ray", "fancypipe_slurm"),
}
"""What each worker has itself, in its own version, also where it is installed as editable."""


class Roots(NamedTuple):
    """Folders and archives from which a client imports its own code.

    Attributes:
        before: Those that come before the standard library, as the script's folder does.
        after: Those behind it, as the folders of editable installs.
    """

    before: list[str]
    after: list[str]


class _Origin(msgspec.Struct):
    """The file `direct_url.json` of an installation."""

    url: str
    dir_info: dict[str, object] = {}


def roots() -> Roots:
    """Return this process's roots, as absolute paths, each once."""
    stdlib = _installed_folders()[0]
    places = Roots([], [])
    behind = False
    entries: list[object] = list(sys.path)
    for entry in entries:
        if not isinstance(entry, str):
            continue  # imports do not read it either
        try:
            # What was appended later may be relative, and "" is the current folder.
            path = os.path.abspath(entry)
        except OSError:
            continue  # the current folder is gone
        if is_installed(path):
            behind = behind or path == stdlib or os.path.realpath(path) == stdlib
        elif path not in places.before and path not in places.after and container(path):
            (places.after if behind else places.before).append(path)
    return places


def container(path: str) -> str:
    """Return the folder or the archive that an entry of `sys.path` means; "" if there is none."""
    while not os.path.exists(path):
        # Below an archive there are folders, too.
        path, name = os.path.split(path)
        if not name:
            return ""
        if os.path.isdir(path):
            return ""
    return path


def is_installed(path: str) -> bool:
    """Tell whether a file or folder is the interpreter's own, or was installed for it."""
    if path.startswith(_installed_starts()) or path in _installed_folders():
        return True
    real = os.path.realpath(path)
    return real.startswith(_installed_starts()) or real in _installed_folders()


def is_wide(root: str) -> bool:
    """Tell whether a folder holds more than a project: it has a home or temporary files in it."""
    wide = [os.path.expanduser("~"), tempfile.gettempdir()]
    here = os.path.realpath(root)
    return any(
        path == here or path.startswith(os.path.join(here, ""))
        for path in map(os.path.realpath, wide)
    )


def editable_installs() -> Iterator[tuple[str, str]]:
    """Yield where each editable install is described, and the start of its files' paths."""
    # Not with `json`: a module of the user's may be called so.
    read = msgspec.json.Decoder(_Origin).decode
    for folder in dict.fromkeys(map(os.path.realpath, _installed_folders())):
        for told in Path(folder).glob("*.dist-info/direct_url.json"):
            try:
                said = read(told.read_bytes())
            except (OSError, msgspec.MsgspecError):
                continue  # not an editable one
            if said.dir_info.get("editable") is True:
                project = unquote(urlparse(said.url).path)
                yield str(told.parent), os.path.join(project, "")


@cache
def _installed_starts() -> tuple[str, ...]:
    return tuple(os.path.join(folder, "") for folder in _installed_folders())


@cache
def _installed_folders() -> tuple[str, ...]:
    """Return the standard library's folder, then the others; with those that links lead to."""
    known = sysconfig.get_paths()
    stdlib = known["stdlib"]
    folders = [stdlib, known["platstdlib"], known["purelib"], known["platlib"]]
    folders += [site.getusersitepackages(), *site.getsitepackages()]
    version = f"python{sys.version_info[0]}{sys.version_info[1]}.zip"
    folders += [os.path.join(os.path.dirname(stdlib), version)]
    for prefix in {sys.prefix, sys.base_prefix}:
        # Distributions of Linux have folders of their own for what they install.
        for lib in ("lib", "local/lib"):
            folders += map(str, Path(prefix, lib).glob("python*/dist-packages"))
    return tuple(
        dict.fromkeys(f(path) for f in (os.path.abspath, os.path.realpath) for path in folders)
    )
