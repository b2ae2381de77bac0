"""The folder and the locale of this process, asked for without letting other threads go on.

Between two tasks of a chain it is looked at.  `os.getcwd` gives up the lock of the interpreter
for that, and so, where the engine's thread waits for the lock, the chain stands still until that
has done its turn: it took a third of what a link costs.  The kernel answers from memory, so there
is nothing to wait for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

__all__ = ["folder", "swift_folder", "swift_locale"]

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
        call, buffer, size = _getcwd()
    except (ImportError, OSError):
        return folder

    def asked() -> bytes | None:
        if call(buffer, size):
            found: bytes = buffer.value
            return found
        return folder()

    return asked


def swift_locale() -> Callable[[], bytes] | None:
    """Return what tells the whole locale in half the time; None where that cannot be had."""
    if sys.platform != "linux" or sys.implementation.name != "cpython":
        return None
    try:
        import _locale

        return partial(_of_c("setlocale", "z"), _locale.LC_ALL, None)
    except (ImportError, OSError):
        return None


def _getcwd() -> tuple[Any, Any, Any]:
    """Return the function of C, a buffer for its answer, and the size of that."""
    getcwd = _of_c("getcwd", "P")
    import _ctypes

    simple: Any = _ctypes._SimpleCData
    char: Any = type("_Char", (simple,), {"_type_": "c"})
    size: Any = type("_Size", (simple,), {"_type_": "L"})
    buffer: Any = type("_Buffer", (_ctypes.Array,), {"_type_": char, "_length_": _SIZE})
    return getcwd, buffer(), size(_SIZE)


def _of_c(name: str, answers: str) -> Any:
    """Return a function of C that this process has loaded, and that keeps the lock.

    Args:
        name: The function.
        answers: What it returns, as `ctypes` writes it.
    """
    # Not the whole of `ctypes`, which takes milliseconds to import.
    import _ctypes

    simple: Any = _ctypes._SimpleCData
    answer: Any = type("_Answer", (simple,), {"_type_": answers})
    # Functions of Python's own API are called with the lock held.
    flags = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_PYTHONAPI
    function: Any = type("_Function", (_ctypes.CFuncPtr,), {"_flags_": flags, "_restype_": answer})
    loaded: Any = None  # what this process has loaded already
    return function(_ctypes.dlsym(_ctypes.dlopen(loaded, 0), name))
