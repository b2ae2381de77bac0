"""How code is named on the way to a worker: by import, by main script, by file.

A function or class that a worker can import is sent by name.  What stands in
the main script is sent as "of the main script": the worker runs that script
when it first meets such a name (see `_base.main_module`).  A module that was loaded from a
file which no import finds is sent as that file.  What has no name at all
(lambdas, closures, local classes, notebooks) goes by value: see `_codec.by_value`.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from fancypipe_core import errors
from fancypipe_core._base import main_module

__all__ = ["forget", "reference"]


def reference(obj: Any) -> Any:
    """Return what a pickler takes as a reduction of a function, class or task by name.

    A string means its own module and qualified name; a tuple is a call; None
    means that it has no name by which a worker would find it.
    """
    module_name = getattr(obj, "__module__", None)
    qualname = getattr(obj, "__qualname__", None) or getattr(obj, "__name__", None)
    if module_name is None or qualname is None or "<" in qualname:
        return None
    return item(module_name, qualname, obj)


def item(module_name: str, qualname: str, obj: Any) -> Any:
    """Return what `reference` does, for an object with another name than its own."""
    if module_name in (main_module.MAIN, main_module.GUARDED):
        if main_module.main_script() is None or _find_in_main(qualname) is not obj:
            return None
        return (_from_main, (qualname,))
    module = sys.modules.get(module_name)
    if module is None or _walk(module, qualname) is not obj:
        return None
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


def forget() -> None:
    """In a worker: what was found out about modules does not hold any more."""
    _known.clear()


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


def _find_in_main(qualname: str) -> Any:
    """Find a name of the main module as it is; in a worker that may not have run."""
    first, _, rest = qualname.partition(".")
    found = main_module.main_names().get(first)
    return _walk(found, rest) if rest else found


def _from_main(qualname: str) -> Any:
    """Find a name of the main module; in a worker, run the main script first."""
    if main_module.in_worker():
        main_module.load_main()
    found = _find_in_main(qualname)
    if found is None:
        script = main_module.main_script()
        raise errors.DecodeError(
            f"{'the main script' if script is None else script.value} has no {qualname!r} when a "
            "worker imports it; define it at the top level, "
            'not below `if __name__ == "__main__":`'
        )
    return found


def _from_file(name: str, file: str, qualname: str) -> Any:
    """Find a name in a module that was loaded from a file which no import finds."""
    module = sys.modules.get(name)
    if module is None:
        from importlib import util

        # Where nothing is shared, what the client sent has its whole path below a folder
        # that is the last on `sys.path`.
        below = (os.path.join(entry, file.lstrip(os.sep)) for entry in reversed(sys.path))
        file = next(filter(os.path.isfile, below), file)
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
