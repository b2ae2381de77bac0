"""A client's code for workers that an engine chooses: a digest, and what they ask for.

Nobody knows which worker a job comes to.  So a worker that lacks the code gives its jobs
back, not begun, and says what it wants; the jobs are sent again, with that.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any

from fancypipe_core._base.msgpack import pack
from fancypipe_core._wire import messages
from fancypipe_core.backend import Certificate, Event, JobId, Lost, Note
from fancypipe_core.toolkit.shipping.bundle import Bundle, Code, this_platform
from fancypipe_core.toolkit.shipping.roots import roots
from fancypipe_core.toolkit.store import kept

__all__ = ["ALL", "BUSY", "FILES", "NONE", "ClientCode", "Wish"]

Wish = tuple[str, str]
"""What jobs wait for at a worker, and the worker's platform if that matters."""

FILES, ALL, BUSY = "files", "all", "busy"
NONE: Wish = ("", "")
_LEVELS = {FILES: 1, ALL: 2}
_BUSY = (
    "a worker process runs jobs of another client whose modules are not the same: ours wait until "
    "these have ended; workers of one thread each run the two beside each other"
)
_AGAIN = "a worker asked for the pipeline's code again although it had come with the job"


class ClientCode:
    """The code of this process.

    Args:
        setup: The session's.
        ships: Whether it goes to workers that do not have it.  If not, they are of this
            machine and no older than the session.

    Attributes:
        digest: By which workers know it: of the files, and of what the main module is.
    """

    def __init__(self, setup: messages.Setup, ships: bool) -> None:
        self._bundle = Bundle(setup.main) if ships else None
        code = self._bundle.code if self._bundle else _code_without_files()
        self._files = pack(code)
        about = pack((setup.main, setup.argv))
        self.digest = blake2b(about + self._files, digest_size=16).digest()
        self._archive: Any = None
        self._levels: dict[JobId, int] = {}  # what jobs are sent with
        self._said: set[str] = set()

    def parts(self, ids: Iterable[JobId]) -> list[Any]:
        """Return what goes with these jobs besides the digest: nothing, the names, or all."""
        level = max((self._levels.get(id, 0) for id in ids), default=0) if self._levels else 0
        if level == 2 and self._archive is None and self._bundle is not None:
            self._archive = kept(self._bundle.archive(this_platform()))
        return [self._files, self._archive][:level]

    def heard(self, wish: Wish, ids: Sequence[JobId]) -> list[Event]:
        """Take what a worker has said of these jobs.

        Returns:
            What is to be told: remarks; and, of a worker that had all and wants more, losses.
        """
        what, platform = wish
        if what == BUSY:
            return self._remark(_BUSY)
        level = _LEVELS.get(what, 0)
        if not level:
            for id in ids if self._levels else ():
                self._levels.pop(id, None)
            return []
        if any(self._levels.get(id, 0) >= level for id in ids):
            return [Lost(id, Certificate("protocol", _AGAIN, "", 0)) for id in ids]
        self._levels.update(dict.fromkeys(ids, level))
        return self._lacks(platform) if what == ALL else []

    def _lacks(self, platform: str) -> list[Event]:
        assert self._bundle is not None, "asked for files of which none was named"
        lacks, unfit = self._bundle.lacks, self._bundle.unfit(platform)
        told = []
        if lacks:
            told += self._remark(
                f"workers do not see your files, and what is sent of them lacks {lacks}: that is "
                "too large. If a task needs it, put it on a file system that all see, or install "
                "it there"
            )
        if unfit:
            told += self._remark(
                f"workers cannot use {unfit}: that is machine code for {this_platform()}, and "
                f"there it is {platform}"
            )
        return told

    def _remark(self, text: str) -> list[Event]:
        if text in self._said:
            return []
        self._said.add(text)
        return [Note(None, "warning", text)]


def _code_without_files() -> Code:
    before, after = ([os.fsencode(path) for path in part] for part in roots())
    return Code({}, before, after)
