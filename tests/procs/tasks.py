"""Tasks that harm the process they run in."""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import subprocess
import sys
import time
from typing import Any

from fancypipe_core import task


@task
def segfault() -> None:
    ctypes.string_at(0)


@task
def leave(code: int) -> None:
    os._exit(code)


@task
def kill_self(number: int) -> None:
    os.kill(os.getpid(), number)


@task
def pid() -> int:
    return os.getpid()


@task
def fine(x: Any = None) -> Any:
    return x


@task
def die_until(path: str, times: int) -> int:
    """Die so many times, then work."""
    with open(path, "a") as file:
        file.write("x")
    if os.path.getsize(path) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return os.path.getsize(path)


@task
def count_and_maybe_die(path: str, number: int, deadly: int) -> int:
    """Leave a mark, so that it can be counted how often each ran."""
    with open(f"{path}/{number}", "a") as file:
        file.write("x")
    if number == deadly and os.path.getsize(f"{path}/{number}") == 1:
        os._exit(1)
    return number


@task(timeout=0.5)
def hold_the_interpreter() -> None:
    """In C code, with the interpreter's lock held."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sum(range(10**12))


@task(timeout=0.5)
def start_and_hang(path: str) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    with open(path, "w") as file:
        file.write(str(child.pid))
    time.sleep(1000)


@task(timeout=30)
def quick() -> int:
    return 1


@task
def tell_pid_and_wait(path: str) -> None:
    with open(path + ".tmp", "w") as file:
        file.write(str(os.getpid()))
    os.rename(path + ".tmp", path)
    sum(range(10**12))


@task
def environment(name: str) -> str | None:
    return os.environ.get(name)


@task
def standard_streams() -> tuple[str, bool]:
    return sys.stdin.read(), sys.stdin.isatty()


@task
def slow_then(path: str, x: int, *, deaf: bool = False) -> int:
    """The first of them is slow although its kind is quick; `deaf`: it lets no thread run."""
    if x == 0 and deaf:
        some = f'[ "$(ls {path} | wc -l)" -lt 60 ] && [ $n -lt 600 ]'
        ctypes.PyDLL(None).system(f"n=0; while {some}; do sleep 0.1; n=$((n+1)); done".encode())
    elif x == 0:
        until = time.monotonic() + 60
        while len(os.listdir(path)) < 60 and time.monotonic() < until:
            time.sleep(0.005)
    else:
        with open(f"{path}/{x}", "a") as out:
            out.write(".")
    return len(os.listdir(path))


@task
def prints(lines: int, end: str = "\n") -> None:
    for number in range(lines):
        print(f"line {number}", end=end)
    print("warned", file=sys.stderr)


@task
def prints_at_the_end() -> None:
    print("now")
    atexit.register(print, "later")


@task
def prints_and_dies() -> None:
    print("before the end")
    os.write(2, b"from C\n")
    os.abort()


@task
def prints_much(megabytes: int) -> None:
    block = ("x" * 99 + "\n") * 10_000
    for _ in range(megabytes):
        sys.stdout.write(block)
    print("the end")


@task
def prints_much_and_dies() -> None:
    for _ in range(300):
        sys.stdout.write("x" * 60_000 + "\n")
    print("before the end")
    os.abort()


@task
def prints_at_exit() -> None:
    atexit.register(print, "at exit")


@task
def eat(megabytes: int) -> int:
    eaten = [bytearray(b"x" * 1_000_000) for _ in range(megabytes)]
    return len(eaten)


@task
def deadly(x: int, at: int, how: str) -> int:
    if x == at:
        if how == "segfault":
            ctypes.string_at(0)
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(3)
    return x


@task
def notes_down(x: int, folder: str, at: int) -> int:
    with open(os.path.join(folder, f"{x}-{os.urandom(4).hex()}"), "x"):
        pass
    if x == at:
        os._exit(3)
    return x


@task(timeout=1.0)
def takes_its_time(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@task
def pid_of(x: int) -> int:
    return os.getpid()
