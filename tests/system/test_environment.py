"""What the caller has around it at `run()` is there for that run; and what programs inherit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fancypipe_core import Session, errors, run, task


@task
def look(name: str) -> tuple[str | None, str]:
    return os.environ.get(name), os.getcwd()


@task
def in_a_program(name: str) -> tuple[str, str]:
    code = f"import os; print(os.environ.get({name!r})); print(os.getcwd())"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout.splitlines()
    return out[0], out[1]


@task
def here() -> int:
    return os.getpid()


@task
def local_time() -> str:
    return time.strftime("%H", time.localtime(0))


@task
def crash() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@task
def sigint() -> str:
    """Return how a program that a task starts treats Ctrl-C."""
    code = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout.strip()


@task
def sigint_in_fork() -> bool:
    pid = os.fork()
    if not pid:
        os._exit(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
    return bool(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def test_variables_and_folder_hold_for_the_run(
    session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = "SET_BY_THE_TEST"
    assert session.run(look(name))[0] is None
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.setenv(name, f"v\u00e4l {number}")
        monkeypatch.chdir(folder)
        assert session.run(look(name)) == (f"v\u00e4l {number}", str(folder))
        assert session.run(in_a_program(name)) == (f"v\u00e4l {number}", str(folder))
    monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    # On all workers, also new ones.
    found = session.run([look(name) for _ in range(20)])
    assert found == [(None, str(tmp_path))] * 20


def test_a_new_worker_finds_what_the_run_began_with(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SET_BY_THE_TEST", "before")
    with Session("procs", 1, max_losses=1) as session:
        monkeypatch.setenv("SET_BY_THE_TEST", "now")
        monkeypatch.chdir(tmp_path)
        with pytest.raises(errors.TaskLost):
            session.run(crash())
        assert session.run(look("SET_BY_THE_TEST")) == ("now", str(tmp_path))
        # A task changes it for itself alone, as before.
        assert session.run(look("SET_BY_THE_TEST")) == ("now", str(tmp_path))


def test_the_time_zone_is_a_variable_that_the_clock_knows(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    for zone, hour in (("UTC-3", "03"), ("UTC-5", "05")):
        monkeypatch.setenv("TZ", zone)
        if session.settings.backend in ("serial", "threads"):
            time.tzset()
        assert session.run(local_time()) == hour
    monkeypatch.delenv("TZ")
    time.tzset()


def test_a_folder_that_is_gone_ends_nothing(
    session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert session.run(here())
    monkeypatch.chdir(tmp_path)
    assert session.run(look("HOME"))[1] == str(tmp_path)


@pytest.mark.parametrize("name", ["PATH", "HOME", "FANCYPIPE_REMOTE_JOBAUTH", "LC_CTYPE"])
def test_what_belongs_to_the_machine_does_not_travel(
    session: Session, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if session.settings.backend != "remote":
        pytest.skip("this backend has one machine")
    before = session.run(look(name))[0]
    monkeypatch.setenv(name, "of the client")
    assert session.run(look(name))[0] == before


def test_programs_of_tasks_do_not_ignore_ctrl_c(session: Session) -> None:
    assert session.run(sigint()) == "True"


def test_forks_of_tasks_do_not_ignore_ctrl_c() -> None:
    assert run(sigint_in_fork(), backend="procs", workers=1)
