"""Clients of a manager as real processes, and what they have at the workers."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.remote.cluster import Cluster

__all__ = ["PIPELINE", "WORK", "client", "hosts"]

WORK = Path(__file__).with_name("work.py")

PIPELINE = '''\
from helper import plus
from fancypipe_core import module, task

@task
def square(x: float) -> float:
    return x * x

@task
def add(a: float, b: float) -> float:
    return plus(a, b)

@module
def sum_of_squares(x1: float = 3, x2: float = 4):
    """Sum of the squares of x1 and x2."""
    return add(square(x1), square(x2))

if __name__ == "__main__":
    sum_of_squares.cli()
'''


def client(made: Cluster, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        made.command("-q", f"-jobmanager={made.address}", *arguments),
        env=made.env,
        cwd=made.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def hosts(made: Cluster) -> list[int]:
    """Return the host processes that clients have, and the processes that they have started."""
    found = []
    used = {
        int(pid)
        for party in made.parties
        for pid in re.findall(r"a client connected: host process (\d+)", party.text)
    }
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                environ = (entry / "environ").read_bytes()
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            ours = f"XDG_CONFIG_HOME={made.env['XDG_CONFIG_HOME']}".encode() in environ
            if ours and (int(entry.name) in used or b"procs.child" in command):
                found.append(int(entry.name))
    return found
