"""CPython's own tests of executors, run with ours.

They are in the package `test` of the standard library, of which some distributions leave out a
part: then they are looked for where Debian has them, `/usr/lib/python3.11/test` of the package
libpython3.11-testsuite, or in the folder that CPYTHON_TESTS names.  Nothing of them is here.

    python -m tests.cpython.harness procs
"""

from __future__ import annotations

import concurrent.futures
import importlib
import os
import subprocess
import sys
import unittest
from collections.abc import Callable
from typing import Any

from fancypipe_core import Session

__all__ = ["Found", "is_there", "outcomes"]

# (the class of tests, the module that has it since 3.12)
CLASSES = (
    ("ExecutorShutdownTest", "test_shutdown"),
    ("WaitTests", "test_wait"),
    ("AsCompletedTests", "test_as_completed"),
    ("ExecutorTest", "executor"),
)
PACKAGE = "test.test_concurrent_futures"
SITE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "site")

Found = dict[str, str]
"""For each test `ok`, `skipped: WHY`, or the last line of its error."""


class OwnSession(concurrent.futures.Executor):
    """As the executors of the standard library are made: with a session of its own.

    Args:
        max_workers: How many calls run at the same time.
    """

    backend = "procs"

    def __init__(self, max_workers: int | None = None) -> None:
        self._session = Session(self.backend, max_workers)
        self._executor = self._session.executor()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return self._executor.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._executor.shutdown(wait, cancel_futures=cancel_futures)
        if wait:
            self._session.close()


# Before what a test of CPython has a new interpreter do.  As with its own pools nothing of ours is
# imported before the executor's name is.
_PREAMBLE = """\
import sys
sys.path[:0] = {path!r}
import concurrent.futures
class Names(type(sys)):
    def __getattr__(self, name):
        if name != "OwnSession":
            return type(sys).__getattribute__(self, "__dict__")["__getattr__"](name)
        from tests.cpython import harness
        harness.OwnSession.backend = {backend!r}
        return harness.OwnSession
concurrent.futures.__class__ = Names
exec({code!r})
"""


def is_there() -> bool:
    """Whether the tests are installed."""
    code = f"import sys, importlib.util as u; sys.exit(u.find_spec({PACKAGE!r}) is None)"
    env = {**os.environ, "PYTHONPATH": SITE}
    command = [sys.executable, "-S", "-c", code]
    return not subprocess.run(command, env=env, capture_output=True, check=False).returncode


def _cases(backend: str) -> list[type[unittest.TestCase]]:
    # They are made for two kinds of pools, of which ours is neither.
    made = []
    for name, place in CLASSES:
        home: Any = importlib.import_module(PACKAGE)
        if not hasattr(home, name):
            home = importlib.import_module(f"{PACKAGE}.{place}")
        util: Any = home
        if not hasattr(home, "ExecutorMixin"):
            util = importlib.import_module(f"{PACKAGE}.util")
        kind = type("OwnSession", (OwnSession,), {"backend": backend})
        mixin = type("Mixin", (util.ExecutorMixin,), {"executor_type": kind})
        bases: tuple[type, ...] = (getattr(home, name), mixin, util.BaseTestCase)
        made.append(type(name, bases, {}))
        if hasattr(home, "assert_python_ok"):
            home.assert_python_ok = _with_our_executor(home.assert_python_ok, backend)
    return made


def _with_our_executor(original: Callable[..., Any], backend: str) -> Callable[..., Any]:
    if getattr(original, "is_ours", False):
        return original

    def assert_python_ok(flag: str, code: str) -> Any:
        text = _PREAMBLE.format(
            path=[*filter(None, sys.path), os.getcwd()], backend=backend, code=code
        )
        return original(flag, text, __isolated=False)

    vars(assert_python_ok)["is_ours"] = True
    return assert_python_ok


def outcomes(backend: str) -> Found:
    """Run them all on a backend; return what became of each."""
    found: Found = {}

    class Result(unittest.TestResult):
        def addSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802
            found[_name(test)] = "ok"

        def addSkip(self, test: unittest.TestCase, reason: str) -> None:  # noqa: N802
            found[_name(test)] = f"skipped: {reason}"

        def addError(self, test: Any, err: Any) -> None:  # noqa: N802
            found[_name(test)] = f"{err[0].__name__}: {err[1]}".split("\n", 1)[0]

        addFailure = addError  # noqa: N815 - as unittest calls it

    loader = unittest.TestLoader()
    sys.path.insert(0, SITE)  # which workers have too
    try:
        suite = unittest.TestSuite(map(loader.loadTestsFromTestCase, _cases(backend)))
        suite.run(Result())
    finally:
        sys.path.remove(SITE)
    return found


def _name(test: Any) -> str:
    return f"{type(test).__name__}.{getattr(test, '_testMethodName', test)}"


if __name__ == "__main__":
    if not is_there():
        sys.exit(f"there is no {PACKAGE}: install it, or say by CPYTHON_TESTS where it is")
    for test, outcome in outcomes(sys.argv[1]).items():
        print(f"{outcome:80.80} {test}")  # noqa: T201 - it is what is asked for
