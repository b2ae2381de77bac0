"""Settings: tables, and where each value comes from.

A table is made of a record whose fields are declared by `setting`: the
engine's is `ENGINE`, and a plugin's is made in the same way.  The command line,
the environment, the configuration files and `fancypipe config --explain` are
made from tables.

A value is looked for in this order, and the last one found counts: default,
the user's file (`fancypipe/config.toml` in the folder for configuration), the
project's file (`fancypipe.toml`, or `[tool.fancypipe]` in `pyproject.toml`, in
this folder or the nearest one above), environment variable, argument.  In a file
a plugin's settings stand in a table of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

from fancypipe_core import errors
from fancypipe_core._base import cores as _cores
from fancypipe_core._base.declarations import setting
from fancypipe_core._base.needs import bytes_of
from fancypipe_core._base.option_names import closest, plain
from fancypipe_core._settings import config as _config
from fancypipe_core._settings.lines import Setting, lines_of, shown, toml

__all__ = [
    "ENGINE",
    "Origin",
    "Resolved",
    "Setting",
    "Settings",
    "Table",
    "lines_of",
    "remarks",
    "shown",
    "toml",
    "unknown",
]

R = TypeVar("R")


def _default_backend() -> str:
    from fancypipe_core._plugins import discovery

    return discovery.default_backend()


def _name(text: str) -> str:
    if not text.strip():
        raise ValueError
    return text.strip()


def _auto(text: str) -> int:
    if text.strip().lower() != "auto":
        raise ValueError
    return _cores.usable_cores()


def _bytes(text: str) -> int:
    found = bytes_of(text)
    if found is None:
        raise ValueError
    return found


@dataclass(frozen=True)
class Settings:
    """The engine's settings."""

    backend: Annotated[str, _name] = setting(
        _default_backend,
        help="Where tasks run: serial (S), threads (T), procs (P) or another backend.",
        expected="the name or alias of a backend (see: fancypipe backends)",
        option="workertype",
        value="NAME",
        default_text="procs if installed, else threads, else serial",
    )
    workers: int | Annotated[int, _auto] = setting(
        _cores.usable_cores,
        help="How many tasks run at the same time.",
        expected='a whole number from 1, or "auto"',
        least=1,
        option="numworkers",
        value="N",
        default_text="the cores that this process may use",
    )
    max_losses: int = setting(
        3,
        help="How often a task's worker may die before the task is given up.",
        least=1,
        value="N",
    )
    keep_going: bool = setting(False, help="After a failure, run all that does not need it.")
    tempdir: Annotated[str, "output"] | None = setting(
        None,
        help="The folder in which a run makes its folder for temporary files.",
        expected="a folder",
        also=("workdir",),
        value="FOLDER",
        default_text="the system's folder for temporary files",
    )
    max_temp: int | Annotated[int, _bytes] | None = setting(
        None,
        help="Bytes of disk that temporary files may take before tasks go one at a time.",
        expected="bytes, or a size such as 200G",
        least=1,
        value="SIZE",
        default_text="no limit",
    )
    outdir: Annotated[str, "output"] | None = setting(
        None,
        help="The folder into which the files of the result are put, under their own names.",
        expected="a folder",
        value="FOLDER",
        default_text="they stay in the run's folder for temporary files",
    )
    configfile: Annotated[str, "input"] | None = setting(
        None,
        help="Inputs of the pipeline, and in [tasks.NAME] of tasks (TOML, JSON or YAML).",
        expected="a file that exists",
        also=("config_file",),
        value="FILE",
        default_text="none",
    )
    grace: float = setting(
        10.0,
        help="Seconds that running tasks have to end after Ctrl-C.",
        expected="seconds, 0 or more",
        least=0,
        value="SECONDS",
    )
    backend_start_limit: float = setting(
        60.0,
        help="Seconds in which a backend must report its first worker.",
        expected="seconds, 0 or more",
        least=0,
        value="SECONDS",
    )
    freeze_limit: float = setting(
        60.0,
        help="Seconds for which a part of the engine itself, not a task, may stand still.",
        expected="seconds, 0 or more",
        least=0,
        value="SECONDS",
    )
    value_memory: float = setting(
        0.5,
        help="Part of the free memory that large values may take before tasks go one at a time.",
        expected="a part, 0 or more",
        least=0,
        value="PART",
    )
    value_disk: float = setting(
        0.5,
        help="Part of the free disk of -tempdir that large values may take, if other machines see "
        "it, before tasks go one at a time; 0: none is written there.",
        expected="a part, 0 or more",
        least=0,
        value="PART",
    )
    progress: bool = setting(
        False,
        help="Show how the run goes on.",
        off=("quiet", "q"),
        off_help="Show nothing but the result and errors.",
        default_text="true on the command line, false for run()",
    )
    journal: bool = setting(
        False,
        help="Write down what happens: journal.jsonl in a folder of the run's, below -tempdir or "
        ".fancypipe/runs.",
        off_help="Write no journal.",
        default_text="true on the command line, false for run()",
    )
    page: bool = setting(
        False,
        help="Keep a page beside the journal, which shows the run in a browser while it goes on "
        "and afterwards: index.html.",
        off_help="Keep no page; 'fancypipe report' makes one from a journal.",
        default_text="true on the command line, false for run()",
    )
    keep_jobs: Literal["failed", "all", "none"] = setting(
        "failed",
        help="Which tasks 'fancypipe replay' can run again: their inputs are kept beside the "
        "journal.",
    )
    resume: bool = setting(
        False,
        help="Take results of earlier runs where nothing has changed, and keep those of this one.",
        also=("tryresume",),
    )
    cache: Annotated[str, "output"] | None = setting(
        None,
        help="The folder in which -resume keeps results.",
        expected="a folder",
        value="FOLDER",
        default_text="cache below -tempdir, or .fancypipe/cache",
    )
    cache_budget: int | Annotated[int, _bytes] = setting(
        50 * 1024**3,
        help="Bytes that the results in -cache may take; the least recently used go first.",
        expected='bytes, or a text such as "500M" or "50G"',
        least=0,
        value="SIZE",
        default_text="50G",
    )
    cache_packages: list[str] = setting(  # noqa: RUF009 - a field, whose default is made anew
        [],
        help="A package whose version counts: with another one results of earlier runs do not.",
        value="PACKAGE",
        default_text="none",
    )
    on_end: str | None = setting(
        None,
        help="A command for the shell at a run's end; RUN_STATE and others tell it how that was.",
        value="COMMAND",
        default_text="none",
    )
    otel: bool = setting(False, help="Send spans of OpenTelemetry: a trace for each run.")
    metrics_file: Annotated[str, "output"] | None = setting(
        None,
        help="Keep metrics of Prometheus in a file, for node_exporter's textfile collector.",
        expected="a file",
        value="FILE",
        default_text="none",
    )
    no_plugins: bool = setting(
        False, help="Do without the installed observers (entry points fancypipe.plugins)."
    )
    debug: bool = setting(
        False, help="Check the engine's state at every step (slow), and show full tracebacks."
    )


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


