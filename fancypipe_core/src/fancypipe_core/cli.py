"""The command `fancypipe`, and `.cli()` of a task: reading, calling, showing."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NoReturn

import click

from fancypipe_core import _settings, errors
from fancypipe_core._cli import commands as _commands
from fancypipe_core._cli import options as _options
from fancypipe_core._cli import plugged as _plugged
from fancypipe_core._cli import streams as _streams
from fancypipe_core._cli.commands import Asked
from fancypipe_core._cli.options import Found, Option
from fancypipe_core._interrupts import Interrupts, at_once
from fancypipe_core._spelling import dashed

if TYPE_CHECKING:
    from fancypipe_core._cli.inputs import Input
    from fancypipe_core._task import Definition
    from fancypipe_core.backend import BackendPlugin

__all__ = ["cli_for", "main", "run_command"]

_HELP = _plugged.HELP
_VERSION = Option("version", ("version",), is_flag=True)
_EXPLAIN = Option("explain", ("explain",), is_flag=True)
_OUTPUT = Option("output", ("output",))
_SETTINGS = _settings.table(_settings.Settings)
_ENGINE = (
    *(_plugged.option_of(line) for line in _SETTINGS),
    _OUTPUT,
)
_ENGINE_KEYS = frozenset(option.key for option in _ENGINE)
_OUTPUT_HELP = "Write the result to this file (.json, .pickle, .pkl) and not to standard output."
_FORMS = (
    "Options take one dash or two, hyphens or underscores, -option value or -option=value. "
    "Lists and objects are written as JSON; what may be repeated also takes its items one by one."
)
_DOCTOR = (Option("limit", ("limit",)), Option("json", ("json",), is_flag=True))
_LIMIT_HELP = "How long a worker may take to import the file. [default: 60]"
_FORMAT = {"max_content_width": 100}
_INPUT = "input:"
_EXPLAIN_HELP = "Also say what each setting does, and where its value comes from."
_USAGE = "fancypipe [options] FILE[:NAME] [inputs]"


class _Group(click.Group):
    """`fancypipe`: a command of its own, or the pipeline in a file."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args:
            _streams.say(ctx.get_help())
            ctx.exit(errors.UsageError.exit_code)
        line = _options.read(
            args,
            (_HELP, _VERSION, *_ENGINE),
            stop_at_word=True,
            advice="; a pipeline's inputs stand behind its file",
            more=_plugged.finder(args),
        )
        engine = [found for found in line.options if _is_engine(found)]
        ctx.obj = Asked(("fancypipe",), args, engine)
        _help_if_asked(ctx, line)
        if any(found.key == "version" for found in line.options):
            _streams.write(f"fancypipe {_commands.version()}")
            ctx.exit()
        if line.rest < len(args):
            return super().parse_args(ctx, args[line.rest :])
        status = _plugged.status_of(ctx.obj)
        if status is None:
            raise errors.UsageError("there is no pipeline to run; write: " + _USAGE)
        self.add_command(status)
        return super().parse_args(ctx, ["status", *ctx.obj.without("backend")])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            return command
        from fancypipe_core._cli import load as _load

        others = list(self.commands)
        if _load.may_be_command(cmd_name):
            command = _plugged.find_command(cmd_name)
            if command is not None and ctx.obj.engine:
                spelled = ctx.obj.engine[0].spelled
                raise errors.UsageError(f"options of the command {cmd_name} stand behind it, as "
                                        f"{spelled} should")  # fmt: skip
            if command is not None:
                return command
            others += [name for name, _ in _plugged.listed()]
        file, name = _load.split(cmd_name, tuple(others))
        module = _commands.load(file)
        return _Pipeline(cmd_name, _load.choose(module, file, name))

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return ["[options] FILE[:NAME] [inputs]"]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(one.name or "", one.get_short_help_str(80)) for one in self.commands.values()]
        rows += [row for row in _plugged.listed() if row[0] not in self.commands]
        _section(formatter, "Commands", rows)
        _section(formatter, "Options", [*_engine_rows(), ("--version", "Show the version.")])
        _backend_section(ctx, formatter)
        formatter.write_paragraph()
        formatter.write_text(_FORMS)


