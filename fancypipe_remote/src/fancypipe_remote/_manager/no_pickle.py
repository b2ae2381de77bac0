"""A manager must not be able to run what passes through it: so it has no pickle.

What turns bytes into objects is kept out of its process.  pyzmq, which it needs,
imports `pickle` for a convenience that nobody here uses; it gets a module in which
every function refuses.  Import this module before anything else.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, NoReturn

__all__ = ["seal"]


def _refuse(*_args: Any, **_kwargs: Any) -> NoReturn:
    raise RuntimeError("a manager of fancypipe reads no pickles")


def seal() -> None:
    """Put a module that refuses in the place of `pickle`, if that was not imported yet."""
    if "pickle" in sys.modules or "_pickle" in sys.modules:
        return
    refusing = ModuleType("pickle", "Refuses: this process is a manager of fancypipe.")
    for name in ("dump", "dumps", "load", "loads", "Pickler", "Unpickler"):
        setattr(refusing, name, _refuse)
    vars(refusing).update(
        DEFAULT_PROTOCOL=5,
        HIGHEST_PROTOCOL=5,
        PickleError=Exception,
        PicklingError=Exception,
        UnpicklingError=Exception,
    )
    sys.modules["pickle"] = refusing
