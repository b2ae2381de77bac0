"""Large values go between machines by files in a folder that all see."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fancypipe_core import Session
from fancypipe_core._base import resources
from fancypipe_core._wire.value_folder import ValueFolder
from fancypipe_core.errors import TaskLost
from fancypipe_core.toolkit import LocalListener, sweep_orphans
from fancypipe_remote._client.hosts import Host
from tests.remote.cluster import Cluster, cluster

np = pytest.importorskip("numpy")
from tests.procs import large as t  # noqa: E402 - it needs numpy
from tests.waiting import wait_until  # noqa: E402

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="no such memory here")

MIB = t.MIB
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two workers, which are taken to be on other machines."""
    with cluster(tmp_path_factory.mktemp("far"), workers=2, slots=1) as made:
        yield made


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> list[Host]:
    """The hosts to which a client of this test connects, past the manager to none."""
    made: list[Host] = []
    init = Host.__init__

    def noted(self: Host, *args: Any) -> None:
        init(self, *args)
        made.append(self)

    monkeypatch.setattr(Host, "__init__", noted)
    monkeypatch.setattr(LocalListener, "__init__", _nobody)
    return made


def _nobody(self: LocalListener) -> None:
    self.name, self._socket = "", None


@pytest.fixture
def session(
    far: Cluster, hosts: list[Host], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Session]:
    monkeypatch.setenv("XDG_CONFIG_HOME", far.env["XDG_CONFIG_HOME"])
    with Session("remote", jobmanager=far.address, tempdir=str(tmp_path), debug=True) as opened:
        yield opened


def values(session: Session) -> list[Path]:
    return sorted(Path(session.directory, "values").iterdir())


def test_no_bytes_of_them_go_through_the_manager(session: Session, hosts: list[Host]) -> None:
    array = t.filled(1, 8 * MIB)
    sums, back = session.run([t.spoilt(array) for _ in range(8)], t.same(array))
    assert sums == [MIB] * 8
    np.testing.assert_array_equal(back, np.ones(MIB))
    mine = np.ones(MIB, dtype=np.int64)
    assert session.run([t.spoilt(mine) for _ in range(8)]) == [MIB] * 8
    mine[:] = 2
    assert session.run(t.total(mine)) == 2 * MIB, "as it is when the run begins"
    assert [host.sees_values for host in hosts] == [True, True]
    assert sum(host.channel.moved for host in hosts) < MIB
    del back
    assert values(session) == [], "released with the value"
    assert t.memory_that_is_open() == []


def test_only_this_user_can_read_what_is_there(session: Session) -> None:
    folder = str(Path(session.directory, "values"))
    modes = session.run(t.modes(folder, t.filled(1, 8 * MIB)))
    assert modes == {stat.S_IFDIR | 0o700, stat.S_IFREG | 0o600}


def copied(session: Session, hosts: list[Host]) -> None:
    """Both of what a client has and what a task has made goes as bytes."""
    before = sum(host.channel.moved for host in hosts)
    mine = np.full(MIB, 5, dtype=np.int64)
    assert session.run([t.total(mine) for _ in range(8)]) == [5 * MIB] * 8
    assert sum(host.channel.moved for host in hosts) > before + 8 * MIB
    before = sum(host.channel.moved for host in hosts)
    assert int(session.run(t.filled(3, 8 * MIB)).sum()) == 3 * MIB
    assert sum(host.channel.moved for host in hosts) > before + 8 * MIB
    assert list(Path(session.directory, "values").glob("*")) == []


def looked_into(self: ValueFolder) -> bool:
    os.mkdir(self._path)
    os.chmod(self._path, 0o755)
    return True


