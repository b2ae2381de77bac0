"""The command `replay`: one task of an earlier run again, here, under the debugger if wanted."""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fancypipe_core import errors
from fancypipe_core._base.option_names import several, some
from fancypipe_core._base.signals import Interrupts, at_once
from fancypipe_core._cli import streams as _streams
from fancypipe_core._cli.builtin import Builtin
from fancypipe_core._cli.options import Option
from fancypipe_core._cli.which_run import TEMPDIR, TEMPDIR_ROW, run_meant, tempdir_of

if TYPE_CHECKING:
    from fancypipe_core._wire.kept_job import KeptJob
    from fancypipe_core._worker.replay import Outcome, Target
    from fancypipe_core.backend import Event
    from fancypipe_core.plugins.jobs import Kept

__all__ = ["Replay", "replay"]

_OPTIONS = (
    Option("pdb", ("pdb",), is_flag=True),
    Option("break", ("break",), is_flag=True),
    TEMPDIR,
)
_ROWS = (
    ("--pdb", "If it fails, look at it with the debugger, at its own line."),
    ("--break", "Stop in the debugger at its first line."),
    TEMPDIR_ROW,
)


class Replay(Builtin):
    """`fancypipe replay`, of whose options one has a value."""

    def __init__(self) -> None:
        super().__init__(
            "replay",
            "Run one task of an earlier run again, here, in the debugger if you like.",
            lambda _asked, _own, _words: None,
            own=_OPTIONS,
            rows=_ROWS,
            words="RUN TASK",
        )

    def invoke(self, ctx: click.Context) -> int:
        """Run it."""
        tempdir = tempdir_of(ctx)
        return replay(ctx.args, tempdir, debug="pdb" in ctx.params, stop="break" in ctx.params)


def replay(words: Sequence[str], tempdir: str | None, *, debug: bool, stop: bool) -> int:
    """Run a task again, and say what came of it.

    Args:
        words: The run, and the task's path, or its number.
        tempdir: As for `run_meant`.
        debug: Whether to look at it with the debugger if it fails.
        stop: Whether to stop in the debugger at its first line.

    Returns:
        The exit code: 0 if it has a result, 1 if it failed.

    Raises:
        UsageError: There is no such run or task, or it was not kept.
        FancyPipeError: What was kept cannot be read.
    """
    if len(words) != 2:
        raise errors.UsageError(
            "replay takes a run and a task; write: fancypipe replay RUN TASK, with the run's "
            "folder or name and the task's path as messages print it"
        )
    run = run_meant(words[0], tempdir).absolute()  # the current folder will be another
    kept = _kept(run, words[1])
    job = _read(kept)
    from fancypipe_core._worker import replay as _replay
    from fancypipe_core.toolkit.shipping import surroundings

    for line in _about(kept, run):
        _streams.say(f"fancypipe: {line}")
    surroundings.enter(job.around, _replay.variables_of(job))
    target = _replay.Target(job)
    for line in _remarks(job, target):
        _streams.say(f"fancypipe: {line}")
    code = getattr(target.function, "__code__", None) if stop else None
    if stop and code is None:
        _streams.say("fancypipe: it cannot be stopped at its first line: it is not Python code")
    from fancypipe_core._cli import debugger as _debugger

    with suppress(Exception):  # standard error may be no file
        faulthandler.enable()  # it may have died, and may do so again
    try:
        folders = _replay.Folders(kept.folders, job.around.directory)
        with Interrupts.here().told_to(at_once), folders:
            for folder in folders.missing:
                _streams.say(f"fancypipe: {folder}, which its inputs name, was not kept")
            with _debugger.stopping_in(code) if code is not None else nullcontext():
                outcome = target.run(job, _tell)
            if outcome.folder:
                folders.keep([outcome.folder])
            return _told(outcome, kept, debug=debug)
    except OSError as error:
        why = error.strerror or str(error)
        raise errors.FancyPipeError(f"{kept.path} cannot be run again: {why}") from error


def _told(outcome: Outcome, kept: Kept, *, debug: bool) -> int:
    """Say how it went."""
    from fancypipe_core._codec.failure import said, user_text
    from fancypipe_core._model.input_summary import value_in_words

    place = f"; its temporary folder is {outcome.folder}" if outcome.folder else ""
    why = outcome.why
    if why is None:
        if outcome.made:
            _streams.write(f"references to {several(len(outcome.made), 'task')}: "
                           f"{some(outcome.made)}")  # fmt: skip
        else:
            _streams.write(value_in_words(outcome.value) or type(outcome.value).__name__)
        _streams.say(f"fancypipe: {kept.path} did not fail this time{place}")
        return 0
    _streams.say(user_text(why.text))
    _streams.say(
        f"fancypipe: {kept.path} failed again: {said(why.type_name, why.message, why.text)}"
        f"{f' (at {why.where})' if why.where else ''}{place}"
    )
    if debug and outcome.error is not None and outcome.error.__traceback__ is not None:
        from fancypipe_core._cli.debugger import post_mortem

        post_mortem(outcome.error)
    return 1


