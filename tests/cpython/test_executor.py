"""Our executor passes CPython's own tests of executors, but for those named here."""

from __future__ import annotations

import pytest

from tests.cpython import harness

_PRINTS = "what a task prints in a worker process comes under the task's name"
_MADE = "an executor is one of a session, whose `workers` say so by a ConfigError"
REASONS = {
    "threads": {"ExecutorTest.test_max_workers_negative": _MADE},
    "procs": {
        "ExecutorTest.test_max_workers_negative": _MADE,
        "ExecutorShutdownTest.test_interpreter_shutdown": _PRINTS,
        "ExecutorShutdownTest.test_hang_gh83386": _PRINTS,
    },
}
SHOWN = {
    _PRINTS: "b'[sleep_and_print] apple' != b'apple'",
    _MADE: "ConfigError: argument workers must be a whole number from 1",
}


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["threads", "procs"])
def test_as_cpython_does(backend: str) -> None:
    if not harness.is_there():
        pytest.skip("this Python comes without the tests of CPython")
    found = harness.outcomes(backend)
    assert len(found) >= 25
    failed = {test: said for test, said in found.items() if said != "ok"}
    assert failed.keys() == REASONS[backend].keys(), failed
    for test, said in failed.items():
        assert SHOWN[REASONS[backend][test]] in said
