"""The user's main module: what it is, and how a process that did not start it comes to it.

The script that the user started is one module, whoever asks for it and wherever.
In the client that is `__main__`, as Python made it; `fancypipe FILE` puts the
file's module there.  In a worker a module stands there from the start that
knows where the script is, and runs it when something is asked of it.

A script is run under the name `__mp_main__`, so that an `if __name__ ==
"__main__"` guard does not fire.  When it has run, it and what it defines are
named `__main__`, as in the client: so pickle, cloudpickle and what is built on
them (pools, caches, files) write and find the same names on both sides.
"""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from types import CodeType, FunctionType, ModuleType, TracebackType
from typing import Any

from fancypipe_core import errors
from fancypipe_core._base import script as _script
from fancypipe_core._base.script import MAIN, MainScript

__all__ = [
    "GUARDED",
    "MAIN",
    "in_worker",
    "load_main",
    "loading_main",
    "look_for_runner",
    "main_names",
    "main_script",
    "run_file",
    "set_main_script",
]

GUARDED = "__mp_main__"
"""The name while it runs; multiprocessing has it as a second name of the main module."""


class _Process:
    """What this process knows of the main module."""

    def __init__(self) -> None:
        self.is_worker = False
        self.script: MainScript | None = None
        # The user's main module, if Python did not make it itself.
        self.module: ModuleType | None = None
        # Its names, if they are those of no module.
        self.names: dict[str, Any] | None = None
        # Main modules that are not the user's: they live as long as the process.
        self.replaced: list[ModuleType] = []
        # Taken again by the script itself, when it asks for names of its own.
        self.lock = threading.RLock()
        self.loading = False
        # What running the script raised, and its traceback, which grows when it is raised again.
        self.failed: tuple[BaseException, TracebackType | None] | None = None


_process = _Process()


def main_names() -> dict[str, Any]:
    """Return the names of the user's main module; in a worker it may not have run yet."""
    if _process.names is not None:
        return _process.names
    return (_process.module or sys.modules[MAIN]).__dict__


def main_script() -> MainScript | None:
    """Return what workers are to run as the main module, or None for a notebook or prompt."""
    if _process.is_worker:
        return _process.script
    return _script.script_of(main_names())


def look_for_runner() -> None:
    """In the client: find the main module's names, if a program runs the script among its own.

    Profilers and the like run a script as `__main__` in a dictionary that is no module's.
    Called at the start of a session, by whatever the script has called.
    """
    if not _process.is_worker and _process.module is None:
        _process.names = _script.names_of_runner(sys.modules[MAIN].__dict__)


def set_main_script(main: tuple[str, str] | None, *, anew: bool = False) -> None:
    """In a worker: have the client's main module as this process's; it runs when it is needed.

    Args:
        main: Its kind and value, as of a `MainScript`; None for a notebook or prompt.
        anew: Whether it runs again if it has run: it is another's, or may have changed.
    """
    script = None if main is None else MainScript(*main)
    if _process.is_worker and script == _process.script and not anew:
        return
    _process.is_worker = True
    _process.script = script
    _process.failed = None
    there = sys.modules[MAIN]
    if script is not None and not anew and _script.script_of(there.__dict__) == script:
        # Forked from the client, or multiprocessing has run it.
        _process.module = there
        return
    module = _Unrun(MAIN)
    if script is not None and script.kind == "file":
        module.__file__ = script.value
    _install(module)
    _process.module = module


def in_worker() -> bool:
    """Tell whether this process is a worker process of ours."""
    return _process.is_worker


def loading_main() -> str | None:
    """Return the main script's file while a worker is running it, else None."""
    return _process.script.value if _process.loading and _process.script is not None else None


class _Unrun(ModuleType):
    """A main module whose script has not run: it does when a name of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        # Python itself and many libraries ask every main module for `__spec__` and the like.
        dunder = name.startswith("__") and name.endswith("__")
        if not dunder and _process.module is self and _process.script is not None:
            load_main()
            if name in self.__dict__:
                return self.__dict__[name]
        raise AttributeError(f"module {MAIN!r} has no attribute {name!r}")


def load_main() -> ModuleType:
    """In a worker: return the client's main module; its script has run, or is running.

    Raises:
        DecodeError: The client has none.
        BaseException: Whatever the script raises.
    """
    with _process.lock:
        module = _process.module
        if type(module) is not _Unrun or _process.loading:
            assert module is not None
            return module
        if _process.script is None:
            raise errors.DecodeError("a name of the main script came, but no main script was named")
        if _process.failed is not None:
            # It would fail again, and do what it does before that again.
            error, trace = _process.failed
            raise error.with_traceback(trace)
        before = dict(module.__dict__)
        _process.loading = True
        try:
            code, about = _script.source(_process.script)
            _run(module, code, about)
        except BaseException as error:
            module.__dict__.clear()
            module.__dict__.update(before)
            if not isinstance(error, KeyboardInterrupt):
                _process.failed = (error, error.__traceback__)
            raise
        finally:
            _process.loading = False
        module.__class__ = ModuleType  # type: ignore[assignment]  # allowed for modules
        return module


def run_file(path: str, source: bytes) -> ModuleType:
    """In the client: run a file as the main module of this process.

    Args:
        path: The file, absolute.
        source: What is in it.

    Raises:
        BaseException: Whatever it raises; the main module is then what it was.
    """
    module = ModuleType(MAIN)
    was = sys.modules.get(MAIN), sys.modules.get(GUARDED), _process.module
    _install(module)
    _process.module = module
    try:
        _run(module, compile(source, path, "exec", dont_inherit=True), _script.about_file(path))
    except BaseException:
        for name, before in zip((MAIN, GUARDED), was, strict=False):
            if before is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = before
        _process.module = was[2]
        raise
    return module


def _install(module: ModuleType) -> None:
    """Make it the main module of this process, under both names that it goes by.

    multiprocessing, whenever it is imported, gives the second name to whatever
    has the first.
    """
    if sys.modules[MAIN] is not _process.module:
        _process.replaced.append(sys.modules[MAIN])
    sys.modules[MAIN] = sys.modules[GUARDED] = module


def _run(module: ModuleType, code: CodeType, about: dict[str, Any]) -> None:
    names = module.__dict__
    names.update(about, __name__=GUARDED, __builtins__=__builtins__)
    exec(code, names)
    names["__name__"] = MAIN
    for value in list(names.values()):
        _rename(value)


def _rename(value: Any) -> None:
    """Give something that the script defines, and what is in it, the main module's real name."""
    while True:
        with suppress(Exception):  # objects of users may refuse anything
            if getattr(value, "__module__", None) != GUARDED:
                return
            if isinstance(value, type):
                _rename_class(value)
                return
            # Not an object of a class of the script, which has this from its class.
            if isinstance(value, FunctionType) or type(value).__module__ != GUARDED:
                value.__module__ = MAIN
                value = value.__wrapped__
                continue
        return


def _rename_class(cls: type) -> None:
    line = vars(cls).get("__firstlineno__")
    type.__setattr__(cls, "__module__", MAIN)
    if line is not None:
        # Python 3.13 takes it away when the module is set; `inspect` needs it.
        type.__setattr__(cls, "__firstlineno__", line)
    for part in list(vars(cls).values()):
        _rename(part)
