"""Why a worker could not read a task: in words, with what to do."""

from __future__ import annotations

import os
import sys
import traceback

from fancypipe_core import errors
from fancypipe_core._base import main_module
from fancypipe_core._base.resources import host_name
from fancypipe_core._codec import failure

__all__ = ["doctor_command", "explain", "relative"]

_MOST_FOLDERS = 8  # of sys.path, in a message


def explain(error: BaseException, label: str, in_inputs: bool = False) -> errors.FancyPipeError:
    """Return the error that says why a task could not be read.

    The first line of its text says what and why, the second what to do.

    Args:
        error: What was raised when it was read.
        label: The task's name.
        in_inputs: Whether its code could be read, and its inputs could not.
    """
    if isinstance(error, errors.UsageError):
        return error  # says what to do: the script starts a run when it is imported
    said: errors.FancyPipeError
    what = f"the inputs of task {label}" if in_inputs else f"task {label}"
    if isinstance(error, errors.DecodeError):
        said = errors.DecodeError(f"{what} could not be read by a worker: {error}")
    elif isinstance(error, ModuleNotFoundError):
        said = _module_missing(error, what)
    else:
        said = errors.DecodeError(
            f"{what} could not be read by the worker on host {host_name()}"
            f"{_while_importing(error)}: {type(error).__name__}: {failure.text_of(error)}"
        )
    said.args = (" ".join(str(said).split()) + _advice(),)
    # Frames of the engine alone tell nobody anything.
    trace = error.__traceback__ if failure.where(error) else None
    said.__cause__ = error.with_traceback(trace)
    said.__traceback__ = trace
    return said


def _module_missing(error: ModuleNotFoundError, what: str) -> errors.DecodeError:
    folders = [folder or "the current folder" for folder in _own_folders()]
    listed = ", ".join(folders[:_MOST_FOLDERS])
    if len(folders) > _MOST_FOLDERS:
        listed += f" and {len(folders) - _MOST_FOLDERS} more folders"
    return errors.DecodeError(
        f"module {error.name} was not found on host {host_name()}{_while_importing(error)}"
        f"; {what} needs it. The worker looked in {listed or 'no folder of yours'} and among the "
        f"packages of {sys.executable}. Install it there, or put its folder on PYTHONPATH: a "
        "worker has the sys.path that the client had when the session was opened"
    )


def _own_folders() -> list[str]:
    """Return the entries of sys.path that are neither the interpreter's nor an installation's."""
    import sysconfig

    known = {path for path in sysconfig.get_paths().values() if path}
    known.update(os.path.join(path, "lib-dynload") for path in tuple(known))
    return [path for path in sys.path if path not in known and not path.endswith(".zip")]


def _while_importing(error: BaseException) -> str:
    """Say that it was raised while the main script was imported, and where, if so."""
    main = main_module.main_script()
    for frame, line in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        if main is not None and code.co_filename == main.value and code.co_name == "<module>":
            return f" when it imported {relative(main.value)} (line {line})"
    return ""


def _advice() -> str:
    command = doctor_command()
    return f"\nto see all that workers cannot read, and why: {command}" if command else ""


def doctor_command() -> str:
    """Return the command that examines the main script; empty if there is none."""
    main = main_module.main_script()
    if main is None or main.kind != "file":
        return ""
    import shlex

    return f"fancypipe doctor {shlex.quote(relative(main.value))}"


def relative(path: str) -> str:
    """Return a path as seen from the current folder, if it is below."""
    try:
        return path.removeprefix(os.path.join(os.getcwd(), ""))
    except OSError:  # the current folder is gone
        return path
