"""Processes that stand still for a while: whoever wakes reads what waits, and then judges."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fancypipe_core.toolkit.clock import SteadyClock
from tests.remote.cluster import LIMIT, Cluster, cluster
from tests.remote.simulation import Echo, Talker, World
from tests.remote.work import FAR
from tests.waiting import wait_until

W1, W2, C1 = (name.ljust(16, b".") for name in (b"w1", b"w2", b"c1"))
MANAGER = b""
WORK = Path(__file__).with_name("work.py")


# ---- the clock -----------------------------------------------------------------


def test_the_clock_goes_while_its_loop_does() -> None:
    clock = SteadyClock(100.0)
    clock.patience = 0.5
    assert clock.move(100.5) == 0
    assert clock.now == 100.5
    assert clock.move(101.9) == 0, "as late as a busy machine is"
    assert clock.now == 101.9


def test_the_clock_stands_still_while_its_process_does() -> None:
    clock = SteadyClock(100.0)
    clock.patience = 0.5
    assert clock.move(160.0) == 59.5
    assert clock.now == 100.5
    assert clock.move(160.25) == 0
    assert clock.now == 100.75


def test_who_waits_for_ever_is_never_late() -> None:
    clock = SteadyClock(100.0)
    assert clock.move(1000.0) == 0
    assert clock.now == 1000.0


# ---- the machines --------------------------------------------------------------


def together(seed: int = 0) -> tuple[World, Talker]:
    here = World(seed)
    here.start_manager()
    Echo(here, W1)
    Echo(here, W2)
    client = Talker(here, C1, 400)
    here.run(lambda: len(client.got) == 2, 10)
    return here, client


@pytest.mark.fault(43, 83)
@settings(max_examples=60)
@given(st.integers(0), st.floats(1.1, 55.0))
def test_who_is_silent_since_the_manager_slept_is_not_gone(seed: int, seconds: float) -> None:
    here, client = together(seed)
    here.stop(MANAGER, seconds)
    here.run(lambda: client.has_all(W1, W2), here.now + seconds + 30)
    here.run(lambda: here.now > seconds + 20, here.now + seconds + 100)
    assert not client.lost
    assert here.router is not None
    assert not [line for line in here.router.log if "is gone" in line]
    assert here.router.counts == (1, 2)


@pytest.mark.fault(83)
@settings(max_examples=60)
@given(st.integers(0), st.floats(1.1, 4000.0), st.lists(st.floats(0, 1.5), min_size=4, max_size=4))
def test_nobody_is_gone_when_all_have_slept(seed: int, seconds: float, later: list[float]) -> None:
    here, client = together(seed)
    for party, more in zip((MANAGER, W1, W2, C1), later, strict=True):
        here.stop(party, seconds + more)
    here.run(lambda: client.has_all(W1, W2), here.now + seconds + 30)
    here.run(lambda: not here.frozen, here.now + seconds + 100)
    assert not client.lost
    assert here.router is not None
    assert not [line for line in here.router.log if "is gone" in line]


@pytest.mark.fault(28)
def test_a_client_that_slept_for_an_hour_does_not_blame_the_manager() -> None:
    here, client = together()
    here.stop(C1, 3600.0)
    here.run(lambda: not here.frozen, 4000)
    woke = here.now
    here.run(lambda: client.has_met and here.now > woke + 5, woke + 60)
    # The workers could not know that it would come back.
    assert set(client.lost.values()) <= {"the client is gone"}


def test_who_is_dead_when_the_manager_wakes_is_found_out_all_the_same() -> None:
    here, client = together()
    here.stop(MANAGER, 10.0)
    here.kill(W1)
    here.run(lambda: W1 in client.lost, here.now + 10 + 5 + 2)


# ---- real processes ------------------------------------------------------------


@contextmanager
def running(
    folder: Path, seconds: float, *, far: bool = False
) -> Iterator[tuple[Cluster, subprocess.Popen[str], Path]]:
    """Two tasks are under way, one at each worker, and none may be lost."""
    ran = folder / "ran"
    ran.mkdir()
    many = [f"{WORK}:many", "--count=2", f"--seconds={seconds}", f"--folder={ran}"]
    with cluster(folder, workers=2, slots=1) as made:
        client = subprocess.Popen(
            made.command("-q", "--max-losses=1", f"-jobmanager={made.address}", *many),
            env=made.env | ({FAR: "1"} if far else {}), cwd=folder,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            wait_until(
                lambda: len(list(ran.iterdir())) == 2 or client.poll() is not None, "both run"
            )
            yield made, client, ran
            out, err = client.communicate(timeout=LIMIT)
            assert client.returncode == 0, err
            assert json.loads(out) == [0, 1]
            assert len(list(ran.iterdir())) == 2, "a task ran twice"
        finally:
            if client.poll() is None:
                client.send_signal(signal.SIGCONT)
                client.kill()
                client.communicate(timeout=LIMIT)


@pytest.mark.fault(43, 83)
def test_a_manager_that_is_stopped_costs_nothing(tmp_path: Path) -> None:
    with running(tmp_path, 6) as (made, _, _):
        made.parties[0].send(signal.SIGSTOP)
        sleep(5)  # longer than anybody's patience
        made.parties[0].send(signal.SIGCONT)
        made.parties[0].says(r"stood still for \d+\.\d s")
    assert "is gone" not in made.parties[0].text


@pytest.mark.fault(83)
@pytest.mark.parametrize("far", [True, False])
def test_a_client_that_is_stopped_costs_nothing(tmp_path: Path, far: bool) -> None:
    with running(tmp_path, 4, far=far) as (made, client, _):
        client.send_signal(signal.SIGSTOP)
        made.parties[0].says(rf"pid {client.pid}\) is gone")  # by now the results wait
        client.send_signal(signal.SIGCONT)
        joined = f"pid {client.pid}) joined"
        if far:  # else the results are there before it has to
            wait_until(lambda: made.parties[0].text.count(joined) == 2, "again")


@pytest.mark.fault(83)
def test_nothing_is_lost_when_all_are_stopped(tmp_path: Path) -> None:
    with running(tmp_path, 4) as (made, client, ran):
        tasks = [int(mark.name.split("-")[1]) for mark in ran.iterdir()]
        pids = [client.pid, *(party.process.pid for party in made.parties)]
        pids += [*map(parent, tasks), *tasks]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        sleep(12)  # longer than a worker waits for a client
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    assert "is gone" not in made.parties[0].text


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
