"""How code is called: its own name, not that which a decorator has given it."""

from __future__ import annotations

import gc
import sys
from types import FunctionType
from typing import Any

from fancypipe_core._cache.project import module_name
from fancypipe_core._model.task import TaskFunction

__all__ = ["function_inside", "is_found", "name_of", "outer_name"]


def name_of(obj: Any) -> str:
    """Return the name of a function or class of Python's."""
    if isinstance(obj, FunctionType):
        # A decorator may have given it the name of what it wraps.
        qualname = getattr(obj.__code__, "co_qualname", None)
        if qualname is None:
            qualname = obj.__qualname__
            if qualname.rpartition(".")[2] != obj.__code__.co_name:
                qualname = f"<wrapped>.{obj.__code__.co_name}"
        module = obj.__globals__.get("__name__") or obj.__module__
    else:
        module, qualname = obj.__module__, obj.__qualname__
    return f"{module_name(str(module))}.{qualname}"


def outer_name(obj: Any) -> str:
    """Return the name of what may be of C, or anything that can be called."""
    if isinstance(obj, FunctionType):
        return name_of(obj)
    name = getattr(obj, "__qualname__", None) or getattr(obj, "__name__", None) or repr(type(obj))
    module = getattr(obj, "__module__", None)
    if module is None:
        owner = getattr(obj, "__self__", None) or getattr(obj, "__objclass__", None)
        module = getattr(owner, "__name__", None) or type(obj).__module__
    return f"{module_name(str(module))}.{name}"


def function_inside(obj: Any) -> Any:
    """Return the function in what is made of one by a function of C; None for others."""
    if type(obj).__name__ == "ufunc":  # of `numpy.frompyfunc`
        return next((one for one in gc.get_referents(obj) if isinstance(one, FunctionType)), None)
    return None


def is_found(obj: Any) -> bool:
    """Tell whether what is found by its name is this, or wraps it."""
    found: Any = sys.modules.get(obj.__module__)
    for name in obj.__qualname__.split("."):
        found = getattr(found, "__dict__", {}).get(name, None)
        if isinstance(found, (staticmethod, classmethod)):
            found = found.__func__
    while found is not None and found is not obj:
        found = found.main if isinstance(found, TaskFunction) else None
    return found is obj
