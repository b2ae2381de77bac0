"""`Traces`: what came since then and is known goes, and nothing else."""

from __future__ import annotations

import multiprocessing
import os
import threading

import pytest

from fancypipe_core.toolkit import Traces
from tests.waiting import wait_until


def test_variables_are_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACES_KEPT", "1")
    monkeypatch.delenv("TRACES_NEW", raising=False)
    traces = Traces(["TRACES_KEPT", "TRACES_NEW"])
    os.environ["TRACES_KEPT"] = os.environ["TRACES_NEW"] = "2"
    traces.restore_variables()
    assert os.environ["TRACES_KEPT"] == "1"
    assert "TRACES_NEW" not in os.environ


def test_only_what_came_since_then_and_has_the_name_is_waited_for() -> None:
    over = threading.Event()

    def started(name: str) -> threading.Thread:
        thread = threading.Thread(target=over.wait, args=(60,), name=name)
        thread.start()
        return thread

    others = [started("helper 0")]
    traces = Traces(threads="helper")
    others.append(started("other"))
    traces.clear(60.0)  # comes back, though these run
    assert all(thread.is_alive() for thread in others)
    mine = started("helper 1")
    threading.Timer(0.1, over.set).start()
    traces.clear(60.0)
    assert not mine.is_alive()
    for thread in others:
        thread.join(60)


def test_only_children_that_came_since_then_are_killed() -> None:
    context = multiprocessing.get_context("spawn")
    over = context.Event()

    def started(name: str) -> multiprocessing.process.BaseProcess:
        child = context.Process(target=over.wait, args=(60,), name=name)
        child.start()
        return child

    old = started("worker 0")
    traces = Traces(children="worker")
    other, mine = started("other"), started("worker 1")
    traces.kill_children()
    wait_until(lambda: not mine.is_alive())
    assert mine.exitcode == -9
    assert old.is_alive()
    assert other.is_alive()
    over.set()
    for child in (old, other):
        child.join(60)


def test_nothing_goes_that_nobody_named() -> None:
    over = threading.Event()
    traces = Traces()
    child = multiprocessing.get_context("spawn").Process(target=os.getpid, name="worker")
    thread = threading.Thread(target=over.wait, args=(60,))
    child.start()
    thread.start()
    traces.clear(60.0)
    assert thread.is_alive()
    over.set()
    thread.join(60)
    child.join(60)
    assert child.exitcode == 0
