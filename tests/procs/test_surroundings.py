"""What tasks change in their process, and what they leave behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fancypipe_core import Session, errors, run
from tests.procs import poison as p
from tests.procs.test_deaths import gone
from tests.waiting import wait_until


@pytest.mark.fault(15)
@pytest.mark.parametrize("kind", [*p.POISONS, "hard limit", "streams closed"])
def test_a_task_finds_its_process_as_the_first_one_did(kind: str, tmp_path: Path) -> None:
    with Session("procs", 1, debug=True) as session:
        before = session.run(p.probe())
        session.run(p.poison(kind, str(tmp_path)))
        assert session.run(p.probe()) == before
        # Also when both travel together, and nobody waits in between.
        (tmp_path / "again").mkdir()
        assert session.run([p.poison(kind, str(tmp_path / "again")), p.probe()])[-1] == before


@pytest.mark.fault(15)
def test_what_a_thread_changes_while_the_worker_is_idle_is_put_back(tmp_path: Path) -> None:
    """Else nothing runs there, and nobody looks again before the next task."""
    go, done = tmp_path / "go", tmp_path / "done"
    with Session("procs", 1) as session:
        before = session.run(p.probe())
        session.run(p.leave_poisoner(str(go), str(done)))
        go.touch()
        wait_until(done.exists)
        assert session.run(p.probe()) == before


@pytest.mark.fault(15)
@pytest.mark.parametrize(
    "kind",
    [
        "handlers",
        "mask",
        "timers",
        "environment",
        "locale",
        "limit",
        "traces",
        "collector",
        "cores",
    ],
)
def test_a_task_in_the_same_batch_finds_it_too(kind: str, tmp_path: Path) -> None:
    """They run within a millisecond, and nobody reports in between."""
    with Session("procs", 1, debug=True) as session:
        before = session.run(p.probe())
        session.run([p.pid() for _ in range(2000)])  # now they travel by the hundred
        both = [(p.poison(kind, str(tmp_path)), p.probe()) for _ in range(30)]
        assert [found for _, found in session.run(both)] == [before] * 30


@pytest.mark.fault(15)
def test_what_can_be_put_back_costs_no_process(tmp_path: Path) -> None:
    with Session("procs", 1) as session:
        pids = {session.run(p.poison(kind, str(tmp_path))) for kind in p.POISONS}
        pids.add(session.run(p.pid()))
    assert len(pids) == 1


@pytest.mark.fault(15)
def test_what_cannot_be_put_back_is_the_end_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    with Session("procs", 1, debug=True) as session:
        first = session.run(p.pid())
        pids = session.run([p.poison("home gone", ""), *[p.pid() for _ in range(50)]])
    assert pids[0] == first
    assert first not in pids[1:]
    told = capsys.readouterr().err
    assert f"the worker process {first} is replaced after poison" in told
    assert "a task changed what cannot be put back: the current folder" in told


@pytest.mark.fault(15)
def test_what_an_import_changes_stays(tmp_path: Path) -> None:
    (tmp_path / "sets_a_variable.py").write_text(
        "import os\nos.environ['SET_BY_THE_MODULE'] = '1'\n"
    )
    with Session("procs", 1) as session:
        session.run(p.import_what_changes(str(tmp_path)))
        assert session.run(p.look_up("SET_BY_THE_MODULE")) == "1"
        assert session.run(p.look_up("SET_BY_THE_TASK")) is None


@pytest.mark.fault(11)
def test_out_of_memory_is_an_error_of_the_task_and_the_end_of_its_process(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Session("procs", 1, debug=True) as session:
        before = session.run(p.pid())
        with pytest.raises(errors.TaskError, match="eat_all failed: MemoryError"):
            session.run(p.eat_all())
        assert session.run(p.pid()) != before
    assert "is replaced after eat_all: a task ran out of memory" in capsys.readouterr().err


@pytest.mark.fault(17)
@pytest.mark.parametrize(
    ("kind", "each", "told", "end"),
    [
        ("thread", 7, "left 21 threads running", "threads running"),
        ("descriptors", 20, "files or sockets open", "files or sockets open"),
    ],
)
def test_threads_and_descriptors_that_pile_up(
    kind: str, each: int, told: str, end: str, capsys: pytest.CaptureFixture[str]
) -> None:
    leave = p.leave_thread if kind == "thread" else p.leave_descriptors
    with Session("procs", 1, debug=True) as session:
        pids = [session.run(leave(each)) for _ in range(40)]
    shown = capsys.readouterr().err
    lines = [line for line in shown.splitlines() if told in line and "tasks before it" in line]
    assert len(lines) == len(set(pids)), "one warning for each process"
    assert f"after leave_{kind}: tasks left" in shown
    assert end in shown
    assert 1 < len(set(pids)) < 5


@pytest.mark.fault(16)
def test_a_daemon_is_told_and_does_not_outlive_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Session("procs", 1) as session:
        for name in "ab":
            session.run(p.leave_daemon(str(tmp_path / name)))
        session.run(p.pid())
    shown = capsys.readouterr().err
    assert shown.count("leave_daemon left processes running") == 1
    for name in "ab":
        daemon = int((tmp_path / name).read_text())
        assert gone(daemon), "when the session is over, so is what tasks have left"


@pytest.mark.fault(16)
@pytest.mark.parametrize("make", [p.leave_daemon_and_die, p.fork_and_die])
def test_a_daemon_does_not_outlive_a_worker_that_is_killed(make: object, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    with Session("procs", 1, max_losses=1) as session:
        with pytest.raises(errors.TaskLost, match="SIGKILL"):
            session.run(make(str(path)))  # type: ignore[operator]
        wait_until(lambda: gone(int(path.read_text())))
        assert session.run(p.pid()) > 0


@pytest.mark.fault(20)
@pytest.mark.parametrize(
    "task",
    [
        p.write_to_all(b"junk"),
        p.write_to_all(b"\0" * 7),
        p.write_to_all(b"\x05" + b"\0" * 11),
        p.close_all(),
    ],
    ids=["text", "zeros", "length", "close"],
)
def test_the_channel_is_spoilt(task: object) -> None:
    with Session("procs", 2, debug=True, max_losses=1) as session:
        good = [p.look_up("HOME") for _ in range(20)]
        with pytest.raises(errors.RunFailed) as caught:
            run([*good, task, *good], backend="procs", workers=2, max_losses=1, keep_going=True)
        (lost,) = caught.value.failures
        assert isinstance(lost, errors.TaskLost)
        assert lost.certificate.reason == "protocol"
        assert "a task closed its worker's channel to the client, or wrote into it" in str(lost)
        assert caught.value.results.count(os.environ.get("HOME")) == 40
        assert session.run(p.pid()) > 0
