"""Host processes: who starts and minds them, what they have, and how they end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest

from fancypipe_core.backend import BackendOptions
from fancypipe_remote._address import Address, parse
from fancypipe_remote._auth import secret as _secret
from fancypipe_remote._auth import token
from fancypipe_remote._auth.keys import CLIENT, PeerKeys
from fancypipe_remote._client.backend import RemoteBackend
from fancypipe_remote._client.network import Network, News
from fancypipe_remote._protocol.messages import Worker, hello
from fancypipe_remote._protocol.parties import Times
from fancypipe_remote._transport import Dialer
from tests.remote.clients import client, hosts
from tests.remote.cluster import LIMIT, Cluster, cluster
from tests.remote.proxy import Proxy
from tests.remote.work import FAR
from tests.waiting import wait_until

WORK = Path(__file__).with_name("work.py")


class Talk:
    """A client that only talks with the network."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.closed: dict[int, str] = {}
        self._news: News | None = None

    def until(self, true: Callable[[News], bool], what: str) -> News:
        end = monotonic() + LIMIT
        while self._news is None or not true(self._news):
            assert monotonic() < end, what
            self.network.turn(0.1)
            self.network.heard()
            self._news = self.network.news() or self._news
            if self._news is not None:
                self.closed.update(self._news.closed)
        return self._news


@contextmanager
def talk(made: Cluster) -> Iterator[Talk]:
    secret = _secret.Secret((made.folder / "config/fancypipe/jobauth").read_text().strip(), "")
    keys = PeerKeys(secret, CLIENT)
    network = Network(lambda _: Dialer(parse(made.address), keys), hello("client"), LIMIT)
    network.start()
    try:
        yield Talk(network)
    finally:
        network.stop()


@pytest.mark.fault(36)
def test_the_worker_says_at_once_how_a_host_process_has_died(tmp_path: Path) -> None:
    with cluster(tmp_path, workers=1) as made, talk(made) as here:
        news = here.until(lambda news: bool(news.workers), "the worker is there")
        (worker,) = news.workers
        number, _ = here.network.open(worker, 1)
        pid = int(made.parties[1].says(r"host process (\d+)")[1])
        os.kill(pid, signal.SIGKILL)
        news = here.until(lambda _: number in here.closed, "it is told")
        assert re.fullmatch(rf"the host process {pid} on .* died \(signal 9\)", here.closed[number])
        assert worker in news.workers, "that was not the manager's list"
        # The next one comes as if nothing had been.
        again, _ = here.network.open(worker, 1)
        made.parties[1].says(r"(?s)a client connected.*a client connected")
        here.network.close(again, "enough")
        wait_until(lambda: not hosts(made), "it ends")


def test_a_client_that_leaves_ends_its_host_process_also_if_that_does_not_listen(
    tmp_path: Path,
) -> None:
    with cluster(tmp_path, workers=1) as made, talk(made) as here:
        (worker,) = here.until(lambda news: bool(news.workers), "the worker is there").workers
        number, _ = here.network.open(worker, 1)
        pid = int(made.parties[1].says(r"host process (\d+)")[1])
        os.kill(pid, signal.SIGSTOP)
        here.network.close(number, "enough")
        made.parties[1].says("a client left: enough")
        wait_until(lambda: not hosts(made), "it is killed")


def test_a_client_that_is_busy_is_there_all_the_same(tmp_path: Path) -> None:
    with cluster(tmp_path, workers=1) as made, talk(made) as here:
        (worker,) = here.until(lambda news: bool(news.workers), "the worker is there").workers
        number, _ = here.network.open(worker, 1)
        here.network.flush()
        made.parties[1].says(r"host process (\d+)")
        # Longer than the manager waits for somebody who says nothing.
        until = monotonic() + 2 * Times().silent
        wait_until(lambda: monotonic() > until, "the engine's thread is back")
        assert "is gone" not in made.parties[0].text
        assert hosts(made)
        assert number not in here.closed


def test_nobody_waits_for_hosts_over_a_link_that_has_failed(tmp_path: Path) -> None:
    turns = []

    class Failed(Network):
        def turn(self, seconds: float | None) -> bool:
            turns.append(seconds)
            return super().turn(seconds)

    def no_link(_over: Callable[[], bool]) -> Dialer:
        raise OSError("no link")

    network = Failed(no_link, hello("client"), LIMIT)
    options = BackendOptions(1, str(tmp_path), lambda: NotImplemented)
    backend = RemoteBackend(options, network, LIMIT, LIMIT)
    backend.start(lambda _: None)
    wait_until(lambda: network.has_failed, "it has failed")
    info = Worker(b"w" * 16, "h", 1, "3.11", "0.1.0", 1, 0.0)
    backend._hosts._connect(info)
    backend.stop(0.0)
    assert not turns, "it waits, and does not even sleep"


