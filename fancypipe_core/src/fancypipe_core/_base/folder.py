"""The folder that this process is in, asked for without letting other threads go on.

Between two tasks of a chain it is looked at.  `os.getcwd` gives up the lock of the interpreter
for that, and so, where the engine's thread waits for the lock, the chain stands still until that
has done its turn: it took a third of what a link costs.  The kernel answers from memory, so there
is nothing to wait for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["folder", "swift_folder"]

_SIZE = 4096  # bytes; of a longer one the system is asked in the usual way


def folder() -> bytes | None:
    """Return the current folder; None if it was removed."""
    try:
        return os.getcwdb()
    except OSError:
        return None


def swift_folder() -> Callable[[], bytes | None]:
    """Return what does as `folder`, and keeps the lock; for one thread at a time.

    Where that cannot be had it is `folder` itself.
    """
    if sys.platform != "linux" or sys.implementation.name != "cpython":
        return folder
    try:
        call, buffer, size = _of_c()
    except (ImportError, OSError):
        return folder

    def asked() -> bytes | None:
        if call(buffer, size):
            found: bytes = buffer.value
            return found
        return folder()

    return asked


def _of_c() -> tuple[Any, Any, Any]:
    """Return the function of C, a buffer for its answer, and the size of that."""
    # Not the whole of `ctypes`, which takes milliseconds to import.
    import _ctypes

    simple: Any = _ctypes._SimpleCData
    char: Any = type("_Char", (simple,), {"_type_": "c"})
    size: Any = type("_Size", (simple,), {"_type_": "L"})
    pointer: Any = type("_Pointer", (simple,), {"_type_": "P"})
    buffer: Any = type("_Buffer", (_ctypes.Array,), {"_type_": char, "_length_": _SIZE})
    # Functions of Python's own API are called with the lock held.
    flags = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_PYTHONAPI
    function: Any = type("_Function", (_ctypes.CFuncPtr,), {"_flags_": flags, "_restype_": pointer})
    loaded: Any = None  # what this process has loaded already
    getcwd = function(_ctypes.dlsym(_ctypes.dlopen(loaded, 0), "getcwd"))
    return getcwd, buffer(), size(_SIZE)
