"""What observers are told of a run when it begins."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from time import time
from typing import Any

from fancypipe_core._base.processes import began
from fancypipe_core._base.resources import host_name
from fancypipe_core._model.ref import Instance, Item
from fancypipe_core._plugins.discovery import version
from fancypipe_core._settings.lines import toml
from fancypipe_core._settings.table import Resolved
from fancypipe_core.hooks import RunInfo

__all__ = ["argv_in_words", "name_of", "run_info", "settings_in_words"]

_STARS = "***"
_SECRET = re.compile("auth|secret|passw|token|credential", re.IGNORECASE)


def run_info(  # noqa: PLR0913 - what there is to tell
    id: str,
    target: str,
    *,
    backend: str,
    workers: int,
    unit: str,
    session: str,
    directory: str,
    tempdir: str | None,
    settings: Mapping[str, str],
    argv: tuple[str, ...],
) -> RunInfo:
    """Return what observers are told; see there."""
    return RunInfo(
        id,
        backend,
        workers,
        directory,
        unit,
        session=session,
        target=target,
        began=time(),
        host=host_name(),
        pid=os.getpid(),
        pid_began=began(),
        folder=_here(),
        argv=argv,
        settings=settings,
        versions={"fancypipe": version(), "python": sys.version.split()[0]},
        tempdir=tempdir,
    )


def _here() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return ""


def argv_in_words(argv: Iterable[str], tables: Iterable[Resolved[Any]]) -> tuple[str, ...]:
    """Return a command line without what is secret in it: by its value, or by its option's name."""
    secrets = [
        str(value)
        for resolved in tables
        for line in resolved.table.lines
        if line.secret and (value := getattr(resolved.settings, line.name))
    ]
    told: list[str] = []
    is_secret = False  # what comes next
    for word in map(str, argv):
        name, equals, _value = word.partition("=")
        is_option = word.startswith("-") and len(word) > 1
        if is_secret and not is_option:
            told.append(_STARS)
            is_secret = False
            continue
        is_secret = is_option and _SECRET.search(name) is not None
        told.append(_hidden(f"{name}={_STARS}" if is_secret and equals else word, secrets))
        is_secret = is_secret and not equals
    return tuple(told)


def _hidden(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, _STARS)
    return text


def settings_in_words(tables: Iterable[Resolved[Any]]) -> dict[str, str]:
    """Return the settings that are in force, in words; secrets are stars."""
    return dict(_pairs(tables))


def _pairs(tables: Iterable[Resolved[Any]]) -> Iterator[tuple[str, str]]:
    for resolved in tables:
        owner = f"{resolved.table.owner}." if resolved.table.owner else ""
        for line in resolved.table.lines:
            value = getattr(resolved.settings, line.name)
            hidden = line.secret and value is not None
            yield f"{owner}{line.name}", _STARS if hidden else toml(value)


def name_of(target: Any) -> str:
    """Return how a target is called: by its task, or by how many there are."""
    if isinstance(target, Item):
        target = target._origin()
    if isinstance(target, Instance):
        return target._definition.name
    if isinstance(target, (list, tuple, dict, set)):
        return f"{len(target)} targets" if len(target) != 1 else name_of(next(iter(target)))
    return type(target).__name__
