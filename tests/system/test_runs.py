"""`fancypipe runs` and `fancypipe clean`: what runs have left, and which of it may go."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fancypipe_core._base import processes
from fancypipe_core.plugins.runs import find_runs, summary_of

PIPELINE = """
import time
from pathlib import Path
from fancypipe_core import task

@task
def wait(seconds: float = 0.0, fail: bool = False) -> float:
    Path("begun").touch()
    time.sleep(seconds)
    if fail:
        raise ValueError("asked to")
    return seconds

if __name__ == "__main__":
    wait.cli()
"""
RUNS = Path(".fancypipe", "runs")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    return tmp_path


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "fancypipe_core", *words]


def call(here: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words), cwd=here, check=False, capture_output=True, text=True, timeout=120
    )


def leave(here: Path, name: str, *lines: object, size: int = 0) -> Path:
    folder = here / RUNS / name
    folder.mkdir(parents=True)
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (folder / "journal.jsonl").write_text(text)
    (folder / "more").write_bytes(bytes(size))
    return folder


def head(age: float, begun: str) -> dict[str, object]:
    return {"kind": "run", "run": "0a", "at": time.time() - age, "pid": os.getpid(),
            "pid_began": begun, "host": "far"}  # fmt: skip


@pytest.fixture
def several(here: Path) -> dict[str, Path]:
    """Runs of all states; those that are over began an hour, a day and three days ago."""
    mine = processes.began()
    over = {"kind": "over", "ok": True, "seconds": 1.0}
    return {
        "done": leave(here, "20260101-000000-0a", head(3600, mine), over),
        "failed": leave(here, "20260101-000001-0b", head(86400, mine), {**over, "ok": False}),
        "killed": leave(here, "20260101-000002-0c", head(3 * 86400, f"{mine}0"), size=50_000),
        "running": leave(here, "20260101-000003-0d", head(9 * 86400, mine), size=50_000),
        "unknown": leave(here, "20260101-000004-0e", head(9 * 86400, "far-0-1-2"), size=50_000),
    }


@pytest.mark.parametrize("way", ["command", "script"])
def test_a_run_of_the_command_line_keeps_a_journal(here: Path, way: str) -> None:
    program = command() if way == "command" else [sys.executable]
    for words in (["pipeline.py"], ["pipeline.py", "--fail=true"], ["pipeline.py", "-no-journal"],
                  ["pipeline.py", "-tempdir=other"]):  # fmt: skip
        engine = [one for one in words if one.startswith("-") and not one.startswith("--")]
        rest = [one for one in words if one not in engine]
        engine.append("-workertype=S")
        line = [*program, *engine, *rest] if way == "command" else [*program, *rest, *engine]
        subprocess.run(line, cwd=here, check=False, capture_output=True, timeout=120)
    states = [summary_of(one).state for one in find_runs(here / RUNS)]
    assert states == ["done", "failed"]
    assert [summary_of(one).state for one in find_runs(here / "other")] == ["done"]
    listed = call(here, "runs").stdout.splitlines()
    cells = [re.split(r"  +", line)[2:4] for line in listed]
    assert cells == [["state", "tasks"], ["done", "1"], ["failed", "0 of 1"]]


def test_runs_of_one_second_are_in_order(here: Path) -> None:
    for age, name in ((3, "0c"), (2, "0a"), (1, "0b")):
        leave(here, f"20260101-000000-{name}", head(age, ""))
    names = [one.name[-2:] for one in find_runs(here / RUNS)]
    assert names == ["0c", "0a", "0b"]


def test_a_killed_run_is_listed_as_killed_and_a_living_one_as_running(here: Path) -> None:
    words = command("-workertype=S", "pipeline.py", "--seconds=100")
    with subprocess.Popen(words, cwd=here, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 60
        while not (here / "begun").exists():
            assert time.monotonic() < until
        assert call(here, "runs").stdout.splitlines()[1].split()[3] == "running"
        left = call(here, "clean", "--all")
        assert f"it is running, process {process.pid}" in left.stderr
        assert "0 runs removed" in left.stderr
        process.kill()
    (told,) = map(json.loads, call(here, "runs", "--json").stdout.splitlines())
    assert (told["state"], told["tasks"], told["done"]) == ("killed", 1, 0)
    assert "1 run removed" in call(here, "clean", "--state=killed").stderr
    assert find_runs(here / RUNS) == []


def cases() -> Iterator[tuple[list[str], set[str]]]:
    yield ["--all"], {"done", "failed", "killed"}
    yield ["--older=12h"], {"failed", "killed"}
    yield ["--older", "2d"], {"killed"}
    yield ["--larger=10k"], {"killed"}
    yield ["--state=failed"], {"failed"}
    yield ["--state=done", "--older=1d"], set()
    yield ["--all", "--dry-run"], set()


@pytest.mark.parametrize(("words", "gone"), list(cases()))
def test_what_is_over_and_fits_is_removed(
    here: Path, several: dict[str, Path], words: list[str], gone: set[str]
) -> None:
    over = call(here, "clean", *words)
    assert over.returncode == 0, over.stderr
    assert {state for state, folder in several.items() if not folder.exists()} == gone
    assert len(over.stdout.splitlines()) == (3 if "--dry-run" in words else len(gone))
    assert not list((here / RUNS).glob(".removed-*"))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["clean"], "say which runs: --older 30d"),
        (["clean", "--older=soon"], "--older must be as in 30d, 12h or 90m, not 'soon'"),
        (["clean", "--larger=much"], "--larger must be as in 500M or 2G, not 'much'"),
        (["clean", "--state=running"], "--state must be done, failed or killed, not 'running'"),
        (["clean", "--all", "nowhere"], "there is no folder nowhere"),
        (["runs", "a", "b"], "one folder of runs at a time, not a b"),
    ],
)
def test_what_cannot_be_meant_is_said(here: Path, words: list[str], text: str) -> None:
    over = call(here, *words)
    assert over.returncode == 2
    assert text in over.stderr


def test_no_other_folder_is_touched(here: Path) -> None:
    for name in ("20260101-000000", "notes", "20260101-000000-0a"):
        (here / RUNS / name).mkdir(parents=True)
        (here / RUNS / name / "kept").touch()
    assert "0 runs removed" in call(here, "clean", "--all").stderr
    assert len(list((here / RUNS).glob("*/kept"))) == 3
