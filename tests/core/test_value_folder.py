"""A folder of values: what is written there is read whole or not at all, and is not left behind."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fancypipe_core._base import shared_memory
from fancypipe_core._base.shared_memory import Segment, disk_held
from fancypipe_core._wire import value_folder
from fancypipe_core._wire.value_folder import FolderPassage, ValueFolder

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="no such memory here")

MIB = 1 << 20


def segment(data: bytes) -> Segment:
    put = shared_memory.put([data])
    assert put is not None
    assert put[0].segment is not None
    return put[0].segment


def content(found: Segment | None) -> bytes:
    assert found is not None
    return os.pread(found.descriptor, found.size + 1, 0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "values"


@pytest.fixture
def client(path: Path) -> ValueFolder:
    made = ValueFolder(str(path), 0, 1.0)
    assert made.make()
    return made


@pytest.fixture
def worker(client: ValueFolder, path: Path) -> Iterator[ValueFolder]:
    made = ValueFolder(str(path), 7, 1.0)
    yield made
    made._recent.clear()


def test_a_value_is_written_once_and_goes_with_its_last_reference(
    client: ValueFolder, worker: ValueFolder, path: Path
) -> None:
    data = os.urandom(MIB)
    one = segment(data)
    assert client.put(one)
    assert client.put(one)
    (file,) = path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    found = worker.get(client.number_of(one))
    assert found is not one
    assert content(found) == data
    assert worker.get(client.number_of(one)) is found, "it is read once"
    assert disk_held() == MIB
    del one
    assert list(path.iterdir()) == []
    assert disk_held() == 0
    assert content(found) == data


def test_what_a_worker_has_written_is_the_clients(
    client: ValueFolder, worker: ValueFolder, path: Path
) -> None:
    one = segment(b"x" * MIB)
    assert worker.put(one)
    number = worker.number_of(one)
    assert number >> 32 == 7
    found = client.get(number)
    assert content(found) == b"x" * MIB
    assert client.put(found)  # type: ignore[arg-type]  # it is there already
    assert client.number_of(found) == number  # type: ignore[arg-type]
    assert len(list(path.iterdir())) == 1
    del found
    assert list(path.iterdir()) == []
    assert worker.put(one), "it is written again if the client has removed it"
    assert content(client.get(worker.number_of(one))) == b"x" * MIB


def test_small_values_go_another_way(client: ValueFolder, path: Path) -> None:
    assert not client.put(segment(b"x" * (MIB - 1)))
    assert list(path.iterdir()) == []


def spoil_none(file: Path) -> None:
    file.unlink()


def spoil_half(file: Path) -> None:
    os.truncate(file, MIB // 2)


def spoil_end(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def spoil_other(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1  # the number
    file.write_bytes(data)


def spoil_link(file: Path) -> None:
    file.rename(file.parent.parent / "elsewhere")
    file.symlink_to(file.parent.parent / "elsewhere")


def spoil_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o600)


def spoil_open(file: Path) -> None:
    file.chmod(0o644)


@pytest.mark.parametrize(
    "spoil",
    [spoil_none, spoil_half, spoil_end, spoil_other, spoil_link, spoil_pipe, spoil_open],
)
def test_what_is_not_whole_or_not_ours_is_not_there(
    client: ValueFolder, worker: ValueFolder, path: Path, spoil: Any
) -> None:
    one = segment(b"x" * MIB)
    assert client.put(one)
    (file,) = path.iterdir()
    spoil(file)
    assert worker.get(client.number_of(one)) is None


def test_a_full_disk_is_no_fault(
    client: ValueFolder, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(shared_memory, "pour", full)
        assert not client.put(segment(b"x" * MIB))
    assert list(path.iterdir()) == []
    monkeypatch.setattr(value_folder, "free_space", lambda _: 2 * MIB)
    assert client.put(segment(b"x" * 2 * MIB)), "within the part that it may take"
    assert not client.put(segment(b"x" * (2 * MIB + 1)))


def test_a_folder_is_used_if_each_reads_what_the_other_has_written(
    client: ValueFolder, worker: ValueFolder, path: Path, tmp_path: Path
) -> None:
    assert not client.signed(7, "token"), "nobody has"
    assert worker.sign("token")
    assert client.signed(7, "token")
    assert list(path.iterdir()) == []
    assert worker.sign("token")
    assert not client.signed(7, "another")
    elsewhere = ValueFolder(str(tmp_path / "mount"), 7, 1.0)
    assert not elsewhere.sign("token")
    assert ValueFolder(str(tmp_path / "mount"), 0, 1.0).make()
    assert elsewhere.sign("token")
    assert not client.signed(7, "token"), "that was another folder"
    elsewhere.unsign()
    assert list((tmp_path / "mount").iterdir()) == []
    path.chmod(0o755)
    assert not ValueFolder(str(path), 8, 1.0).sign("token"), "others can look into it"


def test_what_a_dead_worker_has_left_is_removed(
    client: ValueFolder, worker: ValueFolder, path: Path
) -> None:
    one, two, other = (segment(bytes([n]) * MIB) for n in range(3))
    another = ValueFolder(str(path), 8, 1.0)
    assert worker.put(one)
    assert worker.put(two)
    assert another.put(other)
    found = client.get(worker.number_of(one))
    client.sweep(7)
    left = sorted(int(file.name, 16) for file in path.iterdir())
    assert left == [worker.number_of(one), another.number_of(other)]
    assert content(found) == b"\0" * MIB
    client.clear()
    assert not path.exists()
    assert not worker.put(segment(b"y" * MIB)), "a worker that lives longer finds no folder"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nobody forks here")
def test_a_forked_process_removes_nothing(client: ValueFolder, path: Path) -> None:
    ones = [segment(b"x" * MIB)]
    assert client.put(ones[0])
    child = os.fork()
    if not child:
        ones.clear()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert len(list(path.iterdir())) == 1


def test_a_passage_that_is_closed_sends_nothing_and_still_takes(
    client: ValueFolder, worker: ValueFolder
) -> None:
    one = segment(b"x" * MIB)
    passage, other = FolderPassage(client), FolderPassage(worker)
    assert passage.send(one)
    passage.close()
    other.close()
    assert not passage.send(one)
    assert content(other.take(passage.number_of(one))) == b"x" * MIB
