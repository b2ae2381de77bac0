"""Engine settings: one table, and where each value comes from.

The fields of `Settings` are the table.  Each says in its metadata how it is
spelled on the command line, what values it takes and how a text becomes one;
the command line, the environment, the configuration files and
`fancypipe config --explain` are made from that.  `resolve` works on any such
record; what a plugin brings (`fancypipe_core._declare`) stands in a table of its
own in the files.

A value is looked for in this order, and the last one found counts: default,
the user's file (`fancypipe/config.toml` in the folder for configuration), the
project's file (`fancypipe.toml`, or `[tool.fancypipe]` in `pyproject.toml`, in
this folder or the nearest one above), environment variable, argument.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Generic, NamedTuple, TypeVar, overload

from fancypipe_core import errors
from fancypipe_core._settings import config as _config
from fancypipe_core._settings import cores as _cores
from fancypipe_core._settings import setting as _setting
from fancypipe_core._settings.setting import Setting, setting, shown, toml
from fancypipe_core._spelling import near, plain

__all__ = [
    "Origin",
    "Resolved",
    "Setting",
    "Settings",
    "Table",
    "remarks",
    "resolve",
    "setting",
    "shown",
    "table",
    "toml",
    "unknown",
]

R = TypeVar("R")


def _default_backend() -> str:
    from fancypipe_core import _plugins

    return _plugins.default_backend()


@dataclass(frozen=True)
class Settings:
    """The engine's settings."""

    backend: str = setting(
        _default_backend,
        Setting(
            help="Where tasks run: serial (S), threads (T), procs (P) or another backend.",
            expected="the name or alias of a backend (see: fancypipe backends)",
            parse=_setting.name,
            options=("workertype", "backend"),
            value="NAME",
            default="procs if installed, else threads, else serial",
        ),
    )
    workers: int = setting(
        _cores.usable_cores,
        Setting(
            help="How many tasks run at the same time.",
            expected='a whole number from 1, or "auto"',
            parse=_setting.workers_or_auto,
            options=("numworkers", "workers"),
            value="N",
            default="the cores that this process may use",
        ),
    )
    max_losses: int = setting(
        3,
        Setting(
            help="How often a task's worker may die before the task is given up.",
            expected="a whole number from 1",
            parse=_setting.from_one,
            options=("max-losses",),
            value="N",
        ),
    )
    keep_going: bool = setting(
        False,
        Setting(
            help="After a failure, run all that does not need it.",
            expected="true or false",
            parse=_setting.switch,
            options=("keep-going",),
            off=("no-keep-going",),
        ),
    )
    tempdir: str | None = setting(
        None,
        Setting(
            help="The folder in which a run makes its folder for temporary files.",
            expected="a folder",
            parse=_setting.folder,
            options=("tempdir", "workdir"),
            is_path=True,
            value="FOLDER",
            default="the system's folder for temporary files",
        ),
    )
    grace: float = setting(
        10.0,
        Setting(
            help="Seconds that running tasks have to end after Ctrl-C.",
            expected="seconds, 0 or more",
            parse=_setting.seconds,
            options=("grace",),
            value="SECONDS",
        ),
    )
    backend_start_limit: float = setting(
        60.0,
        Setting(
            help="Seconds in which a backend must report its first worker.",
            expected="seconds, 0 or more",
            parse=_setting.seconds,
            options=("backend-start-limit",),
            value="SECONDS",
        ),
    )
    freeze_limit: float = setting(
        60.0,
        Setting(
            help="Seconds for which a part of the engine itself, not a task, may stand still.",
            expected="seconds, 0 or more",
            parse=_setting.seconds,
            options=("freeze-limit",),
            value="SECONDS",
        ),
    )
    progress: bool = setting(
        False,
        Setting(
            help="Show how the run goes on.",
            expected="true or false",
            parse=_setting.switch,
            options=("progress",),
            off=("quiet", "q", "no-progress"),
            off_help="Show nothing but the result and errors.",
            default="true on the command line, false for run()",
        ),
    )
    no_plugins: bool = setting(
        False,
        Setting(
            help="Do without the installed observers (entry points fancypipe.plugins).",
            expected="true or false",
            parse=_setting.switch,
            options=("no-plugins",),
            off=("plugins",),
        ),
    )
    debug: bool = setting(
        False,
        Setting(
            help="Check the engine's state at every step (slow), and show full tracebacks.",
            expected="true or false",
            parse=_setting.switch,
            options=("debug",),
            off=("no-debug",),
        ),
    )


