"""`File` and `Dir` in the client: what is checked where a task is called, and what it costs."""

from __future__ import annotations

import copy
import os
import pickle
import shlex
import sys
from pathlib import Path

import pytest

from fancypipe_core import Dir, Exec, File, Session, errors, task
from fancypipe_core._base import file_digests
from fancypipe_core._model import exec_outputs
from fancypipe_core._model.task import definition_of
from fancypipe_core.hooks import TaskNote, hookimpl
from tests.conformance import filed as f
from tests.meta.repo import python


@task
def plain(x: int, path: Path, name: str = "") -> str:
    return name


def test_what_is_not_there_is_told_where_the_task_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scan-01.nii").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(errors.BadInput) as caught:
        f.reads("scan-02.nii")
    said = str(caught.value)
    assert said.startswith(f"task reads: input file: there is no file {tmp_path}/scan-02.nii on ")
    assert said.endswith("; did you mean scan-01.nii?")
    for wrong, why in {
        "sub/a/x": rf": {tmp_path} has no sub$",
        "zzz": rf"; {tmp_path} has scan-01.nii$",
        ".": "is no file$",
        "": "the path is empty$",
    }.items():
        with pytest.raises(errors.BadInput, match=why):
            f.reads(wrong)
    os.symlink("gone", "link")
    with pytest.raises(errors.BadInput, match="link points to gone, which is not there"):
        f.reads("link")
    with pytest.raises(errors.BadInput, match=r"task joins: input files\[1\]: there is no file"):
        f.joins(["scan-01.nii", "none"])
    with pytest.raises(errors.BadInput, match=r"input more\['a'\]: there is no file"):
        f.joins([], {"a": "none"})
    with pytest.raises(errors.BadInput, match=r"task lists: input folder: .* is no folder"):
        f.lists("scan-01.nii")
    with pytest.raises(errors.BadInput, match="must be a path of a file, not 3"):
        f.reads(3)
    with pytest.raises(TypeError, match="missing: 'file'"):
        f.reads()


def test_a_path_is_made_absolute_where_the_task_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one").write_text("1")
    monkeypatch.chdir(tmp_path)
    made = f.reads("one")
    monkeypatch.chdir("/")
    with Session("serial") as session:
        assert session.run(made) == "one: 1"


def test_copies_and_pickles(tmp_path: Path) -> None:
    path = File(tmp_path, "a\udcff")
    path.write_text("123")
    for same in (copy.copy(path), copy.deepcopy(path)):
        assert same is path, "it cannot be changed"
    same = pickle.loads(pickle.dumps(path))
    assert (type(same), same, same.size) == (File, path, 3)
    folder = pickle.loads(pickle.dumps(Dir(tmp_path)))
    assert (type(folder), folder.size) == (Dir, None)
    assert [type(one) for one in folder.iterdir()] == [type(Path())]
    assert [type(one) for one in path.parents][:1] == [type(Path())]
    assert repr(folder) == f"Dir({str(tmp_path)!r})"


def test_digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = File(tmp_path / "a")
    path.write_text("1")
    monkeypatch.setattr(file_digests, "_FRESH", -1.0)
    before, folder = path.digest, Dir(tmp_path).digest
    monkeypatch.setattr(file_digests, "_read", lambda _: pytest.fail("it was read again"))
    assert path.digest == before
    monkeypatch.undo()
    path.write_text("2")
    os.utime(path, ns=(1, 1))
    assert path.digest != before
    changed = Dir(tmp_path).digest
    assert changed != folder
    path.rename(tmp_path / "b")
    assert Dir(tmp_path).digest not in (folder, changed)
    (tmp_path / "sub").mkdir()
    with_folder = Dir(tmp_path).digest
    os.symlink("nowhere", tmp_path / "sub" / "link")
    assert Dir(tmp_path).digest != with_folder


def test_a_task_without_files_is_called_as_before() -> None:
    definition = definition_of(plain)
    assert not definition.names_files
    assert (definition.least, definition.most) == (2, 3)
    assert definition_of(f.reads).names_files


def test_pipelines_without_files_import_nothing_of_it() -> None:
    code = """\
from fancypipe_core import Exec, run, task
import sys
@task
def one(x: int) -> int:
    return x
run(one(1), backend="serial")
print([name for name in sys.modules if "file" in name and name.startswith("fancypipe")])
"""
    over = python(code)
    assert over.stdout.strip() == "[]", over.stderr


def test_the_command_line_of_a_program_is_noted_and_not_shown(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    class Notes:
        def __init__(self) -> None:
            self.notes: list[TaskNote] = []

        @hookimpl
        def fancypipe_notes(self, notes: list[TaskNote]) -> None:
            self.notes += notes

    seen = Notes()
    with Session("serial", observers=[seen]) as session:
        session.run(Exec("true", "a b", 1))
        program = f"printf '%5000s' out; echo {'no'}tice >&2; kill -TERM $$"
        session.run(Exec("sh", "-c", program, cwd=tmp_path, check=False))
        session.run(Exec("echo", "shown", show=True))
    told = [(note.stream, note.text) for note in seen.notes if note.name == "exec"]
    here = ("folder", os.getcwd())
    assert told == [
        ("command", "true 'a b' 1"), here, ("exit", "exit code 0"),
        ("command", shlex.join(["sh", "-c", program])), ("folder", str(tmp_path)),
        ("exit", "SIGTERM"), ("program-stdout", f"...{' ' * 3997}out"),
        ("program-stderr", "notice\n"),
        ("command", "echo shown"), here, ("log", "shown"), ("exit", "exit code 0"),
    ]  # fmt: skip
    assert "".join(capfd.readouterr()) == "fancypipe: exec: shown\n"


def test_a_long_listing_is_cut(tmp_path: Path) -> None:
    for at in range(40):
        (tmp_path / f"{at:02}").write_text("x")
    os.symlink("nowhere", tmp_path / "00-link")
    said = exec_outputs.listing(tmp_path)
    assert said.count("\n") == 31
    assert said.endswith("\n  ... and 11 more")
    assert "\n  00-link  (a link to what is not there)" in said
    (tmp_path / "empty").mkdir()
    assert exec_outputs.listing(tmp_path / "empty") == " nothing"


def test_python_is_new_enough_for_the_private_names() -> None:
    """Before 3.12 what is derived from a path asks for other methods than afterwards."""
    assert hasattr(Path, "with_segments") == (sys.version_info >= (3, 12))
