"""Files go to workers of an engine that do not see the client's folder, and come back."""

from __future__ import annotations

import itertools
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fancypipe_core import Dir, File, Session, current, errors, module, task
from fancypipe_core._model import carriage
from fancypipe_core.toolkit.shipping import client_files, file_copies
from tests.conformance import filed as f
from tests.core.engines import Engine
from tests.core.pools import opened
from tests.waiting import wait_until


class Machines:
    """An engine whose workers, each on a machine of its own, see nothing in a folder."""

    def __init__(self, count: int, hidden: Path) -> None:
        self.workers = [Engine() for _ in range(count)]
        self._turn = itertools.cycle(self.workers)
        for worker in self.workers:
            worker.hide(hidden)

    def submit(self, function: Any, *args: Any) -> Any:
        return next(self._turn).submit(function, *args)

    def close(self) -> None:
        """Stay."""

    def session(self, **settings: Any) -> Session:
        return opened(lambda _count: self, len(self.workers), **settings)

    def on_each(self, function: Any, *args: Any) -> list[Any]:
        return [worker.submit(function, *args).result(60) for worker in self.workers]

    def end(self) -> None:
        for worker in self.workers:
            worker.pool.shutdown()


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files of all workers."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """The client's folder."""
    folder = tmp_path / "mine"
    folder.mkdir()
    return folder


@pytest.fixture
def machines(mine: Path, temporary: Path) -> Iterator[Machines]:
    made = Machines(2, mine)
    yield made
    made.end()
    wait_until(lambda: not list(temporary.iterdir()))


@pytest.fixture
def session(machines: Machines, mine: Path) -> Iterator[Session]:
    with machines.session(tempdir=str(mine)) as made:
        yield made


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that go to workers."""
    names: list[str] = []
    before = client_files._sent

    def counted(copy: str, record: carriage.FileRecord) -> client_files.Sent:
        names.append(os.path.basename(record.path))
        return before(copy, record)

    monkeypatch.setattr(client_files, "_sent", counted)
    return names


def left(session: Session) -> list[str]:
    return sorted(name for name in os.listdir(session.directory) if name != "proof")


def test_files_go_there_and_come_back(session: Session, mine: Path) -> None:
    own = mine / "mine.txt"
    own.write_text("mine")
    made = f.writes("made")
    assert session.run(
        f.reads(made),
        f.reads(own),
        f.joins([made, own], {"a": made}, own),
        f.lists(f.fills("a", "b")),
    ) == ("one.txt: made", "mine.txt: mine", "mademinemademine", ["a", "b"])
    assert left(session) == []


def test_modules_maps_and_what_is_passed_on(session: Session, sent: list[str]) -> None:
    made = f.copies(f.copies(f.writes("1")))
    assert session.run(f.reads(made)) == "one.txt: 1!!"
    assert session.run(f.reads.map(f.writes.map(["1", "2", "3"]))) == [
        "one.txt: 1", "one.txt: 2", "one.txt: 3",
    ]  # fmt: skip
    assert session.run(f.reads(f.returns(f.returns(f.writes("x"))))) == "one.txt: x"
    assert left(session) == []


def test_a_result_is_the_callers(session: Session, mine: Path) -> None:
    file, folder, several = session.run(f.writes("1"), f.fills("x"), f.several())
    assert (type(file), file.name, file.read_text()) == (File, "one.txt", "1")
    assert (type(folder), [one.read_text() for one in folder.iterdir()]) == (Dir, ["x"])
    assert [several[0].read_text(), *(one.read_text() for one in several[1])] == ["0", "1", "2"]
    assert file.is_relative_to(session.directory)
    session.close()
    assert file.read_text() == "1"
    assert Path(session.directory).is_relative_to(mine)


def test_each_machine_gets_a_file_once(
    machines: Machines, session: Session, mine: Path, sent: list[str]
) -> None:
    for name in ("a", "b"):
        (mine / name).write_text(name)
    many = [f.reads(mine / name) for name in ("a", "b") for _ in range(20)]
    assert session.run(many) == ["a: a"] * 20 + ["b: b"] * 20
    # A call may come to a machine for which it was not meant, and then to another.
    assert len(sent) <= 4 * len(machines.workers) ** 2
    before = len(sent)
    assert session.run(many) == ["a: a"] * 20 + ["b: b"] * 20
    assert len(sent) == before
    (mine / "a").write_text("is another")
    assert session.run(f.reads(mine / "a")) == "a: is another"
    assert session.run(f.reads(f.returns(File(mine / "b")))) == "b: b"


def test_what_is_passed_on_is_not_sent_back(session: Session, mine: Path) -> None:
    own = mine / "own"
    own.write_text("x")
    assert session.run(f.returns(File(own))) == own
    (mine / "folder").mkdir()
    (mine / "folder" / "in").write_text("y")
    assert session.run(inside(mine / "folder")) == mine / "folder" / "in"
    changed = session.run(rewrites(File(own)))
    assert changed != own
    assert changed.read_text() == "another text"
    assert session.run(f.reads(own)) == "own: x", "a copy that was written to is not used again"


@task
def inside(folder: Dir) -> File:
    return folder / "in"  # type: ignore[return-value]  # made a File


@task
def rewrites(file: File) -> File:
    file.write_text("another text")
    return File(str(file))


@module
def chain(text: str, count: int) -> Any:
    made: Any = f.writes(text)
    for _ in range(count):
        made = f.returns(made)
    return made


def test_a_large_file_and_a_long_way(session: Session, mine: Path) -> None:
    large = mine / "large"
    large.write_bytes(os.urandom(1 << 20) * 20)
    assert session.run(f.writes("", "x"), doubled(large))[1].read_bytes() == (
        large.read_bytes() * 2
    )
    assert session.run(chain("end", 20)).read_text() == "end"


@task
def doubled(file: File) -> File:
    path = current().tempfile("twice")
    path.write_bytes(file.read_bytes() * 2)
    return File(path)


# ---- what goes wrong ----


def test_what_is_gone_is_told(session: Session, mine: Path) -> None:
    gone = mine / "gone.txt"
    gone.write_text("x")
    made = f.reads(gone)
    gone.unlink()
    host = os.uname().nodename
    with pytest.raises(
        errors.BadInput,
        match=f"task reads: input file: there is no file {gone} on {host}, from where it was",
    ):
        session.run(made)


def test_what_cannot_be_read_is_told(
    session: Session, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where it vanishes between a look at it and its being read."""
    own = mine / "own"
    own.write_text("x")

    def refused(_kind: bytes, _path: str) -> bytearray:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(carriage, "carried", refused)
    with pytest.raises(errors.BadInput, match=r"input file: .*own cannot be read on .*Permission"):
        session.run(f.reads(own))