def table(record: type[Any]) -> tuple[Setting, ...]:
    """Return the lines of a record's table."""
    return tuple(
        item.metadata["setting"]._replace(name=item.name)
        for item in fields(record)
        if "setting" in item.metadata
    )


# ---- where they come from ----------------------------------------------------


class Origin(NamedTuple):
    """Where a value came from.

    Attributes:
        kind: `default`, `user file`, `project file`, `environment` or `argument`.
        place: The file, the variable or the argument; for a default, in words.
    """

    kind: str
    place: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.place}"


@dataclass(frozen=True)
class Resolved(Generic[R]):
    """Settings, and where each came from.

    Attributes:
        settings: The record.
        origins: By field.
        remarks: What looks like a mistake but is none for sure, such as a
            variable `FANCYPIPE_WORKER`.
        tables: (file, name) of each table in the files, which some plugin brings.
    """

    settings: R
    origins: Mapping[str, Origin]
    remarks: tuple[str, ...]
    tables: tuple[tuple[str, str], ...] = ()


class Table(NamedTuple):
    """The settings that a plugin brings.

    Attributes:
        owner: The plugin's name, which is also that of its table in a file.
        record: The dataclass.
        lines: What it has, line by line.
        others: Further keys that may stand in the file's table: those of the
            plugin's commands, or of the plugin itself for one of its commands.
    """

    owner: str
    record: type[Any]
    lines: tuple[Setting, ...]
    others: frozenset[str] = frozenset()


@overload
def resolve(
    arguments: Mapping[str, object],
    env: Mapping[str, str] | None = ...,
    cwd: str | os.PathLike[str] | None = ...,
    *,
    defaults: Mapping[str, object] = ...,
    spelled: Mapping[str, str] = ...,
) -> Resolved[Settings]: ...
@overload
def resolve(
    arguments: Mapping[str, object],
    env: Mapping[str, str] | None = ...,
    cwd: str | os.PathLike[str] | None = ...,
    *,
    defaults: Mapping[str, object] = ...,
    spelled: Mapping[str, str] = ...,
    record: type[R],
    plugin: Table | None = ...,
) -> Resolved[R]: ...
def resolve(
    arguments: Mapping[str, object],
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    *,
    defaults: Mapping[str, object] | None = None,
    spelled: Mapping[str, str] | None = None,
    record: type[Any] = Settings,
    plugin: Table | None = None,
) -> Resolved[Any]:
    """Return the settings that are in force, and where each came from.

    Args:
        arguments: What the caller gave, by field.
        env: The environment; by default that of this process.
        cwd: Where the search for the project's file begins; by default here.
        defaults: Defaults of the caller's own.
        spelled: How the caller's user spelled an argument, for messages.
        record: Whose table it is.
        plugin: The table, if a plugin brings it.

    Raises:
        ConfigError: A setting is unknown or cannot have that value.
    """
    env = os.environ if env is None else env
    lines = {line.name: line for line in (table(record) if plugin is None else plugin.lines)}
    values = dict(defaults or {})
    origins = {name: Origin("default", line.default) for name, line in lines.items()}
    origins.update({name: Origin("default", toml(value)) for name, value in values.items()})
    others: list[tuple[str, str]] = []

    for kind, file, content in _config.files(env, cwd):
        if plugin is None:
            prefix, own = "", _without_tables(content, lines, file, others)
        else:
            prefix, own = f"{plugin.owner}.", _own_table(content, plugin.owner, file)
        for key, value in own.items():
            line = _line_of(key, lines)
            if line is None:
                if plugin is not None and plain(key) in plugin.others:
                    continue
                what = f"{file}: key"
                raise errors.ConfigError(unknown(prefix + key, what, lines.values()))
            parsed = _parsed(line, value, f"{file}: {prefix}{key}")
            values[line.name] = (
                type(parsed)(os.path.join(os.path.dirname(file), parsed))
                if line.is_path
                else parsed
            )
            origins[line.name] = Origin(kind, f"{file}, key {prefix}{key}")
    for line in lines.values():
        if env.get(line.variable):
            text = env[line.variable]
            values[line.name] = _parsed(line, text, f"environment variable {line.variable}")
            origins[line.name] = Origin("environment", line.variable)
    for name, value in arguments.items():
        if name not in lines:
            raise errors.ConfigError(unknown(name, "argument", lines.values()))
        place = (spelled or {}).get(name, name)
        values[name] = _parsed(lines[name], value, f"argument {place}")
        origins[name] = Origin("argument", place)
    said = tuple(remarks(env, lines.values())) if plugin is None else ()
    return Resolved(_made(record, values, plugin), origins, said, tuple(others))