def sockets(pid: int) -> set[str]:
    """Return which sockets a process has open."""
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.add(os.readlink(entry))
        except OSError:
            continue
    return {name for name in found if name.startswith("socket:")}


def test_a_host_process_has_a_workers_key_that_nobody_can_read_off_it(tmp_path: Path) -> None:
    made = Cluster(tmp_path)
    made.env["FANCYPIPE_JOBAUTH"] = secret = token.generate()
    try:
        made.manager()
        worker = made.worker(1)
        running = client(made, f"{WORK}:slow", "--number", "1", "--seconds", "600")
        wait_until(lambda: running.poll() is not None or hosts(made), "a host process is there")
        assert running.poll() is None, running.communicate()
        host = int(worker.says(r"host process (\d+)")[1])
        wait_until(lambda: len(hosts(made)) > 1, "it has a child")
        (child,) = set(hosts(made)) - {host}
        program = Path(f"/proc/{child}/cmdline")
        # Between fork and exec it is a copy of the host process, with all that this has.
        wait_until(lambda: b"fancypipe_procs.child" in program.read_bytes(), "it is a program")
        for pid in (host, child):
            for name in ("cmdline", "environ"):
                said = Path(f"/proc/{pid}/{name}").read_bytes()
                assert b"fpw1-" not in said
                assert secret.encode() not in said
        assert not sockets(host) & sockets(child), "neither lifeline nor link is inherited"
        running.kill()
        running.communicate(timeout=LIMIT)
    finally:
        made.close()


HELD = """
import ctypes, pathlib, sys
from fancypipe_core import run, task

@task
def held(folder, number):
    (folder / str(number)).touch()
    ctypes.PyDLL(None).sleep(5)  # all threads of the process wait meanwhile
    return number

if __name__ == "__main__":
    print(run([held(pathlib.Path(sys.argv[2]), n) for n in range(2)],
              backend="remote", jobmanager=sys.argv[1]))
"""


def test_a_task_that_holds_the_interpreter_is_no_death(tmp_path: Path) -> None:
    """The host process is silent for longer than anybody else may be; its worker knows better."""
    ran = tmp_path / "ran"
    ran.mkdir()
    (tmp_path / "held.py").write_text(HELD)
    with cluster(tmp_path, workers=0) as made:
        worker = made.worker(2, "-workertype=T")
        over = subprocess.run(
            [sys.executable, "held.py", made.address, str(ran)], cwd=tmp_path,
            check=False, env=made.env, timeout=LIMIT, capture_output=True, text=True,
        )  # fmt: skip
        assert (over.stdout, over.returncode) == ("[0, 1]\n", 0), over.stderr
        assert worker.text.count("a client connected") == 1, worker.text


@pytest.mark.fault(34)
def test_what_is_done_is_delivered_before_a_worker_leaves(tmp_path: Path) -> None:
    """A large result is under way on a slow link when the worker's grace is over."""
    code = (
        "import sys; from fancypipe_core import run; from tests.remote.work import random_bytes; "
        "print(len(run(random_bytes(3), backend='remote', jobmanager=sys.argv[1])))"
    )
    with cluster(tmp_path, workers=0) as made:
        with Proxy(Address("127.0.0.1", made.port), rate=1 << 20, record=True) as proxy:
            manager, made.port = made.port, proxy.address.port
            worker = made.worker(1, "-grace=0.1")
            made.port = manager
            running = subprocess.Popen(
                [sys.executable, "-c", code, made.address], env=made.env | {FAR: "1"},
                cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            wait_until(lambda: len(proxy.passed["up"]) > 1 << 20, "it is under way")
            assert worker.stop() == 0
            out, _ = running.communicate(timeout=LIMIT)
        assert out == f"{3 << 20}\n"


KEYS = """
import gc, sys
from fancypipe_core import run, task

@task
def keys():
    return sorted({one.role for one in gc.get_objects() if type(one).__name__ == "PeerKeys"})

if __name__ == "__main__":
    print(run(keys(), backend="remote", jobmanager=sys.argv[1]))
"""


def test_a_task_can_have_the_workers_key_and_no_other(tmp_path: Path) -> None:
    """Not that it should; but who reads the page must know."""
    (tmp_path / "keys.py").write_text(KEYS)
    with cluster(tmp_path, workers=0) as made:
        made.worker(1, "-workertype=T")
        over = subprocess.run(
            [sys.executable, "keys.py", made.address], cwd=tmp_path,
            check=False, env=made.env, timeout=LIMIT, capture_output=True, text=True,
        )  # fmt: skip
        assert over.stdout == "['worker']\n", over.stderr