def test_a_file_that_changes_all_the_time_stops_nobody(
    session: Session, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = mine / "own"
    own.write_text("x")
    count = itertools.count()
    before = carriage.state_of
    monkeypatch.setattr(carriage, "state_of", lambda path: before(path) + str(next(count)).encode())
    assert session.run(f.reads(own), f.reads(own)) == ("own: x", "own: x")


def test_a_full_disk_is_held_against_nobody(
    machines: Machines, session: Session, mine: Path
) -> None:
    large = mine / "large"
    large.write_bytes(bytes(1 << 20))
    machines.on_each(limit_files, 1 << 16)
    with pytest.raises(
        errors.TaskError, match=r"files of the task cannot be written below"
    ) as caught:
        session.run(f.reads(large))
    assert "so it went 3 times" in str(caught.value)
    assert not isinstance(caught.value, errors.TaskLost)
    machines.on_each(limit_files, resource.RLIM_INFINITY)
    assert session.run(doubled(large)).stat().st_size == 2 << 20


def limit_files(size: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def test_a_full_disk_of_the_client(
    session: Session, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.run(f.writes("x", "first"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    large = mine / "large"
    large.write_bytes(bytes(1 << 20))
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
        with pytest.raises(errors.TaskError, match="what the task has made cannot be written to"):
            session.run(doubled(large))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, old)
    assert session.run(doubled(large)).stat().st_size == 2 << 20


def test_what_is_not_used_any_more_is_removed(
    machines: Machines, session: Session, mine: Path, temporary: Path
) -> None:
    machines.on_each(set_idle, 0.2)
    (mine / "own").write_text("x")
    for _ in range(2):
        assert session.run([f.reads(mine / "own") for _ in range(4)]) == ["own: x"] * 4
        wait_until(lambda: not list(temporary.glob("*/session-*")))


def set_idle(seconds: float) -> None:
    file_copies._IDLE = seconds


def test_a_worker_that_is_killed_leaves_nothing(mine: Path, temporary: Path) -> None:
    """And its task runs elsewhere."""
    made = Machines(1, mine)
    try:
        with made.session(tempdir=str(mine)) as session:
            (mine / "own").write_text("x")
            assert session.run(f.reads(mine / "own")) == "own: x"
            assert list(temporary.glob("*/session-*/file-*"))
            os.kill(made.workers[0].submit(os.getpid).result(60), signal.SIGKILL)
            wait_until(lambda: not list(temporary.iterdir()))
    finally:
        made.end()


def test_who_sees_the_folder_takes_the_file_where_it_is(
    mine: Path, temporary: Path, sent: list[str]
) -> None:
    made = Machines(1, mine / "elsewhere")
    try:
        with made.session(tempdir=str(mine)) as session:
            (mine / "own").write_text("x")
            assert session.run(f.returns(File(mine / "own"))) == mine / "own"
            assert session.run(f.reads(f.writes("y"))) == "one.txt: y"
            assert session.run(where()) == session.directory
        assert sent == []
        assert not list(temporary.iterdir())
    finally:
        made.end()


@task
def where() -> str:
    return str(current().tempdir().parent)
