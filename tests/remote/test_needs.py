"""Needs on remote: a host keeps to them, and nothing waits for ever for what is nowhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.remote.cluster import LIMIT, cluster

SCRIPT = """\
import json
import os
import sys
import time

from fancypipe_core import Session, current, task


@task
def seen(n, folder):
    mine = os.path.join(folder, str(n))
    open(mine, "x").close()
    count = len(os.listdir(folder))
    time.sleep(0.02)
    os.remove(mine)
    return count


@task(needs={"gpu": 1})
def device():
    return os.environ["CUDA_VISIBLE_DEVICES"], current().devices


if __name__ == "__main__":
    said = {}
    with Session("remote", jobmanager=sys.argv[1]) as session:
        many = [seen(n, sys.argv[2]).with_options(needs={"cpus": 2}) for n in range(6)]
        said["at once"] = session.run(many)
        said["device"] = session.run(device())
    print(json.dumps(said))
"""


@pytest.mark.slow
def test_a_host_keeps_to_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    script, folder = tmp_path / "needs.py", tmp_path / "seen"
    script.write_text(SCRIPT)
    folder.mkdir()
    with cluster(tmp_path, workers=1, slots=2) as made:
        over = made.python(
            script, made.address, str(folder), limit=2 * LIMIT, CUDA_VISIBLE_DEVICES="4,7"
        )
    assert over.returncode == 0, over.stderr
    said = json.loads(over.stdout)
    assert set(said["at once"]) == {1}
    assert said["device"] == ["4", ["4"]]
    assert not over.stderr


ROUTED = """\
import json
import os
import sys

from fancypipe_core import Session, current, task
from fancypipe_core.errors import FancyPipeError


@task
def where(_n):
    return current().devices, os.environ["WHO"]


if __name__ == "__main__":
    said = {}
    with Session("remote", jobmanager=sys.argv[1], away=1.0) as session:
        for name, needs in {"gpu": {"gpu": 1}, "memory": {"memory": "3G"}}.items():
            many = [where(n).with_options(needs=needs) for n in range(4)]
            said[name] = session.run(many)
        try:
            session.run(where(9).with_options(needs={"gpu": 2}))
        except FancyPipeError as error:
            said["nowhere"] = f"{type(error).__name__}: {error}"
    print(json.dumps(said))
"""


@pytest.mark.slow
def test_tasks_go_to_the_workers_that_have_what_they_need(tmp_path: Path) -> None:
    script = tmp_path / "routed.py"
    script.write_text(ROUTED)
    with cluster(tmp_path, workers=0) as made:
        made.env["WHO"] = "device"
        made.worker(1, "-devices=5", "-memory=2G")
        made.env["WHO"] = "memory"
        party = made.worker(1, "-devices=", "-memory=4G")
        party.says("1 slot, manager at .*; for tasks that need it: 4G of memory")
        status = made.run("status", f"-jobmanager={made.address}")
        over = made.python(script, made.address, limit=2 * LIMIT)
    assert "1 slot, 2G of memory and 1 gpu, Python" in status.stdout
    assert "1 slot, 4G of memory, Python" in status.stdout
    assert over.returncode == 0, over.stderr
    said = json.loads(over.stdout)
    assert said["gpu"] == [[["5"], "device"]] * 4
    assert said["memory"] == [[[], "memory"]] * 4
    assert "needs 2 gpus, and no worker that has so much came within 1 s" in said["nowhere"]
    assert "with 4G of memory" in said["nowhere"]
    assert "with 2G of memory and 1 gpu" in said["nowhere"]


def test_a_worker_says_what_is_no_size(tmp_path: Path) -> None:
    with cluster(tmp_path, workers=0) as made:
        over = made.run("worker", f"-jobmanager={made.address}", "-memory=much")
    assert over.returncode == 2
    assert over.stderr.strip() == "fancypipe: -memory=much: give it as 500M or 64G"
