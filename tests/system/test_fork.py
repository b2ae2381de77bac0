"""A session on both sides of a fork: the child is told, and the parent never notices."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fancypipe_core import Session, errors, module, run, task

if not hasattr(os, "fork"):
    pytest.skip("this system has no fork", allow_module_level=True)


@task
def double(x: int) -> int:
    return 2 * x


@task
def file() -> Any:
    from fancypipe_core import current

    path = current().tempfile("kept")
    path.write_text("here")
    return path


@module
def forks() -> Any:
    pid = _fork()
    if pid:
        _, status = os.waitpid(pid, 0)
        return [double(21), os.waitstatus_to_exitcode(status)]
    sys.exit(5)


def _fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # there are threads, as we know
        return os.fork()


def in_fork(work: Callable[[], object]) -> str:
    """Return what the work returned, or raised, in a fork of this process."""
    read, write = os.pipe()
    pid = _fork()
    if not pid:
        code = 1
        try:
            try:
                said = repr(work())
            except BaseException as error:  # noqa: BLE001 - it is what is asked for
                said = f"{type(error).__name__}: {error}"
            os.write(write, said.encode())
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return said


@pytest.mark.fault(84)
def test_a_fork_is_told_and_the_parent_goes_on(session: Session) -> None:
    assert session.run(double(1)) == 2
    said = in_fork(lambda: session.run(double(2)))
    assert said.startswith(f"UsageError: this session belongs to process {os.getpid()}")
    assert "open a session of its own here" in said
    assert session.run([double(i) for i in range(50)]) == [2 * i for i in range(50)]


def _uses(session: Session) -> None:
    with session:
        session.cancel()
        repr(session)
    session.close()
    session.close(0.0)
    gc.collect()


@pytest.mark.fault(84)
def test_a_fork_finds_no_lock_held(session: Session) -> None:
    """Another thread is in the middle of `submit` or `shutdown` of an executor."""
    executor = session.executor()
    with executor._lock:
        said = in_fork(lambda: executor.submit(abs, 1))
        assert "this is a fork of it" in said
        assert in_fork(executor.shutdown) == "None"
    assert executor.submit(abs, -1).result(60) == 1
    executor.shutdown()


def test_a_fork_that_closes_the_session_closes_nothing(session: Session, tmp_path: Path) -> None:
    kept = session.run(file())
    assert in_fork(lambda: _uses(session)) == "None"
    assert session.run(double(3)) == 6
    assert kept.read_text() == "here"


@pytest.mark.fault(84)
def test_a_fork_has_runs_of_its_own(session: Session) -> None:
    assert in_fork(lambda: run(double(4), backend="serial")) == "8"
    assert in_fork(lambda: run(double(5), backend="procs", workers=1)) == "10"
    assert session.run(double(6)) == 12


def _in_child(session: Session, said: Any) -> None:
    try:
        session.run(double(2))
    except errors.UsageError as error:
        said.put(str(error))
    # It ends as Python does: garbage, threads, exit functions.


@pytest.mark.fault(84)
def test_a_process_of_multiprocessing_is_told_too(session: Session) -> None:
    context: Any = multiprocessing.get_context("fork")
    said = context.SimpleQueue()
    process = context.Process(target=_in_child, args=(session, said))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    process.join(30)
    assert process.exitcode == 0
    assert said.get().startswith("this session belongs to process")
    process.close()
    said.close()
    assert session.run(double(7)) == 14


@pytest.mark.fault(84)
def test_a_fork_that_a_module_makes_does_not_come_back(session: Session) -> None:
    assert session.run(forks()) == [42, 5]
    assert session.run(double(8)) == 16


def _held() -> set[str]:
    """Return where the descriptors of this process lead to."""
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # that of the listing itself
            found.add(os.readlink(path))
    return {to for to in found if to.startswith(("socket", "pipe", "anon"))}


@pytest.mark.fault(84)
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_fork_holds_no_channel_to_a_worker() -> None:
    """Else workers would not see the end of their client as long as the fork lives."""
    before = _held()
    with Session("procs", 2) as session:
        session.run([double(i) for i in range(10)])
        ours = _held() - before
        assert ours
        theirs = in_fork(lambda: _held() & ours)
        assert theirs == "set()"
        assert session.run(double(1)) == 2


AT_EXIT = """
import atexit, gc, os, sys
from fancypipe_core import Session, task

@task
def double(x):
    return 2 * x

if __name__ == "__main__":
    session = Session(sys.argv[1], 2)
    with session:
        session.run(double(1))
        atexit.register(session.close)
        if not os.fork():
            sys.exit(0)  # through the end of the block, and what is registered
        print(os.waitstatus_to_exitcode(os.wait()[1]), session.run([double(i) for i in range(5)]))
"""


@pytest.mark.fault(84)
@pytest.mark.parametrize("backend", ["serial", "threads", "procs"])
def test_a_fork_may_leave_by_every_door(backend: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(AT_EXIT)
    over = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", script, backend],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (over.stdout, over.stderr, over.returncode) == ("0 [0, 2, 4, 6, 8]\n", "", 0)
