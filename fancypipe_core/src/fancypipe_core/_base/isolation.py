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
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from fancypipe_core._base import variables
from fancypipe_core._base.global_settings import MODULES, Setting, caller_settings, library_settings
from fancypipe_core._base.random_state import (
    Generator,
    generators,
    seeders,
    watch_no_more,
    watch_seeding,
)
from fancypipe_core._base.variables import note

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
        self._views: list[Callable[[], Any]] = []  # theirs, and how they have to be: what nobody
        self._befores: list[Any] = []  # has touched is seen by one comparison
        self._known: set[str] = set()  # modules whose settings these are
        self._settled = self._noted = False
        self._looked = False  # whether nothing has run since it was looked at
        self._environ: dict[Any, Any] | None = None  # the process's own variables
        self._variables: dict[Any, Any] = {}  # how they have to be
        self._numpy1: _NumPy1 | None = None
        self._note()
        self._noted = False

    def _note(self) -> None:
        """How it is now is how it has to be."""
        self._noted = True
        self._list: Any = warnings.filters
        if self._runs:
            self._environ = variables.variables()
        latest = note.latest  # first, so that whoever sets one meanwhile is seen
        if self._environ is not None:
            self._variables = dict(self._environ)
        self._before = list(self._list), sys.getrecursionlimit(), gc.isenabled(), latest

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
            self._looked = False
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
            now = filters, sys.getrecursionlimit(), gc.isenabled(), note.latest
            if now != self._before or filters is not self._list:
                self._put_back()
        finally:
            self._lock.release()

    def between(self, call: object) -> object:
        """As `end` and then `begin`, between two short calls of one thread; costs a third."""
        if not (seeders or self._numpy1) and len(sys.modules) == self._modules:
            if len(self._calls) > 1:
                return call  # `end` would leave to the last of them what is to be put back
            for moved in self._moved:
                if moved():
                    break
            else:
                filters = warnings.filters
                now = filters, sys.getrecursionlimit(), gc.isenabled(), note.latest
                if filters is self._list and now == self._before:
                    return call
        self.end(call)
        return self.begin()

    def _put_back(self) -> None:
        """Something is not as it was noted."""
        filters, recursion, collects, noted = self._before
        if warnings.filters is not self._list or warnings.filters != filters:
            self._put_back_filters()
        if sys.getrecursionlimit() != recursion:
            with suppress(RecursionError):
                sys.setrecursionlimit(recursion)
        (gc.enable if collects else gc.disable)()
        latest = note.latest
        if latest is not noted and self._environ is not None:
            if self._environ != self._variables:
                variables.put_back(self._variables, self._has_imported)
            # Our own notes are seen at the next call, with those of others meanwhile.
            self._before = (*self._before[:3], latest)

    def refresh(self) -> None:
        """The caller's own code runs, and draws random numbers of its own; if no call does."""
        with self._lock:
            if not self._calls:
                self._refresh()
                self._noted = self._settled = self._looked = False

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
            self._watch()
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
                self._keep(library_settings(name, module))

    def _watch(self) -> None:
        """Calls run beside each other: note which threads seed."""
        watch_seeding()
        for generator in self._generators:
            generator.prepare()

    def _keep(self, settings: list[Setting]) -> None:
        """Look after these, too."""
        self._kept += map(_Kept, settings)
        self._views = [kept.view for kept in self._kept]
        self._befores = [kept.before for kept in self._kept]

    def _changed(self) -> list[_Kept]:
        """Return those that are not as they have to be."""
        now = [view() for view in self._views]
        if now == self._befores:
            return []
        return [kept for kept, value in zip(self._kept, now, strict=True) if value != kept.before]

    @property
    def _has_imported(self) -> bool:
        return len(sys.modules) != self._modules

    def _put_back_filters(self) -> None:
        before = self._before[0]
        if self._has_imported:
            # What a module filters when it is imported is of one kind, not all warnings.
            new = [one for one in warnings.filters if one not in before and (one[1] or one[3])]
            before = new + before
            self._before = (before, *self._before[1:])
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
                for kept in self._changed():
                    kept.before = kept.setting.read()
                    self._befores = [one.before for one in self._kept]

    def look(self, goes_on: bool = False) -> None:
        """Put back the rest, if no call runs.

        Args:
            goes_on: Whether more calls follow, and no code of the caller before them.
        """
        with self._lock:
            if not (self._calls or self._looked) and (self._runs or not self._is_callers):
                self._looked = bool(self._runs)
                if not goes_on:
                    self._noted = not self._runs
                for kept in self._changed():
                    kept.put_back(self._has_imported)
                    self._befores = [one.before for one in self._kept]

    def lent(self, beside: bool = False) -> _Lent:
        """Return a context manager that lends this process to calls.

        At the end the caller finds what was there before.

        Args:
            beside: Whether calls may run beside each other here.
        """
        return _Lent(self, beside)

    def shared(self) -> _Shared:
        """Return a context manager for calls beside the caller's own code, which goes on.

        The caller's code is then a call like others: what calls change that run beside each
        other cannot be kept apart, so nothing is put back that may be the caller's.
        """
        return _Shared(self)

    def _share(self) -> object:
        caller = _Caller()
        with self._lock:
            self._is_callers = True
            if not self._beside:
                before, self._give_back = self._give_back, [one.save() for one in self._generators]
                self._beside = True
                self._find()
                watch_seeding()
                for give_back in self._give_back:
                    give_back()
                self._give_back = before
            self._calls[caller] = None
        return caller

    def _share_no_more(self, caller: object) -> None:
        with self._lock:
            self._calls.pop(caller, None)
            if not self._runs and all(type(one) is not _Caller for one in self._calls):
                watch_no_more()
                self._beside = False
                self._noted = False

    def _lend(self, beside: bool) -> set[object]:
        """A run begins; return the calls that are around it, and begin runs of their own."""
        with self._lock:
            self._runs += 1
            variables.watch()
            if beside and not self._beside:
                self._beside = True
                self._watch()
            self._is_callers = self._is_callers or not self._calls
            if "" not in self._known:
                self._known.add("")
                self._keep(caller_settings())
            self._settled = self._noted = self._looked = False
            around = set(self._calls)
        self.settle()
        return around

    def _take_back(self, around: set[object]) -> None:
        self.look()
        with self._lock:
            self._runs -= 1
            if not self._runs:
                for give_back in self._give_back or ():
                    give_back()
                self._give_back = self._environ = None
                variables.watch_no_more()
                if self._beside:
                    sharing = {one for one in self._calls if type(one) is _Caller}
                    around = around | sharing
                    if not sharing:  # else another thread has taken over, where calls go on
                        watch_no_more()
                        self._beside = False
                # What runs on in a thread has no say any more: the caller goes on.
                self._calls = {one: own for one, own in self._calls.items() if one in around}


class _Lent:
    """A block in which the process is lent to calls."""

    __slots__ = ("_ambient", "_around", "_beside")

    def __init__(self, ambient: Ambient, beside: bool) -> None:
        self._ambient = ambient
        self._beside = beside

    def __enter__(self) -> None:
        self._around = self._ambient._lend(self._beside)

    def __exit__(self, *_: object) -> None:
        self._ambient._take_back(self._around)


class _Caller:
    """The caller's own code, which is a call like others while it runs beside them."""


class _Shared:
    """A block in which calls run beside the caller's own code."""

    __slots__ = ("_ambient", "_caller")

    def __init__(self, ambient: Ambient) -> None:
        self._ambient = ambient

    def __enter__(self) -> None:
        self._caller = self._ambient._share()

    def __exit__(self, *_: object) -> None:
        self._ambient._share_no_more(self._caller)


ambient = Ambient()

if hasattr(os, "register_at_fork"):
    # What runs and whom it belongs to is the affair of the process that was forked.
    os.register_at_fork(after_in_child=ambient.__init__)  # type: ignore[misc]
