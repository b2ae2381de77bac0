"""Values of libraries whose own pickles differ for the same, or do not say enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["OWN", "code", "reduction"]

Named = Callable[[Any], str]


def reduction(obj: Any, kind: type, named: Named, digest: Named) -> Any:
    """Return what stands for a value in a pickle that is only compared; or NotImplemented.

    Args:
        obj: The value.
        kind: Its type.
        named: Returns the name of code.
        digest: Returns the digest of an array's bytes.
    """
    top, name = kind.__module__.partition(".")[0], kind.__name__
    if top == "numpy":
        if name == "ndarray" and not obj.dtype.hasobject:
            order = "F" if obj.flags.f_contiguous and not obj.flags.c_contiguous else "C"
            return (array, (obj.dtype, obj.shape, order, digest(obj)))
        if name == "ufunc":
            return (code, (named(obj),))
    elif top == "pandas" and name == "DataFrame":
        # In which blocks its columns lie is another after a copy.
        columns = [obj.iloc[:, at].array for at in range(obj.shape[1])]
        allows = obj.flags.allows_duplicate_labels
        return (frame, (kind, obj.columns, obj.index, columns, obj.attrs, allows))
    elif top == "numba" and hasattr(obj, "py_func"):
        # What it says itself has a number that is of this process.
        return (code, (named(obj.py_func), dict(getattr(obj, "targetoptions", {}))))
    return NotImplemented


# They are only written down, by name.
def code(*parts: Any) -> None:
    """Stands for code."""


def array(*parts: Any) -> None:
    """Stands for an array."""


def frame(*parts: Any) -> None:
    """Stands for a table of pandas."""


OWN: frozenset[Callable[..., Any]] = frozenset({code, array, frame})
"""What stands for values, and is written as it is."""
