"""What is of the project, how it is called, and where it stands."""

from __future__ import annotations

import linecache
import os
import sys
from base64 import b64encode
from collections.abc import Sequence
from hashlib import blake2b
from types import CodeType, FunctionType, ModuleType
from typing import Any

from fancypipe_core._base import main_module
from fancypipe_core._base.installed import OURS, is_installed
from fancypipe_core._cache.parts import LINE, NO_CODE

__all__ = ["Project", "constant_at", "lines_of", "module_name", "place_of", "shown"]

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
        if self._is_ours(name) or name.partition(".")[0] in sys.stdlib_module_names:
            return False
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None)
        if isinstance(file, str):
            return self.has_file(file)
        # Made by hand; or a folder of packages, which has no code.
        return name not in sys.builtin_module_names

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


def shown(file: str) -> str:
    """Return a file's path as messages have it: relative to the current folder if below."""
    try:
        here = os.path.join(os.getcwd(), "")
    except OSError:
        return file
    return os.path.abspath(file).removeprefix(here)


def place_of(code: CodeType) -> str:
    """Return where a function stands, with digests of its lines; empty if there is no source."""
    last = max((line or 0 for *_, line in code.co_lines()), default=0)
    todo = [code]
    for one in todo:
        last = max([last, *(line or 0 for *_, line in one.co_lines())])
        todo += [const for const in one.co_consts if isinstance(const, CodeType)]
    return lines_of(code.co_filename, code.co_firstlineno, last)


def lines_of(file: str, first: int, last: int) -> str:
    """Return `file:first:` and a digest for each line; empty if there is no source."""
    lines = linecache.getlines(file)[first - 1 : last]
    return f"{shown(file)}:{first}:{_digests(lines)}" if lines else ""


def _digests(lines: Sequence[str]) -> str:
    told = []
    for line in lines:
        text = line.strip()
        if not text or text.startswith("#"):
            told.append(NO_CODE)
        else:
            digest = blake2b(text.encode(errors="replace"), digest_size=3).digest()
            told.append(b64encode(digest)[:LINE].decode("ascii"))
    return "".join(told)


def constant_at(module: Any, name: str) -> str:
    """Return where a module's constant is set, with the digest of that line; empty if unknown."""
    file = getattr(module, "__file__", None)
    if not isinstance(file, str):
        return ""
    starts = (f"{name} =", f"{name}=", f"{name}:", f"{name} :")
    for number, line in enumerate(linecache.getlines(file), 1):
        if line.startswith(starts):
            return lines_of(file, number, number)
    return ""
