"""What is sent to workers that do not see the client's files: jobs with the contents of these."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from fancypipe_core._model.carriage import Carried, carried, changed_at, read, state_of, with_files
from fancypipe_core.backend import Job

__all__ = ["FileContents"]

_MOST = 256 << 20  # bytes that are kept
_FRESH = 2.0  # seconds; a file that changed since may change again without other times


class FileContents:
    """Reads files for jobs, and keeps what it read last: the next job is often given the same.

    For one thread at a time.

    Args:
        most: Bytes that are kept.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._size = 0
        self._known: OrderedDict[tuple[bytes, str], tuple[bytes, Carried]] = OrderedDict()

    def given(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """Return jobs with the contents of their files, as far as these are here.

        All of a job's files are in memory until it was sent.
        """
        return with_files(jobs, self._with_content)

    def _with_content(self, bare: Any) -> Any:
        record = read(bare)
        key = record.kind, record.path
        try:
            state = state_of(record.path)
            known = self._known.pop(key, None)
            if known is not None:
                if known[0] == state:
                    self._known[key] = known
                    return known[1]
                self._size -= len(known[1])
            made = carried(*key)
            if time.time() - changed_at(record.path) > _FRESH and state_of(record.path) == state:
                self._keep(key, state, made)
        except OSError:
            return bare  # the worker says that it is not there
        return made

    def _keep(self, key: tuple[bytes, str], state: bytes, made: Carried) -> None:
        if len(made) > self._most:
            return
        self._known[key] = state, made
        self._size += len(made)
        while self._size > self._most:
            _, (_, gone) = self._known.popitem(last=False)
            self._size -= len(gone)
