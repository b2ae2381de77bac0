"""The commands `runs` and `clean`: which runs have left a journal, and which of them may go."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fancypipe_core import errors
from fancypipe_core._base.resources import size as in_units
from fancypipe_core._cli import streams as _streams
from fancypipe_core._cli.builtin import Builtin
from fancypipe_core._cli.options import Option

if TYPE_CHECKING:
    from fancypipe_core.plugins.runs import Run

__all__ = ["RUNS", "RUNS_ROWS", "Clean", "clean", "runs"]

RUNS = (Option("json", ("json",), is_flag=True),)
RUNS_ROWS = (("--json", "Write it for programs, a line for each run."),)
_CLEAN = (
    Option("older", ("older",)),
    Option("larger", ("larger",)),
    Option("state", ("state",)),
    Option("all", ("all",), is_flag=True),
    Option("dry_run", ("dry-run",), is_flag=True),
)
_CLEAN_ROWS = (
    ("--older AGE", "Those that began longer ago, such as 30d, 12h or 90m."),
    ("--larger SIZE", "Those whose folders are larger, such as 500M or 2G."),
    ("--state STATE", "Those that ended so: done, failed or killed."),
    ("--all", "All that are over."),
    ("--dry-run", "Remove nothing; say what would be."),
)
_GONE = ".removed-"
_ENDED = ("done", "failed", "killed")
_AGE = re.compile(r"(\d+(?:\.\d*)?)\s*([smhdw])", re.IGNORECASE)
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
_SIZE = re.compile(r"(\d+(?:\.\d*)?)\s*([kmgt]?)b?", re.IGNORECASE)
_BYTES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}


def runs(words: Sequence[str], *, as_json: bool) -> None:
    """Say which runs have left a journal, the earliest first.

    Args:
        words: The folder in which their folders are; none for that of the current folder.
        as_json: Whether to write a line of JSON for each.

    Raises:
        UsageError: There are two folders, or it is none.
    """
    found = list(_found(words))
    if as_json:
        for one in found:
            _streams.write(json.dumps({**one._asdict(), "folder": str(one.folder)}))
        return
    rows = [_row(one) for one in found]
    if not rows:
        _streams.say(f"fancypipe: no run has left a journal in {_base(words)}")
        return
    head = ("id", "when", "state", "tasks", "seconds", "target", "folder")
    _streams.write_columns([head, *rows])


def _row(run: Run) -> tuple[str, ...]:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.began)) if run.began else "?"
    tasks = f"{run.done:,} of {run.tasks:,}" if run.done != run.tasks else f"{run.tasks:,}"
    seconds = f"{run.seconds:,.1f}"
    return run.id, when, run.state, tasks, seconds, run.target, str(run.folder)


class Clean(Builtin):
    """`fancypipe clean`, whose options have values."""

    def __init__(self) -> None:
        super().__init__(
            "clean",
            "Remove the folders of runs that are over.",
            lambda _asked, _own, _words: None,
            own=_CLEAN,
            rows=_CLEAN_ROWS,
            words="[FOLDER]",
        )

    def invoke(self, ctx: click.Context) -> None:
        """Remove them."""
        clean(ctx.args, ctx.params)


def clean(words: Sequence[str], options: Mapping[str, str]) -> None:
    """Remove the folders of runs that are over, as far as all that is asked for fits.

    What runs is never removed, nor what may run on another machine.

    Args:
        words: As for `runs`.
        options: `older`, `larger`, `state`, `all` and `dry_run`, as they were typed.

    Raises:
        UsageError: It is not said which, or what was said cannot be read.
        FancyPipeError: Some could not be removed.
    """
    chosen = _Choice(options)
    for rest in _base(words).glob(f"{_GONE}*"):  # of a removal that was broken off
        shutil.rmtree(rest, ignore_errors=True)
    freed = count = 0
    kept: list[str] = []
    for run in _found(words):
        if run.state not in _ENDED:
            if chosen.fits_but_lives(run):
                kept.append(f"{run.folder} ({_why_kept(run)})")
            continue
        taken = _size_of(run.folder)
        if not chosen.fits(run, taken):
            continue
        if not chosen.dry_run:
            try:
                _remove(run.folder)
            except OSError as error:
                why = error.strerror or str(error)
                raise errors.FancyPipeError(f"{run.folder} cannot be removed: {why}") from error
        _streams.write(f"{run.folder}  {in_units(taken)}")
        freed += taken
        count += 1
    for text in kept:
        _streams.say(f"fancypipe: left alone: {text}")
    would = "would be " if chosen.dry_run else ""
    _streams.say(
        f"fancypipe: {count} run{'' if count == 1 else 's'} {would}removed, {in_units(freed)}"
    )


def _why_kept(run: Run) -> str:
    if run.state == "running":
        return f"it is running, process {run.pid}"
    return f"its process is on {run.host or 'another machine'}, and may run there"


class _Choice:
    """Which runs are to go."""

    def __init__(self, options: Mapping[str, str]) -> None:
        self.dry_run = options.get("dry_run") == "true"
        criteria = [key for key in ("older", "larger", "state") if key in options]
        if not criteria and options.get("all") != "true":
            raise errors.UsageError(
                "say which runs: --older 30d, --larger 1G, --state killed, several of these, or "
                "--all; and --dry-run to see them first"
            )
        self._state = options.get("state")
        if self._state is not None and self._state not in _ENDED:
            raise errors.UsageError(
                f"--state must be {', '.join(_ENDED[:-1])} or {_ENDED[-1]}, not {self._state!r}"
            )
        self._before = time.time() - _amount(options, "older", _AGE, _SECONDS, "30d, 12h or 90m")
        self._least = _amount(options, "larger", _SIZE, _BYTES, "500M or 2G")

    def fits(self, run: Run, taken: int) -> bool:
        """Whether a run that is over is to go."""
        return (
            run.began <= self._before
            and taken >= self._least
            and self._state in (None, run.state)
        )  # fmt: skip

    def fits_but_lives(self, run: Run) -> bool:
        """Whether a run would be to go if it were over."""
        return run.began <= self._before and self._state is None


def _amount(
    options: Mapping[str, str],
    key: str,
    pattern: re.Pattern[str],
    units: Mapping[str, float],
    such: str,
) -> float:
    text = options.get(key)
    if text is None:
        return 0.0
    found = pattern.fullmatch(text.strip())
    if found is None:
        raise errors.UsageError(f"--{key} must be as in {such}, not {text!r}")
    return float(found[1]) * units[found[2].lower()]


def _base(words: Sequence[str]) -> Path:
    from fancypipe_core.plugins.journal import HERE

    if len(words) > 1:
        raise errors.UsageError(f"one folder of runs at a time, not {' '.join(words)}")
    return Path(words[0]) if words else HERE


def _found(words: Sequence[str]) -> Iterator[Run]:
    from fancypipe_core.plugins.runs import find_runs, summary_of

    base = _base(words)
    if words and not base.is_dir():
        raise errors.UsageError(f"there is no folder {base}")
    for folder in find_runs(base):
        try:
            yield summary_of(folder)
        except OSError as error:
            _streams.say(f"fancypipe: {folder} cannot be read: {error.strerror or error}")


def _size_of(folder: Path) -> int:
    """Return the bytes of all files below a folder; a link counts as itself."""
    return sum(
        os.lstat(os.path.join(here, name)).st_size
        for here, _, names in os.walk(folder)
        for name in names
    )


def _remove(folder: Path) -> None:
    """Remove a folder of a run: it is under no such name any more while that goes on."""
    gone = folder.with_name(f"{_GONE}{folder.name}")
    folder.rename(gone)
    shutil.rmtree(gone)
