"""Tasks that do what tasks should not, and two that do no harm."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fancypipe_core import module, run, task


class TwoArguments(Exception):
    """Its `__init__` takes what `args` does not hold."""

    def __init__(self, code: int, what: str) -> None:
        super().__init__(f"{what} ({code})")
        self.code = code


class HoldsLock(Exception):
    """Cannot be pickled whole."""

    def __init__(self) -> None:
        super().__init__("it holds a lock", 5)
        self.lock = threading.Lock()
        self.code = 7


class HoldsSocket(Exception):
    """Cannot be pickled whole, nor in its arguments."""

    def __init__(self) -> None:
        super().__init__("it holds a socket", socket.socket())


class NoText(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class ExitsForText(Exception):
    """Who asks for its text is asked to leave."""

    def __str__(self) -> str:
        return str(sys.exit(3))


class RaisesBack(Exception):
    """Cannot be read back."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (_raise, ("it does not want to be read",))


class ExitsBack(Exception):
    """Who reads it is asked to leave."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (sys.exit, (3,))


class DiesBack(Exception):
    """Who reads it dies at once, unless it is the client."""

    def __init__(self, client: int) -> None:
        super().__init__("it kills its readers")
        self.client = client

    def __reduce__(self) -> tuple[Any, ...]:
        return (_die_unless, (self.client,))


class OtherBack(Exception):
    """Comes back as what is no exception."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (int, (3,))


class OddBase(BaseException):
    """No `Exception`."""


class Meta(type):
    def __call__(cls, *args: Any) -> Any:
        raise TypeError("it cannot be made")


class HasMeta(Exception, metaclass=Meta):
    """Its class does not let itself be called."""


class Slotted(Exception):
    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        super().__init__("slotted")
        self.code = code


def _raise(text: str) -> Any:
    raise ValueError(text)


def _die_unless(pid: int) -> Any:
    if os.getpid() != pid:
        os._exit(4)
    return DiesBack(pid)


# ---- exceptions ----


@task
def good(x: Any) -> Any:
    return x


@task
def raises_plain() -> None:
    raise ValueError("plain")


def _outermost() -> None:
    _middle()


def _middle() -> None:
    _innermost()


def _innermost() -> None:
    raise KeyError("innermost")


@task
def raises_nested() -> None:
    _outermost()


@task
def raises_two_arguments() -> None:
    raise TwoArguments(7, "two")


@task
def raises_holding_lock() -> None:
    raise HoldsLock


@task
def raises_holding_socket() -> None:
    error = HoldsSocket()
    error.args[1].close()
    raise error


@task
def raises_without_text() -> None:
    raise NoText


@task
def raises_what_exits_for_text() -> None:
    raise ExitsForText


@task
def raises_chain() -> None:
    try:
        try:
            os.environ["NO_SUCH_VARIABLE"]
        except KeyError as error:
            raise TwoArguments(8, "between") from error
    except TwoArguments:
        raise RuntimeError("outer")  # noqa: B904 - the context is what is looked at


@task
def raises_chain_with_lock() -> None:
    try:
        raise HoldsLock  # noqa: TRY301
    except HoldsLock as error:
        raise RuntimeError("outer") from error


@task
def raises_chain_that_cannot_be_read() -> None:
    try:
        raise ExitsBack("below")  # noqa: TRY301
    except ExitsBack as error:
        raise HoldsLock from error


@task
def raises_long_chain() -> None:
    last: BaseException | None = None
    for number in range(3000):
        try:
            raise ValueError(f"number {number}") from last  # noqa: TRY301
        except ValueError as error:
            last = error
    assert last is not None
    raise last


@task
def raises_noted() -> None:
    error = ValueError("noted")
    error.add_note("this was on a Tuesday")  # type: ignore[attr-defined,unused-ignore]
    raise error


@task
def raises_group() -> None:
    raise ExceptionGroup(  # type: ignore[name-defined,unused-ignore]  # noqa: F821
        "several", [ValueError("one"), TwoArguments(2, "two")]
    )


@task
def raises_group_with_lock() -> None:
    raise ExceptionGroup(  # type: ignore[name-defined,unused-ignore]  # noqa: F821
        "several", [ValueError("one"), HoldsLock()]
    )


