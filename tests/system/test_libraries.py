"""Numerical libraries share the cores with the tasks that run beside them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from fancypipe_core.toolkit import usable_cores

pytest.importorskip("threadpoolctl")
pytest.importorskip("numpy")

SCRIPT = """
import os, sys
if "early" in sys.argv:
    import numpy
    numpy.ones((9, 9)) @ numpy.ones((9, 9))
from fancypipe_core import Session, task

def pools():
    import numpy, threadpoolctl
    numpy.ones((9, 9)) @ numpy.ones((9, 9))
    return sorted({p["num_threads"] for p in threadpoolctl.threadpool_info()})

@task
def look(i):
    return pools(), os.environ.get("OMP_NUM_THREADS")

if __name__ == "__main__":
    before = dict(os.environ)
    with Session("threads", int(sys.argv[1])) as session:
        print(*[one for pair in session.run([look(i) for i in range(4)]) for one in pair])
        if not os.fork():
            print(before == dict(os.environ), flush=True)
            os._exit(0)
        os.wait()
    print(pools(), before == dict(os.environ))
"""


@pytest.mark.skipif(usable_cores() < 2, reason="one core is one share")
@pytest.mark.parametrize("when", ["early", "late"])
def test_each_thread_has_its_share_and_the_caller_has_all_again(when: str, tmp_path: Path) -> None:
    cores = usable_cores()
    out = _run(tmp_path, str(cores), when)
    assert out == [
        " ".join(["[1] 1"] * 4),
        "True",  # in a fork
        f"[{cores}] True",
    ]


def test_what_the_user_has_set_stays(tmp_path: Path) -> None:
    most = usable_cores()
    out = _run(tmp_path, str(most), "early", OMP_NUM_THREADS=str(most))
    assert out[0] == " ".join([f"[{most}] {most}"] * 4)
    assert out[2] == f"[{most}] True"


def test_one_worker_has_all_cores(tmp_path: Path) -> None:
    out = _run(tmp_path, "1", "late")
    assert out[0] == " ".join([f"[{usable_cores()}] None"] * 4)


def _run(folder: Path, *arguments: str, **variables: str) -> list[str]:
    script = folder / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    env = {k: v for k, v in os.environ.items() if not k.endswith("NUM_THREADS")}
    over = subprocess.run(
        [sys.executable, script, *arguments],
        env={**env, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert over.returncode == 0, over.stderr
    return over.stdout.splitlines()
