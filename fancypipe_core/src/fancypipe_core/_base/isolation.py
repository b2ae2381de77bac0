"""What all code of a process shares, and one call must not change for the next, or for the caller.

Each call has a context of its own, and finds the process's settings as they were
before other calls.  What calls that run at the same time, in threads, change for
each other cannot be kept apart; it is put right as soon as none runs.

What nobody has touched must cost next to nothing.  So the few settings that are
read in no time are compared after each call; the others between bursts of calls, and
at the end of a run.  What modules change when they are imported is theirs, and stays.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from fancypipe_core._base.global_settings import MODULES, Setting, caller_settings, library_settings
from fancypipe_core._base.random_state import (
    Generator,
    generators,
    seeders,
    watch_no_more,
    watch_seeding,
)

__all__ = ["Ambient", "ambient"]


class _Kept:
    """A setting, and how it has to be."""

    __slots__ = ("before", "setting", "view")

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.view = setting.view or setting.read
        self.before = setting.read()

    def put_back(self, imported: bool) -> None:
        """Make it what it was, as far as no import has changed it."""
        with suppress(Exception):  # whatever a library makes of its own settings
            if imported:
                self.before = self.setting.learn(self.before, self.setting.read())
            self.setting.write(self.before)


class _NumPy1:
    """How numpy treats errors in this thread; since numpy 2 it is a context variable.

    Args:
        umath: The module `numpy.core.umath`.
    """

    def __init__(self, umath: Any) -> None:
        self._get, self._set = umath.geterrobj, umath.seterrobj
        self._default = [umath.UFUNC_BUFSIZE_DEFAULT, umath.ERR_DEFAULT, None]

    def begin(self) -> Any:
        before = self._get()
        self._set(list(self._default))  # numpy keeps the list, and changes it
        return before

    def end(self, before: Any) -> None:
        self._set(before)


class Ambient:
    """The settings of this process, while calls run in it.

    `begin` and `end` stand around each call, `settle` and `look` around bursts of
    them, and `lent` around a run in the process of the caller.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[object, Any] = {}  # that run now, with what is their threads'
        self._runs = 0  # that the caller has under way in this process
        self._beside = False  # whether calls run beside each other
        self._is_callers = False  # whether there was ever one: so this is no worker
        self._modules = 0  # how many there were
        self._generators: list[Generator] = []
        self._moved: list[Callable[[], bool]] = []
        self._give_back: list[Callable[[], None]] | None = None  # what is the caller's
        self._kept: list[_Kept] = []
        self._known: set[str] = set()  # modules whose settings these are
        self._settled = self._noted = False
        self._environ: dict[Any, Any] | None = None
        self._numpy1: _NumPy1 | None = None
        self._note()
        self._noted = False

    def _note(self) -> None:
        """How it is now is how it has to be."""
        self._noted = True
        self._list: Any = warnings.filters
        self._filters = list(self._list)
        self._recursion = sys.getrecursionlimit()
        self._collects = gc.isenabled()
        if self._runs:
            self._environ = dict(_variables())

    # ---- around a call ----

    def begin(self) -> object:
        """A call begins; the answer is for `end`."""
        call = object()
        self._lock.acquire()  # a `with` takes twice as long, and this is done for each call
        try:
            if not self._calls and (not self._noted or len(sys.modules) != self._modules):
                self._refresh()
                self._note()
            self._calls[call] = None if self._numpy1 is None else self._numpy1.begin()
        finally:
            self._lock.release()
        return call

    def end(self, call: object) -> None:
        """The call has ended: if no other runs, what it has changed is put back."""
        if seeders and threading.get_ident() in seeders:
            # At once: who waits for the lock here lets others go on, and draw from this seed.
            self._renew()
            seeders.discard(threading.get_ident())
            for generator in self._generators:
                generator.prepare()
        self._lock.acquire()
        try:
            own = self._calls.pop(call, self)
            if own is self:
                return  # this is a fork, or the run is over
            if own is not None and self._numpy1 is not None:
                self._numpy1.end(own)
            if self._calls:
                return
            for moved in self._moved:
                if moved():
                    self._renew()
            filters = warnings.filters
            if filters is not self._list or filters != self._filters:
                self._put_back_filters()
            if sys.getrecursionlimit() != self._recursion:
                with suppress(RecursionError):
                    sys.setrecursionlimit(self._recursion)
            if gc.isenabled() != self._collects:
                (gc.enable if self._collects else gc.disable)()
            if self._environ is not None and self._environ != _variables():
                _set_variables(self._environ, self._has_imported)
        finally:
            self._lock.release()

    def refresh(self) -> None:
        """The caller's own code runs, and draws random numbers of its own; if no call does."""
        with self._lock:
            if not self._calls:
                self._refresh()
                self._noted = self._settled = False

    def _refresh(self) -> None:
        if self._runs and self._give_back is None:
            self._give_back = [one.save() for one in self._generators]
        if len(sys.modules) != self._modules:
            self._find()
        self._renew()

    def _renew(self) -> None:
        for generator in self._generators:
            if generator.moved():
                generator.renew()

    def _find(self) -> None:
        """Modules have been imported: see which are of interest."""
        self._modules = len(sys.modules)
        if self._beside:
            watch_seeding()
            for generator in self._generators:
                generator.prepare()
        known = {type(one) for one in self._generators}
        for generator in generators():
            if type(generator) not in known:
                self._generators.append(generator)
                if self._give_back is not None:
                    self._give_back.append(generator.save())
                generator.renew()
        self._moved = [one.moved for one in self._generators]
        umath = sys.modules.get("numpy.core.umath")
        if hasattr(umath, "seterrobj") and self._numpy1 is None:
            self._numpy1 = _NumPy1(umath)
        for name in MODULES:
            if name not in self._known and (module := sys.modules.get(name)) is not None:
                self._known.add(name)
                self._kept += map(_Kept, library_settings(name, module))

    @property
    def _has_imported(self) -> bool:
        return len(sys.modules) != self._modules

    def _put_back_filters(self) -> None:
        before = self._filters
        if self._has_imported:
            # What a module filters when it is imported is of one kind, not all warnings.
            new = [one for one in warnings.filters if one not in before and (one[1] or one[3])]
            before = self._filters = new + before
        self._list[:] = before
        warnings.filters = self._list
        with warnings.catch_warnings():
            pass  # what Python remembers of the other filters is void

    # ---- around many ----

    def settle(self) -> None:
        """Calls are about to run here: how it is now is how the caller wants it."""
        with self._lock:
            if self._runs and not self._calls and not self._settled:
                self._settled = True
                for kept in self._kept:
                    if kept.view() != kept.before:
                        kept.before = kept.setting.read()

    def look(self) -> None:
        """Put back the rest, if no call runs."""
        with self._lock:
            if not self._calls and (self._runs or not self._is_callers):
                self._noted = not self._runs
                for kept in self._kept:
                    if kept.view() != kept.before:
                        kept.put_back(self._has_imported)

    @contextmanager
    def lent(self, beside: bool = False) -> Iterator[None]:
        """Lend this process to calls: at the end the caller finds what was there before.

        Args:
            beside: Whether calls may run beside each other here.
        """
        with self._lock:
            self._runs += 1
            self._modules = 0  # so that all is looked at
            around = set(self._calls)  # calls that begin a run of their own
            self._beside = self._beside or beside
            self._is_callers = self._is_callers or not around
            if "" not in self._known:
                self._known.add("")
                self._kept += map(_Kept, caller_settings())
            self._settled = self._noted = False
        self.settle()
        self._settled = False
        try:
            yield
        finally:
            self.look()
            with self._lock:
                self._runs -= 1
                if not self._runs:
                    for give_back in self._give_back or ():
                        give_back()
                    self._give_back = self._environ = None
                    watch_no_more()
                    self._beside = False
                    # What runs on in a thread has no say any more: the caller goes on.
                    self._calls = {one: own for one, own in self._calls.items() if one in around}


def _variables() -> dict[Any, Any]:
    return os.environ._data  # type: ignore[attr-defined, no-any-return]


def _set_variables(before: dict[Any, Any], imported: bool) -> None:
    """Put the environment back; what modules have added when they were imported stays."""
    environ: Any = os.environ
    now = dict(_variables())
    for name in now.keys() - before.keys():
        if not imported:
            del environ[environ.decodekey(name)]
    for name, value in before.items():
        if now.get(name) != value:
            environ[environ.decodekey(name)] = environ.decodevalue(value)
    if hasattr(time, "tzset"):
        time.tzset()


ambient = Ambient()

if hasattr(os, "register_at_fork"):
    # What runs and whom it belongs to is the affair of the process that was forked.
    os.register_at_fork(after_in_child=ambient.__init__)  # type: ignore[misc]
