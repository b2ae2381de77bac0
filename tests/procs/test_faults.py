"""Children that are killed, frozen or never come up, at each point of their lives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pytest

from fancypipe_core import Session, errors, run
from fancypipe_core._engine import driver
from fancypipe_core.backend import BackendOptions, JobRunner
from fancypipe_core.hooks import TaskEvent, hookimpl
from fancypipe_core.toolkit import setup_of
from fancypipe_core.toolkit.pool import Rules
from fancypipe_procs import _pool
from fancypipe_procs._pool import ProcsBackend
from fancypipe_procs._process import Process
from tests.procs import storm as s
from tests.procs import tasks as t
from tests.procs.test_deaths import gone
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]


def children_of(pid: int | str) -> set[int]:
    found: set[int] = set()
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found.update(map(int, path.read_text().split()))
        except OSError:
            continue
    return found


def hurry(monkeypatch: pytest.MonkeyPatch, **limits: float) -> None:
    """Set limits of pools that are made from now on."""

    def rules(options: BackendOptions) -> Rules:
        return Rules(options.workers)._replace(**limits)  # type: ignore[arg-type]

    monkeypatch.setattr(_pool, "_rules", rules)


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The file that a fault makes where it happens; so only one child has it."""
    return tmp_path / "it happened"


@pytest.mark.fault(31)
@pytest.mark.parametrize(
    ("point", "number"),
    [("start", 1), *product(["idle", "begun", "ended", "report", "reported"], [1, 2, 5])],
)
def test_a_child_is_killed(
    point: str, number: int, planned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it is: nothing is lost, each result comes once, and only what ran is repeated."""
    monkeypatch.setenv("FANCYPIPE_FAULTS", f"child.{point}=kill@{number}!{planned}")
    with Session("procs", 2, debug=True) as session:
        for turn in range(8):
            folder = tmp_path / str(turn)
            folder.mkdir()
            values = session.run([s.leave_mark(str(folder), n, 0.001) for n in range(20)])
            assert values == list(range(20))
            often = [len((folder / str(n)).read_text()) for n in range(20)]
            assert min(often) == 1
            if planned.exists() and turn > 1:
                break
    assert planned.exists(), "the fault did not happen"


@pytest.mark.fault(31)
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("idle=freeze@2", ""),
        ("idle=stop@2", ""),
        (
            "report=freeze@3",
            "it had jobs, and ran none of them",
        ),
        (
            "begun=stop@2",
            "it was stopped by a signal and not continued",
        ),
    ],
)
def test_a_child_is_frozen(
    fault: str,
    says: str,
    planned: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hurry(monkeypatch, frozen=1.0)
    lost: list[str] = []

    class Watcher:
        @hookimpl
        def fancypipe_task_events(self, events: Sequence[TaskEvent]) -> None:
            lost.extend(event.message for event in events if event.kind == "lost")

    monkeypatch.setenv("FANCYPIPE_FAULTS", f"child.{fault}!{planned}")
    with Session("procs", 2, debug=True, observers=[Watcher()]) as session:
        for _ in range(3):
            assert session.run([t.fine(n) for n in range(50)]) == list(range(50))
    assert planned.exists(), "the fault did not happen"
    told = f"{says} for 1 s (the setting frozen_limit), so it was killed"
    assert [text.partition(" (host")[0] for text in lost] == ([told] if says else [])


@pytest.mark.fault(31)
def test_a_task_that_keeps_the_interpreter_is_not_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch, frozen=0.5)
    with Session("procs", 1, debug=True, max_losses=1) as session:
        assert session.run(s.hold_for(3)) == 1


@pytest.mark.fault(31)
def test_a_large_payload_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch, frozen=5.0)
    block = os.urandom(100_000_000)
    with Session("procs", 1, debug=True, max_losses=1) as session:
        assert session.run(t.fine(block)) == block


@pytest.mark.fault(31)
def test_a_worker_that_takes_in_a_large_job_is_not_silent(tmp_path: Path) -> None:
    """However slowly: what has been sent since the last look counts."""
    process = Process(1, setup_of(str(tmp_path)), 1, "mark", None)
    channel = process.connection.channel
    try:
        os.kill(process.pid, signal.SIGSTOP)
        channel.send(b"", [bytes(50_000_000)])
        assert channel.pending
        assert process.seen().works  # the socket has taken some of it
        assert not process.seen().works
        os.kill(process.pid, signal.SIGCONT)
        before = channel.moved
        while channel.moved == before:
            channel.flush()
        assert process.seen().works
    finally:
        process.kill("exit")
        process.process.wait()
        process.bury()
        process.close()


@pytest.mark.fault(32)
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("exit", "it ended with exit code 7 before its first task"),
        ("kill", "it ended with SIGKILL before its first task"),
        ("freeze", r"it did not start within 1 s \(the setting start_limit\)"),
        ("stop", r"it did not start within 1 s \(the setting start_limit\)"),
    ],
)
def test_no_child_comes_up(fault: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch, start=1.0 if fault in ("freeze", "stop") else 60.0, first_pause=0.01)
    monkeypatch.setenv("FANCYPIPE_FAULTS", f"child.start={fault}")
    before = children_of("self")
    begin = time.monotonic()
    with pytest.raises(errors.BackendStartError, match=f"no worker process starts.*{says}"):
        run([t.fine(n) for n in range(10)], backend="procs", workers=2)
    assert time.monotonic() - begin < 60
    assert children_of("self") <= before


@pytest.mark.fault(32)
def test_what_a_broken_interpreter_says_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch, first_pause=0.01)
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'libwhatever.so: cannot open' >&2\nexit 127\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(errors.BackendStartError) as caught:
        run(t.fine(1), backend="procs", workers=1)
    text = str(caught.value)
    assert "exit code 127" in text
    assert "| libwhatever.so: cannot open" in text
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    with pytest.raises(
        errors.BackendStartError, match=r"no worker process could be started: .*nothing"
    ):
        run(t.fine(1), backend="procs", workers=1)


@pytest.mark.fault(32)
def test_the_first_worker_comes_up_before_the_backend_is_started(tmp_path: Path) -> None:
    """While the engine is imported; and it ends with the backend, also if that never starts."""
    backend = ProcsBackend(BackendOptions(2, str(tmp_path), not_here))
    (process,) = backend._processes.values()
    backend.start(lambda _: None)
    assert list(backend._processes.values()) == [process], "the machine uses it, and no other"
    backend.stop(0.0)
    assert gone(process.pid)
    backend = ProcsBackend(BackendOptions(2, str(tmp_path), not_here))
    (process,) = backend._processes.values()
    backend.stop(0.0)
    assert gone(process.pid)


@pytest.mark.fault(32)
def test_a_session_that_comes_to_nothing_leaves_no_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first worker has been started when something else goes wrong."""
    before = children_of("self")

    def broken(*_: object, **__: object) -> None:
        assert children_of("self") - before, "nothing was started before"
        raise ZeroDivisionError

    monkeypatch.setattr(driver, "Driver", broken)
    with pytest.raises(ZeroDivisionError):
        Session("procs", 1, tempdir=str(tmp_path))
    assert children_of("self") <= before


def not_here() -> JobRunner:
    raise AssertionError("jobs do not run in the client")


@pytest.mark.fault(32)
def test_the_limits_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANCYPIPE_FAULTS", "child.start=freeze")
    with pytest.raises(
        errors.BackendStartError, match=r"within 0\.7 s \(the setting start_limit\)"
    ):
        run(t.fine(1), backend="procs", workers=1, start_limit=0.7)


@pytest.mark.fault(32)
@pytest.mark.parametrize("fault", ["exit", "freeze"])
def test_one_bad_start_is_made_good(
    fault: str, planned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch, start=3.0)
    monkeypatch.setenv("FANCYPIPE_FAULTS", f"child.start={fault}!{planned}")
    with Session("procs", 1, debug=True) as session:
        assert session.run([t.fine(n) for n in range(10)]) == list(range(10))
    assert planned.exists()


@pytest.mark.fault(30)
@pytest.mark.parametrize("point", ["start", "idle", "begun", "report"])
def test_children_are_gone_when_their_client_is_killed(point: str, planned: Path) -> None:
    """In each phase; for one that holds the interpreter: `test_children_die_with_their_client`."""
    code = (
        "from fancypipe_core import Session\n"
        "from tests.procs import tasks as t\n"
        "if __name__ == '__main__':\n"
        "    with Session('procs', 2) as session:\n"
        "        while True:\n"
        "            session.run([t.fine(n) for n in range(4)])\n"
    )
    script = planned.with_name("script.py")
    script.write_text(code)
    variables = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "FANCYPIPE_FAULTS": f"child.{point}=freeze!{planned}",
    }
    client = subprocess.Popen([sys.executable, str(script)], env=variables)
    try:
        wait_until(planned.exists)
        wait_until(lambda: bool(children_of(client.pid)))
        children = children_of(client.pid)
    finally:
        client.kill()
        begin = time.monotonic()
        client.wait()
    for child in children:
        wait_until(lambda child=child: gone(child), limit=10.0)  # type: ignore[misc]
    assert time.monotonic() - begin < 1.0, "0.1 s is the promise"


