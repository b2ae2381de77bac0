"""The commands of our own: `backends`, `config`, `doctor`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import click

from fancypipe_core import errors
from fancypipe_core._base.option_names import plain
from fancypipe_core._base.signals import Interrupts, at_once
from fancypipe_core._cli import options as _options
from fancypipe_core._cli.commands import Asked
from fancypipe_core._cli.helping import (
    ENGINE,
    HELP,
    HELP_ROW,
    OF_SETTINGS,
    Command,
    Rows,
    engine_rows,
    finder,
    help_if_asked,
    is_engine,
)
from fancypipe_core._cli.options import Option
from fancypipe_core._cli.pipeline import Pipeline

if TYPE_CHECKING:
    from fancypipe_core._cli import doctor as _doctor
    from fancypipe_core._model.definition import Definition

__all__ = ["Builtin", "Doctor", "OfPipeline"]

_LIMIT = Option("limit", ("limit",))
_JSON = Option("json", ("json",), is_flag=True)
_DOCTOR_ROWS = (
    ("--limit SECONDS", "How long a worker may take to import the file. [default: 60]"),
    ("--json", "Write it for programs."),
)


class Builtin(Command):
    """A command of ours.

    Args:
        name: Its name.
        text: What it does, for help.
        call: Does it; gets what was typed, the options of its own, and its words.
        rows: The options of its own for help.
        own: The same, to be read.
        settings: Whether it takes the engine's settings.
        words: What stands behind its options, for the usage; empty if nothing may.
    """

    forms = False

    def __init__(
        self,
        name: str,
        text: str,
        call: Callable[[Asked, set[str], list[str]], None],
        *,
        rows: Sequence[tuple[str, str]] = (),
        own: Sequence[Option] = (),
        settings: bool = False,
        words: str = "",
    ) -> None:
        super().__init__(name, text)
        self._call = call
        self._rows = rows
        self._words = words
        self.usage = ("[options]", *filter(None, [words]))
        self.of_backend = settings
        self.settings = settings
        self.options = (*own, *(OF_SETTINGS if settings else ()), HELP)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options, each where it is taken."""
        if self.settings:
            more = finder(ctx.obj.argv)
            line = _options.read(args, self.options, any_words=bool(self._words), more=more)
        else:
            line = _options.read(args, self.options, any_words=bool(self._words))
        self.read(ctx, line, args)
        return ctx.args

    def read(self, ctx: click.Context, line: _options.Line, args: Sequence[str]) -> None:
        """Take what was read."""
        refuse_output(self, ctx)
        ctx.obj.add([found for found in line.options if is_engine(found)], args)
        help_if_asked(ctx, line)
        ctx.params = {found.key: found.value for found in line.options if not is_engine(found)}
        ctx.args = line.words

    def invoke(self, ctx: click.Context) -> int | None:
        """Do it; what it returns is the exit code."""
        self._call(ctx.obj, set(ctx.params), ctx.args)
        return None

    def sections(self, ctx: click.Context) -> Iterator[tuple[str, Rows]]:
        """Yield the options that it takes, and no others."""
        yield "Options", [*self._rows, HELP_ROW]
        if self.settings:
            yield "Engine options", engine_rows(ctx, output=False)


def refuse_output(command: Builtin, ctx: click.Context) -> None:
    """Refuse the options before a command that it does not take behind it either.

    Raises:
        UsageError: There is one.
    """
    for found in ctx.obj.engine:
        if not command.settings or found.key in ("output", "dry"):
            raise errors.UsageError(f"the command {command.name} takes no option {found.spelled}")


class OfPipeline(Builtin):
    """A command with options of its own, and behind them a pipeline with its inputs."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read up to the file: what stands behind it is for its task, once that is known."""
        more = finder(ctx.obj.argv)
        line = _options.read(args, self.options, stop_at_word=True, more=more)
        self.read(ctx, line, args)
        ctx.args = args[line.rest :]
        return ctx.args


class Doctor(OfPipeline):
    """`fancypipe doctor`: options of its own, and then a pipeline with its inputs."""

    def __init__(self) -> None:
        super().__init__(
            "doctor",
            "Look for what would keep a pipeline from running in worker processes.",
            lambda _asked, _own, _words: None,
            rows=_DOCTOR_ROWS,
            own=(_LIMIT, _JSON),
            settings=True,
            words="[FILE[:NAME] [inputs]]",
        )

    def invoke(self, ctx: click.Context) -> int:
        """Look, and return the exit code."""
        from fancypipe_core._cli import doctor as _doctor
        from fancypipe_core._doctor import probe as _probe

        own = ctx.params
        behind = _behind(ctx.args[1:])

        def read(definition: Definition | None, words: Sequence[str]) -> _doctor.Read:
            if definition is None:
                # What the inputs are is not known; the engine's options are.
                line = _options.read(words, ENGINE, any_option=True, any_words=True)
                ctx.obj.add([one for one in line.options if is_engine(one)], words)
                return _doctor.Read((), {}, None)
            command = Pipeline(ctx.info_name or "", definition, (_LIMIT, _JSON))
            inner = command.make_context(ctx.info_name, list(words), parent=ctx)
            for one in command.inputs:
                behind.pop(one.name, None)  # it is the task's
            parameters = _probe.in_force(ctx.obj.given()).parameters
            try:
                args, kwargs = command.bound(inner, parameters)
            except errors.BadInput as error:
                if inner.params or inner.args or (parameters is not None and parameters.inputs):
                    raise
                return _doctor.Read((), {}, error)
            return _doctor.Read(args, kwargs, None)

        limit = _doctor.seconds(own.get("limit", behind.get("limit", "60")))
        with Interrupts.here().told_to(at_once):
            return _doctor.doctor(
                ctx.obj,
                ctx.args,
                limit,
                lambda: own.get("json", behind.get("json")) == "true",
                read,
            )


def _behind(words: Sequence[str]) -> dict[str, str]:
    """Return the doctor's options among words, of which nobody knows yet whose they are."""
    found: dict[str, str] = {}
    for word, following in pairwise([*words, ""]):
        spelled, equals, value = word.partition("=")
        name = plain(spelled.removeprefix("-").removeprefix("-"))
        if spelled.startswith("-") and name in _LIMIT.spellings:
            found["limit"] = value if equals else following
        elif spelled.startswith("-") and name in _JSON.spellings:
            found["json"] = value if equals else "true"
    return found
