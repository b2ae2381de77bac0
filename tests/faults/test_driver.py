"""The engine's own loop, and backends that are silent."""

from __future__ import annotations

import pytest

from fancypipe_core import Session, errors, task
from fancypipe_core._engine.watchdog import Watchdog
from fancypipe_core._plugins import discovery
from fancypipe_core.backend import BackendPlugin, Sink
from tests.faults.conftest import Plan


@task
def square(x: int) -> int:
    return x * x


@pytest.mark.fault(80)
@pytest.mark.parametrize("backend", ["serial", "threads", "procs"])
def test_a_mistake_in_the_loop_ends_the_run_with_its_story(backend: str, plan: Plan) -> None:
    with Session(backend, 2, debug=True) as session:
        plan("driver.turn=raise")
        with pytest.raises(
            errors.InternalError, match="the engine's loop failed, InjectedFault: a test planned"
        ) as caught:
            session.run([square(i) for i in range(10)])
        assert "task 1" in str(caught.value)
        plan("")
        assert session.run(square(3)) == 9


class Mute:
    """Never says that it is up."""

    def start(self, sink: Sink) -> None:
        """Say nothing."""

    def submit(self, jobs: object) -> None:
        """Do nothing."""

    cancel = recall = submit

    def stop(self, grace: float) -> None:
        """Nothing to end."""


def test_a_backend_that_does_not_come_up(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = BackendPlugin("mute", (), "for tests", lambda _: Mute())
    monkeypatch.setattr(discovery, "find", lambda _name: plugin)
    with pytest.raises(
        errors.BackendStartError,
        match=r"no worker within 0\.2 seconds.*the setting backend_start_limit",
    ):
        Session("mute", 1, backend_start_limit=0.2)


class Backend(Mute):
    """Says what it was told to say."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)

    def check(self) -> str:
        return self.answers.pop(0)


def test_the_same_place_for_too_long_is_a_freeze() -> None:
    watch = Watchdog(Backend("here", "there", "", "here", "here", "here"), 2.0, lambda: "the story")
    for _ in range(5):
        watch.silent()
    with pytest.raises(errors.InternalError, match=r"(?s)not moved for 2 s .*: here.*the story"):
        watch.silent()


def test_what_is_heard_in_between_is_a_sign_of_life() -> None:
    watch = Watchdog(Backend(*["here"] * 20), 2.0, str)
    for _ in range(10):
        watch.silent()
        watch.silent()
        watch.heard()


def test_a_backend_need_not_answer() -> None:
    Watchdog(object(), 0.0, str).silent()
