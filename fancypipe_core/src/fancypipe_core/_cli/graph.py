"""The command `fancypipe graph`: a pipeline's picture, made without running its tasks."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING, NamedTuple

import click

from fancypipe_core import errors
from fancypipe_core._cli import streams as _streams
from fancypipe_core._cli.builtin import OfPipeline
from fancypipe_core._cli.commands import load, made
from fancypipe_core._cli.options import Option
from fancypipe_core._cli.pipeline import Pipeline

if TYPE_CHECKING:
    from fancypipe_core._doctor.compose import Composed
    from fancypipe_core._doctor.drawing import Drawing

__all__ = ["Graph"]

_FORMATS = ("mermaid", "dot", "svg")
_FORMAT = Option("format", ("format",))
_EACH = Option("each", ("each",), is_flag=True)
_FILE = Option("file", ("file",))
_ROWS = (
    ("--format mermaid|dot|svg", "What is written. [default: by the ending of --file, or mermaid]"),
    ("--each", "Draw each task, not one box for all of a name in a module."),
    ("--file FILE", "Write it there (.mmd, .dot, .svg) and not to standard output."),
)
_LIMIT = 300.0  # seconds that Graphviz may take
_ENDINGS = {".mmd": "mermaid", ".dot": "dot", ".gv": "dot", ".svg": "svg"}


class _Own(NamedTuple):
    """Options of the command's own."""

    format: str
    each: bool
    file: str | None


class Graph(OfPipeline):
    """`fancypipe graph`: options of its own, and then a pipeline with its inputs."""

    def __init__(self) -> None:
        super().__init__(
            "graph",
            "Draw what feeds what in a pipeline, without running its tasks.",
            lambda _asked, _own, _words: None,
            rows=_ROWS,
            own=(_FORMAT, _EACH, _FILE),
            settings=True,
            words="FILE[:NAME] [inputs]",
        )

    def invoke(self, ctx: click.Context) -> None:
        """Draw it."""
        from fancypipe_core._doctor import drawing as _drawing

        own = _own(ctx.params)
        drawing = _drawing.draw(_composed(ctx), own.each)
        text = _drawing.as_mermaid(drawing) if own.format == "mermaid" else _as_dot(drawing, own)
        if own.file is None:
            _streams.write(text)
            return
        try:
            with open(own.file, "w", encoding="utf-8") as out:
                out.write(f"{text}\n")
        except OSError as error:
            raise errors.UsageError(f"{own.file} cannot be written: {error.strerror}") from None


def _own(params: dict[str, str]) -> _Own:
    file = params.get("file")
    ending = os.path.splitext(file or "")[1].lower()
    if file is not None and "format" not in params and ending not in _ENDINGS:
        raise errors.UsageError(
            f"what {file} is to be cannot be told by its ending; end it in {', '.join(_ENDINGS)}, "
            f"or write --format {'|'.join(_FORMATS)}"
        )
    kind = params.get("format") or _ENDINGS.get(ending, "mermaid")
    if kind not in _FORMATS:
        raise errors.UsageError(f"option --format must be {', '.join(_FORMATS)}, not {kind!r}")
    return _Own(kind, params.get("each") == "true", file)


def _composed(ctx: click.Context) -> Composed:
    from fancypipe_core._codec.values import LiveValues
    from fancypipe_core._doctor import compose as _compose
    from fancypipe_core._model import load as _load
    from fancypipe_core._settings import session as _session

    if not ctx.args:
        raise errors.UsageError("there is no pipeline to draw; write: fancypipe graph FILE[:NAME]")
    file, name = _load.split(ctx.args[0])
    definition = _load.choose(load(file), file, name)
    command = Pipeline(ctx.info_name or "", definition)
    inner = command.make_context(ctx.info_name, list(ctx.args[1:]), parent=ctx)
    with _streams.aside():
        parameters = _session.configure(ctx.obj.given()).parameters
        args, kwargs = command.bound(inner, parameters)
        values = LiveValues()
        values.presets = parameters
        composed = _compose.compose(
            made(definition, lambda: definition.target(*args, **kwargs)), values
        )
    _tell(composed)
    return composed


def _tell(composed: Composed) -> None:
    """Say what cannot be seen in the picture."""
    for instance, error in composed.failed:
        what = f"{type(error).__name__}: {error}".rstrip(": ")
        _streams.say(
            f"fancypipe: module {instance._definition.name} could not be looked into: {what}"
        )
    if not composed.all:
        _streams.say(f"fancypipe: only the first {len(composed.met):,} tasks are drawn")


def _as_dot(drawing: Drawing, own: _Own) -> str:
    from fancypipe_core._doctor import drawing as _drawing

    text = _drawing.as_dot(drawing)
    if own.format == "dot":
        return text
    program = shutil.which("dot")
    if program is None:
        raise errors.UsageError(
            "SVG is drawn by Graphviz, whose program `dot` was not found: install Graphviz, or "
            "write --format mermaid, which needs nothing"
        )
    try:
        over = subprocess.run(
            [program, "-Tsvg"],
            input=text,
            capture_output=True,
            text=True,
            timeout=_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise errors.UsageError(
            f"Graphviz has not drawn it within {_LIMIT:g} seconds: leave out --each, or write "
            "--format dot and draw it yourself"
        ) from None
    if over.returncode:
        raise errors.UsageError(f"Graphviz could not draw it: {over.stderr.strip()}")
    return over.stdout.rstrip()
