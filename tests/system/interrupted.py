"""A pipeline to be interrupted: it says how far it came, and goes on when a gate is opened."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.system.terminal import Terminal
from tests.waiting import wait_until

__all__ = ["BACKENDS", "COMMAND", "PIPELINE", "begin", "marks", "reached", "said"]

COMMAND = (sys.executable, "-m", "fancypipe_core")
BACKENDS = ["S", "T", "P"]

# Each task says that it began; `slow` has a temporary file, and ends when the gate is opened.
PIPELINE = '''\
import os
import subprocess
import sys
import threading
import time
from fancypipe_core import Exec, current, module, task

IN_CHILD = "fancypipe_procs.child" in " ".join(sys.orig_argv)


def nap(mark):
    """Say that it has come so far; go on when the gate is opened."""
    open(f"{mark}.begun", "w").close()
    until = time.monotonic() + 300
    while not os.path.exists("gate") and time.monotonic() < until:
        time.sleep(0.005)


if os.environ.get("SLOW_IMPORT") == ("child" if IN_CHILD else "client"):
    nap("import")


class SlowToStart(subprocess.Popen):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        nap("start")


if os.environ.get("SLOW_START"):
    subprocess.Popen = SlowToStart


class SlowToWrite:
    def __init__(self, where):
        self.where = where

    def __reduce__(self):
        if IN_CHILD == (self.where == "child"):
            nap("write")
        return SlowToWrite, (self.where,)


class SlowToRead:
    def __reduce__(self):
        return make_slowly, ()


def make_slowly():
    if not IN_CHILD:
        nap("read")
    return 1


@task
def slow(n):
    current().tempfile().write_text("temporary")
    nap(f"slow-{n}")
    open(f"slow-{n}.done", "w").close()
    return n


@task
def total(xs):
    return sum(xs)


@task
def take(x):
    return 1


@task
def give_slow_to_write():
    return SlowToWrite("child")


@task
def give_slow_to_read():
    return SlowToRead()


@module
def running():
    return total([slow(n) for n in range(30)])


@module
def main_computes():
    first = slow(0)
    nap("main")
    return first


@module
def result_inside():
    return slow(0).result() + 1


@module
def inputs_are_written():
    return take(SlowToWrite("client"))


@module
def results_are_written():
    return give_slow_to_write()


@module
def results_are_read():
    return give_slow_to_read()


@module
def swallows():
    while True:
        try:
            nap("swallow")
            return total([slow(n) for n in range(30)])
        except BaseException:
            open("caught.begun", "w").close()


@module
def never_ends():
    while True:
        try:
            nap("never")
        except BaseException:
            open("caught.begun", "w").close()


@task
def endless():
    never_ends.main()


@task
def leaves_a_thread():
    threading.Thread(target=time.sleep, args=(300,)).start()
    nap("thread")


@task
def program():
    return Exec("sh", "-c", "touch program.begun; sleep 300")


@task
def inner(n):
    return slow(n)


@task
def nested():
    return inner(0).result()
'''


def begin(folder: Path, backend: str, name: str = "running", *options: str, **env: str) -> Terminal:
    words = [f"-workertype={backend}", "-numworkers=2", "-q", *options, f"pipeline.py:{name}"]
    return Terminal(folder, [*COMMAND, *words], env)


def marks(folder: Path, what: str) -> int:
    return len(list(folder.glob(f"*.{what}")))


def reached(folder: Path, mark: str, terminal: Terminal) -> None:
    file = folder / f"{mark}.begun"
    wait_until(file.exists, lambda: f"{mark} was not reached: {terminal.text}")


def said(terminal: Terminal) -> str:
    assert "Traceback" not in terminal.text, terminal.text
    return terminal.text