class _Builtin(click.Command):
    """A command of ours."""

    def __init__(
        self, name: str, text: str, call: Callable[[Asked, set[str]], None], *own: Option
    ) -> None:
        super().__init__(name, help=text, add_help_option=False, context_settings=_FORMAT)
        self._call = call
        self._own = own

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        more = _plugged.finder(ctx.obj.argv)
        line = _options.read(args, (*self._own, _HELP, *_ENGINE), more=more)
        _help_if_asked(ctx, line)
        ctx.obj.add([found for found in line.options if _is_engine(found)], args)
        ctx.args = [found.key for found in line.options if not _is_engine(found)]
        return ctx.args

    def invoke(self, ctx: click.Context) -> None:
        self._call(ctx.obj, set(ctx.args))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self._own:
            _section(formatter, "Options", [("--explain", _EXPLAIN_HELP)])


class _Doctor(click.Command):
    """`fancypipe doctor`: options of its own, and then a pipeline with its inputs."""

    def __init__(self) -> None:
        text = "Look for what would keep a pipeline from running in worker processes."
        super().__init__("doctor", help=text, add_help_option=False, context_settings=_FORMAT)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        more = _plugged.finder(ctx.obj.argv)
        line = _options.read(args, (*_DOCTOR, _HELP, *_ENGINE), stop_at_word=True, more=more)
        _help_if_asked(ctx, line)
        ctx.obj.add([found for found in line.options if _is_engine(found)], args)
        ctx.params = {found.key: found.value for found in line.options}
        ctx.args = args[line.rest :]
        return ctx.args

    def invoke(self, ctx: click.Context) -> int:
        from fancypipe_core._cli import doctor as _doctor
        from fancypipe_core._cli import inputs as _inputs

        def read(definition: Definition | None, words: Sequence[str]) -> _doctor.Read:
            if definition is None:
                # What the inputs are is not known; the engine's options are.
                line = _options.read(words, _ENGINE, any_option=True, any_words=True)
                ctx.obj.add([one for one in line.options if _is_engine(one)], words)
                return _doctor.Read((), {}, None)
            command = _Pipeline(ctx.info_name or "", definition)
            inner = command.make_context(ctx.info_name, list(words), parent=ctx)
            try:
                args, kwargs = _inputs.bind(
                    definition.name, command.inputs, inner.params, inner.args
                )
            except errors.BadInput as error:
                if inner.params or inner.args:
                    raise
                return _doctor.Read((), {}, error)
            return _doctor.Read(args, kwargs, None)

        limit = _doctor.seconds(ctx.params.get("limit", "60"))
        as_json = ctx.params.get("json") == "true"
        with Interrupts.here().told_to(at_once):
            return _doctor.doctor(ctx.obj, ctx.args, limit, as_json, read)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return ["[options] [FILE[:NAME] [inputs]]"]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own = [("--limit SECONDS", _LIMIT_HELP), ("--json", "Write it for programs.")]
        _section(formatter, "Options", own)
        _section(formatter, "Engine options", _engine_rows())


class _Pipeline(click.Command):
    """A task as a command."""

    def __init__(self, name: str, definition: Definition) -> None:
        from fancypipe_core._cli import docstring as _docstring
        from fancypipe_core._cli import inputs as _inputs

        self.definition = definition
        self.inputs = _inputs.inputs_of(definition)
        super().__init__(
            name,
            help=_docstring.read(definition.doc).text,
            add_help_option=False,
            context_settings=_FORMAT,
        )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        roles = {one.role for one in self.inputs}
        mine = [
            # Keys that no engine option has, so that an input may have any name.
            Option(f"{_INPUT}{one.name}", (one.name,), one.is_flag, (f"no-{one.name}",))
            for one in self.inputs
            if one.role == "option"
        ]
        listed = ", ".join(dashed(option.spellings[0]) for option in mine) or "none"
        line = _options.read(
            args,
            (*mine, *_ENGINE, _HELP),
            any_option="others" in roles,
            any_words="words" in roles,
            advice=f"; {self.definition.name} has these inputs: {listed}",
            # A task that takes any option has first claim to what other backends bring.
            more=_plugged.finder(ctx.obj.argv, chosen_only="others" in roles),
        )
        engine = [found for found in line.options if _is_engine(found)]
        ctx.obj.add(engine, args)
        _help_if_asked(ctx, line)
        mine_only = line._replace(options=[one for one in line.options if one not in engine])
        ctx.params = {key.removeprefix(_INPUT): values for key, values in mine_only.given().items()}
        ctx.args = line.words
        return ctx.args

    def invoke(self, ctx: click.Context) -> None:
        from fancypipe_core._cli import inputs as _inputs

        args, kwargs = _inputs.bind(self.definition.name, self.inputs, ctx.params, ctx.args)
        _commands.run_task(ctx.obj, self.definition, args, kwargs)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        needed = [f"{dashed(one.name)} {one.kind.shown}" for one in self.inputs if one.required]
        return [*needed, "[inputs]", "[options]"]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _section(formatter, "Inputs", [(_form(one), one.explanation) for one in self.inputs])
        taken = {one.name for one in self.inputs}
        _section(formatter, "Engine options", _engine_rows(taken))
        _backend_section(ctx, formatter)
        formatter.write_paragraph()
        formatter.write_text(_FORMS)