@task
def raises_long() -> None:
    raise ValueError("begin" + "x" * 10_000_000 + "end")


@task
def raises_local() -> None:
    class Local(ValueError):
        pass

    raise Local("local")


@task
def raises_what_raises_back() -> None:
    raise RaisesBack("raises back")


@task
def raises_what_exits_back() -> None:
    raise ExitsBack("exits back")


@task
def raises_what_dies_back(client: int) -> None:
    raise DiesBack(client)


@task
def raises_what_is_other_back() -> None:
    raise OtherBack("other")


@task
def raises_with_meta() -> None:
    raise type.__call__(HasMeta, "meta")


@task
def raises_slotted() -> None:
    raise Slotted(9)


@task
def raises_kind(kind: type[BaseException], *args: Any) -> None:
    raise kind(*args)


@task
def raises_for_memory() -> None:
    bytearray(1 << 62)


@task
def recurses() -> Any:
    def deeper(n: int) -> int:
        return deeper(n + 1) + 1

    return deeper(0)


@task
def exits() -> None:
    sys.exit("it is over")


@module
def composes_badly(kind: type[BaseException]) -> Any:
    raise kind("bad")


@module
def composes(x: Any) -> Any:
    return good(x)


@task(timeout=30)
def limited() -> int:
    return 1


@task
def pid() -> int:
    return os.getpid()


# ---- results ----


class LockInside:
    def __init__(self) -> None:
        self.lock = threading.Lock()


class ReduceRaises:
    def __reduce__(self) -> tuple[Any, ...]:
        raise ValueError("it does not want to be written")


class ReduceExits:
    def __reduce__(self) -> tuple[Any, ...]:
        sys.exit(3)


class ReadingRaises:
    def __reduce__(self) -> tuple[Any, ...]:
        return (_raise, ("it does not want to be read",))


class ReadingExits:
    def __reduce__(self) -> tuple[Any, ...]:
        return (sys.exit, (3,))


class ReadingRaisesIn:
    """Can be read anywhere but in one process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def __reduce__(self) -> tuple[Any, ...]:
        return (_raise_in, (self.pid,))


class ReadingExitsIn:
    def __init__(self, pid: int) -> None:
        self.pid = pid

    def __reduce__(self) -> tuple[Any, ...]:
        return (_exit_in, (self.pid,))


class ReadingLoopsUnless:
    """Is never read to its end, but by one process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def __reduce__(self) -> tuple[Any, ...]:
        return (_loop_unless, (self.pid,))


class ReadingRaisesSecond:
    """Its second reading in the same process fails."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (_raise_second, ())


def _raise_in(pid: int) -> Any:
    if os.getpid() == pid:
        raise ValueError("not in this process")
    return ReadingRaisesIn(pid)


def _exit_in(pid: int) -> Any:
    if os.getpid() == pid:
        sys.exit(3)
    return ReadingExitsIn(pid)


def _loop_unless(pid: int) -> Any:
    while os.getpid() != pid:
        pass


_readings = [0]


def _raise_second() -> Any:
    _readings[0] += 1
    if _readings[0] > 1:
        raise ValueError("not a second time")
    return ReadingRaisesSecond()


def numbers() -> Iterator[int]:
    yield 1


@task
def call(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


def _closed() -> socket.socket:
    made = socket.socket()
    made.close()
    return made


@task
def returns(what: str) -> Any:
    made: dict[str, Callable[[], Any]] = {
        "lock": lambda: {"deep": [1, LockInside()]},
        "generator": numbers,
        "a socket": lambda: [_closed()],
    }
    return made[what]()


@task
def wraps(function: Callable[..., Any]) -> Any:
    return {"a": [1, function()]}


_old = good(49)


@task
def returns_old() -> Any:
    return [_old]


@task
def takes(x: Any) -> str:
    return type(x).__name__


@task
def appends(items: list[int]) -> list[int]:
    items.append(4)
    return items


# ---- what a task does to its process ----


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


@task(timeout=0.5)
def loops_when_read(client: int) -> Any:
    return ReadingLoopsUnless(client)


@task
def marks_and_dies(path: str) -> None:
    with open(path, "a") as file:
        file.write("x")
    os._exit(1)
