"""Manager, workers and clients as real processes."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fancypipe_core import Session, errors
from fancypipe_remote._address import Address
from tests.remote.clients import WORK, client, hosts
from tests.remote.cluster import LIMIT, Cluster, cluster
from tests.remote.proxy import Proxy
from tests.remote.work import FAR
from tests.waiting import wait_until


def test_the_walk_through(two: Cluster, script: Path) -> None:
    over = two.run(f"-jobmanager={two.address}", str(script), "--x1", "5")
    assert (over.stdout, over.returncode) == ("41.0\n", 0), over.stderr
    direct = two.python(script, f"-jobmanager={two.address}")
    assert (direct.stdout, direct.returncode) == ("25\n", 0), direct.stderr
    alias = two.run("--workertype", "remote", f"-jobserver={two.address}", str(script))
    assert alias.stdout == "25\n", alias.stderr
    wait_until(lambda: not hosts(two), "host processes end with their client")
    for party in reversed(two.parties):
        assert party.stop() == 0
    assert list((two.folder / "temporary").iterdir()) == []


STEPS = """
import sys, time
from pathlib import Path
from fancypipe_core import current, run, task
from fancypipe_core.hooks import hookimpl

@task
def fit(gate):
    for step in range(3):
        current().progress(step, 3)
        until = time.monotonic() + 60
        while not (gate / str(step)).exists():
            assert time.monotonic() < until, f"the client has not seen step {step}"
            time.sleep(0.005)

class Watch:
    @hookimpl
    def fancypipe_task_events(self, events):
        for event in events:
            if event.kind == "progress":
                print(event.path, event.attempt, event.done, event.total)
                Path(f"{event.done:g}").touch()

if __name__ == "__main__":
    run(fit(Path.cwd()), backend="remote", jobmanager=sys.argv[1], observers=[Watch()],
        progress=True)
"""


def test_progress_is_seen_while_the_task_runs(two: Cluster) -> None:
    two.parties[1].says("fancypipe worker: 2 slots, manager at")
    (two.folder / "steps.py").write_text(STEPS)
    over = subprocess.run(
        [sys.executable, "steps.py", two.address], cwd=two.folder,
        check=False, env=two.env, timeout=LIMIT, capture_output=True, text=True,
    )  # fmt: skip
    assert over.stdout == "fit 1 0.0 3.0\nfit 1 1.0 3.0\nfit 1 2.0 3.0\n", over.stderr
    # Two workers of two slots each; what runs at the same time is counted in slots.
    assert re.search(r"1 task done in .* s \(remote, [234] slots\)", over.stderr), over.stderr


USES = """
import os, sys, time
from fancypipe_core import run, task
from fancypipe_core.hooks import Wants, hookimpl

@task
def busy():
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass
    return os.getpid()

class Watch:
    @hookimpl
    def fancypipe_wants(self):
        return Wants(["done"], ["usage", "bytes"])
    @hookimpl
    def fancypipe_task_events(self, events):
        for one in events:
            used.append((one.cpu, one.memory, one.worker.split()[1], one.bytes_out))

used = []
if __name__ == "__main__":
    pid = run(busy(), backend="remote", jobmanager=sys.argv[1], observers=[Watch()])
    [(cpu, memory, worker, size)] = used
    print(0.1 <= cpu < 100, memory > 1e6, worker == str(pid), size > 0)
