"""What tasks print: read from a worker's pipes, line by line, within bounds."""

from __future__ import annotations

import os
from collections import deque

from fancypipe_core.backend import Job, Note

__all__ = ["Output"]

_READ = 65536  # bytes
_LONGEST_LINE = 65536  # bytes; a longer one is passed on in pieces
_PASSED = 5 * 1024 * 1024  # bytes of one job's stream that are passed on at once
_LAST = 50  # lines that are kept for a death certificate, and for the end of a long output


class Output:
    """One of a worker's standard streams.

    What comes is taken to be of the job that the worker runs at that time.  Of
    a job that prints more than 5 MiB only the last 50 lines of the rest are
    passed on, when it has ended; so memory stays flat, and the tail, which
    mostly says what went wrong, is not lost.

    Args:
        stream: `stdout` or `stderr`.
        descriptor: The pipe's end to read; this object owns it.
    """

    def __init__(self, stream: str, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self.last: deque[str] = deque(maxlen=_LAST)
        self._stream = stream
        self._job: Job | None = None
        self._line = b""
        self._passed = 0
        self._held: deque[str] = deque(maxlen=_LAST)
        self._cut = 0  # bytes

    def read(self, job: Job | None) -> tuple[list[Note], bool]:
        """Take what has come; `job` runs now.

        Returns:
            The lines to be shown, and whether more may come.
        """
        notes = self.turn_to(job) if job is not None and job != self._job else []
        try:
            data = os.read(self.descriptor, _READ)
        except BlockingIOError:
            return notes, True
        except OSError:
            data = b""
        if not data:
            return [*notes, *self.turn_to(None)], False
        *lines, self._line = (self._line + data).split(b"\n")
        if len(self._line) > _LONGEST_LINE:
            lines.append(self._line)
            self._line = b""
        return [*notes, *self._pass(lines)], True

    def turn_to(self, job: Job | None) -> list[Note]:
        """Another job begins, or none: return what is still to be said of the last."""
        notes = self._pass([self._line]) if self._line else []
        self._line = b""
        if self._held:
            said = f"... {self._cut} bytes were cut out here ..."
            notes += [self._note(text) for text in (said, *self._held)]
            self._held.clear()
        self._job, self._passed, self._cut = job, 0, 0
        return notes

    def _pass(self, lines: list[bytes]) -> list[Note]:
        notes = []
        for line in lines:
            text = line.decode(errors="replace").rstrip("\r")
            self.last.append(text)
            if self._passed <= _PASSED:
                self._passed += len(line) + 1
                notes.append(self._note(text))
            else:
                self._cut += len(line) + 1
                self._held.append(text)
        return notes

    def _note(self, text: str) -> Note:
        if self._job is None:
            return Note(None, self._stream, text)
        return Note(self._job.id, self._stream, text, self._job.call.label)

    def close(self) -> None:
        """Close the descriptor.  May be called twice."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
