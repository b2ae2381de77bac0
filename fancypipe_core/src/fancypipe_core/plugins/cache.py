"""Keeps results from run to run, in a folder; on the public hooks, as any other store would.

In the run's folder, if it has one, it writes down what was looked for: `keys.jsonl`, of which
`fancypipe why` tells why a task ran.  The format is told in `docs/howto/resume.md`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from fancypipe_core import errors
from fancypipe_core._cache.parts import KeyParts
from fancypipe_core._cache.store import FolderStore
from fancypipe_core.hooks import CacheEvent, Outcome, RunInfo, hookimpl
from fancypipe_core.plugins.journal import HERE

__all__ = ["NAME", "Cache", "folder_of"]

NAME = "keys.jsonl"
"""What was looked for, in a run's folder."""

_OF_CODE = ("task", "code", "versions", "lines")  # of what a key is made of

_lines = msgspec.json.Encoder().encode_lines


def folder_of(cache: str | None, tempdir: str | None) -> Path:
    """Return the folder of the results.

    Args:
        cache: Where the user wants them; None if nobody has said it.
        tempdir: Where the user wants temporary files; None likewise.
    """
    if cache is not None:
        return Path(cache).absolute()
    base = HERE.parent if tempdir is None else Path(tempdir)
    return (base / "cache").absolute()


class Cache:
    """The store, and the record.

    Args:
        folder: Where results are.
        budget: Bytes that they may take.
        run: Returns the folder of the run; None if it has none.

    Raises:
        ConfigError: Results in that folder cannot be trusted.
    """

    def __init__(self, folder: Path, budget: int, run: Callable[[], Path | None]) -> None:
        try:
            self._store = FolderStore(folder, budget)
        except OSError as error:
            raise errors.ConfigError(f"-cache {folder}: {error.strerror}") from error
        self._run = run
        self._file = -1
        self._codes: dict[str, int] = {}
        self._pid = os.getpid()

    @hookimpl
    def fancypipe_cache_get(self, key: str) -> bytes | memoryview | None:
        """Return a result."""
        return self._store.get(key)

    @hookimpl
    def fancypipe_cache_put(self, key: str, value: Sequence[Any], about: KeyParts) -> bool:
        """Keep a result."""
        self._store.put(key, value, about)
        return True

    @hookimpl
    def fancypipe_run_started(self, run: RunInfo) -> None:
        """Begin the record."""
        self._codes.clear()
        folder = self._run()
        if folder is not None:
            with suppress(OSError):  # the journal has said it
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
                self._file = os.open(folder / NAME, flags, 0o666)

    @hookimpl
    def fancypipe_cache_events(self, events: Sequence[CacheEvent]) -> None:
        """Write them down."""
        if self._file < 0 or self._pid != os.getpid():
            return
        lines: list[dict[str, Any]] = []
        for event in events:
            about = event.about
            line: dict[str, Any] = {"kind": event.kind, "task": event.task, "path": event.path}
            if event.key:
                line["key"] = event.key
            if event.why:
                line["why"] = event.why
            if event.kind == "elements":
                line |= {"there": event.there, "ran": event.ran}
            if about is not None:
                # Of all tasks of a kind the code is the same, and the longest part.
                code = about.task, about.code, about.versions, about.lines
                known = repr(code[:3])
                number = self._codes.get(known)
                if number is None:
                    number = self._codes[known] = len(self._codes)
                    of = dict(zip(_OF_CODE, code, strict=True))
                    lines.append({"kind": "code", "code": number, "of": of})
                line |= {"code": number, "inputs": about.inputs, "version": about.version}
            lines.append(line)
        data = memoryview(_lines(lines))
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError as error:
            self._close()
            with suppress(OSError, ValueError, AttributeError):
                sys.stderr.write(
                    f"fancypipe: {NAME} of this run ends here ({error.strerror}); the run goes on\n"
                )

    @hookimpl
    def fancypipe_run_over(self, run: RunInfo, outcome: Outcome) -> None:
        """End the record, and let go of what is over the budget."""
        self._close()
        if self._pid == os.getpid():
            self._store.trim()

    def _close(self) -> None:
        file, self._file = self._file, -1
        if file >= 0 and self._pid == os.getpid():
            with suppress(OSError):
                os.close(file)