def _without_tables(
    content: Mapping[str, Any],
    lines: Mapping[str, Setting],
    file: str,
    tables: list[tuple[str, str]],
) -> dict[str, Any]:
    # A table is a plugin's, which may not even be in use here.
    own = {}
    for key, value in content.items():
        if isinstance(value, dict) and _line_of(key, lines) is None:
            tables.append((file, key))
        else:
            own[key] = value
    return own


def _own_table(content: Mapping[str, Any], owner: str, file: str) -> dict[str, Any]:
    for key, value in content.items():
        if plain(key) == plain(owner):
            if not isinstance(value, dict):
                raise errors.ConfigError(
                    f"{file}: {key} must be a table of the settings that {owner!r} brings, "
                    f"not {value!r}"
                )
            return value
    return {}


def _made(record: type[Any], values: Mapping[str, object], plugin: Table | None) -> Any:
    if plugin is None:
        return record(**values)
    try:
        return record(**values)
    except ValueError as error:  # what the fields alone cannot say
        raise errors.ConfigError(f"the settings of {plugin.owner!r}: {error}") from None
    except Exception as error:
        raise errors.PluginError(
            f"the settings of {plugin.owner!r} cannot be made: {type(error).__name__}: {error}",
            plugin=plugin.owner,
        ) from error


def _line_of(key: str, lines: Mapping[str, Setting]) -> Setting | None:
    for line in lines.values():
        names = line.also if line.owner else line.options
        if plain(key) in map(plain, (line.name, *names)):
            return line
    return None


def unknown(name: str, what: str, lines: Iterable[Setting]) -> str:
    """Return the message about a name that is no setting."""
    lines = list(lines)
    known = [line.argument or line.name for line in lines]
    hint = near(name, [*known, *(option for line in lines for option in line.options)])
    return f"{what} {name!r} is not a setting{hint or '; there are: ' + ', '.join(known)}"


def _parsed(line: Setting, value: object, where: str) -> Any:
    try:
        return line.parse(value)
    except (ValueError, TypeError):
        got = "what was given, which is a secret" if line.secret else repr(value)
        raise errors.ConfigError(f"{where} must be {line.expected}, not {got}") from None


def remarks(env: Mapping[str, str], lines: Iterable[Setting]) -> Iterable[str]:
    """Yield a sentence for each variable that looks like one of these settings and is none."""
    # Not errors: other programs and later versions may have variables of their own.
    lines = list(lines)
    variables = {line.variable: line.variable for line in lines}
    # Who brings a secret looks for it in places of its own: a shorter variable, a file.
    secrets = [plain(option).upper() for line in lines if line.secret for option in line.options]
    known = {*variables, *(f"FANCYPIPE_{name}{end}" for name in secrets for end in ("", "_FILE"))}
    unknown = [name for name in env if name.startswith("FANCYPIPE_") and name not in known]
    if not unknown:
        return
    import difflib

    for line in lines:
        for option in line.options:
            variables.setdefault(f"FANCYPIPE_{plain(option).upper()}", line.variable)
    for name in unknown:
        for close in difflib.get_close_matches(name, variables, n=1, cutoff=0.85):
            yield f"{name} in the environment is no setting; did you mean {variables[close]}?"
