"""How code is named on the way to a worker: by import, by main script, by file.

A function or class that a worker can import is sent by name.  What stands in
the main script is sent as "of the main script": the worker imports that script
when it first meets such a name, as `__mp_main__`, so that an `if __name__ ==
"__main__"` guard does not fire there.  A module that was loaded from a file
which no import finds is sent as that file.  What has no name at all (lambdas,
closures, local classes, notebooks) goes by value: see `_byvalue`.
"""

from __future__ import annotations

import os
import sys
import threading
import types
from typing import Any, NamedTuple

from fancypipe_core import errors

__all__ = [
    "MainScript",
    "in_worker",
    "load_main",
    "loading_main",
    "main_script",
    "reference",
    "set_main_script",
]

_MAIN = "__main__"
_MP_MAIN = "__mp_main__"


class MainScript(NamedTuple):
    """Where the client's main module comes from.

    Attributes:
        kind: `file` or `module`.
        value: The path, or the module's dotted name.
    """

    kind: str
    value: str


class _Worker:
    """What a worker process knows of the client's main script."""

    def __init__(self) -> None:
        self.is_one = False
        self.main: MainScript | None = None
        self.lock = threading.Lock()
        self.loading = False
        # What importing the script raised, and its traceback, which grows when it is raised again.
        self.failed: tuple[BaseException, types.TracebackType | None] | None = None


_worker = _Worker()


def main_script() -> MainScript | None:
    """Return what workers are to import as the main module, or None for a notebook or prompt."""
    if _worker.is_one:
        return _worker.main
    loaded = sys.modules.get(_MP_MAIN)
    main = sys.modules.get(_MAIN)
    if loaded is not None and loaded is not main:
        file = getattr(loaded, "__file__", None)
        return MainScript("file", os.path.abspath(file)) if file else None
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name != _MAIN:
        return MainScript("module", spec.name)
    file = getattr(main, "__file__", None)
    if file and os.path.isfile(file):
        return MainScript("file", os.path.abspath(file))
    return None


def set_main_script(main: tuple[str, str] | None) -> None:
    """In a worker: remember what to import when a name of the main module comes."""
    _worker.main = None if main is None else MainScript(*main)
    _worker.is_one = True


def in_worker() -> bool:
    """Tell whether this process is a worker process of ours."""
    return _worker.is_one


def loading_main() -> str | None:
    """Return the main script's file while a worker is importing it, else None."""
    return _worker.main.value if _worker.loading and _worker.main is not None else None


def reference(obj: Any) -> Any:
    """Return what a pickler takes as a reduction of a function, class or task by name.

    A string means its own module and qualified name; a tuple is a call; None
    means that it has no name by which a worker would find it.
    """
    module_name = getattr(obj, "__module__", None)
    qualname = getattr(obj, "__qualname__", None)
    if module_name is None or qualname is None or "<" in qualname:
        return None
    module = sys.modules.get(module_name)
    if module is None or _walk(module, qualname) is not obj:
        return None
    if module_name in (_MAIN, _MP_MAIN):
        return (_from_main, (qualname,)) if main_script() is not None else None
    if _importable(module_name):
        return qualname
    file = getattr(module, "__file__", None)
    if file and os.path.isfile(file):
        return (_from_file, (module_name, os.path.abspath(file), qualname))
    return None


def _walk(module: Any, qualname: str) -> Any:
    found = module
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return found


_known: dict[str, bool] = {}


def _importable(name: str) -> bool:
    """Tell whether a fresh interpreter with our `sys.path` finds this very module."""
    known = _known.get(name)
    if known is None:
        known = _known[name] = _find(name)
    return known


def _find(name: str) -> bool:
    module = sys.modules[name]
    file = getattr(module, "__file__", None)
    if file is None:
        return name in sys.builtin_module_names or getattr(module, "__path__", None) is not None
    parent = name.rpartition(".")[0]
    path = None
    if parent:
        if parent not in sys.modules or not _importable(parent):
            return False
        path = getattr(sys.modules[parent], "__path__", None)
    for finder in sys.meta_path:
        find_spec = getattr(finder, "find_spec", None)
        spec = find_spec(name, path, None) if find_spec is not None else None
        if spec is not None:
            return (
                spec.origin is None
                or not os.path.exists(spec.origin)
                or os.path.samefile(spec.origin, file)
            )
    return False


def _from_main(qualname: str) -> Any:
    """Find a name of the main module; in a worker, import the main script first."""
    module = load_main() if _worker.is_one else sys.modules.get(_MP_MAIN) or sys.modules[_MAIN]
    found = _walk(module, qualname)
    if found is None and not _worker.is_one:
        found = _walk(sys.modules[_MAIN], qualname)
    if found is None:
        script = _worker.main.value if _worker.main is not None else "the main script"
        raise errors.DecodeError(
            f"{script} has no {qualname!r} when a worker imports it; define it at the top level, "
            'not below `if __name__ == "__main__":`'
        )
    return found


def load_main() -> Any:
    """In a worker: import the client's main script, or take it if it was imported.

    Raises:
        DecodeError: The client has none.
        BaseException: Whatever the script raises.
    """
    with _worker.lock:
        module = sys.modules.get(_MP_MAIN)
        if module is not None:
            return module
        if _worker.main is None:
            raise errors.DecodeError("a name of the main script came, but no main script was named")
        if _worker.failed is not None:
            # It would fail again, and do what it does before that again.
            error, trace = _worker.failed
            raise error.with_traceback(trace)
        import runpy

        made = types.ModuleType(_MP_MAIN)
        # Before it runs, so that what it defines is found while it is imported.
        sys.modules[_MP_MAIN] = made
        _worker.loading = True
        try:
            if _worker.main.kind == "module":
                content = runpy.run_module(_worker.main.value, run_name=_MP_MAIN, alter_sys=True)
            else:
                content = runpy.run_path(_worker.main.value, run_name=_MP_MAIN)
        except BaseException as error:
            sys.modules.pop(_MP_MAIN, None)
            if not isinstance(error, KeyboardInterrupt):
                _worker.failed = (error, error.__traceback__)
            raise
        finally:
            _worker.loading = False
        made.__dict__.update(content)
        sys.modules[_MAIN] = sys.modules[_MP_MAIN] = made
        return made


def _from_file(name: str, file: str, qualname: str) -> Any:
    """Find a name in a module that was loaded from a file which no import finds."""
    module = sys.modules.get(name)
    if module is None:
        from importlib import util

        spec = util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise errors.DecodeError(f"cannot load {file} as module {name}")
        module = util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            sys.modules.pop(name, None)
            raise
    found = _walk(module, qualname)
    if found is None:
        raise errors.DecodeError(f"{file} has no {qualname!r} here")
    return found
