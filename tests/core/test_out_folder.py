"""Where the files of a result go."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from fancypipe_core import Dir, File, Outputs, Session, current, errors, run, task
from fancypipe_core._engine.out_folder import with_files
from fancypipe_core._model.temp_paths import KEPT
from tests.conformance import filed as f
from tests.meta.repo import ROOT


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    temp, out = tmp_path / "temp", tmp_path / "out"
    temp.mkdir()
    with Session("serial", tempdir=str(temp), outdir=str(out)) as opened:
        yield opened


def left(session: Session) -> list[str]:
    names = os.listdir(session.directory) if os.path.isdir(session.directory) else []
    return sorted(set(names) - {KEPT})


@task
def links(mine: Path) -> File:
    """A link to the user's own file, and so no file that is the session's alone."""
    path = current().tempfile("link.txt")
    os.symlink(mine, path)
    return File(path)


@task
def shares(mine: Path) -> File:
    path = current().tempfile("hard.txt")
    os.link(mine, path)
    return File(path)


@task
def dangles() -> Dir:
    folder = current().tempdir("dangles")
    (folder / "x").write_text("x")
    os.symlink("nowhere", folder / "link")
    return Dir(folder)


@task
def both(text: str) -> tuple[File, str]:
    path = current().tempfile("both.txt")
    path.write_text(text)
    return File(path), str(path)


def test_files_go_there_under_their_names(session: Session, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = session.run(f.writes("1"))
    assert (type(made), made) == (File, out / "one.txt")
    assert made.read_text() == "1"
    assert left(session) == [], "nothing of it is left there"
    folder = session.run({"a": f.fills("x", "y")})["a"]
    assert (type(folder), folder) == (Dir, out / "filled")
    assert sorted(one.read_text() for one in folder.iterdir()) == ["x", "y"]
    assert sorted(one.name for one in out.iterdir()) == ["filled", "one.txt"]


def test_names_that_several_have(
    session: Session, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    same = f.writes("2", "x.nii.gz")
    made = session.run([f.writes("1", "x.nii.gz"), same, same, f.writes("3", ".x")])
    assert [one.name for one in made] == ["x.nii.gz", "x-2.nii.gz", "x-2.nii.gz", ".x"]
    assert [one.read_text() for one in made] == ["1", "2", "2", "3"]
    said = capfd.readouterr().err
    assert said.count("several files of the result are called x.nii.gz") == 1
    assert "x-2.nii.gz for " in said


def test_what_was_there_before_is_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for text in "12":
        with Session("serial", outdir=str(out), tempdir=str(tmp_path)) as session:
            made = session.run(f.writes(text), f.fills(text))
        assert made[0].read_text() == text
        assert [one.read_text() for one in made[1].iterdir()] == [text]
    assert sorted(one.name for one in out.iterdir()) == ["filled", "one.txt"]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["out"]


def test_files_of_others_are_copied_and_not_linked(session: Session, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("mine")
    made = session.run(links(mine), shares(mine))
    mine.write_text("other")
    assert [one.read_text() for one in made] == ["mine", "mine"]
    assert not any(one.is_symlink() for one in made)
    assert session.run(f.returns(mine)) == mine, "it is not in a temporary folder"


def test_links_to_nowhere_are_left_out(session: Session, tmp_path: Path) -> None:
    made = session.run(dangles())
    assert made == tmp_path / "out" / "dangles"
    assert os.listdir(made) == ["x"]


def test_a_folder_that_the_result_still_names_stays(session: Session, tmp_path: Path) -> None:
    file, path = session.run(both("1"))
    assert file == tmp_path / "out" / "both.txt"
    assert Path(path).read_text() == "1"


def test_what_cannot_be_put_there_stays_and_that_is_said(
    session: Session, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    made = session.run(f.writes("1"))
    assert made.read_text() == "1"
    assert made.parts[: len(Path(session.directory).parts)] == Path(session.directory).parts
    assert "could not be put into" in capfd.readouterr().err
    monkeypatch.undo()
    assert os.listdir(session.settings.outdir or "") == [], "nothing half"


@pytest.mark.parametrize("way", ["linked", "by the kernel", "byte by byte"])
def test_ways_to_get_there(session: Session, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    def cannot(*_: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    if way != "linked":
        monkeypatch.setattr(os, "link", cannot)
    if way == "byte by byte":
        monkeypatch.setattr(os, "copy_file_range", cannot, raising=False)
    text = "123" * 1000
    assert session.run(f.writes(text)).read_text() == text


def test_others_that_need_the_file_have_it(session: Session) -> None:
    made = f.writes("1")
    assert session.run([made, f.reads(made)])[1] == "one.txt: 1"
    future = session.submit(f.reads(f.writes("2")))
    assert future.result() == "one.txt: 2"


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.ConfigError, match=r"outdir: the folder .*file cannot be written"):
        Session("serial", outdir=str(tmp_path / "file"))


class Pair(NamedTuple):
    a: Any
    b: Any


@dataclasses.dataclass(frozen=True)
class Frozen:
    a: Any
    b: int = 0


def test_what_is_looked_at() -> None:
    def put(file: Any) -> Any:
        return type(file)("/new", file.name)

    old, new = File("/old/x"), File("/new/x")
    for before, after in [
        (old, new),
        ([1, old], [1, new]),
        ((old, 1), (new, 1)),
        ({old}, {new}),
        ({"a": [old]}, {"a": [new]}),
        (Outputs(a=old), Outputs(a=new)),
        (Pair(old, 1), Pair(new, 1)),
        (Frozen([old]), Frozen([new])),
    ]:
        made = with_files(before, put)
        assert (type(made), made) == (type(after), after)
    circle: list[Any] = [Frozen(1), {"a": ()}]
    circle.append(circle)
    assert with_files(circle, put) is circle, "what has none stays the same object"


KILLED = """
import os, signal, sys
from fancypipe_core import run
from tests.conformance import filed as f

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

made = f.fills("new") if sys.argv[1] == "folder" else f.writes("new")
rename = os.rename

def second(source, target):  # the first one puts aside what was there
    rename(source, target) if ".before" in target else die()

os.replace, os.rename = die, second
run(made, backend="serial", outdir=sys.argv[2], tempdir=sys.argv[2] + "-temp")
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_run_was_about_to_put_is_swept(kind: str, tmp_path: Path) -> None:
    """And what had the name before is there as it was."""
    out = tmp_path / "out"
    made = f.fills("old") if kind == "folder" else f.writes("old")
    run(made, backend="serial", outdir=str(out))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    over = subprocess.run(
        [sys.executable, "-c", KILLED, kind, str(out)],
        check=False,
        capture_output=True,
        cwd=ROOT,
        timeout=100,
    )
    assert over.returncode == -signal.SIGKILL, over.stderr.decode()
    (half,) = out.glob(".fancypipe-*")
    foreign = out / f".fancypipe-1-{'0' * 8}-{'0' * 8}-1-1-{'0' * 16}"
    foreign.mkdir()  # of another machine, where it may run
    run(f.writes("x", "other"), backend="serial", outdir=str(out))
    assert not half.exists()
    assert foreign.exists()
    assert (out / "other").read_text() == "x"
    assert {path: path.read_bytes() for path in before} == before
