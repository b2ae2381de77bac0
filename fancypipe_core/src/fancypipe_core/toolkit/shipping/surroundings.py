"""What a task finds around it: looked at where it was sent from, and made again elsewhere."""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from fancypipe_core._base.main_module import main_script, set_main_script
from fancypipe_core._wire.kept_job import Surroundings
from fancypipe_core._worker.environment import apply
from fancypipe_core.toolkit.shipping.roots import container, roots

if TYPE_CHECKING:
    from fancypipe_core._worker.environment import Caller

__all__ = ["changed_files", "enter", "look", "other_versions"]


def look(
    files: Iterable[str], caller: Caller, directory: str, *, argv: Sequence[str], live: bool
) -> Surroundings:
    """Return what tasks of this process's sessions find around them now.

    Args:
        files: Source files of the task.
        caller: Tells what the pipeline has set in the environment.
        directory: The session's folder for temporary files.
        argv: The command line, without what is secret in it.
        live: Whether values are handed on as they are.
    """
    main = main_script()
    before, after = roots()
    environment = caller.changed()
    seen = [*files, *([main.value] if main is not None and main.kind == "file" else [])]
    hashes = {os.path.abspath(file): _hash(file) for file in seen if os.path.isfile(file)}
    return Surroundings(
        main=None if main is None else (main.kind, main.value),
        argv=list(argv),
        folder="" if environment is None else environment.folder,
        before=before,
        after=after,
        variables={} if environment is None else dict(environment.own),
        directory=directory,
        live=live,
        files=hashes,
        python=sys.version.split()[0],
        packages=_packages(),
    )


def enter(around: Surroundings, variables: dict[str, str]) -> None:
    """Make this process one in which the task finds the same.

    Args:
        around: What it has found.
        variables: Environment variables of its own.
    """
    ours = [entry for entry in sys.path if entry not in (*around.before, *around.after)]
    sys.path[:] = [one for one in (*around.before, *ours, *around.after) if container(one)]
    sys.argv[:] = around.argv
    apply({**around.variables, **variables}, around.folder)
    set_main_script(around.main)


def changed_files(around: Surroundings) -> Iterator[tuple[str, bool]]:
    """Yield the source files that are not what they were, with whether they are there at all."""
    for file, expected in around.files.items():
        is_there = os.path.isfile(file)
        if not is_there or _hash(file) != expected:
            yield file, is_there


def other_versions(around: Surroundings) -> Iterator[tuple[str, str, str]]:
    """Yield what has another version here: its name, the version then, and the one now.

    The version now is empty for what is not there at all.
    """
    here = sys.version.split()[0]
    if here != around.python:
        yield "Python", around.python, here
    now = _packages()
    for name, version in sorted(around.packages.items()):
        if now.get(name, "") != version:
            yield name, version, now.get(name, "")


def _hash(file: str) -> bytes:
    with suppress(OSError), open(file, "rb") as stream:
        return hashlib.blake2b(stream.read(), digest_size=16).digest()
    return b""


@functools.cache
def _packages() -> dict[str, str]:
    from importlib import metadata

    found: dict[str, str] = {}
    for one in metadata.distributions():
        with suppress(Exception):  # what is installed may be broken in any way
            found.setdefault(one.metadata["Name"], one.version)
    return found
