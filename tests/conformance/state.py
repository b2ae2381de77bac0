"""Tasks that change what all code of a process shares, and tasks that look at it."""

from __future__ import annotations

import contextlib
import contextvars
import decimal
import gc
import importlib
import locale
import logging
import multiprocessing
import os
import random
import socket
import sys
import tempfile
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from fancypipe_core import current, module, run, task

pd: Any = None
with contextlib.suppress(ImportError):  # the tests do not need it
    pd = importlib.import_module("pandas")

user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")


def _filters() -> None:
    warnings.simplefilter("error")


def _filters_replaced() -> None:
    warnings.filters = []


def _loggers() -> None:
    logging.basicConfig(level=logging.DEBUG)
    logging.getLogger("tests.conformance.state").setLevel(5)
    logging.getLogger("tests.new").addHandler(logging.StreamHandler())
    logging.disable(logging.ERROR)


def _decimal_templates() -> None:
    decimal.DefaultContext.prec = 3
    decimal.DefaultContext.traps[decimal.Inexact] = True


def _environ() -> None:
    os.environ["LEFT_BY_A_TASK"] = "1"
    os.environ["HOME"] = "/nowhere"
    del os.environ["PATH"]


CHANGES: dict[str, Callable[[], object]] = {
    "context variable": lambda: user.set("a task"),
    "decimal": lambda: setattr(decimal.getcontext(), "prec", 5),
    "decimal templates": _decimal_templates,
    "numpy errors": lambda: np.seterr(all="raise"),
    "numpy printing": lambda: np.set_printoptions(precision=2),
    "pandas": lambda: pd and pd.set_option("display.max_rows", 7),
    "filters": _filters,
    "filters replaced": _filters_replaced,
    "environment": _environ,
    "folder": lambda: os.chdir("/"),
    "umask": lambda: os.umask(0o123),
    "recursion": lambda: sys.setrecursionlimit(4321),
    "collector": gc.disable,
    "loggers": _loggers,
    "locale": lambda: locale.setlocale(locale.LC_ALL, "C"),
    "path": lambda: sys.path.insert(0, "/nowhere"),
    "sockets": lambda: socket.setdefaulttimeout(5),
    "temporary files": lambda: setattr(tempfile, "tempdir", "/nowhere"),
    "hook": lambda: setattr(sys, "excepthook", print),
    "switches": lambda: sys.setswitchinterval(0.5),
    "multiprocessing": lambda: multiprocessing.set_start_method("forkserver", force=True),
}


def state() -> dict[str, Any]:
    """Return what there is, in a form that travels."""
    root = logging.root
    own = logging.getLogger("tests.conformance.state")
    return {
        "context variable": user.get(),
        "decimal": decimal.getcontext().prec,
        "numpy errors": np.geterr(),
        "numpy printing": np.get_printoptions()["precision"],
        "pandas": pd and pd.get_option("display.max_rows"),
        "filters": [repr(one) for one in warnings.filters],
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "umask": _mask(),
        "recursion": sys.getrecursionlimit(),
        "collector": gc.isenabled(),
        "loggers": (root.level, len(root.handlers), root.manager.disable, own.level),
        "new logger": len(logging.getLogger("tests.new").handlers),
        "locale": locale.setlocale(locale.LC_ALL),
        "path": list(sys.path),
        "sockets": socket.getdefaulttimeout(),
        "temporary files": tempfile.gettempdir(),
        "hook": sys.excepthook is not print,
        "switches": sys.getswitchinterval(),
        "multiprocessing": multiprocessing.get_start_method(allow_none=True),
        "trap": decimal.DefaultContext.traps[decimal.Inexact],
    }


def _mask() -> int:
    mask = os.umask(0o22)
    os.umask(mask)
    return mask


@task
def look(_after: object = None) -> dict[str, Any]:
    return state()


@task
def change(kind: str) -> str:
    CHANGES[kind]()
    return kind


@task
def idle() -> int:
    return 1


@task
def run_and_change(kind: str) -> None:
    CHANGES[kind]()
    run(look(), backend="serial")
    CHANGES[kind]()


@task
def change_and_fail(kind: str) -> None:
    CHANGES[kind]()
    raise ValueError(kind)


def drawn() -> tuple[float, float]:
    return random.random(), float(np.random.random())


@task
def draw(_: object = None) -> tuple[float, float]:
    return drawn()


@task
def seed(how: str, _: object = None) -> tuple[float, float]:
    """Seed both in one way or another; draw, so that it is known what comes next."""
    if how == "seed":
        random.seed(5)
        np.random.seed(5)
    elif how == "state":
        random.setstate(random.Random(5).getstate())
        np.random.set_state(np.random.RandomState(5).get_state())
    elif how == "another bit generator":
        inner: Any = random
        inner._inst.seed(5)
        numbers: Any = np.random
        numbers.set_bit_generator(np.random.PCG64(5))
    else:
        random.seed(5)
        np.random.seed(5)
        for _ in range(1000):
            drawn()
    return drawn()


WAYS = ("seed", "state", "another bit generator", "seed and go on")


@module
def seeding_module() -> Any:
    random.seed(5)
    np.random.seed(5)
    user.set("a module")
    return draw()


@module
def drawing_module() -> Any:
    return [drawn(), user.get()]


@task
def nested(i: int) -> Any:
    user.set(f"task {i}")
    inner = look().result()
    return user.get(), inner["context variable"], current().name


def sequence(way: str) -> tuple[float, float]:
    """Return what a task that seeds draws."""
    return seed.main(way)