def _is_engine(found: Found) -> bool:
    return found.key in _ENGINE_KEYS or found.key.startswith(_commands.PLUGIN)


# ---- help --------------------------------------------------------------------


def _help_if_asked(ctx: click.Context, line: _options.Line) -> None:
    if any(found.key == "help" for found in line.options):
        _streams.write(ctx.get_help())
        ctx.exit()


def _section(formatter: click.HelpFormatter, title: str, rows: Sequence[tuple[str, str]]) -> None:
    if rows:
        with formatter.section(title):
            formatter.write_dl(rows, col_max=32)


def _backend_section(ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """Show the options of the backend that was chosen; no other is imported for help."""
    name, rows = _plugged.backend_rows(ctx.obj)
    if name:
        _section(formatter, f"Options of the backend {name}", rows or [("none", "")])
    else:
        formatter.write_paragraph()
        formatter.write_text("The options of a backend: fancypipe -workertype=NAME --help")


def _engine_rows(taken: Iterable[str] = ()) -> list[tuple[str, str]]:
    """Return the engine's options for help, without the names that a pipeline has taken."""
    rows = _plugged.rows(_SETTINGS, frozenset(taken))
    if "output" not in taken:
        rows.append(("--output FILE", _OUTPUT_HELP))
    rows.append(("-h, --help", "Show this."))
    return rows


def _form(one: Input) -> str:
    """Return how an input is written, for help."""
    if one.role == "words":
        return f"[{one.kind.shown}]..."
    if one.role == "others":
        return f"--ANY {one.kind.shown}"
    if one.is_flag:
        return f"{dashed(one.name)}, {dashed(f'no-{one.name}')}"
    return f"{dashed(one.name)} {one.kind.shown}"


def _ended(command: click.Command, program: str, words: list[str], obj: Asked | None) -> int:
    def call() -> object:
        try:
            return command.main(words, program, standalone_mode=False, obj=obj)
        except click.ClickException as error:
            raise errors.UsageError(error.format_message()) from error
        except click.Abort:
            raise KeyboardInterrupt from None

    return _commands.ended(call)


# ---- the ways in -------------------------------------------------------------


def _group() -> _Group:
    backends = _Builtin(
        "backends",
        _commands.backends.__doc__ or "",
        lambda _asked, _own: _commands.backends(group.commands),
    )
    config = _Builtin(
        "config",
        _commands.config.__doc__ or "",
        lambda asked, own: _commands.config(asked, explain="explain" in own),
        _EXPLAIN,
    )
    group = _Group(
        "fancypipe",
        commands=[backends, config, _Doctor()],
        help="Run the pipeline in FILE: the only module or task in it, or the one called NAME.",
        add_help_option=False,
        context_settings=_FORMAT,
    )
    return group


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command `fancypipe`, then exit.

    Args:
        argv: The arguments; None for those of this process.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    sys.exit(_ended(_group(), "fancypipe", words, None))


def run_command(plugin: BackendPlugin, name: str, argv: Sequence[str] | None = None) -> NoReturn:
    """Run a command of a backend as a program of its own, then exit.

    Args:
        plugin: The backend.
        name: Which of its commands.
        argv: The arguments; None for those of this process.
    """
    command = _plugged.command_of(plugin, name)
    words = list(sys.argv[1:] if argv is None else argv)
    sys.exit(_ended(command, os.path.basename(sys.argv[0]) or name, words, None))


def cli_for(definition: Definition, argv: Sequence[str] | None = None) -> NoReturn:
    """Run a task from the command line, then exit.

    Args:
        definition: The task.
        argv: The arguments; None for those of this process.

    Raises:
        UsageError: The file that calls this is being loaded, not run.
    """
    from fancypipe_core import _names
    from fancypipe_core._cli import load as _load

    if _load.loading() or _names.loading_main():
        raise errors.UsageError(
            f"{definition.name}.cli() is called while the file is loaded; put that line below "
            '`if __name__ == "__main__":`'
        )
    words = list(sys.argv[1:] if argv is None else argv)
    script = sys.argv[0] or "pipeline"
    name = os.path.basename(script)
    command = _Pipeline(name, definition)
    sys.exit(_ended(command, name, words, Asked(("python", script), words, [])))


if __name__ == "__main__":
    main()
