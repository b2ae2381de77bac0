"""Processes of ours are started with nothing in their way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fancypipe_core import Session, task
from fancypipe_core._base.interpreter import interpreter
from fancypipe_core._doctor.clean import Clean
from fancypipe_core._wire import messages

# What a process of ours imports, early and late.
IN_THE_WAY = (
    *("runpy", "zipfile", "socket", "selectors", "msgspec", "tempfile", "faulthandler"),
    *("fancypipe_core", "fancypipe_procs", "fancypipe_remote", "sitecustomize"),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files that are called as modules of ours and of Python's own."""
    for name in IN_THE_WAY:
        text = f"open({str(tmp_path / 'ran')!r}, 'a').write('{name} ')\n"
        (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


@task
def find(name: str) -> str:
    return str(__import__(name).__file__)


def test_a_module_is_run_as_by_dash_m(folder: Path) -> None:
    code = "import sys, zipfile; print(__name__, sys.argv, sorted(globals()))"
    (folder / "home").mkdir()
    (folder / "home" / "shown.py").write_text(code)
    env = {"PYTHONPATH": str(folder / "home")}
    says = [
        subprocess.run(
            command, check=True, cwd=folder / "home", env=env, capture_output=True, text=True
        ).stdout
        for command in ([*interpreter("shown"), "a"], [sys.executable, "-m", "shown", "a"])
    ]
    assert says[0] == says[1]
    subprocess.run(interpreter("shown"), check=True, cwd=folder, env=env, capture_output=True)
    assert not (folder / "ran").exists()


def test_children_of_procs_import_nothing_from_the_current_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    with Session(backend="procs", workers=1) as session:
        assert str(folder) not in session.run(find("zipfile"))
    assert not (folder / "ran").exists()


def test_the_doctors_child_imports_nothing_from_the_current_folder(folder: Path) -> None:
    setup = messages.Setup([], [], None, str(folder))
    with Clean(setup, limit=20.0, cwd=str(folder)) as child:
        child.imported()
    assert not (folder / "ran").exists()
