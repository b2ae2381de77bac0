"""Files as inputs and outputs of tasks, on every backend."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fancypipe_core import Dir, Exec, File, Session, errors
from tests.conformance import conftest
from tests.conformance import filed as f

BACKENDS = (*conftest.BACKENDS, "remote")


def left(session: Session) -> list[str]:
    return sorted(os.listdir(session.directory)) if os.path.isdir(session.directory) else []


def test_a_file_is_there_for_who_is_given_it(session: Session, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    made = f.writes("made")
    before = left(session)
    assert session.run(
        f.reads(made),
        f.reads(tmp_path / "mine"),
        f.Reads(str(tmp_path / "mine")),
        f.joins([made, tmp_path / "mine"], {"a": made}, made, str(tmp_path / "mine")),
        f.lists(f.fills("a", "b")),
        f.reads(f.copies(f.copies(made))),
    ) == ("one.txt: made", "mine: mine", "mine", "mademinemademademine", ["a", "b"],
          "one.txt: made!!")  # fmt: skip
    assert left(session) == before, "nobody has them any more"


def test_files_in_what_is_returned(session: Session) -> None:
    made = f.several()
    assert session.run(f.joins(made[1]), f.reads(f.outputs()["first"])) == (
        "12", "named.txt: named",
    )  # fmt: skip
    first, others = session.run(made)
    assert [type(one) for one in (first, *others)] == [File] * 3
    assert first.read_text() == "0", "the caller has it now"


def test_maps(session: Session, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    files = f.writes.map(["1", "2"])
    assert session.run(f.reads.map(files)) == ["one.txt: 1", "one.txt: 2"]
    assert session.run(f.reads.map([str(tmp_path / "mine")])) == ["mine: mine"]
    with pytest.raises(errors.BadInput, match=r"reads\.map/0.*input file: there is no file"):
        session.run(f.reads.map([tmp_path / "none"]))


def test_what_a_task_says_it_returns_must_be_there(session: Session, tmp_path: Path) -> None:
    with pytest.raises(errors.BadInput, match=r"task returns: its output: there is no file .*none"):
        session.run(f.returns(str(tmp_path / "none")))
    with pytest.raises(errors.BadInput, match="its output must be a path of a file, not 3"):
        session.run(f.returns(3))
    with pytest.raises(errors.BadInput, match="its output: the path is empty"):
        session.run(f.returns(""))


def test_a_file_that_has_changed_is_told(session: Session) -> None:
    made = f.writes("it was")
    with pytest.raises(errors.BadInput, match=r"has changed since it was made: it had 6 bytes"):
        session.run(f.unspoilt(made, f.spoils(made)))


def test_other_members_of_a_union(session: Session, tmp_path: Path) -> None:
    assert session.run(f.either(), f.either("text"), f.either(f.writes("x"))) == (
        "NoneType", "str", "File",
    )  # fmt: skip


def test_defaults_and_wrapped_functions(session: Session, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    assert session.run(f.has_defaults(), f.has_defaults(2, str(tmp_path / "mine"))) == (
        "File filed.py None", "File mine None",
    )  # fmt: skip
    assert session.run(f.shouts(str(tmp_path / "mine"))) == "mine!"
    with pytest.raises(errors.BadInput, match="task shouts: input file: there is no file"):
        f.shouts(tmp_path / "none")


def test_it_is_a_path(session: Session) -> None:
    found = session.run(f.kinds(f.writes("x")))
    plain = type(Path()).__name__
    assert (found.parent, found.joined, found.text, found.equal) == (plain, plain, True, True)
    assert found.digest == session.run(f.kinds(f.writes("x", "other")))["digest"]
    assert found.digest != session.run(f.kinds(f.writes("y")))["digest"]


# ---- programs ----


def test_outputs_of_a_program(session: Session) -> None:
    script = "mkdir out; cat in.txt > out/a.txt; echo 2 > out/b.txt; echo log"
    made = Exec(
        "sh", "-c", script,
        files={"in.txt": "1\n"},
        outputs={"one": "out/a.txt", "parts": "out/*.txt", "all": "**/*.txt", "folder_": "out"},
    )  # fmt: skip
    joined = f.joins(made["parts"])
    assert session.run(f.reads(made["one"]), joined, f.lists(made["folder_"])) == (
        "a.txt: 1\n", "1\n2\n", ["1\n", "2\n"],
    )  # fmt: skip
    done = session.run(made)
    assert type(done["one"]) is File
    assert type(done["folder_"]) is Dir
    assert [one.name for one in done["all"]] == ["a.txt", "b.txt"], "in.txt is none that it made"
    assert (done.stdout, done.code, done.folder) == ("log\n", 0, done["one"].parent.parent)


def test_an_output_that_is_missing_shows_the_folder(session: Session) -> None:
    script = "mkdir -p out/empty; printf 12345 > out/near.bam; echo reason >&2"
    with pytest.raises(errors.ExecError) as caught:
        session.run(Exec("sh", "-c", script, outputs={"sorted": "out/*.sam", "log": "log"}))
    said = str(caught.value.__cause__)
    assert said.startswith(f"sh -c '{script}' ended with exit code 0 and did not make its output")
    assert "'sorted' (out/*.sam) and 'log' (log); its folder, " in said
    assert "\n  out/near.bam  5 bytes" in said
    assert "\n  out/empty/  (empty)" in said
    assert "\n  | reason" in said
    assert caught.value.stderr == "reason\n"


@pytest.mark.parametrize(
    ("name", "pattern", "why"),
    [
        ("stdout", "a", "has the name of what each program gives"),
        ("a", "/etc/passwd", "must be a path or pattern below"),
        ("a", "x/../../b", "must be a path or pattern below"),
        ("a", "", "must be a path or pattern below"),
    ],
)
def test_outputs_that_cannot_be(session: Session, name: str, pattern: str, why: str) -> None:
    with pytest.raises(errors.BadInput, match=why):
        session.run(Exec("no-such-program", outputs={name: pattern}))
