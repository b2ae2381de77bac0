"""Code that has no name goes by value, with dill.

Lambdas, closures, local classes, and everything of a notebook.  A class keeps
its identity: it travels with a token, and who knows the token takes the class
that it has, so `isinstance` and `except` work on what comes back.
"""

from __future__ import annotations

import io
import os
import weakref
from types import FunctionType
from typing import Any, NamedTuple

from fancypipe_core import _names

__all__ = ["Cache", "reduce_class", "reduce_function"]

Cache = dict[int, tuple[Any, Any]]
"""id(object) -> (object, reduction): kept for a run, since code may change between runs."""


class _Token(NamedTuple):
    """A class's name among processes.

    Attributes:
        id: Unique for the class.
        version: Counts up when its code has changed, as in a notebook where a
            global that it uses was set anew.
    """

    id: str
    version: int


_made: weakref.WeakValueDictionary[str, type] = weakref.WeakValueDictionary()
_loaded: weakref.WeakValueDictionary[_Token, type] = weakref.WeakValueDictionary()
_token_of: weakref.WeakKeyDictionary[type, _Token] = weakref.WeakKeyDictionary()
_blob_of: weakref.WeakKeyDictionary[type, bytes] = weakref.WeakKeyDictionary()


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
            token = _token_of[cls] = _Token(os.urandom(16).hex(), 0)
            _made[token.id] = cls
            if "__orig_bases__" not in vars(cls) and hasattr(cls, "__orig_bases__"):
                # dill would take the generic bases of a base class for this class's own.
                cls.__orig_bases__ = cls.__bases__
        blob = _dump(cls, cache)
        if token.id in _made and _blob_of.setdefault(cls, blob) != blob:
            _blob_of[cls] = blob
            token = _token_of[cls] = _Token(token.id, token.version + 1)
        known = cache[id(cls)] = (cls, (_load_class, (*token, blob)))
    return known[1]


def _load(blob: bytes) -> Any:
    import dill

    return dill.loads(blob)


def _load_class(id: str, version: int, blob: bytes) -> Any:
    token = _Token(id, version)
    cls = _made.get(id) or _loaded.get(token)
    if cls is None:
        cls = _load(blob)
        _loaded[token] = cls
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
