"""Where a client's own code is: the entries of `sys.path` that no installation has put there."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlparse

import msgspec

from fancypipe_core._base.installed import installed_folders, is_installed

__all__ = ["Roots", "container", "editable_installs", "is_wide", "roots"]


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
    stdlib = installed_folders()[0]
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
    for folder in dict.fromkeys(map(os.path.realpath, installed_folders())):
        for told in Path(folder).glob("*.dist-info/direct_url.json"):
            try:
                said = read(told.read_bytes())
            except (OSError, msgspec.MsgspecError):
                continue  # not an editable one
            if said.dir_info.get("editable") is True:
                project = unquote(urlparse(said.url).path)
                yield str(told.parent), os.path.join(project, "")
