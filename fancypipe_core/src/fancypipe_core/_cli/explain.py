"""What a user reads when a run has failed: what, where, why, and what to do next."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence

from fancypipe_core import errors
from fancypipe_core._codec import failure as _failure
from fancypipe_core._engine.failures import alike, too

__all__ = ["explain", "explain_load"]

_FULL = 3  # failures that are shown with their traceback
_LISTED = 20  # failures that are shown at all


def explain(
    error: errors.FancyPipeError,
    serial: str,
    is_serial: bool,
    replay: Callable[[str], str] = lambda _path: "",
) -> Iterator[str]:
    """Yield the lines that tell of a failed run.

    Args:
        error: What `run()` raised.
        serial: The command that runs the same in series.
        is_serial: Whether it did run in series.
        replay: Returns the command that runs a task again, given its path; empty if none can.
    """
    if isinstance(error, errors.RunFailed):
        yield from _run_failed(error, serial, is_serial)
        yield from _again(error.failures, replay)
    elif isinstance(error, errors.TaskError):
        yield from _traceback(error)
        yield "fancypipe: the run failed"
        yield from _facts(error)
        yield f"  next:  {_next(error, serial, is_serial)}"
        yield from _again([error], replay)
    else:
        yield f"fancypipe: {error}"
        if isinstance(error, errors.CodecError):
            yield f"  next:  {_next(error, serial, is_serial)}"


def _again(failures: Sequence[errors.TaskError], replay: Callable[[str], str]) -> Iterator[str]:
    """Yield the command that runs the first task again that can be."""
    command = next(filter(None, (replay(one.task) for one in failures)), "")
    if command:
        yield f"  or:    run only that task again, in the debugger: {command}"


def explain_load(error: BaseException, file: str) -> Iterator[str]:
    """Yield the lines that tell why a pipeline's file could not be loaded.

    Args:
        error: What it raised.
        file: As the user wrote it.
    """
    where = _short(_failure.where(error)) or file
    if isinstance(error, errors.UsageError):
        yield f"fancypipe: {where}: {error}"
    elif isinstance(error, SystemExit):
        yield (
            f"fancypipe: {where}: the file ended the program while it was loaded; "
            'put what is not for import below `if __name__ == "__main__":`'
        )
    else:
        yield _failure.user_text("".join(traceback.format_exception(error)))
        yield f"fancypipe: {file} could not be loaded: {_first_line(error)}"
        if isinstance(error, ModuleNotFoundError):
            yield f"  next:  {_missing_module(error)}"


def _run_failed(error: errors.RunFailed, serial: str, is_serial: bool) -> Iterator[str]:
    kinds = alike(error.failures)
    for failure, _ in kinds[:_FULL]:
        yield from _traceback(failure)
    yield f"fancypipe: the run failed: {_first_line(error)}"
    for failure, more in kinds[:_LISTED]:
        yield from _facts(failure)
        if more:
            yield f"         {too(more)}"
    if len(kinds) > _LISTED:
        yield f"  and {sum(1 + more for _, more in kinds[_LISTED:])} more"
    if error.failures:
        yield f"  next:  {_next(error.failures[0], serial, is_serial)}"


def _traceback(error: errors.TaskError) -> Iterator[str]:
    text = error.traceback
    if not text and error.__cause__ is not None:
        text = "".join(traceback.format_exception(error.__cause__))
    if 'File "' in text:
        shown = _failure.user_text(text)
        if isinstance(error.__cause__, errors.CodecError) and shown == text.rstrip():
            return  # all frames are ours, and the message says what it is
        yield shown
        yield ""


def _facts(error: errors.TaskError) -> Iterator[str]:
    attempt = f", attempt {error.attempt}" if error.attempt else ""
    inputs = f" ({error.inputs})" if error.inputs else ""
    yield f"  what:  task {error.task}{inputs}{attempt}"
    place = f" (host {error.host}, pid {error.pid})" if error.host else ""
    yield f"  where: {_short(error.where)}{place}"
    yield f"  why:   {_why(error)}"


def _why(error: errors.TaskError) -> str:
    cause = error.__cause__
    if isinstance(error, errors.TaskLost) and error.certificate is not None:
        return f"its worker died: {error.certificate}"
    if cause is None:
        return _first_line(error)
    if isinstance(cause, errors.RemoteError):
        return _first_line(cause)
    return _failure.said(_failure.name_of(cause), _failure.text_of(cause), error.traceback)


def _short(place: str) -> str:
    """Return a path as seen from the current folder, if it is below."""
    here = os.path.join(os.getcwd(), "")
    return place.removeprefix(here)


def _first_line(error: BaseException) -> str:
    lines = _failure.text_of(error).strip().splitlines()
    return lines[0] if lines else _failure.name_of(error)


def _next(error: errors.FancyPipeError, serial: str, is_serial: bool) -> str:
    cause = error.__cause__ or error
    if isinstance(error, errors.TaskTimeout):
        return (
            "give the task a longer `timeout`, or run it in series to see where it hangs: " + serial
        )
    if isinstance(error, errors.TaskLost):
        return _after_death(str(error.certificate), serial)
    if isinstance(cause, errors.DecodeError):
        # What to do is the last line of the message: only the worker knows the script.
        advice = str(cause).splitlines()[1:]
        return advice[-1] if advice else f"run it in series: {serial}"
    if isinstance(cause, MemoryError):
        return "run fewer tasks at the same time: -numworkers=1"
    if isinstance(cause, ModuleNotFoundError):
        return _missing_module(cause)
    if is_serial:
        return "put breakpoint() before that line and run the same command again"
    return f"to debug, run it in series, where breakpoint() works: {serial}"


def _after_death(certificate: str, serial: str) -> str:
    if "SIGKILL" in certificate:
        return (
            "the system kills what takes too much memory: run fewer tasks at the same time, "
            "-numworkers=1, or ask for less in the task"
        )
    if any(name in certificate for name in ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGFPE", "SIGILL")):
        return f"compiled code crashed; see where: PYTHONFAULTHANDLER=1 {serial}"
    return f"see whether the task ends its process itself: {serial}"


def _missing_module(error: ModuleNotFoundError) -> str:
    name = (error.name or "").partition(".")[0] or "the package"
    return f"install {name} for {sys.executable}, or put its folder on PYTHONPATH"
