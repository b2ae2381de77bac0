"""Code that has no name goes by value, with dill.

Lambdas, closures, local classes, and everything of a notebook.  A class keeps
its identity: it travels with a token, and who knows the token takes the class
that it has, so `isinstance` and `except` work on what comes back.
"""

from __future__ import annotations

import io
import uuid
import weakref
from types import FunctionType
from typing import Any

from fancypipe_core import _names

__all__ = ["Cache", "reduce_class", "reduce_function"]

Cache = dict[int, tuple[Any, Any]]
"""id(object) -> (object, reduction): kept for a run, since code may change between runs."""

_token_of: weakref.WeakKeyDictionary[type, str] = weakref.WeakKeyDictionary()
_class_of: weakref.WeakValueDictionary[str, type] = weakref.WeakValueDictionary()


def reduce_function(function: FunctionType, cache: Cache) -> Any:
    """Return the reduction of a function by value."""
    known = cache.get(id(function))
    if known is None:
        known = cache[id(function)] = (function, (_load, (_dump(function, cache),)))
    return known[1]


def reduce_class(cls: type, cache: Cache) -> Any:
    """Return the reduction of a class by value, with its token."""
    known = cache.get(id(cls))
    if known is None:
        token = _token_of.get(cls)
        if token is None:
            token = _token_of[cls] = uuid.uuid4().hex
            _class_of[token] = cls
        known = cache[id(cls)] = (cls, (_load_class, (token, _dump(cls, cache))))
    return known[1]


def _load(blob: bytes) -> Any:
    import dill

    return dill.loads(blob)


def _load_class(token: str, blob: bytes) -> Any:
    cls = _class_of.get(token)
    if cls is None:
        cls = _load(blob)
        _class_of[token] = cls
        _token_of[cls] = token
    return cls


def _dump(root: Any, cache: Cache) -> bytes:
    import dill

    class Pickler(dill.Pickler):  # type: ignore[misc]  # dill has no types
        def reducer_override(self, obj: Any) -> Any:
            # Other nameless classes inside keep their tokens as well.  One that
            # is being written already (two classes that know each other) has
            # none to refer to yet; dill then writes a copy.
            if obj is root or not isinstance(obj, (type, FunctionType)):
                return NotImplemented
            named = _names.reference(obj)
            if named is not None:
                return named
            if isinstance(obj, type) and obj.__module__ != "builtins" and id(obj) not in writing:
                return reduce_class(obj, cache)
            return NotImplemented

    writing = _writing
    writing.add(id(root))
    try:
        file = io.BytesIO()
        Pickler(file, protocol=5, byref=False, recurse=True).dump(root)
        return file.getvalue()
    finally:
        writing.discard(id(root))


_writing: set[int] = set()