class Resolved(Generic[R]):
    """Settings, and where each came from.

    Attributes:
        table: What they are.
        settings: The record.
        origins: By field.
        remarks: What looks like a mistake but is none for sure, such as a
            variable `FANCYPIPE_WORKER`.
        tables: (file, name) of each table in the files, which some plugin brings.
    """

    def __init__(
        self,
        table: Table[R],
        settings: R,
        origins: Mapping[str, Origin],
        remarks: tuple[str, ...],
        tables: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.table = table
        self.settings = settings
        self.origins = origins
        self.remarks = remarks
        self.tables = tables

    def with_(self, settings: R, origins: Mapping[str, Origin]) -> Resolved[R]:
        """Return the same with other settings."""
        return Resolved(self.table, settings, origins, self.remarks, self.tables)


class Table(Generic[R]):
    """A table of settings.

    Attributes:
        owner: The plugin's name, which is also that of its table in a file; empty
            for the engine.
        record: The dataclass.
        lines: What it has, line by line.
        others: Further keys that may stand in the file's table: those of the
            plugin's commands, or of the plugin itself for one of its commands.
    """

    def __init__(
        self,
        owner: str,
        record: type[R],
        lines: tuple[Setting, ...],
        others: frozenset[str] = frozenset(),
    ) -> None:
        self.owner = owner
        self.record = record
        self.lines = lines
        self.others = others

    def resolve(
        self,
        arguments: Mapping[str, object],
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        *,
        defaults: Mapping[str, object] | None = None,
        spelled: Mapping[str, str] | None = None,
    ) -> Resolved[R]:
        """Return the settings that are in force, and where each came from.

        Args:
            arguments: What the caller gave, by field.
            env: The environment; by default that of this process.
            cwd: Where the search for the project's file begins; by default here.
            defaults: Defaults of the caller's own.
            spelled: How the caller's user spelled an argument, for messages.

        Raises:
            ConfigError: A setting is unknown or cannot have that value.
            PluginError: The record of a plugin cannot be made.
        """
        env = os.environ if env is None else env
        values = dict(defaults or {})
        origins = {line.name: Origin("default", line.default) for line in self.lines}
        origins.update({name: Origin("default", toml(value)) for name, value in values.items()})
        others: list[tuple[str, str]] = []
        prefix = f"{self.owner}." if self.owner else ""

        for kind, file, content in _config.files(env, cwd) if self.lines else ():
            for key, value in self._own_part(content, file, others).items():
                line = self._line_of(key)
                if line is None:
                    if plain(key) in self.others:
                        continue
                    raise errors.ConfigError(unknown(prefix + key, f"{file}: key", self.lines))
                parsed = _parsed(line, value, f"{file}: {prefix}{key}")
                if line.is_path:
                    parsed = type(parsed)(os.path.join(os.path.dirname(file), parsed))
                values[line.name] = parsed
                origins[line.name] = Origin(kind, f"{file}, key {prefix}{key}")
        for line in self.lines:
            if env.get(line.variable):
                where = f"environment variable {line.variable}"
                values[line.name] = _parsed(line, env[line.variable], where)
                origins[line.name] = Origin("environment", line.variable)
        lines = {line.name: line for line in self.lines}
        for name, value in arguments.items():
            if name not in lines:
                raise errors.ConfigError(unknown(name, "argument", self.lines))
            place = (spelled or {}).get(name, name)
            values[name] = _parsed(lines[name], value, f"argument {place}")
            origins[name] = Origin("argument", place)
        said = () if self.owner else tuple(remarks(env, self.lines))
        return Resolved(self, self._made(values), origins, said, tuple(others))

    def having(self, name: str) -> Iterator[Setting]:
        """Yield the line that has an option or argument of this name, in any spelling."""
        for line in self.lines:
            if plain(name) in map(plain, (*line.options, *line.off)):
                yield line

    def _own_part(
        self, content: Mapping[str, Any], file: str, tables: list[tuple[str, str]]
    ) -> Mapping[str, Any]:
        """Return what a file says of these settings; note its tables, if they are the engine's."""
        if not self.owner:
            own = dict(content)
            for key, value in content.items():
                # A table is a plugin's, which may not even be in use here.
                if isinstance(value, dict) and self._line_of(key) is None:
                    tables.append((file, key))
                    del own[key]
            return own
        for key, value in content.items():
            if plain(key) == plain(self.owner):
                if isinstance(value, dict):
                    return value
                raise errors.ConfigError(
                    f"{file}: {key} must be a table of the settings that {self.owner!r} brings, "
                    f"not {value!r}"
                )
        return {}

    def _line_of(self, key: str) -> Setting | None:
        names = ((line, map(plain, line.keys)) for line in self.lines)
        return next((line for line, keys in names if plain(key) in keys), None)

    def _made(self, values: Mapping[str, Any]) -> R:
        try:
            return self.record(**values)
        except ValueError as error:  # what the fields alone cannot say
            raise errors.ConfigError(f"the settings of {self.owner!r}: {error}") from None
        except Exception as error:
            raise errors.PluginError(
                f"the settings of {self.owner!r} cannot be made: {type(error).__name__}: {error}",
                plugin=self.owner,
            ) from error


ENGINE = Table("", Settings, lines_of(Settings))
"""The engine's own settings."""


def unknown(name: str, what: str, lines: Iterable[Setting]) -> str:
    """Return the message about a name that is no setting."""
    lines = list(lines)
    known = [line.argument for line in lines]
    options = {option: line.argument for line in lines for option in line.options}
    meant = closest(name, [*known, *options])
    if meant in options and plain(meant) != options[meant]:
        meant = options[meant]  # it has the other name on the command line only
    hint = f"did you mean {meant}?" if meant else f"there are: {', '.join(known)}"
    return f"{what} {name!r} is not a setting; {hint}"


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
