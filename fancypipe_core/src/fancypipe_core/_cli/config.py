"""The command `config`: which settings and inputs are in force, and where each comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from fancypipe_core import errors
from fancypipe_core._base.option_names import dashed
from fancypipe_core._cli import streams as _streams
from fancypipe_core._cli.builtin import OfPipeline
from fancypipe_core._cli.commands import Asked, load
from fancypipe_core._cli.options import Option
from fancypipe_core._cli.pipeline import Pipeline
from fancypipe_core._model import load as _load
from fancypipe_core._settings import table as _table
from fancypipe_core._settings.types import dumps

if TYPE_CHECKING:
    from fancypipe_core._settings.session import Configured

__all__ = ["Config"]

_EXPLAIN = Option("explain", ("explain",), is_flag=True)
_HELP = "Also say what each setting does, and where its value comes from."


class Config(OfPipeline):
    """`fancypipe config`: an option of its own, and then perhaps a pipeline with its inputs."""

    def __init__(self) -> None:
        super().__init__(
            "config",
            "Show the settings that are in force, as a configuration file.",
            lambda _asked, _own, _words: None,
            rows=[("--explain", _HELP)],
            own=(_EXPLAIN,),
            settings=True,
            words="[FILE[:NAME] [inputs]]",
        )

    def invoke(self, ctx: click.Context) -> None:
        """Show them, and behind them the inputs."""
        with _streams.aside():
            # Options of the engine may stand behind the file, too.
            pipeline = _pipeline(ctx) if ctx.args else None
        explain = "explain" in ctx.params
        configured = _configured(ctx.obj, explain)
        given = configured.parameters
        inputs: list[str] = []
        if pipeline is not None:
            inputs += pipeline.command.in_force(pipeline.line, given)
        elif given is not None:
            inputs += _from_file("", given.inputs, given.file)
        if given is not None:
            for name, own in given.tasks.items():
                inputs += _from_file(f"tasks.{name}.", own, given.file)
        notes = [*configured.remarks]
        if pipeline is not None and given is not None:
            notes += given.check()
        _list(configured.core, explain)
        for resolved in configured.tables:
            owner = f"[{resolved.table.owner}]"
            _streams.write(owner if explain else f"\n{owner}")
            _list(resolved, explain)
        for line in inputs:  # as remarks, since they are no settings
            _streams.write(f"# input {line}")
        for text in notes:
            _streams.say(f"fancypipe: {text}")


class _Pipeline(NamedTuple):
    """A pipeline, and what was typed behind its file."""

    command: Pipeline
    line: click.Context


def _pipeline(ctx: click.Context) -> _Pipeline:
    file, name = _load.split(ctx.args[0])
    command = Pipeline(ctx.info_name or "", _load.choose(load(file), file, name))
    line = command.make_context(ctx.info_name, list(ctx.args[1:]), parent=ctx)
    return _Pipeline(command, line)


def _from_file(prefix: str, inputs: Mapping[str, Any], file: str) -> Iterator[str]:
    return (f"{prefix}{name} = {dumps(it)}  # input file: {file}" for name, it in inputs.items())


def _configured(asked: Asked, explain: bool) -> Configured:
    from fancypipe_core._settings import session as _session

    given = asked.given()
    try:
        return _session.configure(given)
    except (errors.BackendNotFound, errors.PluginError):
        # What is in force is to be seen all the more.
        _list(_session.core_settings(given), explain)
        raise


def _list(resolved: _table.Resolved[Any], explain: bool) -> None:
    for line in resolved.table.lines:
        value = getattr(resolved.settings, line.name)
        text = f"{line.name} = {_table.shown(line, value)}"
        if value is None:
            text = f"# {line.name} is not set"
        elif line.secret:
            text = f"# {line.name} is set; it is a secret"
        if explain:
            flags = ", ".join(dashed(name) for name in (*line.options, *line.off))
            _streams.write(f"# {line.help}")
            _streams.write(f"# Must be {line.expected}.  {flags}, {line.variable}")
            _streams.write(f"{text}  # {resolved.origins[line.name]}\n")
        else:
            _streams.write(text)
