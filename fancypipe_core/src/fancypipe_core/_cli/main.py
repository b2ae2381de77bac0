"""The command `fancypipe`, and `.cli()` of a task: reading, calling, showing."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NoReturn

import click

from fancypipe_core import errors
from fancypipe_core._cli import commands as _commands
from fancypipe_core._cli import options as _options
from fancypipe_core._cli import plugin_commands as _plugged
from fancypipe_core._cli import streams as _streams
from fancypipe_core._cli.builtin import Builtin, Doctor
from fancypipe_core._cli.commands import Asked
from fancypipe_core._cli.config import Config
from fancypipe_core._cli.graph import Graph
from fancypipe_core._cli.helping import (
    ENGINE,
    HELP,
    HELP_ROW,
    Command,
    Rows,
    engine_rows,
    finder,
    help_if_asked,
    is_engine,
)
from fancypipe_core._cli.options import Option
from fancypipe_core._cli.pipeline import Pipeline
from fancypipe_core._cli.replay import Replay
from fancypipe_core._cli.report import FOLLOW, OPEN, report
from fancypipe_core._cli.runs import RUNS, RUNS_ROWS, Clean, runs
from fancypipe_core._cli.trace import Trace
from fancypipe_core._cli.why import Why

if TYPE_CHECKING:
    from fancypipe_core._model.definition import Definition
    from fancypipe_core.backend import BackendPlugin

__all__ = ["cli_for", "main", "run_command"]

_VERSION = Option("version", ("version",), is_flag=True)
_LAST_ROWS = (HELP_ROW, ("--version", "Show the version."))
_USAGE = "fancypipe [options] FILE[:NAME] [inputs]"
_EXAMPLES = """\
  fancypipe pipeline.py --x1 3 --x2 4    run it, with inputs
  fancypipe -workertype=S pipeline.py    the same in series, for breakpoint(); T: on threads
  fancypipe pipeline.py --help           which inputs it has
"""
_GREETING = f"""\
fancypipe runs the pipeline in a Python file, on all cores or many machines.

{_EXAMPLES}
All commands and options: fancypipe --help"""


class _Group(Command, click.Group):
    """`fancypipe`: a command of its own, or the pipeline in a file."""

    usage = ("[options] FILE[:NAME] [inputs]",)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args:
            _streams.say(_GREETING)
            ctx.exit(errors.UsageError.exit_code)
        line = _options.read(
            args,
            (HELP, _VERSION, *ENGINE),
            stop_at_word=True,
            advice="; a pipeline's inputs stand behind its file",
            more=finder(args),
        )
        engine = [found for found in line.options if is_engine(found)]
        ctx.obj = Asked(("fancypipe",), args, engine)
        help_if_asked(ctx, line)
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
        from fancypipe_core._model import load as _load

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
        return Pipeline(cmd_name, _load.choose(module, file, name))

    def sections(self, ctx: click.Context) -> Iterator[tuple[str, Rows]]:
        rows = [(one.name or "", one.get_short_help_str(80)) for one in self.commands.values()]
        yield "Commands", rows + [row for row in _plugged.listed() if row[0] not in self.commands]
        yield "Options", [*engine_rows(ctx), *_LAST_ROWS]

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, whose lines are not to be wrapped."""
        formatter.write(f"\nExamples:\n{_EXAMPLES}")


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
    group = _Group(
        "fancypipe",
        "Run the pipeline in FILE: the module that no other uses, or the one called NAME.",
    )
    for command in (
        Builtin(
            "backends",
            _commands.backends.__doc__ or "",
            lambda _asked, _own, _words: _commands.backends(group.commands),
        ),
        Builtin(
            "completion",
            "Print what lets bash, fish or zsh complete these commands by the tab key.",
            lambda _asked, _own, words: _print_completion(words),
            words="bash|fish|zsh",
        ),
        Builtin(
            "report",
            "Make the page of a run from its journal: index.html, beside it.",
            lambda _asked, own, words: report(words, show="open" in own, follow="follow" in own),
            own=[OPEN, FOLLOW],
            rows=[
                ("--open", "Show it in a browser."),
                ("--follow", "Keep it up to date until the run is over."),
            ],
            words="RUN",
        ),
        Builtin(
            "runs",
            "List the runs that have left a journal, and how each ended.",
            lambda _asked, own, words: runs(words, as_json="json" in own),
            own=RUNS,
            rows=RUNS_ROWS,
            words="[FOLDER]",
        ),
        Clean(),
        Config(),
        Replay(),
        Trace(),
        Doctor(),
        Graph(),
        Why(),
    ):
        group.add_command(command)
    return group


def _print_completion(words: Sequence[str]) -> None:
    from fancypipe_core._cli import completion as _completion

    _streams.write(_completion.source(" ".join(words), "fancypipe").rstrip("\n"))


def _complete_if_asked(program: str, *stands_for: str) -> None:
    """If a shell asks what may stand on a command line, answer it and exit."""
    # Not imported otherwise; the name is that of click.
    if any(name.startswith("_") and name.endswith("_COMPLETE") for name in os.environ):
        from fancypipe_core._cli import completion as _completion

        asked = _completion.asked(program)
        if asked is not None:
            sys.exit(_completion.answer(asked, program, _group().commands, stands_for))


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command `fancypipe`, then exit.

    Args:
        argv: The arguments; None for those of this process.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    _complete_if_asked("fancypipe")
    sys.exit(_ended(_group(), "fancypipe", words, None))


def run_command(plugin: BackendPlugin, name: str, argv: Sequence[str] | None = None) -> NoReturn:
    """Run a command of a backend as a program of its own, then exit.

    Args:
        plugin: The backend.
        name: Which of its commands.
        argv: The arguments; None for those of this process.
    """
    program = os.path.basename(sys.argv[0]) or name
    _complete_if_asked(program, name)
    command = _plugged.command_of(plugin, name)
    words = list(sys.argv[1:] if argv is None else argv)
    sys.exit(_ended(command, program, words, None))


def cli_for(definition: Definition, argv: Sequence[str] | None = None) -> NoReturn:
    """Run a task from the command line, then exit.

    Args:
        definition: The task.
        argv: The arguments; None for those of this process.

    Raises:
        UsageError: The file that calls this is being loaded, not run.
    """
    from fancypipe_core._base import main_module
    from fancypipe_core._model import load as _load

    if _load.loading() or main_module.loading_main():
        raise errors.UsageError(
            f"{definition.name}.cli() is called while the file is loaded; put that line below "
            '`if __name__ == "__main__":`'
        )
    words = list(sys.argv[1:] if argv is None else argv)
    script = sys.argv[0] or "pipeline"
    name = os.path.basename(script)
    _complete_if_asked(name, script)
    command = Pipeline(name, definition)
    sys.exit(_ended(command, name, words, Asked(("python", script), words, [])))


if __name__ == "__main__":
    main()
