"""Several clients at one worker: what it has once is one job's at a time."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.remote.cluster import LIMIT, Cluster, Party, cluster
from tests.waiting import wait_until

SCRIPT = Path(__file__).with_name("lend_work.py")
pytestmark = pytest.mark.slow


class Use(NamedTuple):
    """That a task had a device."""

    name: str
    device: str
    begin: float
    end: float


def beside(uses: Sequence[Use]) -> list[tuple[Use, Use]]:
    """Return the pairs that had the same device at the same time."""
    by_device = defaultdict(list)
    for use in uses:
        by_device[use.device].append(use)
    pairs = [(one, other) for each in by_device.values() for one, other in pairwise(each)]
    return [(one, other) for one, other in pairs if other.begin < one.end]


Client = subprocess.Popen[str]


class Shared:
    """A cluster of one worker, and a folder for what tasks write down."""

    def __init__(self, made: Cluster, folder: Path) -> None:
        self.made = made
        self.folder = folder
        self.clients: list[Client] = []

    @property
    def worker(self) -> Party:
        return self.made.parties[1]

    def client(self, kind: str, name: str, count: int = 1, seconds: float = 0.0) -> Client:
        """Start a client."""
        words = [self.made.address, kind, name, str(self.folder), str(count), str(seconds)]
        running = subprocess.Popen(
            [sys.executable, str(SCRIPT), *words],
            env=self.made.env, cwd=self.made.folder, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.clients.append(running)
        return running

    def begun(self, name: str, count: int = 1) -> None:
        """Wait until so many tasks of a client have begun."""
        found = lambda: len(list(self.folder.glob(f"{name}-*.begun"))) >= count  # noqa: E731
        wait_until(found, f"{count} of {name} have begun")

    def wait_for_each_other(self) -> None:
        """Wait until a client waits for another, and let the tasks go on."""
        self.worker.says("waits for what is lent")
        (self.folder / "go").touch()

    @property
    def uses(self) -> list[Use]:
        """Who had what, in the order in which they began."""
        found = []
        for file in self.folder.glob("*.txt"):
            device, begin, end = file.read_text().split()
            found.append(Use(file.stem, device, float(begin), float(end)))
        return sorted(found, key=lambda use: use.begin)


@contextmanager
def sharing(tmp_path: Path, *arguments: str) -> Iterator[Shared]:
    folder = tmp_path / "used"
    folder.mkdir()
    with cluster(tmp_path, workers=0) as made:
        shared = Shared(made, folder)
        try:
            made.worker(4, *arguments)
            yield shared
        finally:
            for running in shared.clients:
                kill(running)


def kill(running: Client) -> None:
    running.kill()
    if running.returncode is None:
        running.communicate(timeout=LIMIT)


def over(running: Client) -> tuple[str, str]:
    """Wait for a client's end; return what it printed."""
    printed, said = running.communicate(timeout=2 * LIMIT)
    assert running.returncode == 0, said
    return printed.strip(), said


@pytest.mark.parametrize(
    ("kind", "backend"), [("gpu", "P"), ("memory", "P"), ("gpu", "T"), ("gpu", "S")]
)
def test_clients_of_one_worker_share_what_it_has(tmp_path: Path, kind: str, backend: str) -> None:
    devices = {"memory": [], "gpu": ["5"] if backend == "S" else ["5", "8"]}[kind]
    words = f"-devices={','.join(devices)}", "-memory=3G", f"-workertype={backend}"
    with sharing(tmp_path, *words) as shared:
        clients = [shared.client(kind, name, 12, 0.1) for name in "ab"]
        shared.wait_for_each_other()
        for running in clients:
            assert over(running)[0] == str(list(range(12)))
    assert len(shared.uses) == 24
    assert {use.device for use in shared.uses} == ({*devices} or {"-"})
    assert not beside(shared.uses)


def test_who_comes_later_is_served_before_the_first_has_all(tmp_path: Path) -> None:
    with sharing(tmp_path, "-devices=5") as shared:
        first = shared.client("gpu", "first", 40, 0.1)
        shared.begun("first")
        later = shared.client("gpu", "later", 5, 0.1)
        shared.wait_for_each_other()
        over(later)
        assert first.poll() is None, "it waited until the first had all"
        over(first)
    assert len(shared.uses) == 45
    assert not beside(shared.uses)


def test_jobs_without_needs_do_not_wait_for_devices(tmp_path: Path) -> None:
    with sharing(tmp_path, "-devices=5") as shared:
        shared.client("gpu", "holds")
        shared.begun("holds")
        assert over(shared.client("plain", "other", 20))[0] == str(list(range(20)))


@pytest.mark.fault(96)
def test_a_killed_client_leaves_its_device_to_the_others(tmp_path: Path) -> None:
    with sharing(tmp_path, "-devices=5") as shared:
        holds = shared.client("gpu", "holds", 3)
        shared.begun("holds")
        other = shared.client("gpu", "other", 3)
        shared.worker.says("waits for what is lent")
        kill(holds)
        shared.begun("other")
        (shared.folder / "go").touch()
        over(other)
    assert [use.name.partition("-")[0] for use in shared.uses] == ["other"] * 3


@pytest.mark.fault(96)
def test_a_killed_host_process_holds_up_nobody(tmp_path: Path) -> None:
    with sharing(tmp_path, "-devices=5") as shared:
        first = shared.client("gpu", "first", 5, 0.05)
        shared.begun("first")
        host = int(shared.worker.says(r"host process (\d+)")[1])
        other = shared.client("gpu", "other", 5, 0.05)
        shared.worker.says("waits for what is lent")
        os.kill(host, signal.SIGKILL)
        shared.begun("other")
        (shared.folder / "go").touch()
        over(other)
        over(first)
    assert len(shared.uses) == 10
    assert not beside(shared.uses)


def test_who_waits_is_told_for_whom(tmp_path: Path) -> None:
    with sharing(tmp_path, "-devices=5,8") as shared:
        holds = shared.client("gpu", "holds", 2)
        shared.begun("holds", 2)
        other = shared.client("gpu", "other", 2)
        shared.worker.says("waits for what is lent to the client on .*pid")
        status = shared.made.run("status", f"-jobmanager={shared.made.address}").stdout
        (shared.folder / "go").touch()
        _, said = over(other)
        assert over(holds)[1] == ""
    assert "and 2 gpus (2 gpus lent), Python" in status
    told = [line for line in said.splitlines() if "waits for 1 gpu" in line]
    assert len(told) == 1, said
    assert f"where it is lent to the client on {platform.node()} (pid {holds.pid})" in told[0]


@pytest.mark.fault(96)
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is not known what is left")
def test_what_a_dead_host_process_had_is_free_when_its_programs_are_dead(tmp_path: Path) -> None:
    with sharing(tmp_path, "-devices=5") as shared:
        holds = shared.client("leaves", "holds")
        wait_until((shared.folder / "pid").exists, "its program runs")
        other = shared.client("sees", "other")
        shared.worker.says("waits for what is lent")
        host = int(shared.worker.says(r"host process (\d+)")[1])
        holds.send_signal(signal.SIGSTOP)  # else it begins again with the device
        os.kill(host, signal.SIGKILL)
        assert over(other)[0] == "False", "it had the device while the program lived"
