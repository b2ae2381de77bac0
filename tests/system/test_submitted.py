"""Programs with something submitted: how they end, and what a fork or Ctrl-C does to it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, as_completed, wait
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from fancypipe_core import Session, errors
from tests.conformance import mapped as m
from tests.conformance import submitted as s
from tests.remote.cluster import in_force
from tests.system.interrupted import reached, said
from tests.system.terminal import Terminal
from tests.system.test_fork import in_fork
from tests.waiting import wait_until

SCRIPT = """\
import os, sys, threading, time
from fancypipe_core import Session, errors, task

@task
def slow(n, folder):
    open(os.path.join(folder, f"slow-{n}.begun"), "w").close()
    while not os.path.exists(os.path.join(folder, "gate")): time.sleep(0.005)
    return 7

def told(future):
    print("told:", future.exception() or future.result(), flush=True)

if __name__ == "__main__":
    session = Session(backend=sys.argv[1], workers=2, grace=0.0)
    future = session.submit(slow(0, os.getcwd()))
    future.add_done_callback(told)
    if sys.argv[2] == "ends":
        threading.Timer(0.1, lambda: open("gate", "w").close()).start()
    elif sys.argv[2] == "runs":
        with session:
            session.run(slow(1, os.getcwd()))
    else:
        with session:
            future.result()
"""


@pytest.fixture(scope="module", params=["serial", "threads", "procs", "remote"])
def backend(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A backend's name; for remote with a manager and a worker that programs find."""
    if request.param == "remote":
        pytest.importorskip(
            "fancypipe_remote.client", reason="not among what other Pythons are given"
        )
    with nullcontext() if request.param != "remote" else in_force(tmp_path_factory.mktemp("c")):
        yield request.param


def started(folder: Path, *arguments: str) -> Terminal:
    """Start the program, where it finds the manager."""
    (folder / "script.py").write_text(SCRIPT, encoding="utf-8")
    manager = {k: v for k, v in os.environ.items() if k == "FANCYPIPE_REMOTE_JOBMANAGER"}
    return Terminal(folder, [sys.executable, "script.py", *arguments], manager)


@pytest.mark.every_python
def test_a_program_that_ends_waits_for_it(tmp_path: Path, backend: str) -> None:
    with started(tmp_path, backend, "ends") as terminal:
        assert terminal.end() == 0
    assert "told: 7" in said(terminal)


@pytest.mark.fault(25)
@pytest.mark.parametrize("how", ["runs", "waits"])
@pytest.mark.parametrize("backend", ["threads", "procs", "remote"], indirect=True)
def test_ctrl_c_ends_it(tmp_path: Path, backend: str, how: str) -> None:
    with started(tmp_path, backend, how) as terminal:
        reached(tmp_path, "slow-1" if how == "runs" else "slow-0", terminal)
        terminal.press()
        code = terminal.end()
    if how == "runs":
        assert code == 130
        assert "fancypipe: interrupted (Ctrl-C): 0 tasks done, 2 not" in said(terminal)
        assert "told: interrupted (Ctrl-C): 0 tasks done, 2 not" in said(terminal)
    else:  # who waits for a future waits in Python's own code
        assert "KeyboardInterrupt" in terminal.text
        assert "told: the session was closed before this was done" in terminal.text


