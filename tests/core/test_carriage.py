"""How files are written down, with and without their content, and made again elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from fancypipe_core import Dir, File, errors, task
from fancypipe_core._codec.values import EncodedValues
from fancypipe_core._model import carriage
from fancypipe_core._model.carriage import bare, carried, land, read
from fancypipe_core._model.file_contents import FileContents
from fancypipe_core.backend import Call, Job, Payload


def test_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "a\udcff b"
    path.write_bytes(b"123")
    record = read(bare(b"f", str(path)))
    assert record == (b"f", 3, str(path), "", None)
    whole = read(carried(b"f", str(path)))
    assert (whole.size, bytes(whole.content or b"")) == (3, b"123")
    assert whole.folder.startswith("came-")
    path.unlink()
    assert read(bare(b"f", str(path))).size == -1, "whoever needs it says that it is not there"
    first, again = land(whole, str(tmp_path)), land(whole, str(tmp_path))
    assert first == again == str(tmp_path / whole.folder / path.name)
    assert Path(first).read_bytes() == b"123"
    assert os.listdir(Path(first).parent) == [path.name], "nothing half"


def test_what_was_changed_or_cut_on_its_way_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"123")
    whole = carried(b"f", str(path))
    whole[-1] ^= 1
    with pytest.raises(errors.DecodeError, match="has changed on its way"):
        land(read(whole), str(tmp_path))
    with pytest.raises(errors.DecodeError, match="was cut short on its way"):
        read(whole[:-1])
    with pytest.raises(errors.DecodeError, match="no file"):
        read(b"something else")
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside"])
def test_nothing_is_written_outside_of_a_folder(tmp_path: Path, name: str) -> None:
    encoded = name.encode()
    content = carriage._MEMBER.pack(b"f", 0o600, len(encoded), 1) + encoded + b"x"
    with pytest.raises(errors.DecodeError, match="a folder with"):
        carriage._unfold(memoryview(content), str(tmp_path / "in"))


def test_nothing_is_written_by_way_of_a_link(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    pack = carriage._MEMBER.pack
    target = os.fsencode(tmp_path / "outside")
    content = pack(b"l", 0, 1, len(target)) + b"a" + target
    content += pack(b"f", 0o600, 3, 1) + b"a/b" + b"x"
    (tmp_path / "in").mkdir()
    with pytest.raises(OSError, match="a/b"):
        carriage._unfold(memoryview(content), str(tmp_path / "in"))
    assert os.listdir(tmp_path / "outside") == []


@task
def takes(*values: Any) -> None:
    pass


def job_of(*values: Any) -> Job:
    body = EncodedValues().pack_inputs(takes(*values)).body
    assert isinstance(body, tuple)
    return Job((1, 1), Call("takes", (Payload(b"."),)), body)


def buffers_of(job: Job) -> Any:
    assert isinstance(job.inputs, tuple)
    return job.inputs[-1].buffers


def test_jobs_get_the_contents_of_files_that_are_here(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"123")
    job = job_of([File(tmp_path / "a")], {"x": File(tmp_path / "none")}, 3, bytes(100_000))
    (made,) = FileContents().given([job])
    views = [memoryview(one) for one in buffers_of(made)]
    contents = [read(view).content for view in views if carriage.is_file(view)]
    assert [None if one is None else bytes(one) for one in contents] == [b"123", None]
    plain = job_of(1, "text", bytes(100_000))
    assert FileContents().given([plain])[0] is plain
    assert FileContents().given([made])[0].inputs == made.inputs, "it has come with its content"


def test_files_come_to_the_client_where_a_run_is_driven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"123")
    (made,) = FileContents().given([job_of(File(tmp_path / "a"), Dir(tmp_path))])
    values = EncodedValues()
    monkeypatch.setattr(carriage.this_thread, "directory", "")
    (file, folder), _, _ = values.open(made.inputs)  # type: ignore[arg-type]
    assert (file, folder) == (tmp_path / "a", tmp_path), "there is no place for them"
    monkeypatch.setattr(carriage.this_thread, "directory", str(tmp_path / "session"))
    (file, folder), _, _ = values.open(made.inputs)  # type: ignore[arg-type]
    assert (file.read_bytes(), file.size, (folder / "a").read_bytes()) == (b"123", 3, b"123")
    came = set(carriage.came())
    assert came == {str(file.parent), str(folder.parent)}
    assert set(carriage.came()) == set()
    assert values.named(made.inputs, came) == came, "the folders live as long as such a value"  # type: ignore[arg-type]
