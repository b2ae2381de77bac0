"""A folder of results: whole ones or none, whoever writes, and whatever happens meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fancypipe_core._cache.parts import KeyParts, digest_of
from fancypipe_core._cache.store import FolderStore

ABOUT = KeyParts(task="study.smooth", code={"study.smooth": "0" * 16}, inputs={"x": "1"})
KEY = digest_of(ABOUT)


def path_of(folder: Path, key: str = KEY) -> Path:
    return folder / key[:2] / key


def test_what_is_put_is_there(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "cache", None)
    assert store.get(KEY) is None
    assert store.about(KEY) is None
    store.put(KEY, [b"abc", bytearray(b"de"), b""], ABOUT)
    found = FolderStore(tmp_path / "cache", None).get(KEY)
    assert found is not None
    assert bytes(found) == b"abcde"
    assert store.about(KEY) == ABOUT


def test_an_entry_cut_anywhere_is_none_and_is_removed(tmp_path: Path) -> None:
    store = FolderStore(tmp_path, None)
    store.put(KEY, b"x" * 100, ABOUT)
    whole = path_of(tmp_path).read_bytes()
    for length in range(len(whole)):
        path_of(tmp_path).write_bytes(whole[:length])
        assert store.get(KEY) is None, length
        assert not path_of(tmp_path).exists()


def test_an_entry_with_another_byte_is_none(tmp_path: Path) -> None:
    store = FolderStore(tmp_path, None)
    store.put(KEY, b"x" * 10, ABOUT)
    whole = path_of(tmp_path).read_bytes()
    for at in range(len(whole)):
        changed = bytearray(whole)
        changed[at] ^= 1
        path_of(tmp_path).write_bytes(changed)
        assert store.get(KEY) is None, at


def test_an_entry_in_anothers_place_is_none(tmp_path: Path) -> None:
    store = FolderStore(tmp_path, None)
    store.put(KEY, b"x", ABOUT)
    other = KEY[:2] + KEY[2:][::-1]
    path_of(tmp_path).rename(path_of(tmp_path, other))
    assert store.about(other) is None
    assert store.get(other) is None


def test_what_was_used_last_stays(tmp_path: Path) -> None:
    store = FolderStore(tmp_path, 100_000)
    keys = [f"{at:032x}" for at in range(12)]
    for at, key in enumerate(keys):
        store.put(key, b"x" * 8_000, ABOUT)
        os.utime(path_of(tmp_path, key), (at + 1, at + 1))
    assert store.get(keys[0]) is not None  # now it was used last
    store.put(f"{99:032x}", b"x" * 30_000, ABOUT)
    store.trim()
    assert path_of(tmp_path, keys[0]).exists()
    assert path_of(tmp_path, keys[-1]).exists()
    assert not path_of(tmp_path, keys[1]).exists()
    assert sum(path.stat().st_size for path in tmp_path.glob("*/*")) <= 100_000


def test_a_folder_that_everybody_may_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(PermissionError, match="chmod o-w"):
        FolderStore(tmp_path, None)
