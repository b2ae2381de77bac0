"""Tasks that do harm to their process, or try to, and some that do none."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

from fancypipe_core import run, task
from tests.conformance.raising import TwoArguments


@task
def good(x: Any) -> Any:
    return x


@task(timeout=30)
def limited() -> int:
    return 1


@task
def pid() -> int:
    return os.getpid()


@task
def reads_line() -> str:
    return sys.stdin.readline()


@task
def writes_bytes(text: bytes) -> int:
    """To the descriptor, as C code does."""
    left = memoryview(text)
    while left:
        left = left[os.write(1, left) :]
    return len(text)


@task
def prints_late(path: str) -> int:
    """From a thread that outlives the task, once a file is there."""

    def late() -> None:
        while not os.path.exists(path):
            time.sleep(0.005)
        print("from a thread that was left behind")  # noqa: T201
        Path(path + ".printed").touch()

    threading.Thread(target=late, daemon=True).start()
    return 1


@task
def touches(path: str) -> int:
    Path(path).touch()
    return 1


@task
def waits_for(path: str) -> bool:
    until = time.monotonic() + 60
    while not os.path.exists(path):
        if time.monotonic() > until:
            raise TimeoutError(path)
        time.sleep(0.005)
    return True


@task
def prints_by_program(text: str) -> int:
    return subprocess.call([sys.executable, "-c", f"print({text!r})"])


@task
def prints_blocks(megabytes: int) -> float:
    """Return how many seconds it took."""
    block = (b"x" * 99 + b"\n") * 10_000
    begin = time.monotonic()
    for _ in range(megabytes):
        left = memoryview(block)
        while left:
            left = left[os.write(1, left) :]
    return time.monotonic() - begin


@task
def warns() -> int:
    warnings.warn("take care", UserWarning, stacklevel=1)
    return 1


@task
def logs() -> int:
    logging.getLogger("user").warning("logged")
    return 1


@task
def runs(depth: int) -> Any:
    """Calls `run()` itself."""
    return run(good(depth), backend="serial")


@task
def nests(depth: int) -> int:
    """Waits inside for a task that waits inside."""
    if depth == 0:
        return 0
    inner: int = nests(depth - 1).result()
    return inner + 1


@task
def nests_and_fails(depth: int) -> int:
    if depth == 0:
        raise TwoArguments(5, "at the bottom")
    inner: int = nests_and_fails(depth - 1).result()
    return inner + 1


@task
def catches(depth: int) -> int:
    try:
        nests_and_fails(depth).result()
    except TwoArguments as error:
        return error.code
    return 0


@task
def forks(how: str) -> int:
    """The fork returns from the task as well, or raises; return how it ended."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        if how == "exits":
            sys.exit(5)
        if how == "raises":
            raise ValueError("in the fork")
        return -1
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


@task
def marks_and_dies(path: str) -> None:
    with open(path, "a") as file:
        file.write("x")
    os._exit(1)
