"""What tasks may change in their process and must find unchanged: it is put back between them.

Decision 0011 tells why it is watched in this way.  Functions that change the
process are replaced by ones that also note the call, so that looking costs
nothing as long as nobody calls them.  What can be changed otherwise is compared,
at the latest a millisecond later.  What an import changes belongs to the module
and stays.
"""

from __future__ import annotations

import _locale
import faulthandler
import functools
import gc
import os
import signal
import sys
import threading
import time
from _thread import _count as _count_threads  # also those that no `Thread` stands for
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import perf_counter
from types import FrameType
from typing import Any

__all__ = ["Surroundings"]

_set_threshold = gc.set_threshold
_OFTEN = 0.001  # seconds between two comparisons of what nobody has touched
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_SIGNALS = tuple(int(number) for number in signal.valid_signals())


def _is_importing() -> bool:
    """Whether an import is under way in this thread."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


class _Aspect:
    """One thing that only the functions that are watched can change.

    Args:
        name: For messages.
        read: Returns how it is.
        write: Makes it as it was: takes how it was and how it is.
        touched: Where it puts itself when one of the functions was called.
    """

    def __init__(
        self,
        name: str,
        read: Callable[[], Any],
        write: Callable[[Any, Any], None],
        touched: set[_Aspect],
    ) -> None:
        self.name = name
        self._read = read
        self._write = write
        self._touched = touched
        self._before = read()
        self._learned: set[Any] = set()  # what imports have changed: keys, if it is a dict

    def watch(self, module: Any, *names: str) -> _Aspect:
        """Note calls of these functions."""
        for name in names:
            original = getattr(module, name, None)
            if original is None:
                continue
            noted = self._noting(original)
            setattr(module, name, noted)
            if original in os.supports_fd:
                os.supports_fd.add(noted)
        return self

    def _noting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return original(*args, **kwargs)
            finally:
                if _is_importing():
                    self._learned.add(args[0] if args else None)
                self._touched.add(self)

        return call

    def _learn(self, now: Any) -> None:
        """What imports have changed has to be as it is from now on."""
        for key in self._learned:
            if not isinstance(now, dict):
                self._before = now
            elif key in now:
                self._before[key] = now[key]
            else:
                self._before.pop(key, None)
        self._learned.clear()

    def keep(self) -> None:
        """How it is now is how it has to be."""
        self._before = self._read()

    def restore(self) -> bool:
        """Make it as it was; tell whether that was possible."""
        now = self._read()
        self._learn(now)
        if now != self._before:
            try:
                self._write(self._before, now)
            except Exception:  # noqa: BLE001 - whatever stands against it
                return False
        return bool(self._read() == self._before)


class Surroundings:
    """Keeps how the process was before the first task; made in the main thread."""

    def __init__(self) -> None:
        self._touched: set[_Aspect] = set()
        self._chdir, self._umask = os.chdir, os.umask
        self._folder = _folder()
        self._mask = self._umask(0o22)
        self._umask(self._mask)
        self._environ = os.environ
        self._path, self._entries = sys.path, list(sys.path)
        self._modules = len(sys.modules)
        self._streams = [("stdin", sys.stdin), ("stdout", sys.stdout), ("stderr", sys.stderr)]
        self._stdout, self._stderr = sys.stdout, sys.stderr
        self._descriptors = [(number, os.dup(number), _identity(number)) for number in (1, 2)]
        self._traces = _traces()
        self._looked = perf_counter()
        self._threads = _count_threads()
        self._is_alone = True  # whether no thread of tasks was there at the last look
        self._variables = _watch_all(self._touched)

    def is_due(self) -> bool:
        """Whether something was touched, or nobody has looked for a millisecond."""
        return bool(
            self._touched
            or sys.gettrace() is not self._traces[0]
            or sys.getprofile() is not self._traces[1]
            or sys.stdout is not self._stdout
            or sys.stderr is not self._stderr
            or os.environ is not self._environ
            or sys.path is not self._path
            or self._path != self._entries
            or perf_counter() - self._looked > _OFTEN
        )

    def rested(self) -> None:
        """No task ran since somebody looked: nothing has changed, unless there were threads."""
        if self._is_alone and _count_threads() <= self._threads:
            self._looked = perf_counter()

    def adapt(self, variables: Mapping[str, str | None], folder: str) -> None:
        """Change how it is to be: variables, set or unset, and the folder, if it is there."""
        self.put_back()
        for name, value in variables.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._variables.keep()
        if hasattr(time, "tzset"):
            time.tzset()
        if folder and folder != self._folder:
            with suppress(OSError):  # somebody has removed it; tasks stay where they were
                self._chdir(folder)
                self._folder = folder
        self._touched.clear()

    def put_back(self) -> list[str]:
        """Make all as it was; return what could not be."""
        os.environ = self._environ  # noqa: B003 - it is the one that it was
        failed: list[str] = []
        if self._touched:
            failed += [aspect.name for aspect in list(self._touched) if not aspect.restore()]
            self._touched.clear()  # also what putting back has touched
        if self._folder is not None and _folder() != self._folder:
            try:
                self._chdir(self._folder)
            except OSError:
                failed.append("the current folder")
        self._umask(self._mask)
        if _traces() != self._traces:
            for put_back, before in zip(_SET_TRACES, self._traces, strict=True):
                put_back(before)
        self._put_back_path()
        if not self._put_back_streams():
            failed.append("the standard streams")
        if not faulthandler.is_enabled():
            faulthandler.enable(all_threads=False)
        self._is_alone = _count_threads() <= self._threads
        self._looked = perf_counter()
        return failed

    def _put_back_path(self) -> None:
        modules = len(sys.modules)
        if sys.path is not self._path or self._path != self._entries:
            if modules != self._modules:
                # Modules that were imported may need it for what they import later.
                self._path, self._entries = sys.path, list(sys.path)
            else:
                sys.path = self._path
                self._path[:] = self._entries
        self._modules = modules

    def _put_back_streams(self) -> bool:
        closed = False
        for name, stream in self._streams:
            setattr(sys, name, stream)
            closed = closed or (stream is not None and stream.closed)
        for number, kept, identity in self._descriptors:
            if _identity(number) != identity:
                if _identity(kept) != identity:
                    return False
                os.dup2(kept, number)
        return not closed


_SET_TRACES: tuple[Callable[[Any], object], ...] = (
    *(sys.settrace, sys.setprofile),
    *(threading.settrace, threading.setprofile),
)


def _traces() -> tuple[Any, ...]:
    return sys.gettrace(), sys.getprofile(), threading.gettrace(), threading.getprofile()


def _nothing(*_: Any) -> None:
    return None


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        return None  # it was removed


def _identity(descriptor: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _watch_all(touched: set[_Aspect]) -> _Aspect:
    """Replace the functions that change the process; return the environment."""
    # The folder and the umask are compared and put back at each look.
    _Aspect("", _nothing, _nothing, touched).watch(os, "chdir", "fchdir", "umask")
    environment = _Aspect("the environment", _variables, _set_variables, touched)
    environment.watch(os, "putenv", "unsetenv")
    _watch_signals(touched)
    _watch_timers(touched)
    _watch_locale(touched)
    _Aspect(
        "the garbage collector",
        gc.get_threshold,
        lambda before, _: _set_threshold(*before),
        touched,
    ).watch(gc, "set_threshold")
    if hasattr(os, "sched_setaffinity"):
        _watch_cores(touched)
    with suppress(ImportError):
        _watch_limits(touched)
    return environment


def _watch_signals(touched: set[_Aspect]) -> None:
    set_handler, set_mask = signal.signal, signal.pthread_sigmask

    def read() -> dict[int, Any]:
        known: dict[int, Any] = {number: signal.getsignal(number) for number in _SIGNALS}
        known[0] = set_mask(signal.SIG_BLOCK, ())
        return known

    def write(before: dict[int, Any], now: dict[int, Any]) -> None:
        for number in _SIGNALS:
            if now[number] != before[number]:
                set_handler(number, before[number])
        set_mask(signal.SIG_SETMASK, before[0])
        # It has handlers of its own for what is deadly; `put_back` enables it again.
        faulthandler.disable()

    _Aspect("signal handlers", read, write, touched).watch(signal, "signal", "pthread_sigmask")


def _watch_timers(touched: set[_Aspect]) -> None:
    set_timer = signal.setitimer

    def read() -> list[float]:
        return [signal.getitimer(timer)[0] for timer in _TIMERS]

    def write(_before: list[float], _now: list[float]) -> None:
        for timer in _TIMERS:
            set_timer(timer, 0.0)

    _Aspect("timers", read, write, touched).watch(signal, "alarm", "setitimer")


def _watch_locale(touched: set[_Aspect]) -> None:
    set_locale = _locale.setlocale

    def read() -> str:
        return set_locale(_locale.LC_ALL, None)

    def write(before: str, _now: str) -> None:
        set_locale(_locale.LC_ALL, before)

    # The module `locale` takes it from there, and is not imported yet.
    _Aspect("the locale", read, write, touched).watch(_locale, "setlocale")


def _watch_cores(touched: set[_Aspect]) -> None:
    set_cores = os.sched_setaffinity

    def read() -> set[int]:
        return os.sched_getaffinity(0)

    def write(before: set[int], _now: set[int]) -> None:
        set_cores(0, before)

    _Aspect("the cores that it may use", read, write, touched).watch(os, "sched_setaffinity")


def _watch_limits(touched: set[_Aspect]) -> None:
    import resource

    kinds = {getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}
    set_limit = resource.setrlimit

    def read() -> dict[int, tuple[int, int]]:
        return {kind: resource.getrlimit(kind) for kind in kinds}

    def write(before: dict[int, tuple[int, int]], now: dict[int, tuple[int, int]]) -> None:
        for kind in kinds:
            if now[kind] != before[kind]:
                set_limit(kind, before[kind])

    _Aspect("resource limits", read, write, touched).watch(resource, "setrlimit", "prlimit")


def _variables() -> dict[bytes, bytes]:
    return dict(os.environb)


def _set_variables(before: dict[bytes, bytes], now: dict[bytes, bytes]) -> None:
    for name in now.keys() - before.keys():
        del os.environb[name]
    for name, value in before.items():
        if now.get(name) != value:
            os.environb[name] = value