@pytest.mark.fault(84)
def test_in_a_fork_nobody_waits_for_ever(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with Session("procs", 1) as session:
        future = session.submit(s.waits(str(gate), 3))
        text = in_fork(future.result)
        assert text.startswith(f"UsageError: this future belongs to process {os.getpid()}")
        assert in_fork(lambda: session.submit(s.double(1))).startswith("UsageError: this session")
        gate.touch()
        assert future.result(s.LONG) == 3
        assert session.run(s.double(1)) == 2


@pytest.mark.fault(84)
def test_in_a_fork_the_standard_library_waits_for_none(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    told: list[Future[int]] = []
    with Session("procs", 1) as session, session.executor() as executor:
        done = session.submit(s.double(4))
        assert done.result(s.LONG) == 8
        futures = [session.submit(s.waits(str(gate), 3)), executor.submit(s.double, 1), done]
        for future in futures[:2]:
            future.add_done_callback(told.append)

        def look() -> object:
            over, left = wait(futures)
            assert over == set(futures)
            assert not left
            assert set(as_completed(futures)) == over
            executor.shutdown()
            errors_of = [type(future.exception()).__name__ for future in futures]
            return [*errors_of, done.result(), len(told), futures[0].cancel()]

        with held(futures[0]):
            assert in_fork(look) == "['UsageError', 'UsageError', 'NoneType', 8, 0, False]"
        gate.touch()
        assert [future.result(s.LONG) for future in futures] == [3, 2, 8]
        assert set(told) == set(futures[:2])


@contextmanager
def held(future: Future[int]) -> Iterator[None]:
    """Let another thread be at work on the future."""
    is_held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with future._condition:
            is_held.set()
            over.wait(s.LONG)

    thread = threading.Thread(target=hold)
    thread.start()
    is_held.wait(s.LONG)
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.fault(84)
def test_in_a_fork_a_stream_ends(backend: str) -> None:
    with Session(backend, 2) as session:
        results = session.stream(m.square.map(range(5000)))
        first = next(results)
        said = in_fork(lambda: list(results))
        assert said.startswith("UsageError: this session belongs to process"), said
        assert [first, *results] == [n * n for n in range(5000)]
        assert session.run(s.double(1)) == 2


WITHOUT_THREADS = """\
import os, sys, threading, time
from concurrent.futures import wait
from fancypipe_core import Session, task

@task
def slow(n, folder):
    open(os.path.join(folder, "begun"), "w").close()
    while not os.path.exists(os.path.join(folder, "gate")): time.sleep(0.005)
    return n

def late():
    while not os.path.exists("begun"): time.sleep(0.005)
    threading.stack_size(1 << 46)
    futures.extend(session.submit(slow(n, os.getcwd())) for n in range(5))
    if sys.argv[2] == "stream":
        wait(futures, 60)  # they have failed before the stream can end
    open("gate", "w").close()

if __name__ == "__main__":
    futures = []
    with Session(backend=sys.argv[1], workers=2) as session:
        thread = threading.Thread(target=late)
        thread.start()
        if sys.argv[2] == "run":
            print(session.run(slow(7, os.getcwd())))
        else:
            print(list(session.stream(slow.map(range(3), folder=os.getcwd()))))
        thread.join()
        wait(futures, 60)
        print(*(type(one.exception(0)).__name__ for one in futures))
        print(session.run(slow(8, os.getcwd())))
        try:
            print(session.submit(slow(9, os.getcwd())).result())
        except Exception as error:
            print(error)
"""


@pytest.mark.every_python
@pytest.mark.parametrize("how", ["run", "stream"])
@pytest.mark.parametrize("backend", ["threads", "procs", "remote"], indirect=True)
def test_where_no_thread_can_start_nothing_waits(tmp_path: Path, backend: str, how: str) -> None:
    (tmp_path / "script.py").write_text(WITHOUT_THREADS, encoding="utf-8")
    over = subprocess.run(
        [sys.executable, "script.py", backend, how],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=s.LONG,
        check=False,
    )
    assert over.returncode == 0, over.stderr
    first, ends, again, refused = over.stdout.splitlines()
    assert (first, again) == ("7" if how == "run" else "[0, 1, 2]", "8")
    # Who runs does for all what the session's thread would do; who takes results may be long.
    assert ends.split() == ["NoneType" if how == "run" else "BackendClosed"] * 5
    assert "or too many threads: can't start new thread" in refused


def test_a_run_in_a_thread_is_ended_with_the_session(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    ends: list[BaseException] = []

    def work() -> None:
        try:
            session.run([s.waits(str(gate)) for _ in range(9)])
        except errors.FancyPipeError as error:
            ends.append(error)

    with Session("procs", 2, grace=0.0) as session:
        thread = threading.Thread(target=work)
        thread.start()
        wait_until(Path(f"{gate}.begun").exists)
    thread.join(s.LONG)
    assert [type(error) for error in ends] == [errors.Cancelled]
