"""The configuration files: where they are, and what they say."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from fancypipe_core import errors

__all__ = ["files", "toml_of", "user_file"]

# The end of a key of that name: whoever needs us names us in other ways, and is not parsed.
_OUR_KEY = rb"""\bfancypipe["']?[ \t]*[].=]"""


def files(
    env: Mapping[str, str], cwd: str | os.PathLike[str] | None
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield `(kind, file, content)` for the files that there are; what comes later counts more.

    Raises:
        ConfigError: A file cannot be read, or is not TOML.
    """
    user = user_file(env)
    if user is not None:
        yield "user file", user, _load(user)
    try:
        folder = os.path.abspath(cwd or os.curdir)
    except FileNotFoundError:  # the current folder was removed
        return
    while True:
        own = os.path.join(folder, "fancypipe.toml")
        if os.path.isfile(own):
            yield "project file", own, _load(own)
            return
        shared = os.path.join(folder, "pyproject.toml")
        tools = _load(shared, mention=_OUR_KEY).get("tool")
        if isinstance(tools, dict) and isinstance(tools.get("fancypipe"), dict):
            yield "project file", shared, tools["fancypipe"]
            return
        above = os.path.dirname(folder)
        if above == folder:
            return
        folder = above


def user_file(env: Mapping[str, str]) -> str | None:
    """Return the path of the user's file, whether it is there or not; None without a home."""
    folder = env.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(folder):
        home = env.get("HOME") or os.path.expanduser("~")
        if not os.path.isabs(home):
            return None
        folder = os.path.join(home, ".config")
    return os.path.join(folder, "fancypipe", "config.toml")


def _load(file: str, mention: bytes = b"") -> dict[str, Any]:
    """Read a file; nothing if it is not there, or nothing in it matches `mention`."""
    try:
        with open(file, "rb") as stream:
            data = stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise errors.ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    # Most projects do not configure us, and what they wrote is not ours to judge.
    return toml_of(file, data) if re.search(mention, data) else {}


def toml_of(file: str, data: bytes) -> dict[str, Any]:
    """Return what a file says whose content this is.

    Raises:
        ConfigError: It is not TOML.
    """
    # Most runs have no file, and the parser costs as much as all the rest of this.
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise errors.ConfigError(f"{file}: is not a TOML file: {error}") from None
