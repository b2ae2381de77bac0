"""Who can do what to whom, as the security page says: what they can do, too."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.remote.cluster import Cluster, Party, cluster

WORK = Path(__file__).with_name("work.py")

SLOW = (f"{WORK}:slow", "--number", "1", "--seconds", "0")
READ = (f"{WORK}:read", "--path")

# A machine that was taken over: what its tasks return runs code where it is unpickled.
EVIL = """
import os, sys
if "fancypipe_procs.child" in sys.orig_argv:
    import pickle
    import fancypipe_core._worker.runner as runner
    from fancypipe_core.backend import Ok, Payload

    CODE = "open({mark!r}, 'a').write('%d %d\\\\n' % (os.getpid(), os.getppid())) and 7"

    class Evil:
        def __reduce__(self):
            return eval, ("(lambda os: " + CODE + ")(__import__('os'))",)

    runner.Runner._ok = lambda self, packed, value: Ok((Payload(pickle.dumps(Evil()) + {end!r}),))
"""


def taken_over(made: Cluster, mark: Path, end: bytes = b"!") -> Party:
    """Start a worker that has a worker key only, and code of somebody else.

    Args:
        made: Where.
        mark: The file in which the code leaves its process and that one's parent.
        end: What stands behind its values: by default that they are not plain.
    """
    home = made.folder / "evil"
    home.mkdir()
    (home / "sitecustomize.py").write_text(EVIL.format(mark=str(mark), end=end))
    exported = made.run("secret", "export-worker-key", "workerkey")
    assert exported.returncode == 0, exported.stderr
    before = dict(made.env)
    made.env |= {"PYTHONPATH": str(home), "XDG_CONFIG_HOME": str(home / "no secret here")}
    try:
        return made.worker(1, f"-jobauth=@{made.folder / 'workerkey'}")
    finally:
        made.env.clear()
        made.env.update(before)


def test_a_worker_can_run_code_in_its_client(tmp_path: Path) -> None:
    """Not that it should; but who reads the page must know."""
    mark = tmp_path / "mark"
    with cluster(tmp_path, workers=0) as made:
        worker = taken_over(made, mark)
        over = made.run("-q", f"-jobmanager={made.address}", *SLOW)
        host = int(worker.says(r"host process (\d+)")[1])
    assert over.stdout == "7\n", over.stderr  # and a wrong result it is
    parents = {int(line.split()[1]) for line in mark.read_text().splitlines()}
    assert parents - {host}, "code ran in a process that is not the worker's: the client"


def test_no_code_is_run_by_what_is_said_to_be_plain(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with cluster(tmp_path, workers=0) as made:
        taken_over(made, mark, b"")
        over = made.run("-q", f"-jobmanager={made.address}", *SLOW)
    assert over.returncode == 1
    assert "it is said to be plain data, and names builtins.eval" in over.stderr
    assert "work.py" in over.stderr  # the task that it is the result of
    assert not mark.exists()


def test_a_worker_can_run_code_where_its_results_go(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with cluster(tmp_path, workers=1, slots=1) as made:
        taken_over(made, mark)
        over = made.run("-q", f"-jobmanager={made.address}", f"{WORK}:in_two_steps")
        assert over.returncode == 0, over.stderr
        honest = int(made.parties[1].says(r"host process (\d+)")[1])
    assert honest in {int(line.split()[1]) for line in mark.read_text().splitlines()}


def test_a_client_runs_code_on_workers(tmp_path: Path) -> None:
    with cluster(tmp_path, workers=1, slots=1) as made:
        secret = made.run("secret", "show-path").stdout.strip()
        over = made.run("-q", f"-jobmanager={made.address}", *READ, secret)
        assert json.loads(over.stdout) == Path(secret).read_text("utf-8"), over.stderr


@pytest.mark.parametrize("local", ["P", "T"])
def test_clients_share_no_process(tmp_path: Path, local: str) -> None:
    with cluster(tmp_path, workers=0) as made:
        worker = made.worker(2, f"-workertype={local}")
        pids = [
            made.run("-q", f"-jobmanager={made.address}", f"{WORK}:where").stdout for _ in range(2)
        ]
        assert pids[0] != pids[1]
        worker.says("(?s)a client connected.*a client connected")
        assert len(set(re.findall(r"host process (\d+)", worker.text))) == 2
