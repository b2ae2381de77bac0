"""An engine for tests of what outlives sessions: a process that serves one after the other."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from fancypipe_core import Session
from tests.core.pools import opened

__all__ = ["Engine", "Project", "engine", "hide"]


class Engine:
    """A pool of one process, which stays when a session ends, as a cluster does."""

    def __init__(self) -> None:
        self.pool = self._start()

    @staticmethod
    def _start() -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))

    def restart(self) -> None:
        """Put another process in the place of this one."""
        self.pool.shutdown()
        self.pool = self._start()

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Call a function in the process."""
        return self.pool.submit(function, *args)

    def close(self) -> None:
        """Stay: it is not the session's."""

    def session(self, **settings: Any) -> Session:
        """Open a session on it."""
        return opened(lambda _count: self, 1, **settings)

    def hide(self, folder: Path) -> None:
        """Let the process see nothing in a folder."""
        self.submit(hide, os.path.join(folder, "")).result(60)

    def load(self, name: str) -> None:
        """Let the process import a module of its own."""
        self.submit(_load, name).result(60)


@contextmanager
def engine() -> Iterator[Engine]:
    """Start one that knows the path as it is now."""
    made = Engine()
    made.submit(os.getpid).result(60)
    try:
        yield made
    finally:
        made.pool.shutdown()


class Project:
    """A folder of the client's, first on its path.

    Args:
        folder: Which; it is made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def write(self, name: str, text: str) -> None:
        """Write a module."""
        self.folder.joinpath(f"{name}.py").write_text(text, encoding="utf-8")

    def load(self, *names: str) -> ModuleType:
        """Import modules, also if the client knows others of their names; return the last."""
        for name in names:
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        return [importlib.import_module(name) for name in names][-1]


def hide(start: str) -> None:
    """Let this process see no file whose path begins like that."""

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event in ("open", "os.listdir", "os.scandir"):
            path = args[0]
            named = os.fsdecode(path) if isinstance(path, (str, bytes)) else ""
            if f"{named}{os.sep}".startswith(start):
                raise FileNotFoundError(2, "not seen from here", named)

    sys.addaudithook(hook)


def _load(name: str) -> None:
    importlib.import_module(name)
