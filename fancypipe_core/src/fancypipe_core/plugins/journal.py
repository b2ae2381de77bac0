"""Writes down what happens in a run, so that it can be read later, also if all was killed.

The journal is `journal.jsonl` in a folder of the run's: one line of JSON for each event,
appended by one write for all that has come together, and always whole lines.  So what a kill
at any moment leaves can be read, but perhaps for the last line.  The format is told in
`docs/howto/journal.md`, and `plugins.runs` reads it.

What keeps it from being written ends the journal with one warning, and never the run.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import localtime, strftime, time
from typing import Any

import msgspec

from fancypipe_core.hooks import KINDS, Outcome, RunInfo, TaskEvent, TaskNote, Wants, hookimpl

__all__ = ["FORMAT", "HERE", "NAME", "Journal"]

FORMAT = 2
"""The version of the format."""

NAME = "journal.jsonl"
"""The journal's name in a run's folder."""

HERE = Path(".fancypipe", "runs")
"""Where the folders of runs are, below the current folder, if nobody gives another."""


def _in_few_words(row: object) -> str:
    assert isinstance(row, range), "no event has anything else that JSON does not"
    return f"{row[0]}-{row[-1]}"


_PICTURES = 32 << 20
"""Characters that the pictures of a run may take; what is more is left out, and that is said."""

_lines = msgspec.json.Encoder(enc_hook=_in_few_words).encode_lines


class Journal:
    """The observer.

    Attributes:
        folder: The folder of the run that is under way, or was last; None if it has none.
    """

    def __init__(self) -> None:
        self.folder: Path | None = None
        self._file = -1
        self._pid = 0
        self._pictures = 0  # characters that they may still take

    @hookimpl
    def fancypipe_wants(self) -> Wants:
        """All that happens, and all that is known of it but paths, which parents tell too."""
        return Wants(
            KINDS,
            ("inputs", "where", "needs", "usage", "bytes", "traceback", "value"),
            together=True,
            pictures=True,
        )

    @hookimpl
    def fancypipe_run_started(self, run: RunInfo) -> None:
        """Make the folder, and begin."""
        self.folder = None
        base = HERE if run.tempdir is None else Path(run.tempdir)
        folder = base / f"{strftime('%Y%m%d-%H%M%S', localtime(run.began))}-{run.id}"
        try:
            if run.tempdir is None:
                _make_base(base)
            folder.mkdir(parents=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
            self._file = os.open(folder / NAME, flags, 0o666)
        except OSError as error:
            _say(f"this run has no journal: {folder} cannot be made ({error.strerror})")
            return
        self.folder = folder.absolute()
        self._pid = os.getpid()
        self._pictures = _PICTURES
        self._write(_json(_head(run)))

    @hookimpl
    def fancypipe_task_events(self, events: Sequence[TaskEvent]) -> None:
        """Write them down."""
        if self._file >= 0:
            try:
                lines = _lines(events)
            except UnicodeEncodeError:  # names of files need not be texts
                lines = b"".join(_json(_as_dict(event)) for event in events)
            self._write(lines)

    @hookimpl
    def fancypipe_notes(self, notes: Sequence[TaskNote]) -> None:
        """Write them down."""
        if self._file >= 0:
            self._write(b"".join(_json(_of_note(note)) for note in notes if self._takes(note)))

    @hookimpl
    def fancypipe_run_over(self, run: RunInfo, outcome: Outcome) -> None:
        """Write the end, and close."""
        if self._file < 0:
            return
        self._write(
            _json({
                "kind": "over",
                "at": time(),
                "ok": outcome.ok,
                "seconds": outcome.seconds,
                "counts": outcome.counts,
                "message": outcome.message,
            })
        )  # fmt: skip
        self._close()

    def _takes(self, note: TaskNote) -> bool:
        """Whether there is room for a note: pictures must not make a journal that nobody opens."""
        if note.stream != "picture":
            return True
        had, self._pictures = self._pictures, self._pictures - len(note.text)
        if had >= 0 > self._pictures:
            why = f"\nno more pictures are kept: those of this run take {_PICTURES >> 20} MiB"
            self._write(_json(_of_note(note._replace(text=why))))
        return self._pictures >= 0

    def _write(self, lines: bytes) -> None:
        """Append whole lines, or end the journal."""
        if self._file < 0 or self._pid != os.getpid():
            return  # a fork has our file, and not our run
        rest = memoryview(lines)
        try:
            # One write as a rule; a disk that is about to be full takes a part.
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            with suppress(OSError):  # what was written of this batch must not end within a line
                done = lines[: len(lines) - len(rest)]
                size = os.fstat(self._file).st_size
                os.ftruncate(self._file, size - len(done) + done.rfind(b"\n") + 1)
            self._close()
            _say(
                f"the journal {self.folder}/{NAME} ends here ({error.strerror}); the run goes on "
                "without it"
            )

    def _close(self) -> None:
        file, self._file = self._file, -1
        if file >= 0:
            with suppress(OSError):
                os.close(file)


def _make_base(base: Path) -> None:
    """Make the folder of all runs, and keep it out of version control."""
    base.mkdir(parents=True, exist_ok=True)
    ignore = base.parent / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="ascii")


def _head(run: RunInfo) -> dict[str, Any]:
    return {
        "kind": "run",
        "journal": FORMAT,
        "run": run.id,
        "session": run.session,
        "at": run.began,
        **run.versions,
        "host": run.host,
        "pid": run.pid,
        "pid_began": run.pid_began,
        "folder": run.folder,
        "argv": run.argv,
        "target": run.target,
        "backend": run.backend,
        "workers": run.workers,
        "unit": run.unit,
        "settings": dict(run.settings),
    }


def _as_dict(event: TaskEvent) -> dict[str, Any]:
    built: dict[str, Any] = msgspec.to_builtins(event, enc_hook=_in_few_words)
    return built


def _of_note(note: TaskNote) -> dict[str, Any]:
    said = {
        "kind": "note",
        "at": note.clock,
        "task": note.task,
        "name": note.name,
        "attempt": note.attempt,
        "stream": note.stream,
        "text": note.text,
    }
    return {key: value for key, value in said.items() if value not in ("", 0)}


def _json(line: Mapping[str, Any]) -> bytes:
    # Texts may hold what is no UTF-8: written as \udcxx it can be read back.
    return json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n"


def _say(text: str) -> None:
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"fancypipe: {text}\n")