"""


def test_what_a_task_uses_is_measured_in_its_worker(two: Cluster) -> None:
    two.parties[1].says("fancypipe worker: 2 slots, manager at")
    (two.folder / "uses.py").write_text(USES)
    over = subprocess.run(
        [sys.executable, "uses.py", two.address], cwd=two.folder,
        check=False, env=two.env, timeout=LIMIT, capture_output=True, text=True,
    )  # fmt: skip
    assert over.stdout == "True True True True\n", over.stderr


def test_without_a_pipeline_it_says_who_is_there(two: Cluster) -> None:
    over = two.run("--workertype", "remote", f"-jobmanager={two.address}")
    assert over.returncode == 0, over.stderr
    assert "2 workers with 4 slots, 0 other clients" in over.stdout
    assert over.stdout.count(f"sees {two.folder / 'temporary'}") == 2
    assert list((two.folder / "temporary").glob("fancypipe-status*")) == []


def test_asking_who_is_there_starts_no_process_and_ends_with_goodbye(two: Cluster) -> None:
    for _ in range(2):
        over = two.run("status", f"-jobmanager={two.address}")
        assert over.stdout.count("sees ") == 2, over.stderr
    wait_until(lambda: two.parties[0].text.count(" left\n") == 2, "both have left")
    assert two.run(f"-jobmanager={two.address}", f"{WORK}:many", "--count", "5").returncode == 0
    for worker in two.parties[1:]:
        worker.says("a client left: ")
        assert worker.text.count("a client connected") == worker.text.count("a client left") == 1
        assert "the client is gone" not in worker.text  # it was told, and had not to find out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_wait_for_the_first_worker_can_be_interrupted(
    tmp_path: Path, number: signal.Signals
) -> None:
    with cluster(tmp_path, workers=0) as made:
        waiting = client(made, "-wait=600", f"{WORK}:many")
        made.parties[0].says("client on .* joined")
        waiting.send_signal(number)
        _, err = waiting.communicate(timeout=LIMIT)
        name = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}[number]
        assert (err, waiting.returncode) == (f"fancypipe: interrupted ({name})\n", 128 + number)


def test_the_wait_for_the_manager_can_be_interrupted(tmp_path: Path) -> None:
    made = Cluster(tmp_path)
    made.port = 1  # nothing listens there
    made.env["FANCYPIPE_JOBAUTH"] = "a secret that is long enough"
    waiting = client(made, "-wait=600", f"{WORK}:many")
    assert waiting.stderr is not None
    assert "trying again" in waiting.stderr.readline()
    waiting.send_signal(signal.SIGINT)
    _, err = waiting.communicate(timeout=LIMIT)
    assert (err, waiting.returncode) == ("fancypipe: interrupted (Ctrl-C)\n", 130)


def test_nobody_is_there(tmp_path: Path) -> None:
    made = Cluster(tmp_path)
    made.port = 1  # nothing listens there
    (tmp_path / "secret").write_text("a secret that is long enough\n")
    (tmp_path / "secret").chmod(0o600)
    over = made.run(
        "--workertype", "remote", f"-jobmanager={made.address}", f"-jobauth=@{tmp_path}/secret"
    )
    assert over.returncode == 1
    assert "nothing listens at 127.0.0.1:1: is the manager running there" in over.stderr
    assert "Traceback" not in over.stderr


def test_nobody_is_there_while_a_session_waits_for_its_first_slots() -> None:
    with pytest.raises(errors.ConnectionLost, match=r"nothing listens at 127\.0\.0\.1:1: is the"):
        Session("remote", 2, jobmanager="127.0.0.1:1", jobauth="a secret, and a long one", wait=0.1)


def test_a_wrong_secret(two: Cluster, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("quite another secret, and long\n")
    (tmp_path / "other").chmod(0o600)
    over = two.run(
        "--workertype", "remote", f"-jobmanager={two.address}", f"-jobauth=@{tmp_path}/other"
    )
    assert over.returncode == 3
    assert "has another -jobauth secret" in over.stderr


def test_the_secret_may_stand_in_the_environment(tmp_path: Path) -> None:
    made = Cluster(tmp_path)
    made.env["FANCYPIPE_JOBAUTH"] = "a secret that is long enough"
    try:
        made.manager()
        made.worker()
        over = made.run("--workertype", "remote", f"-jobmanager={made.address}")
        assert (over.returncode, over.stderr) == (0, "")
        assert "1 worker with 2 slots" in over.stdout
    finally:
        made.close()


def test_the_project_travels_where_the_file_system_does_not(tmp_path: Path, script: Path) -> None:
    """The worker runs where the client's folder is hidden behind an empty one."""
    with cluster(tmp_path, workers=0) as made:
        try:
            subprocess.run(
                ["unshare", "--mount", "true"], check=True, capture_output=True, timeout=LIMIT
            )
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("this machine lets nobody have mounts of its own")
        hidden = script.parent
        shell = f"mount -t tmpfs none '{hidden}' && exec \"$@\""
        command = made.command("worker", f"-jobmanager={made.address}", "-numworkers=2")
        log = tmp_path / "hidden.log"
        with log.open("wb") as file:
            worker = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", shell, "sh", *command],
                env=made.env, cwd="/", stdin=subprocess.DEVNULL, stderr=file,
            )  # fmt: skip
        try:
            wait_until(lambda: "connected to the manager" in log.read_text(), "the worker joins")
            over = made.run(f"-jobmanager={made.address}", str(script))
            assert (over.stdout, over.returncode) == ("25\n", 0), over.stderr
        finally:
            worker.terminate()
            worker.wait(LIMIT)


def test_no_worker_is_a_sentence(tmp_path: Path) -> None:
    with cluster(tmp_path, workers=0) as made:
        over = made.run(f"-jobmanager={made.address}", "-wait=0.5", f"{WORK}:many")
        assert over.returncode == 1
        assert (
            "the manager is there, but no worker joined it within 0.5 s: start `fancypipe worker`"
        ) in over.stderr
        assert "Traceback" not in over.stderr


