"""Can a worker import the pipeline's file, and what does that cost and do besides?"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

from fancypipe_core._codec.failure import user_text
from fancypipe_core._codec.undecodable import relative
from fancypipe_core._doctor.clean import Clean, Gone
from fancypipe_core._doctor.finding import Finding, several
from fancypipe_core._doctor.records import Imported
from fancypipe_core._engine import orphans
from fancypipe_core._wire import messages

__all__ = ["Look", "look"]

_SLOW = 2.0  # seconds of an import that are worth a word
_TIMES = re.compile(rb"import time:\s+(\d+) \|\s+(\d+) \| ( *)(\S+)")
_FRAME = re.compile(r'File "(.+)", line (\d+) in ')
_GUARD = 'put what is not for workers below `if __name__ == "__main__":`'


class Look(NamedTuple):
    """What was found.

    Attributes:
        findings: In the order in which they are shown.
        harmless: Whether this process may load the file as well: that starts no
            run, ends no process, and comes to an end.
        unguarded: Whether it starts a run when it is imported.
        memory: Bytes of memory of a worker that has imported it; 0 if unknown.
    """

    findings: list[Finding]
    harmless: bool
    unguarded: bool = False
    memory: int = 0


class _Try(NamedTuple):
    """One import, in a clean interpreter."""

    imported: Imported | None
    code: int | None  # how the interpreter ended, if it did not answer
    printed: str
    complained: str
    times: list[tuple[float, str]]
    made: list[str]  # files in its current folder


def _empty_folder() -> AbstractContextManager[str | None]:
    """Make a folder to stand in; None where there is no place for one."""
    try:
        return tempfile.TemporaryDirectory(prefix=orphans.owned_prefix("doctor"))
    except OSError:
        return nullcontext()


def _setup(file: str, path: list[str]) -> messages.Setup:
    """Return what a worker is told that is to import a file as the main script."""
    return messages.Setup(path, list(sys.argv), ("file", os.path.abspath(file)), "")


def look(file: str, limit: float) -> Look:
    """Import a file in a clean interpreter, in an empty folder; if that fails, in this one.

    Args:
        file: The pipeline's file.
        limit: Seconds that the import may take.
    """
    elsewhere: list[Finding] = []
    with _empty_folder() as folder:
        tried = _try(file, limit, folder)
    found = tried.imported
    if found is not None and found.error and not found.unguarded:
        first, tried = found, _try(file, limit, None)
        found = tried.imported
        if found is not None and not found.error:
            elsewhere.append(
                Finding(
                    "warning",
                    f"it can only be imported while {os.getcwd()} is the current folder "
                    f"({first.error})",
                    "make paths in it begin at Path(__file__).parent, so that workers in other "
                    "folders find the files too",
                )
            )
    if found is None:
        return Look([_no_answer(file, limit, tried)], harmless=False)
    if found.unguarded:
        # The sentence names the line and says what to do.
        what, _, advice = found.error.partition(": ")[2].partition(". ")
        what = what.replace(os.path.abspath(file), file)
        said = Finding("problem", what, advice[:1].lower() + advice[1:])
        return Look([said], harmless=False, unguarded=True)
    if found.error:
        return Look([_failed(file, found)], harmless=True)
    findings = [*_cost(found, tried.times), *elsewhere, *_besides(tried)]
    return Look(findings, harmless=True, memory=found.memory)


def _try(file: str, limit: float, folder: str | None) -> _Try:
    path = list(sys.path)
    if not getattr(sys.flags, "safe_path", False):
        path.insert(0, os.path.dirname(os.path.abspath(file)))  # as when it is run
    found, code = None, None
    with Clean(_setup(file, path), limit, folder, ["-X", "importtime"]) as clean:
        try:
            found = clean.imported()
        except Gone as gone:
            code = gone.code
        lines = clean.complained.splitlines()
        printed = clean.printed.decode(errors="replace")
    times = [match for match in map(_TIMES.match, lines) if match is not None]
    rest = b"\n".join(line for line in lines if not line.startswith(b"import time:"))
    made = sorted(os.listdir(folder)) if folder else []
    return _Try(found, code, printed, rest.decode(errors="replace"), _slowest(times), made)


def _slowest(matches: list[re.Match[bytes]]) -> list[tuple[float, str]]:
    """Return what the main script imports, with the seconds of each; the slowest first."""
    rows = [(int(m[2]) / 1e6, len(m[3]), m[4].decode(errors="replace")) for m in matches]
    # All that was imported before the main script was for the interpreter and for us.
    start = max((n for n, row in enumerate(rows) if row[2] == "runpy"), default=len(rows) - 1)
    rows = rows[start + 1 :]
    outermost = min((depth for _, depth, _ in rows), default=0)
    return sorted(((s, name) for s, depth, name in rows if depth == outermost), reverse=True)


# ---- in words ------------------------------------------------------------------------


def _no_answer(file: str, limit: float, tried: _Try) -> Finding:
    if tried.code is None:
        place = ""
        for name, line in _FRAME.findall(tried.complained):
            if name == os.path.abspath(file):
                place = f", and is in line {line}"
                break
        return Finding(
            "problem",
            f"a worker that imports {file} does not finish: it takes more than {limit:g} s{place}",
            f"{_GUARD}; if it needs longer, give it more time: --limit SECONDS",
        )
    how = f"signal {-tried.code}" if tried.code < 0 else f"exit code {tried.code}"
    said = " ".join(tried.complained.split())[-300:]
    return Finding(
        "problem",
        f"a worker that imports {file} dies ({how})" + (f"; it said: {said}" if said else ""),
        "find the import that does it: python -X faulthandler -X importtime " + file,
    )


def _failed(file: str, found: Imported) -> Finding:
    lines = user_text(found.traceback).splitlines()
    where = ""
    for line in lines:
        match = re.match(r'\s*File "(.+)", line (\d+)', line)
        if match is not None and not match[1].startswith("<"):
            where = f" at {relative(match[1])}:{match[2]}"
    return Finding(
        "problem",
        f"a worker cannot import {file}: {found.error}{where}",
        "make it importable in a fresh Python; "
        + (
            "install what is missing, or put its folder on PYTHONPATH"
            if found.error.startswith("ModuleNotFoundError")
            else _GUARD
        ),
    )


def _cost(found: Imported, times: list[tuple[float, str]]) -> Iterator[Finding]:
    if found.seconds < _SLOW:
        yield Finding("ok", f"a worker imports it in {found.seconds:.2g} s")
        return
    slow = [f"{name} {s:.1f} s" for s, name in times[:3] if s > 0.1 * found.seconds]
    yield Finding(
        "note",
        f"each worker needs {found.seconds:.1f} s to import it when it starts"
        + (f"; most of it: {', '.join(slow)}" if slow else "; most of it is code of its own"),
        "import inside a task what only that task needs" if slow else _GUARD,
    )


def _besides(tried: _Try) -> Iterator[Finding]:
    for text in (tried.printed, tried.complained):
        lines = [line for line in text.splitlines() if line.strip()]
        if lines:
            yield Finding(
                "warning",
                f"it prints {several(len(lines), 'line')} when it is imported, once for each "
                f"worker: {lines[0][:200]}",
                _GUARD,
            )
    made = [name for name in tried.made if not name.startswith(".coverage")]
    if made:
        yield Finding(
            "warning",
            "it makes files in the current folder when it is imported, once for each worker: "
            + ", ".join(made[:5]),
            _GUARD,
        )
