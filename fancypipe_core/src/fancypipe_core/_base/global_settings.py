"""Settings that a process has once, in Python or in a library: how each is read and written."""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from fancypipe_core._base.folder import folder, swift_folder, swift_locale

__all__ = ["MODULES", "Setting", "caller_settings", "library_settings"]


class Setting(NamedTuple):
    """One of them.

    Attributes:
        read: Returns how it is, in a form that later changes do not reach.
        write: Makes it what `read` has returned.
        view: Returns what equals that, in less time.
        learn: Takes what `read` returned before and returns now, and returns what is
            due to modules that were imported in between.
    """

    read: Callable[[], Any]
    write: Callable[[Any], object]
    view: Callable[[], Any] | None = None
    learn: Callable[[Any, Any], Any] = lambda before, _now: before


def _attribute(owner: Any, name: str) -> Setting:
    return Setting(partial(getattr, owner, name), partial(setattr, owner, name))


def library_settings(name: str, module: Any) -> list[Setting]:
    """Return the settings that an imported module has."""
    make = _OF_MODULE.get(name)
    try:
        return [] if make is None else make(module)
    except AttributeError:
        return []  # another version of it keeps them elsewhere


def _of_sys(module: Any) -> list[Setting]:
    def hook() -> Any:
        # Ours, which ends an interrupted script with one line, stands for Python's own.
        ours = getattr(module.excepthook, "__module__", "") == "fancypipe_core._base.signals"
        return module.__excepthook__ if ours else module.excepthook

    found = [Setting(hook, lambda value: setattr(module, "excepthook", value))]
    found.append(_attribute(module, "displayhook"))
    found.append(Setting(module.getswitchinterval, module.setswitchinterval))
    if hasattr(module, "get_int_max_str_digits"):
        found.append(Setting(module.get_int_max_str_digits, module.set_int_max_str_digits))
    return found


def _of_threading(module: Any) -> list[Setting]:
    return [_attribute(module, "excepthook")]


def _of_warnings(module: Any) -> list[Setting]:
    return [_attribute(module, "showwarning"), _attribute(module, "formatwarning")]


def _of_socket(module: Any) -> list[Setting]:
    return [Setting(module.getdefaulttimeout, module.setdefaulttimeout)]


def _of_tempfile(module: Any) -> list[Setting]:
    module.gettempdir()  # it remembers it
    return [_attribute(module, "tempdir")]


def _of_decimal(module: Any) -> list[Setting]:
    default = module.DefaultContext
    names = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")
    of, traps = operator.attrgetter(*names), default.traps

    def write(before: tuple[Any, ...]) -> None:
        for name, value in zip(names, before[0], strict=True):
            setattr(default, name, value)
        traps.update(before[1])

    return [Setting(lambda: (of(default), traps.copy()), write, lambda: (of(default), traps))]


def _of_logging(module: Any) -> list[Setting]:
    root, manager = module.root, module.root.manager

    def read_root() -> tuple[Any, ...]:
        return root.level, root.handlers[:], root.filters[:], manager.disable

    def write_root(before: tuple[Any, ...]) -> None:
        root.handlers[:], root.filters[:], manager.disable = before[1:]
        root.setLevel(before[0])

    def read() -> dict[str, tuple[Any, ...]]:
        return {
            name: (one.level, one.handlers[:], one.filters[:], one.propagate, one.disabled)
            for name, one in list(manager.loggerDict.items())
            if type(one) is not module.PlaceHolder
        }

    def write(before: dict[str, tuple[Any, ...]]) -> None:
        new: tuple[Any, ...] = (module.NOTSET, [], [], True, False)
        for name, now in read().items():
            then = before.get(name, new)
            if now != then:
                one = manager.loggerDict[name]
                one.handlers[:], one.filters[:], one.propagate, one.disabled = then[1:]
                one.setLevel(then[0])

    # A library gives its own logger a handler that does nothing.
    return [Setting(read_root, write_root), Setting(read, write, learn=lambda old, now: now | old)]


def _of_multiprocessing(module: Any) -> list[Setting]:
    return [_attribute(module._default_context, "_actual_context")]


def _of_arrayprint(module: Any) -> list[Setting]:
    # numpy 2.2 keeps them in a context variable.
    options = module._format_options
    return [Setting(lambda: dict(options), options.update)]


def _of_pandas(module: Any) -> list[Setting]:
    options = module._global_config
    return [Setting(lambda: _copy(options), lambda value: _fill(options, value), lambda: options)]


def _copy(tree: dict[str, Any]) -> dict[str, Any]:
    return {k: _copy(v) if type(v) is dict else v for k, v in tree.items()}


def _fill(tree: dict[str, Any], before: dict[str, Any]) -> None:
    for key, value in before.items():
        if type(value) is dict:
            _fill(tree[key], value)
        else:
            tree[key] = value


_OF_MODULE: dict[str, Callable[[Any], list[Setting]]] = {
    "sys": _of_sys,
    "threading": _of_threading,
    "warnings": _of_warnings,
    "socket": _of_socket,
    "tempfile": _of_tempfile,
    "decimal": _of_decimal,
    "logging": _of_logging,
    "multiprocessing.context": _of_multiprocessing,
    "numpy.core.arrayprint": _of_arrayprint,
    "numpy._core.arrayprint": _of_arrayprint,
    "pandas._config.config": _of_pandas,
}
MODULES = tuple(_OF_MODULE)


def caller_settings() -> list[Setting]:
    """Return those that worker processes look after in other ways."""
    import _locale

    found = [
        Setting(folder, _enter, swift_folder()),
        Setting(_path, _set_path, lambda: (sys.path, sys.path)),
    ]
    if hasattr(os, "umask"):
        found.append(Setting(_mask, os.umask))
    write = partial(_locale.setlocale, _locale.LC_ALL)
    swift = swift_locale()
    if swift is not None:
        return [*found, Setting(swift, lambda before: write(before.decode()))]
    return [*found, Setting(partial(write, None), write)]


def _mask() -> int:
    mask = os.umask(0o77)
    os.umask(mask)
    return mask


def _enter(before: bytes | None) -> None:
    if before is not None:
        os.chdir(before)


def _path() -> tuple[list[str], list[str]]:
    return sys.path, sys.path[:]


def _set_path(before: tuple[list[str], list[str]]) -> None:
    sys.path, sys.path[:] = before
