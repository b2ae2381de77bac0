"""Standard output belongs to the result; all else goes to standard error."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence

from fancypipe_core import errors

__all__ = ["ReaderGone", "aside", "say", "write", "write_columns"]


class ReaderGone(Exception):
    """Nobody reads standard output any more, as when `head` has had its lines."""


_NOT_WRITTEN = "the result could not be written to standard output"


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """Let what is printed meanwhile, also by programs that tasks start, go to standard error."""
    stdout = sys.stdout
    if not isinstance(stdout, io.TextIOWrapper) or not _is_descriptor_1(stdout):
        with contextlib.redirect_stdout(sys.stderr):
            yield
        return
    # By descriptor and not by exchanging sys.stdout: a debugger keeps its line editing.
    stdout.flush()
    _open_if_closed(2)
    kept = os.dup(1)
    line_buffering = stdout.line_buffering
    try:
        os.dup2(2, 1)
        stdout.reconfigure(line_buffering=True)
        yield
    finally:
        try:
            stdout.flush()
        except OSError:
            # What could not be written must not come out where the result goes.
            _abandon(1)
            stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
        stdout.reconfigure(line_buffering=line_buffering)


def write(text: str, in_ascii: Callable[[], str] | None = None) -> None:
    """Write a line to standard output.

    Args:
        text: What to write.
        in_ascii: Makes what to write where the encoding cannot have that.

    Raises:
        ReaderGone: Nobody reads it, or not all of it.
        FancyPipeError: It cannot be written, such as to a full disk.
    """
    if sys.stdout is None:  # print would say nothing, to nobody
        raise errors.FancyPipeError(f"{_NOT_WRITTEN}: it is closed")
    try:
        try:
            print(text, flush=True)  # noqa: T201 - it is what was asked for
        except UnicodeEncodeError:
            escaped = in_ascii() if in_ascii else text.encode("ascii", "backslashreplace").decode()
            print(escaped, flush=True)  # noqa: T201 - as above
    except BrokenPipeError as error:
        _abandon(1)
        raise ReaderGone from error
    except OSError as error:
        _abandon(1)
        raise errors.FancyPipeError(f"{_NOT_WRITTEN}: {error.strerror}") from None


def write_columns(rows: Sequence[Sequence[str]]) -> None:
    """Write rows to standard output, each column as wide as its widest cell.

    Raises:
        ReaderGone: As for `write`.
        FancyPipeError: As for `write`.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        write("  ".join(cells).rstrip())


def say(text: str) -> None:
    """Write a line to standard error, if anybody is there to read it."""
    if sys.stderr is None:  # closed by our parent; print would take standard output instead
        return
    try:
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - it is for the terminal
    except UnicodeEncodeError:
        say(text.encode("ascii", "backslashreplace").decode())
    except (OSError, ValueError):
        _abandon(2)


def _is_descriptor_1(stream: io.TextIOWrapper) -> bool:
    try:
        return stream.fileno() == 1
    except (OSError, ValueError):
        return False


def _open_if_closed(descriptor: int) -> None:
    """Let a descriptor that our parent closed lead nowhere, before some file gets its number."""
    try:
        os.fstat(descriptor)
    except OSError:
        _abandon(descriptor)


def _abandon(descriptor: int) -> None:
    """Let all further output go nowhere, also what Python flushes at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
