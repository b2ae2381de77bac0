"""Managers, workers and clients that are killed, stopped or late: nothing is lost, or left."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from time import monotonic

import pytest

from tests.remote.clients import WORK, client, hosts
from tests.remote.cluster import LIMIT, Cluster, cluster
from tests.waiting import wait_until


@pytest.mark.fault(41)
def test_a_manager_that_is_killed_and_started_again_loses_nothing(
    two: Cluster, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    ran.mkdir()
    running = client(
        two, f"{WORK}:many", "--count", "3000", "--seconds", "0.005", "--folder", str(ran)
    )
    wait_until(lambda: sum(1 for _ in ran.iterdir()) > 300, "the run is under way")
    two.parties[0].kill()
    two.manager()
    out, err = running.communicate(timeout=LIMIT * 2)
    assert running.returncode == 0, err
    assert json.loads(out) == list(range(3000))
    # Nothing ran twice either: the workers went on with what they had.
    assert sum(1 for _ in ran.iterdir()) == 3000


@pytest.mark.fault(33)
def test_what_a_killed_worker_had_goes_on_elsewhere(two: Cluster, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    ran.mkdir()
    running = client(
        two, f"{WORK}:many", "--count", "400", "--seconds", "0.02", "--folder", str(ran)
    )
    wait_until(lambda: sum(1 for _ in ran.iterdir()) > 50, "the run is under way")
    two.parties[1].kill()
    killed = monotonic()
    wait_until(lambda: "is gone" in two.parties[0].text, "the manager knows")
    assert monotonic() - killed < 30  # 1 s is usual
    out, err = running.communicate(timeout=LIMIT)
    assert running.returncode == 0, err
    assert json.loads(out) == list(range(400))
    wait_until(lambda: not hosts(two), "the dead worker's processes are gone")


@pytest.mark.fault(33)
def test_when_the_last_worker_dies_the_work_waits_for_another(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    ran.mkdir()
    with cluster(tmp_path, workers=1) as made:
        running = client(
            made, f"{WORK}:many", "--count", "2", "--seconds", "3", "--folder", str(ran)
        )
        wait_until(lambda: sum(1 for _ in ran.iterdir()) == 2, "both tasks are under way")
        made.parties[1].kill()
        wait_until(lambda: "is gone" in made.parties[0].text, "the manager knows")
        made.worker()
        out, err = running.communicate(timeout=LIMIT)
    assert running.returncode == 0, err
    assert json.loads(out) == [0, 1]


@pytest.mark.fault(24)
def test_what_must_not_run_twice_does_not_when_its_worker_is_killed(tmp_path: Path) -> None:
    with cluster(tmp_path, slots=1) as made:
        (ran := tmp_path / "ran").mkdir()
        many = (f"{WORK}:many", "--count", "2", "--seconds", "600", "--folder", str(ran))
        running = client(made, "-max-losses=1", *many)
        wait_until(lambda: sum(1 for _ in ran.iterdir()) == 2, "both run")
        made.parties[1].kill()
        _, err = running.communicate(timeout=LIMIT)
        assert running.returncode == 1
        assert "the worker is gone" in err
        assert sum(1 for _ in ran.iterdir()) == 2, "none ran twice"


def test_what_waits_at_a_worker_goes_to_one_that_comes(tmp_path: Path) -> None:
    with cluster(tmp_path, workers=1, slots=1) as made:
        (ran := tmp_path / "ran").mkdir()
        running = client(made, f"{WORK}:pair", "--folder", str(ran))
        wait_until(lambda: list(ran.iterdir()), "one runs, and the other waits behind it")
        made.worker(1)
        out, err = running.communicate(timeout=LIMIT)
        assert running.returncode == 0, err
        assert json.loads(out) == ["a", "b"]


@pytest.mark.fault(27)
def test_the_tasks_of_a_killed_client_end(two: Cluster, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    ran.mkdir()
    running = client(two, f"{WORK}:many", "--count", "4", "--seconds", "600", "--folder", str(ran))
    wait_until(lambda: sum(1 for _ in ran.iterdir()) == 4, "the run is under way")
    assert hosts(two)
    running.kill()
    running.communicate(timeout=LIMIT)
    wait_until(lambda: not hosts(two), "its tasks end within the grace")


@pytest.mark.fault(35)
def test_a_worker_that_is_stopped_is_left_and_may_come_back(two: Cluster) -> None:
    running = client(two, f"{WORK}:many", "--count", "300", "--seconds", "0.02")
    two.parties[1].says("a client connected")
    two.parties[1].send(signal.SIGSTOP)
    out, err = running.communicate(timeout=LIMIT)
    assert running.returncode == 0, err
    assert json.loads(out) == list(range(300))
    two.parties[1].send(signal.SIGCONT)
    over = two.run("--workertype", "remote", f"-jobmanager={two.address}")
    wait_until(
        lambda: (
            "2 workers" in two.run("--workertype", "remote", f"-jobmanager={two.address}").stdout
        ),
        over.stdout,
    )


def _parent(mark: Path) -> int:
    """Return the parent of the process that left a mark; 0 if it is gone."""
    try:
        stat = Path("/proc", mark.name.split("-")[1], "stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])


@pytest.mark.fault(36)
def test_a_host_process_that_is_stopped_is_killed_and_its_tasks_go_on(two: Cluster) -> None:
    marks = two.folder / "marks"
    marks.mkdir()
    many = ["--count", "300", "--seconds", "0.02", "--folder", str(marks)]
    running = client(two, f"{WORK}:many", *many)
    pid = int(two.parties[1].says(r"host process (\d+)")[1])
    wait_until(lambda: pid in map(_parent, marks.iterdir()), "it runs tasks")
    os.kill(pid, signal.SIGSTOP)
    out, err = running.communicate(timeout=LIMIT)
    assert running.returncode == 0, err
    assert json.loads(out) == list(range(300))
    assert f"host process {pid} was stopped, and is killed" in two.parties[1].text


@pytest.mark.fault(34)
def test_a_worker_that_is_told_to_stop_ends_what_it_runs(two: Cluster, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    ran.mkdir()
    running = client(
        two, f"{WORK}:many", "--count", "200", "--seconds", "0.05", "--folder", str(ran)
    )
    wait_until(lambda: sum(1 for _ in ran.iterdir()) > 20, "the run is under way")
    assert two.parties[1].stop() == 0
    out, err = running.communicate(timeout=LIMIT)
    assert running.returncode == 0, err
    assert json.loads(out) == list(range(200))


@pytest.mark.fault(38)
def test_workers_may_come_before_the_manager_and_clients_before_workers(tmp_path: Path) -> None:
    made = Cluster(tmp_path)
    try:
        made.manager()
        made.parties[0].stop()  # the port and the secret are known now
        worker = made.worker(joined=False)
        worker.says("trying again")
        running = client(made, f"{WORK}:many", "--count", "10")
        made.manager()
        out, err = running.communicate(timeout=LIMIT)
        assert running.returncode == 0, err
        assert json.loads(out) == list(range(10))
    finally:
        made.close()


def test_a_worker_whose_processes_cannot_start_is_left_out(tmp_path: Path) -> None:
    with cluster(tmp_path, workers=0) as made:
        made.env["FANCYPIPE_FAULTS"] = "remote.host=exit"
        made.worker()
        del made.env["FANCYPIPE_FAULTS"]
        over = made.run(f"-jobmanager={made.address}", "-wait=20", f"{WORK}:many")
        assert over.returncode == 1
        assert "is left out after 5 connections that ended before they were of use" in over.stderr
        assert "died (exit code 7)" in over.stderr
        assert "Traceback" not in over.stderr


@pytest.mark.parametrize(
    ("action", "work", "said"),
    [
        ("raise@40", "many", "the thread for the network has failed: InjectedFault("),
        ("freeze@10", "slow", "the thread fancypipe-network stands still; it is at"),
    ],
)
def test_a_network_thread_that_fails_ends_the_run(
    two: Cluster, action: str, work: str, said: str
) -> None:
    two.env["FANCYPIPE_FAULTS"] = f"remote.network={action}"
    tasks = {
        "many": ("--count", "2000", "--seconds", "0.02"),
        "slow": ("--number", "1", "--seconds", "600"),
    }
    over = two.run(
        *("-q", f"-jobmanager={two.address}", "-freeze-limit=2"),
        *(f"{WORK}:{work}", *tasks[work]),
    )
    assert over.returncode not in (0, 2)
    assert said in over.stderr


def test_a_network_thread_that_stands_still_costs_a_run_nothing_that_goes_on(two: Cluster) -> None:
    two.env["FANCYPIPE_FAULTS"] = "remote.network=freeze@10"
    over = two.run(
        *("-q", f"-jobmanager={two.address}", f"{WORK}:many"),
        *("--count", "300", "--seconds", "0.02"),
    )
    assert over.returncode == 0, over.stderr


@pytest.mark.fault(68)
def test_what_killed_workers_and_clients_left_is_removed(tmp_path: Path) -> None:
    with cluster(tmp_path, workers=0) as made:
        temporary = tmp_path / "temporary"
        first = made.worker(1)
        running = client(made, f"{WORK}:many", "--count", "4", "--seconds", "600")
        pid = int(first.says(r"host process (\d+)")[1])
        wait_until(lambda: any(temporary.glob(f"*/fancypipe-host-*-{pid}-*")), "the host's folder")
        wait_until(lambda: any(temporary.glob(f"*-{running.pid}-*/proof")), "the client's")
        first.kill()
        running.kill()
        running.communicate(timeout=LIMIT)
        assert len(list(temporary.iterdir())) == 2
        wait_until(lambda: not hosts(made), "they end with the worker")
        second = made.worker(1)
        (left,) = temporary.iterdir()
        assert f"-{second.process.pid}-" in left.name