def test_several_clients_share(two: Cluster) -> None:
    arguments = (f"{WORK}:many", "--count", "150", "--seconds", "0.02")
    running = [client(two, *arguments) for _ in range(3)]
    for one in running:
        out, err = one.communicate(timeout=LIMIT)
        assert one.returncode == 0, err
        assert json.loads(out) == list(range(150))


@pytest.mark.parametrize("far", [True, False])
def test_large_values_pass(two: Cluster, far: bool) -> None:
    if far:
        two.env[FAR] = "1"
    over = two.run("-q", f"-jobmanager={two.address}", f"{WORK}:large", "--megabytes", "64")
    assert over.stdout == f"{128 << 20}\n", over.stderr


@pytest.mark.parametrize("local", ["P", "T"])
def test_what_many_tasks_are_given_is_sent_once_to_each_worker(tmp_path: Path, local: str) -> None:
    with cluster(tmp_path, workers=0) as made:
        made.worker(2, f"-workertype={local}")
        made.env[FAR] = "1"
        with Proxy(Address("127.0.0.1", made.port), record=True) as proxy:
            over = made.run(
                *("-q", f"-jobmanager={proxy.address}"),
                *(f"{WORK}:given_to_many", "--megabytes", "4", "--count", "20"),
            )
        assert over.returncode == 0, over.stderr
        assert json.loads(over.stdout) == [[4 << 20, n] for n in range(20) for _ in range(2)]
        # Not 160 MB; and what the worker made itself need not go there, where all follow it.
        assert 4 << 20 < len(proxy.passed["up"]) < 12 << 20


def test_host_processes_import_nothing_from_the_workers_folder(
    tmp_path: Path, script: Path
) -> None:
    with cluster(tmp_path, workers=0) as made:
        made.worker()
        for name in ("zipfile", "socket", "runpy", "fancypipe_procs", "fancypipe_remote"):
            (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
        over = made.run(f"-jobmanager={made.address}", str(script), cwd=script.parent)
        assert (over.stdout, over.returncode) == ("25\n", 0), over.stderr
        assert not (tmp_path / "ran").exists()


def test_threads_can_be_the_local_backend(tmp_path: Path, script: Path) -> None:
    with cluster(tmp_path, workers=0) as made:
        made.worker(2, "-workertype=T")
        over = made.run(f"-jobmanager={made.address}", str(script))
        assert (over.stdout, over.returncode) == ("25\n", 0), over.stderr


@pytest.mark.parametrize("missing", [("procs",), ("procs", "threads")])
def test_a_worker_takes_the_local_backend_that_is_there(
    tmp_path: Path, script: Path, missing: tuple[str, ...]
) -> None:
    """As where only the core and this package are installed."""
    home = tmp_path / "without"
    home.mkdir()
    # What is installed is read from the folders of the distributions.
    (home / "sitecustomize.py").write_text(
        "import os, sys\n"
        f"gone = {tuple(f'fancypipe_{name}' for name in missing)}\n"
        "sys.modules.update(dict.fromkeys(gone))\n"
        "there = os.listdir\n"
        "os.listdir = lambda *of: [one for one in there(*of) if not one.startswith(gone)]\n"
    )
    with cluster(tmp_path, workers=0) as made:
        made.env["PYTHONPATH"] = str(home)
        made.worker()
        del made.env["PYTHONPATH"]
        over = made.run(f"-jobmanager={made.address}", str(script))
        assert (over.stdout, over.returncode) == ("25\n", 0), over.stderr


MANAGER = """
import signal, sys, threading, time
from fancypipe_core import cli

HOME = "fancypipe_remote._manager.server"

def stop():
    while getattr(signal.getsignal(signal.SIGTERM), "__module__", "") != HOME:
        time.sleep(0.01)
    signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)

threading.Thread(target=stop, daemon=True).start()
try:
    cli.main(["manager", "-jobmanager=127.0.0.1:0"])
finally:
    bad = {"_pickle", "tblib", "cloudpickle", "fancypipe_core._codec.pickler"} & set(sys.modules)
    assert not bad, bad
    assert sys.modules["pickle"].__spec__ is None, "the real pickle"
"""


def test_the_managers_process_has_nothing_that_could_run_code(tmp_path: Path) -> None:
    made = Cluster(tmp_path)
    over = subprocess.run(
        [sys.executable, "-c", MANAGER],
        check=False, timeout=LIMIT, env=made.env, capture_output=True, text=True,
    )  # fmt: skip
    assert over.returncode == 0, over.stderr
    assert over.stderr.endswith("fancypipe manager: stopped\n")


def test_what_would_run_code_passes_through_the_manager_unharmed(
    two: Cluster, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    over = two.run("-q", f"-jobmanager={two.address}", f"{WORK}:dangerous", "--mark", str(mark))
    assert over.stdout == "7\n", over.stderr
    pids = {int(line) for line in mark.read_text().split()}
    assert pids
    assert two.parties[0].process.pid not in pids