@pytest.mark.fault(23)
def test_processes_start_while_other_threads_hold_locks() -> None:
    """50 of them, none of which is forked: a lock that is held stays behind."""
    import logging

    stop = threading.Event()
    lock = logging.getLogger().handlers[0].lock if logging.getLogger().handlers else None

    def hold() -> None:
        while not stop.is_set():
            with lock or threading.Lock():
                time.sleep(0.001)

    threads = [threading.Thread(target=hold) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        started: set[int] = set()
        for _ in range(5):
            with Session("procs", 10) as session:
                started.update(session.run([s.meet(10) for _ in range(10)]))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert len(started) >= 25


@pytest.mark.fault(31, 77)
def test_a_storm(tmp_path: Path) -> None:
    """A random child is killed every half a second, and no result is missing."""
    n = 1000
    with Session("procs", 2) as session:
        assert session.run(t.fine(1)) == 1
        with s.Storm(0.5) as storm:
            values = session.run([s.leave_mark(str(tmp_path), number, 0.01) for number in range(n)])
    assert values == list(range(n))
    often = [len((tmp_path / str(number)).read_text()) for number in range(n)]
    assert min(often) == 1
    assert storm.hits >= 3
    assert sum(often) - n <= storm.hits, "a hit costs the task that ran, and no other"


@pytest.mark.fault(12, 32)
def test_the_start_of_a_process_is_not_the_time_of_its_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "python"
    slow.write_text(f'#!/bin/sh\nsleep 1\nexec "{sys.executable}" "$@"\n')
    slow.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(slow))
    with Session("procs", 1, debug=True, max_losses=1) as session:
        assert session.run(s.in_half_a_second()) == 1


@pytest.mark.fault(32, 73)
def test_nobody_waits_for_a_process_that_does_not_come_up(
    planned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other task fails: what was given to the process that hangs can be recalled."""
    monkeypatch.setenv("FANCYPIPE_FAULTS", f"child.start=freeze!{planned}")
    with Session("procs", 2, debug=True, grace=100.0) as session:
        begin = time.monotonic()
        with pytest.raises(ZeroDivisionError):
            # Whichever of them is given to that process: another has time for it.
            session.run([s.divide(1, 0), *[s.divide(n, 1) for n in range(6)]])
        assert time.monotonic() - begin < 50
    assert planned.exists()
