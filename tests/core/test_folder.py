"""The current folder and the locale, asked for with the lock of the interpreter held."""

from __future__ import annotations

import locale
import os
import sys
import threading
from pathlib import Path

import pytest

from fancypipe_core._base.folder import folder, swift_folder, swift_locale

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


def test_the_locale_is_told_as_python_tells_it() -> None:
    asked = swift_locale()
    if asked is None:
        pytest.skip("Python is asked here")
    before = locale.setlocale(locale.LC_ALL)
    assert asked() == before.encode()
    try:
        locale.setlocale(locale.LC_ALL, "C")
        assert asked() == b"C"
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
        assert asked() == locale.setlocale(locale.LC_ALL).encode() != b"C"
    finally:
        locale.setlocale(locale.LC_ALL, before)
