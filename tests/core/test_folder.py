"""The current folder, asked for with the lock of the interpreter held."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from fancypipe_core._base.folder import folder, swift_folder

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("name", ["plain", "ünïcode", "with space"])
def test_it_is_what_the_system_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    asked = swift_folder()
    there = tmp_path / name
    there.mkdir()
    monkeypatch.chdir(there)
    assert asked() == folder() == os.getcwdb()
    monkeypatch.chdir(tmp_path)
    assert asked() == folder() == os.fsencode(tmp_path.resolve())


def test_one_that_was_removed_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = swift_folder()
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert asked() is None
    assert folder() is None


def test_one_that_is_longer_than_the_buffer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = swift_folder()
    monkeypatch.chdir(tmp_path)
    for _ in range(30):
        os.mkdir("d" * 200)
        monkeypatch.chdir("d" * 200)
    assert len(os.getcwdb()) > 4096
    assert asked() == os.getcwdb()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is asked in the usual way")
def test_no_other_thread_runs_meanwhile() -> None:
    asked, gate, ran = swift_folder(), threading.Lock(), threading.Event()

    def wait() -> None:
        with gate:
            ran.set()

    thread = threading.Thread(target=wait)
    before = sys.getswitchinterval()
    gate.acquire()
    thread.start()
    # Who waits for the lock of the interpreter gets it only where it is given up.
    sys.setswitchinterval(100.0)
    try:
        gate.release()
        for _ in range(2000):
            asked()
        assert not ran.is_set()
    finally:
        sys.setswitchinterval(before)
        thread.join()
