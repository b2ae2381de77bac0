"""The journal of a run: whole lines, whatever happens, and what they say can be read."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fancypipe_core import Session, current, errors, module, run, task
from fancypipe_core._base import processes
from fancypipe_core.plugins import journal, runs
from fancypipe_core.plugins.runs import Run, find_runs, read_journal, summary_of

BACKENDS = ["serial", "threads", "procs"]


@task
def half(x: float) -> float:
    return x / 2


@task
def plus(a: float, b: float) -> float:
    current().log("adding")
    return a + b


@task(retries=1)
def fails() -> None:
    raise ValueError("no \udce9 way")


@task
def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@task
def forks() -> int:
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    return 1


@module
def study(x: float = 3.0) -> Any:
    return plus(half(x), half(5.0))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def the_run(folder: Path) -> Path:
    (found,) = find_runs(folder)
    return found


def lines_of(folder: Path) -> list[dict[str, Any]]:
    """Return what the journal says, a line for each task."""
    text = (the_run(folder) / journal.NAME).read_bytes()
    assert text.endswith(b"\n")
    assert all(json.loads(line)["kind"] for line in text.splitlines())
    return list(read_journal(the_run(folder)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_all_that_happens_is_written_down(backend: str, here: Path) -> None:
    before = time.time()
    assert run(study(), backend=backend, workers=1, journal=True) == 4.0
    lines = lines_of(here / ".fancypipe" / "runs")
    head, end = lines[0], lines[-1]
    assert (head["kind"], head["journal"], head["target"]) == ("run", 2, "study")
    assert (head["backend"], head["workers"], head["unit"]) == (backend, 1, "worker")
    assert (head["host"], head["pid"]) == (os.uname().nodename, os.getpid())
    assert head["settings"]["journal"] == "true"
    assert head["python"] == sys.version.split()[0]
    assert before <= head["at"] <= end["at"] <= time.time()
    assert (end["kind"], end["ok"]) == ("over", True)
    assert end["counts"] == {"done": 4, "failed": 0, "skipped": 0, "cancelled": 0}
    of = {(one["kind"], one["name"]): one for one in lines[1:-1] if "task" in one}
    whole = of["added", "study"]
    assert of["added", "plus"]["parent"] == whole["task"]
    assert "parent" not in whole
    assert re.fullmatch(r".*test_journal\.py:\d+", of["added", "plus"]["where"])
    halves = [one["task"] for one in lines if (one["kind"], one.get("name")) == ("done", "half")]
    assert sorted(of["submitted", "plus"]["needs"]) == sorted(halves)
    done = of["done", "plus"]
    assert (done["value"], done["attempt"]) == ("4.0", 1)
    assert done["seconds"] > 0
    assert done["waited"] >= 0
    assert done["worker"].startswith(os.uname().nodename)
    assert ("bytes_out" in done) == (backend == "procs")
    (note,) = [one for one in lines if one["kind"] == "note"]
    assert (note["stream"], note["text"], note["task"]) == ("log", "adding", done["task"])
    summary = summary_of(the_run(here / ".fancypipe" / "runs"))
    assert (summary.state, summary.tasks, summary.done, summary.id) == ("done", 4, 4, head["run"])
    assert (here / ".fancypipe" / ".gitignore").read_text() == "*\n"


def test_failures_and_deaths_say_all(here: Path) -> None:
    with pytest.raises(errors.RunFailed):
        run([fails(), dies()], backend="procs", workers=1, journal=True, keep_going=True,
            max_losses=1, tempdir=str(here))  # fmt: skip
    lines = lines_of(here)
    (failed,) = [one for one in lines if (one["kind"], one.get("name")) == ("failed", "fails")]
    assert failed["error"] == "ValueError"
    assert "no \udce9 way" in failed["message"]
    assert "raise ValueError" in failed["traceback"]
    assert failed["attempt"] == 2
    (lost,) = [one for one in lines if one["kind"] == "lost"]
    assert (lost["name"], lost["error"], lost["attempt"]) == ("dies", "WorkerDied", 1)
    assert "SIGKILL" in lost["certificate"]
    summary = summary_of(the_run(here))
    assert (summary.state, summary.failed) == ("failed", 2)
    assert summary.message.startswith("2 of the tasks failed")


def test_each_run_of_a_session_has_its_own(here: Path) -> None:
    with Session("serial", journal=True) as session:
        session.run(half(1.0))
        session.run(half(2.0))
    first, second = find_runs(here / ".fancypipe" / "runs")
    assert [summary_of(one).done for one in (first, second)] == [1, 1]
    assert {next(read_journal(one))["session"] for one in (first, second)} == {session.id}


def test_a_run_without_a_journal_has_no_folder(here: Path) -> None:
    kept = journal.Journal()
    with Session("serial", observers=[kept]) as session:
        session.run(half(1.0))
        assert kept.folder == the_run(here / ".fancypipe" / "runs").absolute()
        (here / ".fancypipe").rename(here / "elsewhere")
        (here / ".fancypipe").touch()
        session.run(half(2.0))
    assert kept.folder is None


def test_run_and_session_keep_none_unless_asked(here: Path) -> None:
    assert run(half(1.0), backend="serial") == 0.5
    assert list(here.iterdir()) == []


def test_a_fork_leaves_it_alone(here: Path) -> None:
    assert run(forks(), backend="serial", journal=True) == 1
    assert [one["kind"] for one in lines_of(here / ".fancypipe" / "runs")] == [
        "run", "added", "submitted", "done", "over",
    ]  # fmt: skip


# ---- what keeps it from being written -----------------------------------------


@pytest.mark.fault(80)
def test_where_no_folder_can_be_made_the_run_goes_on(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / ".fancypipe").write_text("in the way")
    assert run([half(1.0), half(2.0)], backend="serial", journal=True) == [0.5, 1.0]
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith("fancypipe: this run has no journal: .fancypipe/runs/")


@pytest.mark.fault(80)
@pytest.mark.parametrize("fits", [0, 1000, 2500])
def test_a_full_disk_ends_the_journal_with_whole_lines_and_one_warning(
    fits: int, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write, room = os.write, [fits]

    class Full:
        """The module, with a disk that has little room."""

        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def write(self, file: int, data: memoryview) -> int:
            if not room[0]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            count = write(file, data[: room[0]])
            room[0] -= count
            return count

    monkeypatch.setattr(journal, "os", Full())
    with Session("serial", journal=True) as session:
        assert session.run([half(float(n)) for n in range(100)]) == [n / 2 for n in range(100)]
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].endswith(
        "journal.jsonl ends here (No space left on device); the run goes on without it"
    )
    found = the_run(here / ".fancypipe" / "runs")
    text = (found / journal.NAME).read_bytes()
    assert len(text) <= fits
    assert text == b"" or text.endswith(b"\n")
    assert sum(1 for _ in runs._read_lines(found)) == text.count(b"\n")


# ---- kills --------------------------------------------------------------------

SCRIPT = """
import sys, time
from fancypipe_core import run, task

