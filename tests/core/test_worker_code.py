"""Jobs of two clients in one worker process: one client's at a time, and each has its turn."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fancypipe_core.toolkit.shipping import client_modules, worker_code
from fancypipe_core.toolkit.shipping.bundle import Code, Place
from fancypipe_core.toolkit.shipping.client_code import BUSY, NONE, Wish
from fancypipe_core.toolkit.shipping.client_modules import ClientModules
from fancypipe_core.toolkit.shipping.worker_code import WorkerCode

SHORT = 0.001  # seconds
A, B, C = b"a", b"b", b"c"


class Process(WorkerCode):
    """Switches without looking at code."""

    def _switch(self, digest: bytes, parts: Sequence[Any], setup: bytes) -> Wish:
        self._digest = digest
        self._setup = setup
        self.times += 1
        return NONE

    def begin(self, digest: bytes, patience: float = SHORT) -> bool:
        """Tell whether a job begins."""
        wish = self.enter(digest, [], b"", patience)
        assert wish in (NONE, (BUSY, ""))
        return wish == NONE


def test_a_forked_child_has_not_begun_what_its_parent_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mine = worker_code.here()
    assert worker_code.here() is mine
    with monkeypatch.context() as child:
        child.setattr("os.getpid", lambda: -1)
        assert worker_code.here() is not mine


def test_a_package_that_others_share_stays_without_the_clients_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed, project = tmp_path / "installed", tmp_path / "project"
    for folder, name in ((installed, "lib"), (project, "mine")):
        (folder / "shared").mkdir(parents=True)
        (folder / "shared" / f"{name}.py").write_text("", "utf-8")
        monkeypatch.syspath_prepend(str(folder))
    is_there = str(installed)
    monkeypatch.setattr(client_modules, "is_installed", lambda path: path.startswith(is_there))
    file = os.fsencode(project / "shared" / "mine.py")
    for name in ("shared", "shared.lib", "shared.mine"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    lib = importlib.import_module("shared.lib")
    modules = ClientModules(Code({file: b""}, [os.fsencode(project)]), Place(), frozenset())
    assert modules.enter() == []
    assert sys.modules["shared.lib"] is lib
    importlib.import_module("shared.mine")
    modules.leave()
    assert "shared.mine" not in sys.modules
    assert not hasattr(sys.modules["shared"], "mine")
    assert sys.modules["shared"].lib is lib
    for name in ("shared", "shared.lib"):
        del sys.modules[name]


def test_jobs_of_one_client_run_beside_each_other() -> None:
    process = Process()
    assert process.begin(A)
    assert process.begin(A)
    assert process.times == 1


def test_another_waits_until_all_have_ended() -> None:
    process = Process()
    assert process.begin(A)
    assert process.begin(A)
    process.leave()
    assert not process.begin(B)
    process.leave()
    assert process.begin(B)
    assert process.times == 2


def test_it_begins_as_soon_as_they_have() -> None:
    process = Process()
    assert process.begin(A)
    begun = threading.Event()

    def wait() -> None:
        if process.begin(B, 60.0):
            begun.set()

    other = threading.Thread(target=wait)
    other.start()
    process.leave()
    assert begun.wait(30.0)
    other.join()


def test_nobody_begins_before_who_has_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process()
    assert process.begin(A)
    assert not process.begin(B)
    assert not process.begin(A), "else the other might wait for ever"
    assert not process.begin(C)
    process.leave()
    assert not process.begin(A)
    assert process.begin(B)
    process.leave()
    assert process.begin(A), "its turn is over"


def test_a_turn_that_is_not_taken_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(worker_code, "monotonic", lambda: now[0])
    process = Process()
    assert process.begin(A)
    assert not process.begin(B, 0.0)
    assert not process.begin(A, 0.0)
    now[0] += 3.0
    assert process.begin(A, 0.0), "it has gone elsewhere"
