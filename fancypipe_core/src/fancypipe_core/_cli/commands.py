"""What the commands do, and how they end."""

from __future__ import annotations

import atexit
import contextlib
import os
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Container, Sequence
from time import sleep
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from fancypipe_core import errors
from fancypipe_core._base.signals import ENDING, Interrupts, how, in_imports
from fancypipe_core._cli import last_resort as _last_resort
from fancypipe_core._cli import streams as _streams
from fancypipe_core._cli.options import Found
from fancypipe_core._settings import table as _table

if TYPE_CHECKING:
    from fancypipe_core._cli.inputs import Bound
    from fancypipe_core._model.definition import Definition
    from fancypipe_core._settings.parameters import Parameters
    from fancypipe_core._settings.session import Configured, Given
    from fancypipe_core.backend import BackendPlugin
    from fancypipe_core.plugins.jobs import Jobs
    from fancypipe_core.session import Session

__all__ = [
    "PLUGIN",
    "Asked",
    "backends",
    "ended",
    "load",
    "made",
    "run_task",
    "version",
]

PLUGIN = "plugin:"
"""What the key of an option that a plugin brings begins with."""

_BROKEN_PIPE = 128 + 13  # as a program ends that the system kills for writing to nobody
_LEFT = (
    "the reader of standard output closed it before the whole result was written; "
    "--output FILE writes it to a file"
)
_LAST_SECONDS = 5.0  # that an interrupted process has for its own end; after two signals a tenth

# What the command line has for a default where run() has another.
_DEFAULTS = {"progress": True, "journal": True, "page": True}


class Asked(NamedTuple):
    """What was typed.

    Attributes:
        program: What runs us, such as `fancypipe` or `python pipeline.py`.
        argv: Its arguments.
        engine: The engine's options among them, with their places in `argv`.
    """

    program: tuple[str, ...]
    argv: Sequence[str]
    engine: list[Found]

    def add(self, options: Sequence[Found], argv: Sequence[str]) -> None:
        """Add engine options that were found at the end of the arguments."""
        shift = len(self.argv) - len(argv)
        self.engine.extend(
            found._replace(first=found.first + shift, last=found.last + shift) for found in options
        )

    def output(self) -> str | None:
        """Return the file for the result."""
        return {found.key: found.value for found in self.engine}.get("output")

    @property
    def is_dry(self) -> bool:
        """Whether nothing is to be run."""
        return {found.key: found.value for found in self.engine}.get("dry") == "true"

    def given(self) -> Given:
        """Return the settings among what was typed."""
        from fancypipe_core._settings.session import Given

        last = {
            found.key.removeprefix(PLUGIN): found
            for found in self.engine
            if found.key not in ("output", "dry")
        }
        return Given(
            {key: found.value for key, found in last.items()},
            {key: found.spelled for key, found in last.items()},
            _DEFAULTS,
        )

    def without(self, *starts: str) -> list[str]:
        """Return what was typed without the options whose keys begin so."""
        skip = {
            place
            for found in self.engine
            if found.key.startswith(starts)
            for place in range(found.first, found.last)
        }
        return [word for place, word in enumerate(self.argv) if place not in skip]

    def in_series(self) -> str:
        """Return the command that runs the same in series."""
        left = self.without("backend", PLUGIN)
        return shlex.join([*self.program, "-workertype=S", *left])


# ---- what the commands do ----------------------------------------------------


def version() -> str:
    """Return the version that is installed."""
    from importlib import metadata

    return metadata.version("fancypipe-core")


def load(file: str) -> ModuleType:
    """Load a pipeline's file; what it prints goes to standard error.

    Raises:
        LoadError: It raised an exception, or is not Python.
        UsageError: It cannot be read.
    """
    from fancypipe_core._model import load as _load

    interrupts = Interrupts.here()
    leave = interrupts.reaction

    def react(frame: FrameType | None) -> bool:
        # The file's own code is interrupted as any is.
        return not in_imports(frame) or leave(frame)

    with _streams.aside(), interrupts.told_to(react):
        return _load.load(file)


def backends(taken: Container[str]) -> None:
    """List the backends that are installed."""
    from fancypipe_core._plugins import discovery

    rows = [("NAME", "ALIASES", "DISTRIBUTION", "VERSION", "API", "CAN", "STATE")]
    for entry in discovery.backends():
        head = (entry.name, ", ".join(entry.aliases), entry.dist, entry.version)
        if entry.plugin is None:
            rows.append((*head, "", "", f"broken: {' '.join((entry.error or '').split())}"))
        else:
            api, state = str(entry.plugin.api), f"ok: {' '.join(entry.plugin.help.split())}"
            hidden = [name for name in entry.plugin.commands if name in taken]
            for alias, owner in entry.refused.items():
                state += f" (its alias {alias} is that of {owner})"
            if hidden:
                state += f" (fancypipe has a command of its own for its {', '.join(hidden)})"
            rows.append((*head, api, _abilities(entry.plugin), state))
    _streams.write_columns(rows)


