"""Digests of files: another content has another digest, and none is read twice without need."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fancypipe_core._base import file_digests
from fancypipe_core._base.file_digests import FileDigests

LARGE = b"x" * 100_000


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the files that are read, from now on."""
    seen: list[str] = []
    before = file_digests._read

    def count(path: str) -> str:
        seen.append(os.path.basename(path))
        return before(path)

    monkeypatch.setattr(file_digests, "_read", count)
    return seen


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no file be too new to be remembered."""
    monkeypatch.setattr(file_digests, "_FRESH", -1.0)


@pytest.mark.usefixtures("settled")
def test_a_large_file_is_read_once_for_all_runs(tmp_path: Path, read: list[str]) -> None:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    first = FileDigests(tmp_path / "known")
    digest = first.of(path)
    assert first.of(path) == FileDigests(tmp_path / "known").of(path) == digest
    assert read == ["large"]
    assert FileDigests(None).of(path) == digest


@pytest.mark.usefixtures("settled")
def test_a_change_is_seen_also_if_size_and_time_are_as_before(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    about = os.stat(path)
    before = FileDigests(tmp_path / "known").of(path)
    path.write_bytes(LARGE[:-1] + b"y")
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    after = os.stat(path)
    assert (about.st_size, about.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    assert FileDigests(tmp_path / "known").of(path) != before


def test_what_changed_a_moment_ago_is_not_remembered(tmp_path: Path, read: list[str]) -> None:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    digests = FileDigests(tmp_path / "known")
    assert digests.of(path) == digests.of(path)
    assert read == ["large"] * 2
    assert not (tmp_path / "known").exists()


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(
    "spoil",
    [
        lambda place: place.write_bytes(b""),
        lambda place: place.write_bytes(place.read_bytes()[:-3]),
        lambda place: place.write_bytes(b"\xff" * 100),
        lambda place: (place.unlink(), place.mkdir()),
    ],
)
def test_a_spoilt_memory_is_no_memory(
    tmp_path: Path, read: list[str], spoil: Callable[[Path], object]
) -> None:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    digest = FileDigests(tmp_path / "known").of(path)
    [place] = [one for one in (tmp_path / "known").glob("*/*") if one.is_file()]
    spoil(place)
    assert FileDigests(tmp_path / "known").of(path) == digest
    assert read == ["large"] * 2


@pytest.mark.usefixtures("settled")
def test_a_memory_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    (tmp_path / "known").write_bytes(b"")
    assert FileDigests(tmp_path / "known").of(path) == FileDigests(None).of(path)


def test_what_a_folder_holds_counts(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "b").mkdir(parents=True)
    (top / "a").write_bytes(b"one")
    seen = [FileDigests(None).of(top)]

    def changed() -> None:
        now = FileDigests(None).of(top)
        assert now not in seen
        seen.append(now)

    (top / "a").write_bytes(b"two")
    changed()
    (top / "b" / "c").write_bytes(b"")
    changed()
    (top / "b" / "c").rename(top / "b" / "d")
    changed()
    (top / "e").mkdir()
    changed()
    (top / "a").chmod(0o755)
    changed()
    (top / "f").symlink_to("nowhere")
    changed()
    (top / "a").chmod(0o644)
    for path in (top / "f", top / "b" / "d"):
        path.unlink()
    (top / "e").rmdir()
    (top / "a").write_bytes(b"one")
    assert FileDigests(None).of(top) == seen[0]


def test_a_file_that_changes_while_it_is_read_has_no_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large"
    path.write_bytes(LARGE)

    def read(_: str) -> str:
        path.write_bytes(b"other")
        return "0" * 32

    monkeypatch.setattr(file_digests, "_read", read)
    with pytest.raises(OSError, match="changes while it is read"):
        FileDigests(None).of(path)


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(OSError, match="neither a file nor a folder"):
            FileDigests(None).of(path)
    with pytest.raises(FileNotFoundError):
        FileDigests(None).of(tmp_path / "none")


@pytest.mark.usefixtures("settled")
def test_what_nobody_has_asked_for_in_long_is_forgotten(tmp_path: Path, read: list[str]) -> None:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    known = tmp_path / "known"
    FileDigests(known).of(path)
    [place] = [one for one in known.glob("*/*") if one.is_file()]
    others = {name: place.with_name(name) for name in ("old", "new", "half.0123")}
    for one in others.values():
        one.write_text("")
    for one in (place, others["old"], others["half.0123"]):
        os.utime(one, (0, 0))
    assert FileDigests(known).of(path)
    assert read == ["large"], "it was remembered"
    assert place.stat().st_mtime > 0, "and is said to be used"
    place.unlink()
    FileDigests(known).of(path)
    assert sorted(one.name for one in place.parent.iterdir()) == sorted([place.name, "new"])
