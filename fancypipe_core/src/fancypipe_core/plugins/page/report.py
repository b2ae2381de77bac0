"""The report of a run: its page, made from its journal alone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from fancypipe_core import errors
from fancypipe_core.plugins.figures.summary import summary_of_journal
from fancypipe_core.plugins.page.document import document, pieces_of

__all__ = ["JOURNAL", "PAGE", "journal_of", "whole_lines", "write_file", "write_report"]

JOURNAL = "journal.jsonl"
"""The journal's name in a run's folder."""

PAGE = "index.html"
"""The page's."""


def write_report(run: str | os.PathLike[str]) -> Path:
    """Make the page of a run from its journal; the file is there whole or not at all.

    A page that is there is replaced.  The journal of a run that goes on, or whose process was
    killed, is read up to its last whole line, and the page says that it has no end.

    Args:
        run: The run's folder, or its journal.

    Returns:
        The page: `index.html`, beside the journal.

    Raises:
        UsageError: There is no journal, or it is none.
        OSError: The page cannot be written.
    """
    journal = journal_of(Path(run))
    with journal.open("rb") as file:
        if not file.readline().startswith(b"{"):
            raise errors.UsageError(f"{journal} is no journal of a run: its first line is no event")
        file.seek(0)
        said = summary_of_journal(journal)
        parts = document(pieces_of(whole_lines(file)), summary=said)
        return write_file(journal.parent / PAGE, parts)


def write_file(file: Path, parts: Iterable[str]) -> Path:
    """Write a file whole, in the place of one that is there; return its path.

    Raises:
        OSError: It cannot be written.
    """
    temporary = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            stream.writelines(parts)
        temporary.replace(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return file


def whole_lines(file: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines that have their end: the last one may be cut short by a kill."""
    for line in file:
        if line.endswith(b"\n"):
            yield line


def journal_of(run: Path) -> Path:
    """Return the journal of a run.

    Raises:
        UsageError: There is none.
    """
    journal = run / JOURNAL if run.is_dir() else run
    if not journal.is_file():
        what = f"{run} holds no {JOURNAL}" if run.is_dir() else f"there is no {run}"
        raise errors.UsageError(f"{what}; give the folder of a run, or its journal")
    return journal