def _tell(events: Sequence[Event]) -> None:
    """Show what it logs."""
    for event in events:
        stream, text = getattr(event, "stream", ""), getattr(event, "text", "")
        if stream in ("log", "warning"):
            _streams.say(text)
        elif stream == "command":
            _streams.say(f"$ {text}")


# ---- which task ----


def _kept(run: Path, word: str) -> Kept:
    from fancypipe_core.plugins.jobs import kept_in, left_out_of

    jobs = kept_in(run)
    found = [one for one in jobs if one.path == word]
    if not found and word.isdecimal():
        found = [one for one in jobs if one.task == int(word)]
    if len(found) == 1:
        return found[0]
    if found:
        numbers = ", ".join(str(one.task) for one in found)
        raise errors.UsageError(
            f"several tasks of the run have the path {word}; give the number of one: {numbers}"
        )
    for task, path, why in left_out_of(run):
        if word in (path, str(task)):
            raise errors.UsageError(f"task {path} was not kept: {why}")
    raise errors.UsageError(_unknown(run, word, [one.path for one in jobs]))


def _unknown(run: Path, word: str, kept: list[str]) -> str:
    from fancypipe_core.plugins.jobs import MOST
    from fancypipe_core.plugins.runs import paths_of, read_journal, tasks_of

    can = f"; what can be replayed: {some(kept)}" if kept else "; nothing of this run was kept"
    paths = paths_of(run)
    numbers = {path: task for task, path in paths.items()}
    task = numbers.get(word) or (int(word) if word.isdecimal() and int(word) in paths else 0)
    if task:
        kinds = [line["kind"] for line in read_journal(run) if task in tasks_of(line)]
        ended = next((one for one in reversed(kinds) if one in _ENDS), "")
        if ended == "failed" and len(kept) >= MOST:
            return f"task {paths[task]} failed, but of a run {MOST} such tasks are kept{can}"
        return (
            f"task {paths[task]} {_ENDS.get(ended, 'has not ended')}, and by default only tasks "
            f"that failed are kept; with -keep-jobs=all a run keeps all that it sends{can}"
        )
    near = get_close_matches(word, [*kept, *paths.values()], n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(dict.fromkeys(near))}?" if near else can
    return f"there is no task {word} in {run}{hint}"


_ENDS = {
    "done": "was done",
    "failed": "failed, but was never sent",
    "skipped": "was not run, since what it needs failed",
    "cancelled": "was cancelled",
}


def _end_of(run: Path, task: int) -> dict[str, Any]:
    """Return the line of the journal that tells how a task has ended; empty if none does."""
    from fancypipe_core.plugins.runs import read_journal

    lines = (line for line in read_journal(run) if line.get("task") == task)
    return next((line for line in lines if line["kind"] in _ENDS), {})


def _read(kept: Kept) -> KeptJob:
    from fancypipe_core._wire.kept_job import read
    from fancypipe_core.plugins.jobs import opened

    try:
        return read(opened(kept))
    except OSError as error:
        raise errors.UsageError(f"{kept.file} cannot be read: {error.strerror}") from error
    except errors.DecodeError as error:
        raise errors.UsageError(f"{kept.file} cannot be read: {error}") from error


def _about(kept: Kept, run: Path) -> Iterator[str]:
    """Yield which task it is, and how it ended then."""
    inputs = f" ({kept.inputs})" if kept.inputs else ""
    then = _end_of(run, kept.task)
    place = f" ({then['worker']})" if then.get("worker") else ""
    how = f"; then: {then['kind']}{place}" if then else ""
    yield f"task {kept.path}{inputs}, attempt {kept.attempt}{how}"
    if then.get("error") == "WorkerDied":
        yield "its worker died, and what it runs in now is this process"


def _remarks(job: KeptJob, target: Target) -> Iterator[str]:
    """Yield what is not as it was."""
    from fancypipe_core.toolkit.shipping.surroundings import changed_files, other_versions

    for file, is_there in changed_files(job.around):
        if not is_there:
            yield f"{file} is not there any more"
        elif target.renew():
            yield f"{file} has changed since; what runs is what is there now"
        else:
            yield (
                f"{file} has changed since, and the task stands inside of a function, where it is "
                "not found by its name: it runs as it was then"
            )
    others = [f"{name} {then} (now {now or 'not installed'})"
              for name, then, now in other_versions(job.around)]  # fmt: skip
    if others:
        yield f"other versions than then: {some(others)}"
    folder = job.around.folder
    if folder and not os.path.isdir(folder):
        yield f"its current folder {folder} is not there"
