"""A temporary folder lives as long as a value that names it, however it does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fancypipe_core import Exec, Session
from fancypipe_core._model.temp_paths import mentions
from tests.conformance import leaving_files as f


def left(session: Session) -> list[str]:
    """The temporary folders that there are now."""
    return sorted(os.listdir(session.directory)) if os.path.isdir(session.directory) else []


def test_it_is_there_for_who_is_given_it(session: Session) -> None:
    targets = {}
    for way in f.WAYS:
        made = f.leaves(way)
        passed = f.passes(made)
        targets[way] = [f.reads(made), f.reads(passed), f.composes(made), f.reads(f.passes(passed))]
    before = left(session)
    assert session.run(targets) == dict.fromkeys(f.WAYS, ["1"] * 4)
    assert left(session) == before, "nobody has them any more"


def test_it_is_there_for_what_a_task_or_module_composes(session: Session) -> None:
    before = left(session)
    assert session.run(f.waits(), f.unfolds("str"), f.reads(f.waits_in_a_task())) == ("1",) * 3
    assert session.run(f.reads(f.fails_once())) == "1"
    assert session.run(f.leaves_nothing()) == 1
    assert left(session) == before, "nobody has them any more"


def test_it_goes_when_nobody_names_it(session: Session) -> None:
    before = left(session)
    made = f.leaves("str")
    session.run([f.folder_of(made), f.reads(made)])
    assert left(session) == before


@pytest.mark.parametrize("way", ["str", "pathlib", "f-string", "large array", "outputs"])
def test_the_caller_keeps_what_it_gets(backend: str, way: str, tmp_path: Path) -> None:
    with Session(backend, 1, tempdir=str(tmp_path)) as session:
        got = session.run(f.leaves(way))
        other = session.run(f.waits_in_a_task())
        session.run(f.reads(f.leaves(way)))
        assert f.path_in(got).read_text() == "1"
    assert f.path_in(got).read_text() == f.path_in(other).read_text() == "1"
    assert len(list(tmp_path.rglob("one.txt"))) == 2, "these and no others"


def test_programs_with_no_files_have_a_folder_of_their_own(session: Session) -> None:
    assert session.run(f.programs(4)) == [f"{i}\n" for i in range(4)]
    done = session.run(Exec("pwd", files={}))
    assert str(done.folder) == done.stdout.strip() != os.getcwd()


def test_names_in_bytes() -> None:
    folder = "/tmp/x/make-3.1"
    for encoding in ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        data = f"ab{folder}/c".encode(encoding)
        assert mentions(data, folder)
        assert mentions(memoryview(bytearray(bytes(3_000_001) + data)), folder)
        assert not mentions(data, "/tmp/x/make-13.1")
    for begin in range((1 << 20) - 70, (1 << 20) + 2):
        assert mentions(bytearray(bytes(begin) + b"make-3.1"), folder)