@pytest.mark.parametrize(
    ("method", "instead"),
    [
        ("make", looked_into),  # the worker does not want it: others can look into it
        ("make", lambda _: True),  # there is none for the worker: something else is mounted
        ("signed", lambda *_: False),  # what the worker has written is not there for the client
    ],
)
def test_where_not_both_see_one_folder_values_are_copied(
    method: str,
    instead: Any,
    far: Cluster,
    hosts: list[Host],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(ValueFolder, method, instead)
    monkeypatch.setenv("XDG_CONFIG_HOME", far.env["XDG_CONFIG_HOME"])
    with Session("remote", jobmanager=far.address, tempdir=str(tmp_path)) as session:
        copied(session, hosts)
    assert [host.sees_values for host in hosts] == [False, False]


@pytest.mark.fault(95)
def test_an_input_that_is_gone_is_sent_again(
    session: Session, hosts: list[Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = ValueFolder._write

    def swept(self: ValueFolder, number: int, segment: Any) -> bool:
        written = write(self, number, segment)
        os.unlink(self._file(number))
        return written

    monkeypatch.setattr(ValueFolder, "_write", swept)
    mine = np.ones(MIB, dtype=np.int64)
    chain = t.total(t.same(t.same(mine)))
    assert session.run([t.total(mine) for _ in range(20)], chain) == ([MIB] * 20, MIB)
    assert not any(host.sees_values for host in hosts)
    copied(session, hosts)


@pytest.mark.fault(95)
def test_a_result_that_is_gone_is_made_again(
    session: Session, hosts: list[Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ValueFolder, "_read", lambda *_: None)
    arrays = session.run([t.filled(n, 8 * MIB) for n in range(8)])
    assert [int(one.sum()) for one in arrays] == [n * MIB for n in range(8)]
    assert not any(host.sees_values for host in hosts)
    copied(session, hosts)


@pytest.mark.fault(95)
def test_what_may_not_run_again_fails_and_says_what_was_lost(
    far: Cluster, hosts: list[Host], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ValueFolder, "_read", lambda *_: None)
    monkeypatch.setenv("XDG_CONFIG_HOME", far.env["XDG_CONFIG_HOME"])
    with (
        Session("remote", jobmanager=far.address, tempdir=str(tmp_path), max_losses=1) as session,
        pytest.raises(TaskLost, match="its result is gone from the session's folder"),
    ):
        session.run(t.filled(1, 8 * MIB))


@pytest.mark.fault(95)
@pytest.mark.parametrize("point", ["write", "written"])
def test_a_host_that_is_killed_while_it_writes_leaves_nothing(
    point: str, hosts: list[Host], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    happened = tmp_path / "it happened"
    with cluster(tmp_path, workers=0) as made:
        made.env["FANCYPIPE_FAULTS"] = f"folder.{point}=kill@2!{happened}"
        made.worker(1)
        made.worker(1)
        monkeypatch.setenv("XDG_CONFIG_HOME", made.env["XDG_CONFIG_HOME"])
        folder = tmp_path / "shared"
        folder.mkdir()
        with Session("remote", jobmanager=made.address, tempdir=str(folder)) as session:
            sums = session.run([t.total(t.same(t.filled(n, 2 * MIB))) for n in range(12)])
            assert sums == [n * MIB // 4 for n in range(12)]
            assert happened.exists()
            wait_until(lambda: not values(session), "what the dead host has left is removed")
        assert list(folder.iterdir()) == []


@pytest.mark.fault(95)
@pytest.mark.parametrize("who", ["client", "all"])
def test_nothing_is_left_of_a_client_that_was_killed(who: str, tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    script = tmp_path / "main.py"
    script.write_text(
        "import sys\n"
        "from fancypipe_core import run\n"
        "from fancypipe_core.toolkit import LocalListener\n"
        "from tests.procs import large as t\n"
        "def nobody(self):\n"
        "    self.name, self._socket = '', None\n"
        "if __name__ == '__main__':\n"
        "    LocalListener.__init__ = nobody\n"
        "    arrays = [t.filled(n, 1 << 22) for n in range(50)]\n"
        "    work = [t.total(t.same(one)) for one in arrays]\n"
        "    run(work, backend='remote', jobmanager=sys.argv[1], tempdir=sys.argv[2])\n"
    )
    with cluster(tmp_path, workers=2, slots=1) as made:
        over = made.python(
            script,
            made.address,
            str(folder),
            PYTHONPATH=str(ROOT),
            FANCYPIPE_FAULTS="folder.read=kill@5",
        )
        assert over.returncode == -signal.SIGKILL, over.stderr
        if who == "all":
            made.close()
    (left,) = folder.iterdir()
    assert list(left.rglob("*")), "or this shows nothing"
    sweep_orphans(str(folder))  # as whoever comes next does
    assert list(folder.iterdir()) == []


@pytest.mark.fault(93)
def test_where_values_take_too_much_disk_tasks_go_one_at_a_time(
    far: Cluster,
    hosts: list[Host],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", far.env["XDG_CONFIG_HOME"])
    monkeypatch.setattr(resources, "free_space", lambda _: 2 * MIB)
    with Session("remote", jobmanager=far.address, tempdir=str(tmp_path)) as session:
        arrays = [t.filled(n, 2 * MIB) for n in range(4)]
        alone = str(tmp_path / "alone")
        os.mkdir(alone)
        # All that `alone` needs is there before it begins, and is held until it ends.
        found = session.run([t.alone(alone, *arrays) for _ in range(6)])
    assert found == [6 * MIB // 4] * 6
    said = capfd.readouterr().err
    assert said.count("tasks are sent one at a time") == 1
    assert "(setting value_disk)" in said
