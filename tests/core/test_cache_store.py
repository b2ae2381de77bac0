"""A folder of results: whole ones or none, whoever writes, and whatever happens meanwhile."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import pytest

from fancypipe_core._base.processes import began
from fancypipe_core._cache import entry
from fancypipe_core._cache.parts import KeyParts, digest_of
from fancypipe_core._cache.store import FolderStore

ABOUT = KeyParts(task="study.smooth", code={"study.smooth": "0" * 16}, inputs={"x": "1"})
KEY = digest_of(ABOUT)


def path_of(folder: Path, key: str = KEY) -> Path:
    return folder / key[:2] / key


def bytes_of(found: memoryview | None) -> bytes | None:
    return None if found is None else bytes(found)


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


def test_a_budget_is_kept_while_values_are_put(tmp_path: Path) -> None:
    store = FolderStore(tmp_path, 200_000)
    for at in range(100):
        store.put(f"{at:032x}", b"x" * 5_000, ABOUT)
    total = sum(path.stat().st_size for path in tmp_path.glob("*/*"))
    assert 100_000 < total <= 200_000 + 200_000 // 20 + 6_000
    assert store.get(f"{99:032x}") is not None
    assert store.get(f"{0:032x}") is None


def test_what_exceeds_the_budget_alone_is_refused_in_words(tmp_path: Path) -> None:
    store = FolderStore(tmp_path, 1_000)
    with pytest.raises(OSError, match=r"study\.smooth takes 1,\d\d\d bytes, .* 1,000"):
        store.put(KEY, b"x" * 1_000, ABOUT)
    assert store.get(KEY) is None


def test_large_values_are_written_and_read_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entry, "_PART", 1_000)
    value = random.Random(1).randbytes(10_500)
    FolderStore(tmp_path, None).put(KEY, [value[:700], value[700:]], ABOUT)
    found = FolderStore(tmp_path, None).get(KEY)
    assert found is not None
    assert found == value
    assert found.readonly


# What a process does that is killed while it writes: it says where it is, and goes on for ever.
WRITER = """\
import itertools, sys
from pathlib import Path
from fancypipe_core._cache.parts import KeyParts
from fancypipe_core._cache.store import FolderStore
store = FolderStore(Path(sys.argv[1]), None)
about = KeyParts(task="study.smooth")
for number in itertools.count():
    store.put(f"{number % 8:032x}", [b"%d" % (number % 8) * 300_000] * 4, about)
    print(number, flush=True)
"""


def start(code: str, *args: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code, *args], stdout=subprocess.PIPE)


@pytest.mark.slow
def test_writers_killed_at_any_moment_leave_whole_entries_and_nothing_else(tmp_path: Path) -> None:
    store = FolderStore(tmp_path, None)
    half = 0
    for seed in range(6):
        writers = [start(WRITER, str(tmp_path)) for _ in range(2)]
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline()
        # While both write the same keys, what is there is whole.
        until = time.monotonic() + random.Random(seed).uniform(0.0, 0.2)
        while time.monotonic() < until:
            check(store)
        for writer in writers:
            writer.kill()
            assert writer.wait(60) == -signal.SIGKILL
            assert writer.stdout is not None
            writer.stdout.close()
        half += len(list((tmp_path / "new").iterdir()))
        check(store)
    store.trim()
    assert not list((tmp_path / "new").iterdir())
    assert half, "none was killed while it wrote"
    assert store.get(f"{0:032x}") is not None


def check(store: FolderStore) -> None:
    for number in range(8):
        found = store.get(f"{number:032x}")
        assert found is None or found == b"%d" % number * 1_200_000


def test_what_a_live_writer_or_another_machine_writes_is_not_swept(tmp_path: Path) -> None:
    store = FolderStore(tmp_path, 1_000_000)
    store.put(KEY, b"x", ABOUT)
    new = tmp_path / "new"
    mine = new / f"{os.getpid()}-{began()}-{'0' * 16}"
    other = new / f"1-00000000-00000000-1-1-{'0' * 16}"
    foreign = new / "notes.txt"
    for path in (mine, other, foreign):
        path.write_bytes(b"")
    store.trim()
    assert {*new.iterdir()} == {mine, other, foreign}
    os.utime(other, (1, 1))
    store.trim()
    assert {*new.iterdir()} == {mine, foreign}


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    code = """\
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
from pathlib import Path
from fancypipe_core._cache.parts import KeyParts
from fancypipe_core._cache.store import FolderStore
store = FolderStore(Path(sys.argv[1]), None)
store.put("0" * 32, b"small", KeyParts(task="a"))
try:
    store.put("1" * 32, b"x" * 200_000, KeyParts(task="a"))
except OSError as error:
    print(error.errno, error)
"""
    over = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60, capture_output=True
    )
    assert over.stdout.decode().startswith(f"{errno.EFBIG} [Errno {errno.EFBIG}] the cache folder")
    assert not list((tmp_path / "new").iterdir())
    store = FolderStore(tmp_path, None)
    assert store.get("1" * 32) is None
    assert bytes_of(store.get("0" * 32)) == b"small"


def test_a_disk_without_room_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> NoReturn:
        raise OSError(errno.ENOSPC, "no")

    monkeypatch.setattr(entry, "_all", full)
    with pytest.raises(OSError, match=r"No space left on device; make room, give .* a budget"):
        FolderStore(tmp_path, None).put(KEY, b"x", ABOUT)
    assert not list((tmp_path / "new").iterdir())


def test_a_folder_that_cannot_be_written_to_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FolderStore(tmp_path, None).put(KEY, b"x", ABOUT)
    os.utime(path_of(tmp_path), (1, 1))

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise OSError(errno.EROFS, "read-only")

    # The superuser, as whom tests may run, may write to any folder that is not mounted so.
    for name in ("open", "utime", "unlink", "rename", "mkdir"):
        monkeypatch.setattr(os, name, refuse)
    store = FolderStore(tmp_path, 1)
    assert bytes_of(store.get(KEY)) == b"x"
    assert store.about(KEY) == ABOUT
    store.trim()
    store = FolderStore(tmp_path, None)
    with pytest.raises(OSError, match=r"cannot be written to: Read-only file system; see to it"):
        store.put("0" * 32, b"x", ABOUT)


def test_what_is_read_stays_when_it_is_evicted(tmp_path: Path) -> None:
    store = FolderStore(tmp_path, None)
    store.put(KEY, b"x" * 100_000, ABOUT)
    found = store.get(KEY)
    path_of(tmp_path).write_bytes(b"")
    path_of(tmp_path).unlink()
    assert bytes_of(found) == b"x" * 100_000