def _abilities(plugin: BackendPlugin) -> str:
    # What can stop a task holds it to its time limit, and what cannot does not.
    can = [("share memory", plugin.shares_memory), ("kill, time limits", plugin.kills)]
    return ", ".join(word for word, is_so in can if is_so)


def _remark(configured: Configured) -> None:
    for remark in configured.remarks:
        _streams.say(f"fancypipe: {remark}")


def run_task(
    asked: Asked, definition: Definition, bind: Callable[[Parameters | None], Bound]
) -> None:
    """Run a task, and show its result.

    Args:
        asked: What was typed.
        definition: The task.
        bind: Returns its inputs, given what a file says of them.
    """
    from fancypipe_core._cli import present as _present

    output = asked.output()
    if output is not None:
        _present.check_output(output)
    with _streams.aside():
        from fancypipe_core._settings import session as _configured

        # Plugins are imported in here, and may print.
        configured = _configured.configure(asked.given())
    settings = configured.core.settings
    args, kwargs = bind(configured.parameters)
    notes = [] if configured.parameters is None else [*configured.parameters.check()]
    if settings.progress:
        _remark(configured)
        for note in notes:
            _streams.say(f"fancypipe: {note}")
    with _streams.aside():
        from fancypipe_core.session import Session

        # Messages say where an instance was made; the best we have is where it is defined.
        before = "\n" * (definition.line - 1)
        make = compile(f"{before}target(*args, **kwargs)", definition.file or "-", "eval")
        names = {"target": definition.target, "args": args, "kwargs": kwargs}
        session: Session | None = None
        if asked.is_dry:
            target = made(definition, lambda: eval(make, names))
    if asked.is_dry:
        from fancypipe_core._cli.dry_run import dry_run

        dry_run(configured, target)
        return
    with _streams.aside():
        try:
            target = made(definition, lambda: eval(make, names))
            with Interrupts.here().only_counted(), Session.of(configured) as session:
                value = session.run(target)
                stays = _stays(session, value)
        except (errors.FancyPipeError, KeyboardInterrupt) as error:
            kept = session.kept_jobs if session is not None else None
            raise _Failed(asked, settings, kept) from error
    if stays and settings.progress:
        _streams.say(f"fancypipe: {stays}")
    if output is None:
        try:
            _show(value)
        except _streams.ReaderGone as gone:
            raise _streams.ReaderGone(_LEFT if settings.progress else "") from gone
        return
    try:
        _present.save(value, output)
    except (OSError, errors.EncodeError) as error:
        # What took hours to make is not thrown away for want of a place to put it.
        _show(value)
        why = error.strerror if isinstance(error, OSError) else error
        raise errors.FancyPipeError(
            f"{output} could not be written ({why}); the result is on standard output instead"
        ) from error
    if settings.progress:
        _streams.say(f"fancypipe: the result is in {output}")


def made(definition: Definition, make: Callable[[], Any]) -> Any:
    """Return the instance that `make` makes of a task.

    Raises:
        BadInput: It does not take these inputs.
    """
    try:
        return make()
    except errors.FancyPipeError:
        raise
    except Exception as error:
        # A class may have an __init__ of its own, with its own ideas of what is right.
        raise errors.BadInput(
            f"task {definition.name} does not take these inputs: {type(error).__name__}: {error}"
        ) from error


def _stays(session: Session, value: Any) -> str:
    """Return where the files of a result stay, in a sentence; empty if it has none."""
    if "fancypipe_core._model.files" not in sys.modules:
        return ""
    from fancypipe_core._engine.out_folder import left_in

    folders = sorted(left_in(value, session._files))
    if not folders:
        return ""
    where = folders[0] if len(folders) == 1 else session.directory
    return (
        f"the files of the result stay in {where}, until you remove them; "
        "-outdir=FOLDER puts them where you want them"
    )


def _show(value: Any) -> None:
    from fancypipe_core._cli import present as _present

    _streams.write(_present.dumps(value), lambda: _present.dumps(value, ascii_only=True))


class _Failed(Exception):
    """A run failed; the cause says how."""

    def __init__(self, asked: Asked, settings: _table.Settings, kept: Jobs | None = None) -> None:
        super().__init__()
        self.asked = asked
        self.settings = settings
        self.kept = kept

    def replay(self, path: str) -> str:
        """Return the command that runs a task again; empty if it cannot be."""
        if self.kept is None or self.kept.run is None or path not in self.kept.kept:
            return ""
        from fancypipe_core.plugins.journal import HERE

        run = self.kept.run
        mine = os.path.abspath(HERE) == os.path.dirname(run)
        name = run.name.rpartition("-")[2] if mine else str(run)
        return shlex.join(["fancypipe", "replay", name, path, "--pdb"])


