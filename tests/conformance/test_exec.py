"""External programs, on every backend."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from fancypipe_core import Exec, Session, errors
from tests.conformance import pipelines as p

PYTHON = sys.executable


def test_output_and_arguments(session: Session, tmp_path: Path) -> None:
    code = "import sys; print(sys.argv[1:]); print('oops', file=sys.stderr)"
    done = session.run(Exec(PYTHON, "-c", code, 1, tmp_path, p.square(3)))
    assert done.stdout == f"{['1', str(tmp_path), '9']}\n"
    assert done.stderr == "oops\n"
    assert (done.code, done.folder) == (0, None)


def test_environment_folder_and_input(session: Session, tmp_path: Path) -> None:
    code = "import os, sys; print(os.environ['MINE'], os.getcwd(), sys.stdin.read())"
    done = session.run(
        Exec(PYTHON, "-c", code, env={"MINE": "x"}, cwd=tmp_path, stdin="words " * 50_000)
    )
    assert done.stdout == f"x {tmp_path} {'words ' * 50_000}\n"
    assert session.run(Exec(PYTHON, "-c", "print(repr(input()))", check=False))["code"] == 1


def test_files(session: Session, tmp_path: Path) -> None:
    (tmp_path / "linked").write_text("linked")
    code = "print(open('a').read(), open('deep/b','rb').read(), open('c').read()); open('out','w')"
    done = session.run(
        Exec(PYTHON, "-c", code, files={"a": "text", "deep/b": b"b", "c": tmp_path / "linked"})
    )
    assert done.stdout == "text b'b' linked\n"
    assert (done.folder / "out").exists(), "the caller has the folder now"


def test_a_failed_program_tells_what_it_said(session: Session) -> None:
    code = "import sys; print('reason', file=sys.stderr); sys.exit(3)"
    with pytest.raises(errors.ExecError) as caught:
        session.run(Exec(PYTHON, "-c", code))
    assert isinstance(caught.value, errors.TaskError)
    assert (caught.value.code, caught.value.stderr) == (3, "reason\n")
    assert "ended with exit code 3:\n  | reason" in str(caught.value.__cause__)
    with pytest.raises(errors.ExecError, match="SIGKILL"):
        session.run(Exec(PYTHON, "-c", "import os; os.kill(os.getpid(), 9)"))


def test_programs_that_cannot_be_started(session: Session, tmp_path: Path) -> None:
    with pytest.raises(errors.ExecError, match="no program 'no-such-program' in PATH"):
        session.run(Exec("no-such-program"))
    with pytest.raises(errors.ExecError, match="there is no folder"):
        session.run(Exec(PYTHON, "-V", cwd=tmp_path / "none"))
    with pytest.raises(errors.ExecError, match="Permission denied"):
        session.run(Exec(tmp_path))


def test_much_output_is_cut_in_the_middle(session: Session) -> None:
    code = "print('\\n'.join(map('%09d'.__mod__, range(1_500_000))))"
    done = session.run(Exec(PYTHON, "-c", code))
    assert len(done.stdout) < 11 * 1024 * 1024
    assert done.stdout.startswith("000000000\n")
    assert done.stdout.endswith("001499999\n")
    assert "... cut " in done.stdout


def test_what_it_leaves_behind_is_killed(session: Session, tmp_path: Path) -> None:
    """A program's own children end with the task, at the latest with the worker."""
    if session.settings.backend == "procs":
        pytest.skip("they are in the worker's group, and end with the worker: see tests/procs")
    mark = tmp_path / "pid"
    code = (
        "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', "
        "'import time; time.sleep(1000)'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL); "
        f"open({str(mark)!r}, 'w').write(str(child.pid))"
    )
    session.run(Exec(PYTHON, "-c", code))
    pid = int(mark.read_text())
    until = time.monotonic() + 30
    while os.path.exists(f"/proc/{pid}") and not _is_zombie(pid):
        assert time.monotonic() < until
        time.sleep(0.01)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True
