"""What tasks print: read from a worker's pipes, line by line, within bounds."""

from __future__ import annotations

import os
import select
from collections import deque

from fancypipe_core.backend import Job, Note

__all__ = ["Output"]

_READ = 65536  # bytes
_LONGEST_LINE = 65536  # bytes; a longer one is passed on in pieces
_PASSED = 5 * 1024 * 1024  # bytes of one job's stream that are passed on at once
_LAST = 50  # lines that are kept for a death certificate, and for the end of a long output
_TAIL = 256 * 1024  # bytes in which these lines are looked for
_READS = 16  # at a time, where nothing is passed on at once
_SHOWN = 1000  # characters of a line in a death certificate


class Output:
    """One of a worker's standard streams.

    What comes is taken to be of the job that the worker runs at that time.  Of
    a job that prints more than 5 MiB only the last 50 lines of the rest are
    passed on, when it has ended; so memory stays flat, and the tail, which
    mostly says what went wrong, is not lost.  What is left out is not looked
    at either, so that a task which prints gigabytes is not held up.

    Args:
        stream: `stdout` or `stderr`.
        descriptor: The pipe's end to read; this object owns it.
    """

    def __init__(self, stream: str, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)
        self._stream = stream
        self._job: Job | None = None
        self._line = b""  # what has come of the line that is not complete
        self._passed = 0
        self._last: deque[str] = deque(maxlen=_LAST)
        self._tail: deque[bytes] = deque()  # the end of what is not passed on at once
        self._tail_size = 0
        self._cut = 0  # bytes before the tail that nobody will see

    @property
    def last(self) -> list[str]:
        """The last lines, for a death certificate."""
        _, lines = self._last_of_tail()
        return [line[:_SHOWN] for line in [*self._last, *map(_text, lines)][-_LAST:]]

    def read(self, job: Job | None) -> tuple[list[Note], bool]:
        """Take what has come; `job` runs now.

        Returns:
            The lines to be shown, and whether more may come.
        """
        notes = self.turn_to(job) if job is not None and job is not self._job else []
        for _ in range(_READS):
            try:
                data = os.read(self.descriptor, _READ)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                return [*notes, *self.turn_to(None)], False
            if self._passed <= _PASSED:
                return [*notes, *self._take(data)], True
            self._hold(data)
        return notes, True

    def has_more(self) -> bool:
        """Whether there is something to read."""
        return self.descriptor >= 0 and bool(self._poll.poll(0))

    @property
    def is_unsettled(self) -> bool:
        """Whether a job has printed, and was not turned from."""
        return self._job is not None or bool(self._line or self._tail)

    def settle(self, running: Job | None) -> list[Note]:
        """The worker has reported, and `running` runs now: return what others left unsaid."""
        return [] if self._job is running else self.turn_to(running)

    def turn_to(self, job: Job | None) -> list[Note]:
        """Another job begins, or none: return what is still to be said of the last."""
        notes = self._pass([_bare(self._line)]) if self._line else []
        self._line = b""
        if self._tail:
            before, lines = self._last_of_tail()
            if self._cut + before:
                notes.append(self._note(f"... {self._cut + before} bytes were cut out here ..."))
            notes += self._pass(lines)
            self._tail.clear()
        self._job, self._passed, self._tail_size, self._cut = job, 0, 0, 0
        return notes

    def _take(self, data: bytes) -> list[Note]:
        *lines, self._line = (self._line + data).split(b"\n")
        lines = list(map(_bare, lines))
        if len(self._line) > _LONGEST_LINE:
            whole = _whole_characters(self._line)
            lines.append(self._line[:whole])
            self._line = self._line[whole:]
        notes = self._pass(lines)
        if self._passed > _PASSED and self._line:
            rest, self._line = self._line, b""
            self._hold(rest)
        return notes

    def _hold(self, data: bytes) -> None:
        self._tail.append(data)
        self._tail_size += len(data)
        while self._tail_size - len(self._tail[0]) >= _TAIL:
            gone = len(self._tail.popleft())
            self._tail_size -= gone
            self._cut += gone

    def _last_of_tail(self) -> tuple[int, list[bytes]]:
        """Return how many bytes of the tail to leave out, and the lines of the rest."""
        tail = b"".join(self._tail)
        lines = tail.removesuffix(b"\n").split(b"\n")[-_LAST:] if tail else []
        if lines and len(lines[0]) > _LONGEST_LINE:
            lines[0] = lines[0][-_LONGEST_LINE:]
        shown = sum(map(len, lines)) + len(lines) - (not tail.endswith(b"\n"))
        return len(tail) - shown, list(map(_bare, lines))

    def _pass(self, lines: list[bytes]) -> list[Note]:
        notes = []
        for line in lines:
            text = _text(line)
            self._last.append(text)
            self._passed += len(line) + 1
            notes.append(self._note(text))
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


def _text(line: bytes) -> str:
    # What is no UTF-8 comes out as it was printed.
    return line.decode(errors="surrogateescape")


def _bare(line: bytes) -> bytes:
    """Return a line without the carriage return at its end; a piece of a line keeps its own."""
    return line.rstrip(b"\r")


def _whole_characters(data: bytes) -> int:
    """Return how many bytes make whole characters: the last may not have come in full."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:  # a character begins here
            expected = 2 + (byte >= 0xE0) + (byte >= 0xF0)
            return len(data) if expected <= back else len(data) - back
        if byte < 0x80:
            break
    return len(data)
