"""What tasks need is met on every backend, and said where it cannot be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fancypipe_core import Session
from fancypipe_core._plugins.discovery import find
from fancypipe_core.errors import TaskError, UnmetNeeds
from tests.conformance import needy as n


@pytest.fixture(scope="module", params=["serial", "threads", "procs"])
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
        patch.setattr("fancypipe_core._worker.inline.usable_cores", lambda: 2)
        with Session(request.param, workers=2) as session:
            yield session


def test_devices_are_handed_out(session: Session) -> None:
    assert set(session.run([n.device(k) for k in range(6)])) <= {("3",), ("5",)}
    assert session.run(n.both()) == ("3", "5")


def test_a_task_without_needs_finds_all_as_it_was(session: Session) -> None:
    session.run(n.device())
    assert session.run(n.nothing_special()) == (1, (), "3,5")


def test_a_program_sees_the_devices_of_its_task_only(session: Session) -> None:
    assert session.run(n.a_program()) in ("3\n", "5\n")


def test_needs_hold_for_tasks_that_tasks_make(session: Session) -> None:
    assert session.run(n.makes_needy()) == 2


def test_needs_hold_for_the_elements_of_a_map(session: Session) -> None:
    assert session.run(n.element.map(range(5))) == [(k, 2) for k in range(5)]
    mapped = n.element.map(range(3)).with_options(needs=None)
    assert session.run(mapped) == [(k, 1) for k in range(3)]


def test_no_more_cores_are_promised_than_there_are(session: Session, tmp_path: Path) -> None:
    assert set(session.run([n.counted(k, str(tmp_path)) for k in range(6)])) == {1}


@pytest.mark.parametrize("backend", ["threads", "procs"])
def test_none_waits_behind_those_that_wait_for_a_device(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many they are: a slot is free, and it is not kept."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    file = str(tmp_path / "made")
    with Session(backend, workers=2) as session:
        waiting = [session.submit(n.until_there(k, file)) for k in range(60)]
        session.run(n.makes(file))
        assert all(one.result() for one in waiting)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (n.too_many, "task too_many needs 10000 cpus, and there are 2 cpus"),
        (n.too_large, r"task too_large needs 900T of memory, and there is [\d.]+[MGT] of memory"),
        (n.too_visible, "task too_visible needs 50 gpus, and there are 2 gpus"),
    ],
)
def test_what_can_never_be_met_ends_the_run(session: Session, task: Any, said: str) -> None:
    with pytest.raises(TaskError, match=said) as found:
        session.run([task()])
    assert isinstance(found.value, UnmetNeeds)
    assert re.search(r"test_needs\.py:\d+", str(found.value))
    assert session.run(n.cores()) == 2


def test_a_backend_says_once_what_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    plugin = find("threads")._replace(understands=frozenset({"cpus"}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
        patch.setattr("fancypipe_core._plugins.discovery.find", lambda _name: plugin)
        with Session("threads", workers=2) as session:
            assert session.run([n.cores(), n.device(1), n.device(2), n.cores()])[0] == 2
    told = [line for line in capsys.readouterr().err.splitlines() if "need" in line]
    assert [re.sub(r"\(of.*\)", "()", line) for line in told] == [
        f"fancypipe: the backend threads does not know the need {name!r} (): its tasks run as if "
        "they did not have it"
        for name in ("memory", "gpu")
    ]
