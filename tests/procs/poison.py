"""Tasks that leave their process other than they found it, and tasks that look at it."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import io
import locale
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from fancypipe_core import task


def _replace_environment(folder: str) -> None:
    os.environ = {}  # type: ignore[assignment]  # noqa: B003 - it is the poison


def _change_environment(folder: str) -> None:
    os.environ["FANCYPIPE_POISON"] = "1"
    del os.environ["PATH"]
    os.environ["HOME"] = "/nowhere"


def _lose_the_folder(folder: str) -> None:
    os.mkdir(f"{folder}/gone")
    os.chdir(f"{folder}/gone")
    os.rmdir(f"{folder}/gone")


def _lose_home(folder: str) -> None:
    os.rmdir(os.getcwd())
    os.chdir("/")


def _set_handlers(folder: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)


def _set_timers(folder: str) -> None:
    signal.setitimer(signal.ITIMER_REAL, 3600.0)
    signal.alarm(3600)


def _replace_path(folder: str) -> None:
    sys.path = [folder]


def _trace(folder: str) -> None:
    sys.setprofile(lambda *_: None)
    threading.settrace(lambda *_: None)
    sys.settrace(lambda *_: None)


def _collect_never(folder: str) -> None:
    gc.set_threshold(0)


def _use_one_core(folder: str) -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def _soften_limit(folder: str) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))


def _replace_streams(folder: str) -> None:
    sys.stdout = sys.stderr = io.StringIO()


def _redirect_descriptors(folder: str) -> None:
    file = os.open(f"{folder}/file", os.O_CREAT | os.O_WRONLY)
    os.dup2(file, 1)
    os.close(file)
    os.close(2)


POISONS: dict[str, Callable[[str], Any]] = {
    "folder": os.chdir,
    "folder gone": _lose_the_folder,
    "umask": lambda _: os.umask(0o777),
    "environment": _change_environment,
    "environment replaced": _replace_environment,
    "handlers": _set_handlers,
    "traces": _trace,
    "collector": _collect_never,
    "cores": _use_one_core,
    "mask": lambda _: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1}),
    "timers": _set_timers,
    "path": lambda folder: sys.path.insert(0, folder),
    "path replaced": _replace_path,
    "locale": lambda _: locale.setlocale(locale.LC_ALL, "C"),
    "limit": _soften_limit,
    "streams": _replace_streams,
    "descriptors": _redirect_descriptors,
    "faulthandler": lambda _: faulthandler.disable(),
}

FATAL: dict[str, Callable[[str], Any]] = {
    "hard limit": lambda _: resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100)),
    "home gone": _lose_home,
    "streams closed": lambda _: sys.stdout.close(),
}


@task
def poison(kind: str, folder: str) -> int:
    """Change the process; return its number."""
    ({**POISONS, **FATAL})[kind](folder)
    return os.getpid()


@task
def probe() -> dict[str, Any]:
    """Tell how the process is."""
    mask = os.umask(0o22)
    os.umask(mask)
    return {
        "cwd": os.getcwd(),
        "umask": mask,
        "environment": {k: v for k, v in os.environ.items() if k != "FANCYPIPE_WORKER"},
        "traces": [sys.gettrace(), sys.getprofile(), threading.gettrace()],
        "collector": gc.get_threshold(),
        "cores": os.sched_getaffinity(0),
        "handlers": [_named(signal.getsignal(number)) for number in range(1, 32)],
        "mask": signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        "timer": signal.getitimer(signal.ITIMER_REAL),
        "path": list(sys.path),
        "locale": locale.setlocale(locale.LC_ALL),
        "limit": resource.getrlimit(resource.RLIMIT_NOFILE),
        "stdout": (sys.stdout is sys.__stdout__, sys.stderr is sys.__stderr__),
        "pipes": [os.readlink(f"/proc/self/fd/{n}").partition(":")[0] for n in (1, 2)],
        "faulthandler": faulthandler.is_enabled(),
    }


@task
def import_what_changes(folder: str) -> int:
    """Import a module that sets a variable, and set another here."""
    os.environ["SET_BY_THE_TASK"] = "1"
    sys.path.insert(0, folder)
    __import__("sets_a_variable")
    return os.getpid()


@task
def look_up(name: str) -> str | None:
    return os.environ.get(name)


@task
def pid() -> int:
    return os.getpid()


@task
def eat_all() -> None:
    """Ask for more memory than there is."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (2 * 1024**3, hard))
    bytearray(16 * 1024**3)


@task
def leave_thread(count: int) -> int:
    for _ in range(count):
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    return os.getpid()


@task
def leave_poisoner(go: str, done: str) -> None:
    """Leave a thread that changes something when the worker has nothing to do."""

    def change() -> None:
        while not os.path.exists(go):
            time.sleep(0.005)
        faulthandler.disable()
        time.sleep(0.01)  # within a millisecond of the last look nobody looks again
        os.mkdir(done)

    threading.Thread(target=change, daemon=True).start()


_open: list[Any] = []


@task
def leave_descriptors(count: int) -> int:
    _open.extend(socket.socket() for _ in range(count))
    return os.getpid()


@task
def leave_daemon(path: str) -> int:
    """Start a process in a session of its own, from a process that is gone at once."""
    code = (
        "import os, sys, time\n"
        "if os.fork(): os._exit(0)\n"
        "os.setsid()\n"
        f"open({path + '.tmp'!r}, 'w').write(str(os.getpid()))\n"
        f"os.rename({path + '.tmp'!r}, {path!r})\n"
        "time.sleep(1000)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    until = time.monotonic() + 60
    while not os.path.exists(path) and time.monotonic() < until:
        time.sleep(0.01)
    return os.getpid()


@task
def leave_daemon_and_die(path: str) -> None:
    leave_daemon.main(path)
    os.kill(os.getpid(), signal.SIGKILL)


@task
def fork_and_die(path: str) -> None:
    """Die; a process that holds all that this one held lives on."""
    child = os.fork()
    if not child:
        os.setsid()
        time.sleep(1000)
    with open(path, "w") as file:
        file.write(str(child))
    os.kill(os.getpid(), signal.SIGKILL)


@task
def write_to_all(what: bytes) -> None:
    """Write junk into everything that is open."""
    for number in _open_descriptors():
        with contextlib.suppress(OSError):
            os.set_blocking(number, False)
            os.write(number, what)


@task
def close_all() -> None:
    for number in _open_descriptors():
        with contextlib.suppress(OSError):
            os.close(number)


def _open_descriptors() -> list[int]:
    """All but the first three; a worker's channel has the number that it had in the client."""
    return [number for number in map(int, os.listdir("/proc/self/fd")) if number > 2]


def _named(handler: object) -> str:
    return getattr(handler, "__qualname__", str(handler))