# ---- how it ends -------------------------------------------------------------


def ended(call: Callable[[], Any]) -> int:
    """Call a command, and return its exit code.  Whatever went wrong has been said.

    A signal that ends it makes the code 128 and the signal's number.
    """
    interrupts = Interrupts()

    def leave(_frame: FrameType | None) -> NoReturn:
        """Neither a run nor the user's code is under way: there is nothing to clear away."""
        with contextlib.suppress(OSError):
            # Not by a stream: it may be in the middle of a line.
            os.write(2, f"fancypipe: {how(interrupts.signal)}\n".encode())
        os._exit(128 + interrupts.signal)

    _last_resort.arm(interrupts)
    code = 1
    with (
        # One that came during a run whose result was there all the same changes nothing.
        contextlib.suppress(KeyboardInterrupt),
        interrupts.watched(ENDING, (signal.SIG_DFL, signal.default_int_handler), leave),
    ):
        code = _ended(call, interrupts)
    _hurry_at_the_end(code, interrupts.count)
    return code


def _ended(call: Callable[[], Any], interrupts: Interrupts) -> int:
    try:
        result = call()
        return result if isinstance(result, int) else 0
    except _Failed as failed:
        cause = failed.__cause__
        if not isinstance(cause, KeyboardInterrupt):
            return _said_failure(failed)
        _streams.say(f"fancypipe: {_one_line(cause) or how(interrupts.signal)}")
        return 128 + (interrupts.signal or signal.SIGINT)
    except KeyboardInterrupt:
        _streams.say(f"fancypipe: {how(interrupts.signal)}")
        return 128 + (interrupts.signal or signal.SIGINT)
    except _streams.ReaderGone as error:
        if str(error):
            _streams.say(f"fancypipe: {error}")
        return _BROKEN_PIPE
    except errors.FancyPipeError as error:
        _streams.say(f"fancypipe: {_one_line(error)}")
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the last one to know
        return _said_anything(error)


def _hurry_at_the_end(code: int, interrupts: int) -> None:
    """Let nothing hold up the end of this process: not a signal, nor threads that tasks left.

    Where `.cli()` was called from a program that goes on, nothing happens until that ends.
    """
    ending = threading.Event()

    def watch() -> None:
        ending.wait()
        sleep(_LAST_SECONDS if interrupts == 1 else _LAST_SECONDS / 10)
        os._exit(code)

    def begin() -> None:
        with contextlib.suppress(ValueError):  # not the main thread
            # Asked for before, the end comes within seconds, and with the code that was said.
            signal.signal(signal.SIGINT, signal.SIG_IGN if interrupts else signal.SIG_DFL)
        ending.set()

    if interrupts:
        # Now: once Python ends, no thread can be started any more.
        with contextlib.suppress(RuntimeError):  # there are too many
            threading.Thread(target=watch, name="fancypipe-end", daemon=True).start()
    # Before Python waits for threads; atexit comes only afterwards.
    getattr(threading, "_register_atexit", atexit.register)(begin)


def _said_failure(failed: _Failed) -> int:
    from fancypipe_core._cli import explain as _explain

    error, settings = failed.__cause__, failed.settings
    assert isinstance(error, errors.FancyPipeError)
    if settings.debug:
        _streams.say("".join(traceback.format_exception(error)))
    is_task = isinstance(error, errors.TaskError)
    if isinstance(error, errors.UsageError) and not is_task:
        _streams.say(f"fancypipe: {_one_line(error)}")
    else:
        serial = settings.backend.lower() in ("s", "serial", "inline")
        for line in _explain.explain(error, failed.asked.in_series(), serial, failed.replay):
            _streams.say(line)
    return 1 if is_task else error.exit_code


def _said_anything(error: Exception) -> int:
    from fancypipe_core._cli import explain as _explain
    from fancypipe_core._model import load as _load

    if isinstance(error, _load.LoadError) and error.__cause__ is not None:
        for line in _explain.explain_load(error.__cause__, str(error)):
            _streams.say(line)
        return error.__cause__.exit_code if isinstance(error.__cause__, errors.UsageError) else 1
    import platform

    _streams.say("".join(traceback.format_exception(error)))
    _streams.say(
        "fancypipe: this is a mistake in fancypipe, not in your pipeline; please report it with "
        f"the text above (fancypipe {version()}, Python "
        f"{platform.python_version()}, {platform.system()})"
    )
    return 1


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
