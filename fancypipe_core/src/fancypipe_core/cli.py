"""The command `fancypipe`, and `.cli()` of a task: reading, calling, showing."""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import click

from fancypipe_core import _options, _settings, _streams, errors
from fancypipe_core._options import Found, Option

if TYPE_CHECKING:
    from fancypipe_core._inputs import Input
    from fancypipe_core._task import Definition

__all__ = ["cli_for", "main"]

_HELP = Option("help", ("help", "h"), is_flag=True)
_VERSION = Option("version", ("version",), is_flag=True)
_EXPLAIN = Option("explain", ("explain",), is_flag=True)
_OUTPUT = Option("output", ("output",))
_SETTINGS = _settings.table(_settings.Settings)
_ENGINE = (
    *(Option(line.name, line.options, not line.value, line.off) for line in _SETTINGS),
    _OUTPUT,
)
_OUTPUT_HELP = "Write the result to this file (.json, .pickle, .pkl) and not to standard output."
_FORMS = (
    "Options take one dash or two, hyphens or underscores, -option value or -option=value. "
    "Lists and objects are written as JSON; an option that may be repeated gives one item each time."
)
_FORMAT = {"max_content_width": 100}
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
        self.engine += [
            found._replace(first=found.first + shift, last=found.last + shift) for found in options
        ]

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


class _Builtin(click.Command):
    """A command of ours that takes all the spellings of options."""

    def __init__(self, name: str, help: str, call: Callable[[Asked, set[str]], None]) -> None:
        super().__init__(name, help=help, add_help_option=False, context_settings=_FORMAT)
        self._call = call
        self.own = (_EXPLAIN,) if name == "config" else ()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        line = _options.read(args, (*self.own, _HELP, *_ENGINE))
        _help_if_asked(ctx, line)
        own = {option.key for option in self.own}
        ctx.obj.add([found for found in line.options if found.key not in own], args)
        ctx.params = {found.key: True for found in line.options if found.key in own}
        return []

    def invoke(self, ctx: click.Context) -> None:
        self._call(ctx.obj, set(ctx.params))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [("--explain", "Also say what each setting does, and where its value comes from.")]
        if self.own:
            _section(formatter, "Options", rows)


class _Pipeline(click.Command):
    """A task as a command."""

    def __init__(self, name: str, definition: Definition) -> None:
        from fancypipe_core import _docstring, _inputs

        self.definition = definition
        self.inputs = _inputs.inputs_of(definition)
        super().__init__(
            name,
            help=_docstring.read(definition.doc).text.replace("\b", ""),
            add_help_option=False,
            context_settings=_FORMAT,
        )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        roles = {one.role for one in self.inputs}
        names = {one.name for one in self.inputs if one.role == "option"}
        listed = ", ".join(f"--{_hyphens(name)}" for name in sorted(names)) or "none"
        line = _options.read(
            args,
            (*map(_option_of, self._by_option()), *_ENGINE, _HELP),
            any_option="others" in roles,
            any_words="words" in roles,
            advice=f"; the inputs of {self.definition.name} are: {listed}",
        )
        _help_if_asked(ctx, line)
        mine = [found.key.startswith(_IN) or found.place(_ENGINE) for found in line.options]
        return []
