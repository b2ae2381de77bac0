"""A map over many machines: spans travel, and are cut where a worker's process dies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.remote.cluster import LIMIT, cluster

SCRIPT = """\
import json
import os
import sys

from fancypipe_core import Session, current, errors, task


@task
def square(x, plus=0):
    return x * x + plus


@task(retries=1)
def picky(x):
    if x == 37 and current().attempt < 2:
        raise OSError("busy")
    if x == 41:
        raise ValueError("not welcome")
    if x == 1234:
        os._exit(3)
    return x


@task
def below(x):
    return square(x) if x % 2 else x


if __name__ == "__main__":
    said = {}
    n = 2000
    with Session("remote", jobmanager=sys.argv[1], keep_going=True) as session:
        said["list"] = session.run(square.map(range(n), plus=1)) == [x * x + 1 for x in range(n)]
        squares = session.run(square.map(square.map(range(n))))
        said["of a list"] = squares == [x**4 for x in range(n)]
        said["references"] = session.run(below.map(range(50))) == [
            x * x if x % 2 else x for x in range(50)
        ]
        streamed = list(session.stream(square.map(x for x in range(n))))
        said["streamed"] = streamed == [x * x for x in range(n)]
        try:
            session.run(picky.map(range(n)))
        except errors.RunFailed as error:
            said["failures"] = sorted(one.index for one in error.failures)
            good = [one for x, one in enumerate(error.results) if x not in (41, 1234)]
            said["the others"] = good == [x for x in range(n) if x not in (41, 1234)]
            lost = error.results[1234]
            said["certificates"] = [one.detail for one in getattr(lost, "certificates", ())]
    print(json.dumps(said))
"""


@pytest.mark.slow
@pytest.mark.fault(92)
def test_a_map_on_two_workers(tmp_path: Path) -> None:
    script = tmp_path / "maps.py"
    script.write_text(SCRIPT)
    with cluster(tmp_path) as made:
        over = made.python(script, made.address, limit=2 * LIMIT)
    assert over.returncode == 0, over.stderr
    said = json.loads(over.stdout)
    assert said.pop("failures") == [41, 1234]
    assert said.pop("certificates") == ["exit code 3"] * 3
    assert all(said.values()), said
