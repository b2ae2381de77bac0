"""The script that the user has started: what it is, and how it is run once more.

Python and its runners start a script in many ways: as a file, as a module, from an
archive, from standard input, inside of a profiler or debugger.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from importlib.machinery import ModuleSpec, SourceFileLoader, SourcelessFileLoader
from types import CodeType
from typing import Any, NamedTuple

__all__ = ["MAIN", "MainScript", "about_file", "names_of_runner", "script_of", "source"]

MAIN = "__main__"

_STREAMS = ("/dev/", "/proc/")  # such as /dev/stdin: in another process that is another file


class MainScript(NamedTuple):
    """Where the client's main module comes from.

    Attributes:
        kind: `file` or `module`.
        value: The path, or the module's dotted name.
    """

    kind: str
    value: str


def script_of(names: Mapping[str, Any]) -> MainScript | None:
    """Return what a main module's names say of where it comes from; None if from no file.

    Args:
        names: Those of the module, or of the dictionary in which a runner runs it.
    """
    spec = names.get("__spec__")
    if spec is not None and spec.name != MAIN:
        return MainScript("module", spec.name)
    loader = names.get("__loader__")
    archive = getattr(loader, "archive", None)
    if isinstance(archive, str) and os.path.isfile(archive):
        folder = getattr(loader, "prefix", "")
        return MainScript("file", os.path.join(os.path.abspath(archive), folder).rstrip(os.sep))
    file = names.get("__file__")
    if not isinstance(file, str):
        return None
    file = os.path.abspath(str(file))  # a debugger has a class of its own for it
    if file.startswith(_STREAMS):
        file = os.path.realpath(file)
    if os.path.isfile(file) and not file.startswith(_STREAMS):
        return MainScript("file", file)
    return None


def names_of_runner(main: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the names in which a runner runs the script that is now in a call; None without one.

    Args:
        main: The names of the module `__main__`, which may be the runner's own.
    """
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None:
        names = frame.f_globals
        if frame.f_code.co_name == "<module>" and names.get("__name__") == MAIN:
            return None if names is main else names
        frame = frame.f_back
    return None


def source(script: MainScript) -> tuple[CodeType, dict[str, Any]]:
    """Return a main script's code, and what its module says of itself."""
    if script.kind == "module":
        from importlib.util import find_spec

        return _found(find_spec(script.value), script.value)
    if not script.value.endswith(".py"):
        from pkgutil import get_importer

        archive = get_importer(script.value)
        if archive is not None:
            return _found(archive.find_spec(MAIN, None), MAIN)
    about = about_file(script.value)
    if script.value.endswith(".pyc"):
        about["__loader__"] = loader = SourcelessFileLoader(MAIN, script.value)
        compiled = loader.get_code(MAIN)
        assert compiled is not None
        return compiled, about
    with open(script.value, "rb") as stream:
        # Not by a loader: that takes a stale __pycache__ for a script that was
        # changed within the same second, and leaves one beside the user's script.
        return compile(stream.read(), script.value, "exec", dont_inherit=True), about


def _found(spec: ModuleSpec | None, name: str) -> tuple[CodeType, dict[str, Any]]:
    get_code = getattr(spec.loader, "get_code", None) if spec is not None else None
    code = get_code(name) if get_code is not None else None
    if spec is None or code is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return code, {
        "__file__": spec.origin,
        "__cached__": spec.cached,
        "__loader__": spec.loader,
        "__package__": spec.parent,
        "__spec__": spec,
    }


def about_file(path: str) -> dict[str, Any]:
    """Return what the module of a script says of itself."""
    # As Python sets them for `python FILE`; multiprocessing goes by them.
    return {
        "__file__": path,
        "__cached__": None,
        "__loader__": SourceFileLoader(MAIN, path),
        "__package__": None,
        "__spec__": None,
    }
