"""The page of a run that goes on: it is opened once, and follows.

Beside the page stands a folder of scripts, which the page reads again and again; see
`docs/decisions/0043-the-page-of-a-run.md`.  All of it is made from the journal, so whoever
may read that can keep the page: the process that drives the run, or another.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import time

from fancypipe_core._base.processes import is_alive
from fancypipe_core.plugins.figures.summary import summary_of_journal
from fancypipe_core.plugins.page.document import document, packed
from fancypipe_core.plugins.page.report import JOURNAL, PAGE, write_file

__all__ = ["FOLDER", "LivePage"]

FOLDER = "page-"
"""What the name of the folder beside a page begins with; the number of a process comes after."""

_PIECE = 1 << 18  # bytes of the journal that are rewritten with each news; then they are a piece
_READ = 1 << 20  # bytes that are read at once
_BEAT = 5.0  # seconds between two signs of life
_BEFORE, _BEHIND = 'fancypipePiece("', '")\n'


class LivePage:
    """The page of one run, with what its journal held at the last step.

    Args:
        run: The run's folder, in which the journal is.
        clock: Tells the time, in seconds since 1970; for tests.

    Attributes:
        over: Whether the journal has its end.
        page: The page.
    """

    def __init__(self, run: Path, clock: Callable[[], float] = time) -> None:
        self.over = False
        self.page = run / PAGE
        self._journal = run / JOURNAL
        # Of this process alone: two may keep the same page, as of a run that another one shows too.
        self._folder = run / f"{FOLDER}{os.getpid()}"
        self._clock = clock
        self._read = 0  # bytes of the journal that were read, always up to a line's end
        self._pieces = 0
        self._held = b""  # lines that are in no piece yet
        self._told = 0.0

    def begin(self) -> None:
        """Make the page, and what it reads first.

        Raises:
            OSError: It cannot be written.
        """
        self._folder.mkdir(exist_ok=True)
        self.step()
        write_file(self.page, document(live=self._folder.name))

    def step(self) -> None:
        """Let the page know what the journal has got.

        Raises:
            OSError: The journal cannot be read, or the news cannot be written.
        """
        news = False
        for lines in self._new_lines():
            news = True
            self._held += lines
            self.over = self.over or _is_end(lines)
            if len(self._held) >= _PIECE:
                name = self._folder / f"{self._pieces:05}.js"
                write_file(name, [_BEFORE, packed(self._held), _BEHIND])
                self._pieces += 1
                self._held = b""
        now = self._clock()
        if news or not self._told <= now < self._told + _BEAT:
            text = json.dumps(self._held.decode("utf-8", "replace"))
            write_file(
                self._folder / "tail.js", [f"fancypipeTail({self._pieces}, {now}, {text})\n"]
            )
            self._told = now

    def is_orphaned(self) -> bool:
        """Tell whether the process that drives the run is gone, so that nothing more will come.

        False also where that cannot be told from this machine.

        Raises:
            OSError: The journal cannot be read.
        """
        with self._journal.open("rb") as file, suppress(ValueError, TypeError):
            head = json.loads(file.readline())
            return is_alive(int(head.get("pid", 0)), str(head.get("pid_began", ""))) is False
        return False

    def end(self) -> None:
        """Put all into the page, and remove what it read until now.

        Raises:
            OSError: It cannot be written; the page is what it was.
        """
        self.step()
        write_file(self.page, document(self._all(), summary=summary_of_journal(self._journal)))
        import shutil  # what it brings is dear, and short runs have no use for it

        shutil.rmtree(self._folder, ignore_errors=True)

    def _all(self) -> Iterator[str]:
        """Yield the journal, packed."""
        for number in range(self._pieces):
            text = (self._folder / f"{number:05}.js").read_text("ascii")
            yield text.removeprefix(_BEFORE).removesuffix(_BEHIND)
        if self._held:
            yield packed(self._held)

    def _new_lines(self) -> Iterator[bytes]:
        """Yield what the journal has got, up to its last line's end."""
        with self._journal.open("rb") as file:
            file.seek(self._read)
            rest = b""
            while data := file.read(_READ):
                rest += data
                whole = rest.rfind(b"\n") + 1
                if whole:
                    self._read += whole
                    yield rest[:whole]
                    rest = rest[whole:]


def _is_end(lines: bytes) -> bool:
    """Tell whether the last of these lines is the journal's end."""
    try:
        event = json.loads(lines[lines.rfind(b"\n", 0, -1) + 1 :])
    except ValueError:
        return False
    return isinstance(event, dict) and event.get("kind") == "over"
