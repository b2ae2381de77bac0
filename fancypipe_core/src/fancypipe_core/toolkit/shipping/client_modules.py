"""The modules of a client in a worker process that has had other clients, and may have others."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fancypipe_core._base import code_names
from fancypipe_core._base.installed import OURS, is_installed
from fancypipe_core._codec import by_value
from fancypipe_core.toolkit.shipping.code_files import is_native

if TYPE_CHECKING:
    from fancypipe_core.toolkit.shipping.bundle import Code, Place

__all__ = ["ClientModules"]

_MAIN = ("__main__", "__mp_main__")
_KEPT = {*OURS, *_MAIN, *sys.stdlib_module_names, *sys.builtin_module_names}


class ClientModules:
    """Sees to it that a client's imports find its own modules, and leave none behind.

    Args:
        code: What the client told of its code.
        place: Where its files are here.
        own: The names of the modules that the process had before its first client.
    """

    def __init__(self, code: Code, place: Place, own: frozenset[str]) -> None:
        self._hashes = {place.of(os.fsdecode(path)): seal for path, seal in code.files.items()}
        roots = [place.of(os.fsdecode(root)) for root in (*code.before, *code.after)]
        inside = [os.path.join(root, "") for root in [*roots, place.root] if root]
        self._inside = tuple(dict.fromkeys(inside))
        self._own = own
        self._aside: dict[str, ModuleType] = {}

    def enter(self) -> list[str]:
        """Put aside what is loaded under the names of the client's modules; its path is set.

        Returns:
            The names of modules that had to stay: the engine's processes are made of them.
        """
        importlib.invalidate_caches()
        stay = []
        for name in sorted(self._names() & sys.modules.keys() - _KEPT):
            spec = _found(name)
            if spec is None or not self._is_found(spec):
                continue
            if name in self._own and is_installed(_file_of(sys.modules[name])):
                stay.append(name)
                continue
            for one in [one for one in sys.modules if f"{one}.".startswith(f"{name}.")]:
                self._aside[one] = sys.modules.pop(one)
        return stay

    def leave(self) -> dict[str, bytes]:
        """Drop the client's modules, and put back what was put aside.

        Returns:
            The files of machine code that it has loaded, each with a hash of its content; as
            long as the process lives, their paths mean these.
        """
        dropped = {name for name, module in list(sys.modules.items()) if self._is_of(name, module)}
        native = {
            file: self._hashes.get(file, b"")
            for name in dropped
            if is_native(file := _file_of(sys.modules[name]))
        }
        # What was made by hand goes with what it is a part of.
        dropped |= {name for name in list(sys.modules) if name.rpartition(".")[0] in dropped}
        for name in dropped:
            sys.modules.pop(name, None)
            parent, _, last = name.rpartition(".")
            if parent in sys.modules and parent not in dropped:  # a package that others share
                vars(sys.modules[parent]).pop(last, None)
        sys.modules.update(self._aside)
        importlib.invalidate_caches()
        code_names.forget()
        by_value.forget()
        return native

    def _names(self) -> set[str]:
        """Return the first names of all modules that may be in the client's files."""
        names = set()
        for path in self._hashes:
            for folder in self._inside:
                if path.startswith(folder):
                    names.add(path[len(folder) :].partition(os.sep)[0].partition(".")[0])
        return names

    def _is_found(self, spec: ModuleSpec) -> bool:
        """Tell whether an import finds the client's own."""
        if spec.has_location:
            return spec.origin is not None and self._has(os.path.abspath(spec.origin))
        return self._has_some(list(spec.submodule_search_locations or ()))

    def _is_of(self, name: str, module: Any) -> bool:
        if name.partition(".")[0] in OURS or name in _MAIN:
            return False
        file = _file_of(module)
        return self._has(file) if file else self._has_some(list(_folders_of(module)))

    def _has_some(self, folders: list[str]) -> bool:
        """Tell whether a package without a file is the client's; one that others share is not."""
        return any(map(self._has, folders)) and not any(map(is_installed, folders))

    def _has(self, path: str) -> bool:
        mine = path in self._hashes or path.startswith(self._inside)
        return mine and not is_installed(path)


def _found(name: str) -> ModuleSpec | None:
    try:
        return PathFinder.find_spec(name)
    except (ImportError, ValueError):  # a finder of somebody's does not know how
        return None


def _file_of(module: Any) -> str:
    """Return where a module was loaded from, as an absolute path; "" if from no file."""
    file = vars(module).get("__file__") if isinstance(module, ModuleType) else None
    return os.path.abspath(file) if isinstance(file, str) else ""


def _folders_of(module: Any) -> Iterator[str]:
    """Yield the folders of a package that has no file."""
    path = vars(module).get("__path__") if isinstance(module, ModuleType) else None
    try:
        yield from [one for one in path or () if isinstance(one, str)]
    except Exception:  # noqa: BLE001 - such a path looks at its parent, which may be gone
        return
