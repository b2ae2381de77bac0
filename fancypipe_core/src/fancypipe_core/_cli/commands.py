"""What the commands do, and how they end."""

from __future__ import annotations

import shlex
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from fancypipe_core import _settings, errors
from fancypipe_core._cli import streams as _streams
from fancypipe_core._cli.options import Found
from fancypipe_core._spelling import dashed

if TYPE_CHECKING:
    from fancypipe_core._task import Definition

__all__ = ["Asked", "backends", "config", "ended", "run_task", "version"]

# What the command line has for a default where run() has another.
_DEFAULTS = {"progress": True}


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

    def resolve(self) -> _settings.Resolved[_settings.Settings]:
        """Return the settings that are in force."""
        last = {found.key: found for found in self.engine if found.key != "output"}
        return _settings.resolve(
            {key: found.value for key, found in last.items()},
            defaults=_DEFAULTS,
            spelled={key: found.spelled for key, found in last.items()},
        )

    def in_series(self) -> str:
        """Return the command that runs the same in series."""
        skip = {
            place
            for found in self.engine
            if found.key == "backend"
            for place in range(found.first, found.last)
        }
        left = [word for place, word in enumerate(self.argv) if place not in skip]
        return shlex.join([*self.program, "-workertype=S", *left])


# ---- what the commands do ----------------------------------------------------


def version() -> str:
    """Return the version that is installed."""
    from importlib import metadata

    return metadata.version("fancypipe-core")


def backends() -> None:
    """List the backends that are installed."""
    from fancypipe_core import _plugins

    rows = [("NAME", "ALIASES", "DISTRIBUTION", "VERSION", "STATE")]
    for entry in _plugins.backends():
        state = f"broken: {entry.error}" if entry.error else "ok"
        aliases = ", ".join(entry.aliases)
        rows.append((entry.name, aliases, entry.dist, entry.version, " ".join(state.split())))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        _streams.write("  ".join(cells).rstrip())


def config(asked: Asked, explain: bool) -> None:
    """Show the settings that are in force, as a configuration file."""
    resolved = asked.resolve()
    for line in _settings.table(_settings.Settings):
        value = getattr(resolved.settings, line.name)
        text = f"{line.name} = {_settings.toml(value)}"
        if value is None:
            text = f"# {line.name} is not set"
        if explain:
            flags = ", ".join(dashed(name) for name in (*line.options, *line.off))
            _streams.write(f"# {line.help}")
            _streams.write(f"# Must be {line.expected}.  {flags}, {line.variable}")
            _streams.write(f"{text}  # {resolved.origins[line.name]}\n")
        else:
            _streams.write(text)
    _remark(resolved)


def _remark(resolved: _settings.Resolved[_settings.Settings]) -> None:
    for remark in resolved.remarks:
        _streams.say(f"fancypipe: {remark}")


def run_task(
    asked: Asked, definition: Definition, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Run a task, and show its result."""
    from fancypipe_core._cli import present as _present

    output = asked.output()
    if output is not None:
        _present.check_output(output)
    resolved = asked.resolve()
    settings = vars(resolved.settings)
    if resolved.settings.progress:
        _remark(resolved)
    with _streams.aside():
        from fancypipe_core._session import run

        # Messages say where an instance was made; the best we have is where it is defined.
        before = "\n" * (definition.line - 1)
        make = compile(f"{before}target(*args, **kwargs)", definition.file or "-", "eval")
        names = {"target": definition.target, "args": args, "kwargs": kwargs}
        try:
            value = run(_made(definition, lambda: eval(make, names)), **settings)
        except errors.FancyPipeError as error:
            raise _Failed(asked, resolved.settings) from error
    if output is None:
        _show(value)
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
    if resolved.settings.progress:
        _streams.say(f"fancypipe: the result is in {output}")


def _made(definition: Definition, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except errors.FancyPipeError:
        raise
    except Exception as error:
        # A class may have an __init__ of its own, with its own ideas of what is right.
        raise errors.BadInput(
            f"task {definition.name} does not take these inputs: {type(error).__name__}: {error}"
        ) from error


def _show(value: Any) -> None:
    from fancypipe_core._cli import present as _present

    _streams.write(_present.dumps(value), lambda: _present.dumps(value, ascii_only=True))


class _Failed(Exception):
    """A run failed; the cause says how."""

    def __init__(self, asked: Asked, settings: _settings.Settings) -> None:
        super().__init__()
        self.asked = asked
        self.settings = settings


# ---- how it ends -------------------------------------------------------------


def ended(call: Callable[[], Any]) -> int:
    """Call a command, and return its exit code.  Whatever went wrong has been said."""
    try:
        result = call()
        return result if isinstance(result, int) else 0
    except _Failed as failed:
        return _said_failure(failed)
    except errors.FancyPipeError as error:
        _streams.say(f"fancypipe: {_one_line(error)}")
        return error.exit_code
    except KeyboardInterrupt:
        _streams.say("fancypipe: interrupted")
        return errors.Interrupted.exit_code
    except Exception as error:  # noqa: BLE001 - the last one to know
        return _said_anything(error)


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
        for line in _explain.explain(error, failed.asked.in_series(), serial):
            _streams.say(line)
    return 1 if is_task else error.exit_code


def _said_anything(error: Exception) -> int:
    from fancypipe_core._cli import explain as _explain
    from fancypipe_core._cli import load as _load

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


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
