"""Files that go to workers with their content: read once for many jobs, and anew when changed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from fancypipe_core import Dir, File
from fancypipe_core._model import file_contents
from fancypipe_core._model.carriage import Carried, bare, carried, read
from fancypipe_core._model.file_contents import FileContents
from fancypipe_core.backend import Call, Job, Payload


def job_of(*paths: File | Dir) -> Job:
    kinds = [b"d" if isinstance(path, Dir) else b"f" for path in paths]
    names = tuple(bare(kind, str(path)) for kind, path in zip(kinds, paths, strict=True))
    return Job((1, 1), Call("takes", (Payload(b"."),)), (Payload(b".", names),))


def sent(contents: FileContents, *paths: File | Dir) -> tuple[Any, ...]:
    """Return what goes in the place of these."""
    (job,) = contents.given([job_of(*paths)])
    assert isinstance(job.inputs, tuple)
    return job.inputs[0].buffers


def said(buffer: Any) -> bytes:
    content = read(buffer).content
    assert content is not None
    return bytes(content)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file was written long ago."""
    monkeypatch.setattr(file_contents, "_FRESH", -60.0)


@pytest.mark.usefixtures("settled")
def test_a_file_is_read_once_as_long_as_it_is_the_same(tmp_path: Path) -> None:
    contents, path = FileContents(), File(tmp_path / "a")
    path.write_bytes(b"123")
    (first,) = sent(contents, path)
    assert type(first) is Carried
    assert said(first) == b"123"
    one, other = sent(contents, path, path)
    assert one is other is first
    path.write_bytes(b"456")
    (second,) = sent(contents, path)
    assert said(second) == b"456"
    assert second.known_by != first.known_by
    assert sent(contents, path)[0] is second
    path.unlink()
    assert read(sent(contents, path)[0]).content is None, "the worker says that it is not there"


@pytest.mark.usefixtures("settled")
def test_a_folder_is_read_anew_when_anything_in_it_has_changed(tmp_path: Path) -> None:
    folder = Dir(tmp_path / "d")
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a").write_bytes(b"123")
    contents = FileContents()
    (first,) = sent(contents, folder)
    assert sent(contents, folder)[0] is first
    with (folder / "sub" / "a").open("r+b") as file:
        file.write(b"4")
    os.utime(folder / "sub" / "a", (0, 0))
    (second,) = sent(contents, folder)
    assert second is not first
    assert said(second) != said(first)


def test_what_has_just_been_written_is_not_kept(tmp_path: Path) -> None:
    contents = FileContents()
    (tmp_path / "d").mkdir()
    (tmp_path / "a").write_bytes(b"123")
    (tmp_path / "d" / "a").write_bytes(b"123")
    for path in (File(tmp_path / "a"), Dir(tmp_path / "d")):
        assert sent(contents, path)[0] is not sent(contents, path)[0]


@pytest.mark.usefixtures("settled")
def test_it_keeps_what_was_used_last_and_no_more_than_it_may(tmp_path: Path) -> None:
    paths = [File(tmp_path / name) for name in "abc"]
    for path in paths:
        path.write_bytes(bytes(1000))
    room = len(carried(b"f", str(paths[0])))
    contents = FileContents(2 * room)
    a, b = sent(contents, *paths[:2])
    assert sent(contents, paths[0])[0] is a
    sent(contents, paths[2])  # the second goes
    assert sent(contents, paths[0])[0] is a
    assert sent(contents, paths[1])[0] is not b
    paths[0].write_bytes(bytes(5 * room))
    assert sent(contents, paths[0])[0] is not sent(contents, paths[0])[0], "it is too large"
    assert contents._size == sum(len(made) for _, made in contents._known.values()) <= 2 * room


def test_what_is_known_by_the_same_is_the_same(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(b"123")
    one, same, elsewhere = (carried(b"f", str(tmp_path / name)) for name in "aab")
    assert one == same
    assert one.known_by == same.known_by != elsewhere.known_by
    (tmp_path / "a").write_bytes(b"124")
    assert carried(b"f", str(tmp_path / "a")).known_by != one.known_by
