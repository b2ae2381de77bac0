"""What happens when a worker process dies, hangs, or is left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fancypipe_core import Session, errors, run
from fancypipe_core.testing._leaks import holdings
from tests.procs import tasks as t
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Session("procs", 2, debug=True, grace=5.0) as opened:
        yield opened


def gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.fault(8, 9)
@pytest.mark.parametrize(
    ("task", "detail"),
    [
        (t.segfault(), "SIGSEGV"),
        (t.leave(3), "exit code 3"),
        (t.kill_self(signal.SIGKILL), "SIGKILL"),
        (t.kill_self(signal.SIGABRT), "SIGABRT"),
    ],
    ids=["segfault", "exit", "kill", "abort"],
)
def test_a_deadly_task_is_given_up_with_a_certificate(
    session: Session, task: object, detail: str
) -> None:
    with pytest.raises(errors.TaskLost, match=detail) as caught:
        session.run(task)
    assert caught.value.attempt == 3
    assert caught.value.certificate.detail == detail
    assert caught.value.certificate.pid > 0
    assert caught.value.certificate.peak_memory > 1_000_000
    if detail in ("SIGSEGV", "SIGABRT"):
        assert "tasks.py" in "".join(caught.value.certificate.output), "the stack"
    assert session.run([t.fine(i) for i in range(10)]) == list(range(10))


@pytest.mark.fault(10)
def test_a_kill_for_memory_is_told(tmp_path: Path) -> None:
    """The kernel kills for memory in a control group that is too small."""
    group = Path(f"/sys/fs/cgroup/memory/fancypipe-test-{os.getpid()}")
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(120 * 1024 * 1024))
    except OSError:
        pytest.skip("no memory control group (version 1) can be made here")
    script = tmp_path / "script.py"
    script.write_text(
        "from tests.procs import tasks as t\n"
        "from fancypipe_core import errors, run\n"
        "if __name__ == '__main__':\n"
        "    try:\n"
        "        run(t.eat(400), backend='procs', workers=1, max_losses=1)\n"
        "    except errors.TaskLost as lost:\n"
        "        print(lost.certificate)\n"
    )
    root = Path(__file__).resolve().parents[2]
    try:
        done = subprocess.run(
            [
                "sh",
                "-c",
                f'echo $$ > "{group}/cgroup.procs" && exec "$0" "$1"',
                sys.executable,
                str(script),
            ],
            env={**os.environ, "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    finally:
        wait_until(lambda: not (group / "cgroup.procs").read_text().strip())
        group.rmdir()
    if "exec" in done.stderr or done.returncode == -9:
        pytest.skip("the kernel chose the client")
    assert "SIGKILL, out of memory" in done.stdout, done.stderr


@pytest.mark.fault(31)
def test_a_loss_is_made_good(session: Session, tmp_path: Path) -> None:
    assert session.run(t.die_until(str(tmp_path / "marks"), 2)) == 3


@pytest.mark.fault(24)
def test_max_losses_is_a_setting(tmp_path: Path) -> None:
    with pytest.raises(errors.TaskLost, match="its worker died: "):
        run(t.die_until(str(tmp_path / "marks"), 1), backend="procs", workers=1, max_losses=1)
    assert (tmp_path / "marks").read_text() == "x"


@pytest.mark.fault(31, 77)
def test_a_death_costs_only_its_own_job(session: Session, tmp_path: Path) -> None:
    """Neighbours that waited in the same process pay nothing, whatever the budget."""
    with Session("procs", 2, max_losses=2, debug=True) as single_loss:
        warm = single_loss.run([t.fine(i) for i in range(2000)])  # now jobs travel by the hundred
        assert warm == list(range(2000))
        results = single_loss.run(
            [t.count_and_maybe_die(str(tmp_path), number, 77) for number in range(300)]
        )
    assert results == list(range(300))
    assert (tmp_path / "77").read_text() == "xx"


@pytest.mark.fault(31)
def test_every_worker_can_be_killed_from_outside(session: Session) -> None:
    with Session("procs", 2, debug=True) as mine:
        pids = {mine.run(t.pid()) for _ in range(10)}
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        assert mine.run([t.fine(i) for i in range(100)]) == list(range(100))
        assert mine.run(t.pid()) not in pids


@pytest.mark.fault(12)
def test_a_timeout_kills_also_what_cannot_be_interrupted(session: Session) -> None:
    with pytest.raises(errors.TaskTimeout, match=r"timeout of 0\.5 s"):
        session.run(t.hold_the_interpreter())
    assert session.run([t.quick() for _ in range(50)]) == [1] * 50


@pytest.mark.fault(12, 16)
def test_a_timeout_kills_grandchildren(session: Session, tmp_path: Path) -> None:
    with pytest.raises(errors.TaskTimeout):
        session.run(t.start_and_hang(str(tmp_path / "pid")))
    grandchild = int((tmp_path / "pid").read_text())
    wait_until(lambda: gone(grandchild))


def test_a_failure_ends_what_runs_beside_it(session: Session, tmp_path: Path) -> None:
    path = str(tmp_path / "pid")
    begin = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        session.run([t.tell_pid_and_wait(path), t.fine(1) // t.fine(0)])
    assert time.monotonic() - begin < 60
    if os.path.exists(path):
        wait_until(lambda: gone(int(Path(path).read_text())))
    assert session.run(t.fine(1)) == 1


@pytest.mark.parametrize("deaf", [False, True])
def test_jobs_are_recalled_from_a_busy_worker(tmp_path: Path, deaf: bool) -> None:
    """60 quick jobs must not wait behind one that turns out to be slow: it waits for them.

    Also if it keeps the interpreter, so that its worker cannot even hear of the recall.
    """
    with Session("procs", 2, debug=True) as mine:
        many = tmp_path / "many"
        many.mkdir()
        for i in range(1, 61):
            (many / str(i)).touch()
        mine.run([t.slow_then(str(many), 1) for _ in range(1000)])  # it is a quick kind of task
        fresh = tmp_path / "fresh"
        fresh.mkdir()
        begin = time.monotonic()
        made = [t.slow_then(str(fresh), x, deaf=deaf) for x in range(61)]
        assert mine.run(t.fine(made))[0] == 60
        assert time.monotonic() - begin < 50
        assert mine.run([t.fine(x) for x in range(100)]) == list(range(100))
    assert {path.stat().st_size for path in fresh.iterdir()} == {1}, "one of them ran twice"


@pytest.mark.fault(30)
def test_children_die_with_their_client(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from tests.procs import tasks as t\n"
        "from fancypipe_core import run\n"
        "if __name__ == '__main__':\n"
        f"    run([t.tell_pid_and_wait({str(tmp_path / 'a')!r}), "
        f"t.tell_pid_and_wait({str(tmp_path / 'b')!r})], backend='procs', workers=2)\n"
    )
    root = Path(__file__).resolve().parents[2]
    client = subprocess.Popen(
        [sys.executable, str(script)], env={**os.environ, "PYTHONPATH": str(root)}
    )
    try:
        wait_until(lambda: (tmp_path / "a").exists() and (tmp_path / "b").exists())
    finally:
        client.kill()
        client.wait()
    for name in "ab":
        wait_until(lambda name=name: gone(int((tmp_path / name).read_text())), limit=10.0)  # type: ignore[misc]


@pytest.mark.fault(79)
def test_a_session_leaves_no_process() -> None:
    with Session("procs", 2) as mine:
        pids = {mine.run(t.pid()) for _ in range(10)}
    assert all(gone(pid) for pid in pids)


@pytest.mark.fault(78)
def test_many_runs_leave_nothing_behind() -> None:
    with Session("procs", 2) as mine:
        mine.run([t.fine(i) for i in range(100)])
        before = holdings()
        for turn in range(300):
            assert mine.run(t.fine(turn), t.fine(turn) + 1) == (turn, turn + 1)
        assert not holdings().more_than(before)
        assert not os.path.exists(mine.directory)


@pytest.mark.fault(18, 22)
def test_the_environment_of_tasks(session: Session, capfd: pytest.CaptureFixture[str]) -> None:
    assert session.run(t.standard_streams()) == ("", False)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    expected = os.environ.get("OMP_NUM_THREADS", str(max(1, (cores or 1) // 2)))
    assert session.run(t.environment("OMP_NUM_THREADS")) == expected


@pytest.mark.fault(5)
def test_inputs_that_cannot_travel_take_no_slot(session: Session) -> None:
    import threading

    with pytest.raises(errors.EncodeError) as caught:
        session.run(t.fine({"x": [1, 2, {"lock": threading.Lock()}]}))
    assert caught.value.path == "inputs['x']['x'][2]['lock']"
    assert "task fine, made at" in str(caught.value)


@pytest.mark.fault(5, 6)
def test_results_that_cannot_travel(session: Session) -> None:
    from tests.conformance import pipelines as p

    with pytest.raises(errors.EncodeError, match="does not want to be read"):
        session.run(p.call(p.NotBack))
    with pytest.raises(errors.EncodeError, match="SystemExit"):
        session.run(p.call(p.ExitsBack))
    assert session.run(t.fine(1)) == 1