@task
def step(x: int) -> int:
    return x + 1

if __name__ == "__main__":
    run([step(step(n)) for n in range(30_000)], backend=sys.argv[1], workers=2, journal=True)
"""


@pytest.mark.fault(80)
@pytest.mark.parametrize("backend", ["serial", "procs"])
@pytest.mark.parametrize("seed", range(3))
def test_a_kill_at_any_moment_leaves_what_can_be_read(backend: str, seed: int, here: Path) -> None:
    (here / "script.py").write_text(SCRIPT)
    below = here / ".fancypipe" / "runs"
    with subprocess.Popen([sys.executable, "script.py", backend]) as process:
        least = random.Random(seed).randrange(1, 3_000_000)
        until = time.monotonic() + 120
        size = 0
        while size < least and process.poll() is None:
            assert time.monotonic() < until
            size = sum(one.stat().st_size for one in below.glob("*/journal.jsonl"))
        summary = summary_of(the_run(below))
        if process.poll() is None and summary.state != "done":
            assert summary.state in ("running", "unknown")  # before the first line it is not known
        process.kill()
    found = the_run(below)
    text = (found / journal.NAME).read_bytes()
    lines = list(read_journal(found))
    assert sum(1 for _ in runs._read_lines(found)) == text.count(b"\n")
    assert lines[0]["kind"] == "run"
    if process.returncode:
        assert summary_of(found).state == "killed"
        assert lines[-1]["kind"] != "over"


def test_the_state_of_what_has_no_end_is_that_of_its_process(here: Path) -> None:
    def leaves(*lines: object, name: str = "20260101-000000-0a") -> Run:
        folder = here / name
        folder.mkdir(exist_ok=True)
        (folder / "journal.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in lines))
        return summary_of(folder)

    head = {"kind": "run", "run": "0a", "pid": os.getpid(), "pid_began": processes.began()}
    assert leaves(head).state == "running"
    gone = f"{head['pid_began']}0"
    assert leaves({**head, "pid_began": gone}).state == "killed"
    assert leaves({**head, "pid_began": ""}).state == "unknown"
    assert leaves({**head, "pid_began": "far-0-1-2"}).state == "unknown"
    assert leaves().state == "unknown"
    assert (
        leaves(head, {"kind": "later", "x": [1]}, 3, {"x": 1}, {"kind": "over"}).state == "failed"
    )
    assert leaves(head, {"kind": "over", "ok": True, "seconds": 2.5}).seconds == 2.5


def test_a_line_that_is_cut_or_spoilt_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    file.write_bytes(b'{"kind":"run"}\nnonsense\n\xff\xfe\n{"kind":"added","task":1}\n{"kind":"do')
    assert [one["kind"] for one in read_journal(file)] == ["run", "added"]


def test_a_batch_is_one_write(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    write = os.write

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def write(self, file: int, data: memoryview) -> int:
            assert bytes(data[-1:]) == b"\n"
            sizes.append(len(data))
            return write(file, data)

    monkeypatch.setattr(journal, "os", Counting())
    told: list[Sequence[Any]] = []
    made = journal.Journal.fancypipe_task_events

    def counted(self: journal.Journal, events: Sequence[Any]) -> None:
        told.append(events)
        made(self, events)

    monkeypatch.setattr(journal.Journal, "fancypipe_task_events", counted)
    with Session("serial", journal=True) as session:
        session.run([half(float(n)) for n in range(5000)])
    assert len(sizes) <= len(told) + 3
