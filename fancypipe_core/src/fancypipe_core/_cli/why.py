"""The command `fancypipe why`: why a task ran or did not, or will."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fancypipe_core import errors
from fancypipe_core._cli import streams as _streams
from fancypipe_core._cli.builtin import OfPipeline
from fancypipe_core._cli.commands import load, made
from fancypipe_core._cli.options import Option
from fancypipe_core._cli.pipeline import Pipeline
from fancypipe_core._cli.which_run import run_meant

if TYPE_CHECKING:
    from fancypipe_core.plugins.reasons import Looked

__all__ = ["Why"]

_TASK = Option("only", ("task",))
_ROWS = (("--task TASK", "Of a pipeline: say it of this task only, by its path."),)


class Why(OfPipeline):
    """`fancypipe why RUN TASK` of a run, `fancypipe why FILE[:NAME] [inputs]` of the next."""

    def __init__(self) -> None:
        super().__init__(
            "why",
            "Say why a task of a run ran or did not; of a pipeline, what would run, and why.",
            lambda _asked, _own, _words: None,
            rows=_ROWS,
            own=(_TASK,),
            settings=True,
            words="RUN TASK | FILE[:NAME] [inputs]",
        )

    def invoke(self, ctx: click.Context) -> None:
        """Say it."""
        if not ctx.args:
            raise errors.UsageError("say of what: RUN TASK, or the FILE of a pipeline")
        run = _run_of(ctx)
        if run is not None:
            for line in why(run, ctx.args[1:]):
                _streams.write(line)
            return
        _of_next(ctx, ctx.params.get("only", ""))


def _run_of(ctx: click.Context) -> Path | None:
    """Return the run that the first word means; None if it is a pipeline."""
    from fancypipe_core._settings.session import core_settings

    word = ctx.args[0]
    if Path(word.partition(":")[0]).suffix == ".py":
        return None
    return run_meant(word, core_settings(ctx.obj.given()).settings.tempdir)


def _of_next(ctx: click.Context, only: str) -> None:
    from fancypipe_core._cli.dry_run import dry_run
    from fancypipe_core._model import load as _load
    from fancypipe_core._settings import session as _configured

    file, name = _load.split(ctx.args[0], ())
    definition = _load.choose(load(file), file, name)
    command = Pipeline(ctx.info_name or "", definition, (_TASK,))
    inner = command.make_context(ctx.info_name, ctx.args[1:], parent=ctx)
    if not any(one.name == "task" for one in command.inputs):
        only = only or _task_behind(ctx.args[1:])
    with _streams.aside():
        configured = _configured.configure(ctx.obj.given())
        args, kwargs = command.bound(inner, configured.parameters)
        target = made(definition, lambda: definition.target(*args, **kwargs))
    dry_run(configured, target, only)


def _task_behind(words: Sequence[str]) -> str:
    """Return the value of `--task` where it stands behind the pipeline."""
    for word, following in pairwise([*words, ""]):
        name, equals, value = word.partition("=")
        if name in ("--task", "-task"):
            return value if equals else following
    return ""


def why(run: Path, words: Sequence[str]) -> Iterator[str]:
    """Yield why a task of a run ran or did not.

    Args:
        run: The run's folder.
        words: The task's path, or its number.

    Raises:
        UsageError: There is no such task, or the run has not looked for results.
    """
    from fancypipe_core.plugins.reasons import Reasons, looked_up, of_elements

    if len(words) != 1:
        raise errors.UsageError("say which task: fancypipe why RUN TASK")
    word = words[0]
    found = list(looked_up(run))
    if not found:
        raise errors.UsageError(
            f"{run} took no results from before, so all of it ran; with -resume it does"
        )
    mine = [one for one in found if word in (one.path, str(one.task))]
    if not mine:
        said = _of_one_element(word, found)
        if said:
            yield said
            return
        raise errors.UsageError(_unknown(word, {one.path: one.kind for one in found}))
    others = {one.key: one for one in found if one.key}
    for one in mine:
        if one.kind == "hit":
            yield f"{one.path} did not run: its result was there, and nothing has changed for it"
        elif one.kind == "elements":
            yield f"{one.path}: {of_elements(one)}"
        elif one.kind == "not-kept":
            yield f"{one.path}: its result was not kept: {one.why}"
        else:
            yield f"{one.path} ran:"
            yield from (f"  {said}" for said in Reasons(run.parent, run).of(one, others))


def _of_one_element(word: str, found: Sequence[Looked]) -> str:
    """Say what became of an element of a map, by its path; empty if there is none such."""
    path, _, index = word.rpartition("/")
    for one in found:
        if one.kind == "elements" and one.path == path and index.isdecimal():
            if one.has(int(index)):
                return (
                    f"{word} ran: no result of it is there with the inputs that it has; of all "
                    f"elements: fancypipe why RUN {path}"
                )
            if int(index) < one.there + one.how_many_ran:
                return f"{word} did not run: its result was there, and nothing has changed for it"
    return ""


def _unknown(word: str, kinds: dict[str, str]) -> str:
    step = word
    while "/" in step:
        step = step.rpartition("/")[0]
        if kinds.get(step) == "hit":
            return f"{word} was not looked for, since the result of {step} was there"
    near = get_close_matches(word, kinds, n=3, cutoff=0.5) or list(kinds)[:5]
    known = ", ".join(near)
    return f"no task {word} was looked for: what needs it was there, or there is none; as: {known}"
