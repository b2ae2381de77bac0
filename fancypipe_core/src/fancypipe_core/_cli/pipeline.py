"""A task as a command: its inputs are options."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from fancypipe_core._base.option_names import dashed
from fancypipe_core._cli import commands as _commands
from fancypipe_core._cli import options as _options
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

if TYPE_CHECKING:
    from fancypipe_core._cli.inputs import Bound, Input
    from fancypipe_core._model.definition import Definition
    from fancypipe_core._settings.parameters import Parameters

__all__ = ["Pipeline"]

_INPUT = "input:"


class Pipeline(Command):
    """A task as a command.

    Args:
        name: The command's name.
        definition: The task.
        further: Options of the command that it is written behind, where no input has their name.
    """

    def __init__(self, name: str, definition: Definition, further: Sequence[Option] = ()) -> None:
        from fancypipe_core._cli import docstring as _docstring
        from fancypipe_core._cli import inputs as _inputs

        self.definition = definition
        self.inputs = _inputs.inputs_of(definition)
        self.further = further
        super().__init__(name, _docstring.read(definition.doc).text)
        needed = [f"{dashed(one.name)} {one.kind.shown}" for one in self.inputs if one.required]
        self.usage = (*needed, "[inputs]", "[options]")

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
            (*mine, *ENGINE, *self.further, HELP),
            any_option="others" in roles,
            any_words="words" in roles,
            advice=f"; {self.definition.name} has these inputs: {listed}",
            # A task that takes any option has first claim to what other backends bring.
            more=finder(ctx.obj.argv, chosen_only="others" in roles),
        )
        engine = [found for found in line.options if is_engine(found)]
        ctx.obj.add(engine, args)
        help_if_asked(ctx, line)
        keys = {option.key for option in self.further}
        mine_only = line._replace(
            options=[one for one in line.options if one not in engine and one.key not in keys]
        )
        ctx.params = {key.removeprefix(_INPUT): values for key, values in mine_only.given().items()}
        ctx.args = line.words
        return ctx.args

    def invoke(self, ctx: click.Context) -> None:
        _commands.run_task(ctx.obj, self.definition, lambda given: self.bound(ctx, given))

    def bound(self, ctx: click.Context, parameters: Parameters | None) -> Bound:
        """Return the task's inputs: what was read, and what a file gives.

        Raises:
            BadInput: Something is missing, unknown or of the wrong kind.
        """
        from fancypipe_core._cli import inputs as _inputs

        name = self.definition.name
        return _inputs.bind(name, self.inputs, ctx.params, ctx.args, parameters)

    def in_force(self, ctx: click.Context, parameters: Parameters | None) -> Iterator[str]:
        """Yield a line for each input: what it is, and where that comes from.

        Raises:
            BadInput: Something is unknown or of the wrong kind.
        """
        from fancypipe_core._cli import inputs as _inputs

        name = self.definition.name
        return _inputs.in_force(name, self.inputs, ctx.params, ctx.args, parameters)

    def sections(self, ctx: click.Context) -> Iterator[tuple[str, Rows]]:
        yield "Inputs", [(_form(one), one.explanation) for one in self.inputs]
        taken = {one.name for one in self.inputs}
        yield "Engine options", [*engine_rows(ctx, taken), HELP_ROW]


def _form(one: Input) -> str:
    """Return how an input is written, for help."""
    if one.role == "words":
        return f"[{one.kind.shown}]..."
    if one.role == "others":
        return f"--ANY {one.kind.shown}"
    if one.is_flag:
        return f"{dashed(one.name)}, {dashed(f'no-{one.name}')}"
    return f"{dashed(one.name)} {one.kind.shown}"
