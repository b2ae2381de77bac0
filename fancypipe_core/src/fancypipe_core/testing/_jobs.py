"""The tasks that the kit sends to backends.  They are found by name, so workers import this."""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from fancypipe_core import Outputs, current, task
from fancypipe_core.testing._pace import Patience

__all__ = ["CRASHES"]

CRASHES = {"kill": "SIGKILL", "segfault": "SIGSEGV", "exit": "exit code 3", "abort": "SIGABRT"}
"""The kinds of crash, and how a certificate calls them."""


def crash(kind: str) -> None:
    """End this process, at once."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # nobody wants the image
    except (ImportError, ValueError):
        kind = str(kind)  # no such limit here
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif kind == "segfault":
        ctypes.string_at(0)
    elif kind == "abort":
        os.abort()
    os._exit(3)


def harm(kind: str) -> None:
    """Do the worst at this place.

    Args:
        kind: One of `CRASHES`; `raise` or `sys.exit`; else a path: wait until it exists.
    """
    if kind in CRASHES:
        crash(kind)
    elif kind == "raise":
        raise ValueError("on purpose")
    elif kind == "sys.exit":
        sys.exit(3)
    else:
        wait_for(lambda: os.path.exists(kind), 600, f"the file {kind}")


class CrashWhenRead:
    """Its reader dies, or does not go on."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __reduce__(self) -> tuple[Any, ...]:
        return _read, (self.kind,)


def _read(kind: str) -> CrashWhenRead:
    harm(kind)
    return CrashWhenRead(kind)


class CrashWhenWritten:
    """Its writer dies, or does not go on."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __reduce__(self) -> tuple[Any, ...]:
        harm(self.kind)
        return CrashWhenWritten, (self.kind,)


class RaisesWhenRead:
    """Its reader gets an exception."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse, ()


def _refuse() -> None:
    raise ValueError("does not want to be read")


class Block(bytearray):
    """Bytes that travel out of band, and can be watched by a weak reference."""

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        if protocol < 5:
            return Block, (bytes(self),)
        return Block, (pickle.PickleBuffer(self),)


class TwoArguments(Exception):
    """An exception with an `__init__` of its own."""

    def __init__(self, code: int, what: str) -> None:
        super().__init__(f"{what} ({code})")
        self.code = code


@task
def same(x: Any) -> Any:
    return x


@task
def has_devices() -> tuple[str, ...]:
    return current().devices


@task
def digest(x: Any) -> tuple[int, str]:
    """Return length and hash of what is bytes-like."""
    return len(x), hashlib.sha256(x).hexdigest()


@task
def block(size: int) -> Block:
    return Block(os.urandom(1) * size)


@task
def fails(text: str) -> None:
    raise ValueError(text)


@task
def raises_two(code: int, what: str) -> None:
    raise TwoArguments(code, what)


@task
def leaves(code: int) -> None:
    sys.exit(code)


@task
def interrupts() -> None:
    raise KeyboardInterrupt


def wait_for(true: Callable[[], bool], limit: float, what: str) -> None:
    """Wait until something is true.

    Raises:
        TimeoutError: It did not become true within `limit` seconds.
    """
    patience = Patience(limit)
    while not true():
        if patience.is_over():
            raise TimeoutError(f"{what} did not come within {limit:g} s")
        time.sleep(0.002)


@task
def gate(path: str, mark: str, limit: float) -> bool:
    """Make the file `mark`, then wait for the file `path`."""
    Path(mark).touch()
    wait_for(lambda: os.path.exists(path), limit, f"the file {path}")
    return True


@task
def meet(folder: str, number: int, limit: float) -> int:
    """Wait until so many run at the same time."""
    (Path(folder) / os.urandom(8).hex()).touch()
    wait_for(lambda: len(os.listdir(folder)) >= number, limit, f"{number} at the same time")
    return number


@task
def where(folder: str, number: int, limit: float) -> tuple[int, int]:
    """Return the process and the thread, when so many run at the same time, if ever."""
    with suppress(TimeoutError):
        meet.main(folder, number, limit)
    return os.getpid(), threading.get_ident()


@task
def span(seconds: float) -> tuple[float, float]:
    """Work for some time; return when that was."""
    begin = time.monotonic()
    while time.monotonic() < begin + seconds:
        time.sleep(0)
    return begin, time.monotonic()


@task
def dies(kind: str) -> None:
    harm(kind)


@task
def dies_writing(kind: str) -> Any:
    return CrashWhenWritten(kind)


def dies_loading(kind: str) -> Any:
    """Return an instance of a task which travels by value and does harm when it is read."""
    bomb = CrashWhenRead(kind)

    @task
    def loaded() -> str:
        return bomb.kind

    return loaded()


@task
def dies_later(kind: str, path: str) -> int:
    """Return, and do harm when a file is there."""

    def wait_and_die() -> None:
        wait_for(lambda: os.path.exists(path), 600, path)
        crash(kind)

    threading.Thread(target=wait_and_die, daemon=True).start()
    return os.getpid()


@task
def dies_at_exit(kind: str) -> int:
    """Register a crash for the end of this process, which has its last words after ours."""
    print("a crash will come", file=sys.stderr, flush=True)  # noqa: T201
    atexit.register(crash, kind)
    return os.getpid()


@task
def writes_file() -> str:
    path = current().tempfile("left")
    path.write_text("x" * 1000)
    return str(path)


@task
def size_of(path: str) -> int:
    return os.path.getsize(path)


@task
def add(a: Any, b: Any) -> Any:
    return a + b


@task
def total(numbers: Any) -> Any:
    return sum(numbers)


@task
def fib(n: int) -> Any:
    return n if n < 2 else add(fib(n - 1), fib(n - 2))


@task
def down(n: int) -> Any:
    return 0 if n == 0 else add(down(n - 1), 1)


@task
def parts(x: float) -> Outputs:
    return Outputs(half=x / 2, double=add(x, x), all=[x, {"deep": x}])


@task
def halves(n: int) -> Outputs:
    return Outputs(low=n // 2, high=n - n // 2)


@task(retries=2)
def works_on(attempt: int) -> int:
    if current().attempt < attempt:
        raise OSError(5, "not yet")
    return current().attempt


@task
def calls(function: Any, *args: Any) -> Any:
    return function(*args)


@task
def attribute(x: Any, name: str) -> Any:
    return getattr(x, name)


@task
def lock() -> Any:
    return threading.Lock()


@task
def unreadable() -> Any:
    return RaisesWhenRead()


@task
def depth(x: Any) -> int:
    count = 0
    while x:
        x = x[0]
        count += 1
    return count
