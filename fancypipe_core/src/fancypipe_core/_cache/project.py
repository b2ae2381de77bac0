"""What is of the project, and how its modules are called."""

from __future__ import annotations

import os
import sys
from types import FunctionType, ModuleType
from typing import Any

from fancypipe_core._base import main_module
from fancypipe_core._base.installed import OURS, is_installed

__all__ = ["Project", "module_name"]

_MAINS = (main_module.MAIN, main_module.GUARDED)


class Project:
    """Tells what is of the project: what is neither installed nor ours."""

    def __init__(self) -> None:
        self._modules: dict[str, bool] = {}
        self._files: dict[str, bool] = {}

    def has(self, obj: Any) -> bool:
        """Tell whether a function, class or module is of the project."""
        if isinstance(obj, FunctionType):
            file = obj.__code__.co_filename
            if not file.startswith("<"):
                return self.has_file(file) and not self._is_ours(obj.__module__)
        name = obj.__name__ if isinstance(obj, ModuleType) else getattr(obj, "__module__", None)
        return self.has_module(name) if isinstance(name, str) else True

    def has_module(self, name: str) -> bool:
        """Tell whether a module that was loaded is of the project."""
        known = self._modules.get(name)
        if known is None:
            known = self._modules[name] = self._find(name)
        return known

    def _find(self, name: str) -> bool:
        if name in _MAINS:
            return True
        if self._is_ours(name):
            return False
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None)
        if isinstance(file, str):  # whatever it is called: a project may have a `test` or `code`
            return self.has_file(file)
        # Made by hand; or a folder of packages, which has no code.
        return name.partition(".")[0] not in sys.stdlib_module_names

    def has_file(self, file: str) -> bool:
        """Tell whether a file is of the project."""
        known = self._files.get(file)
        if known is None:
            frozen = file.startswith("<frozen")
            known = self._files[file] = not frozen and not is_installed(os.path.abspath(file))
        return known

    @staticmethod
    def _is_ours(name: str | None) -> bool:
        return name is not None and name.partition(".")[0] in OURS


def module_name(name: str) -> str:
    """Return how a module is called: the main script as if it were imported."""
    if name not in _MAINS:
        return name
    script = main_module.main_script()
    if script is None:
        return main_module.MAIN
    if script.kind == "module":
        return script.value.removesuffix(".__main__")
    return os.path.splitext(os.path.basename(script.value))[0]
