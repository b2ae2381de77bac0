"""Large values on one machine go from worker to client through memory, past the manager."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fancypipe_core import Session
from fancypipe_core._base import shared_memory
from fancypipe_core.toolkit import LocalListener
from fancypipe_remote._client.hosts import Host
from tests.remote.cluster import cluster

np = pytest.importorskip("numpy")
from tests.procs import large as t  # noqa: E402 - it needs numpy

MIB = t.MIB


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> list[Host]:
    """The hosts to which a client of this test connects."""
    made: list[Host] = []
    init = Host.__init__

    def noted(self: Host, *args: Any) -> None:
        init(self, *args)
        made.append(self)

    monkeypatch.setattr(Host, "__init__", noted)
    return made


@pytest.fixture
def session(
    tmp_path: Path, hosts: list[Host], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Session]:
    with cluster(tmp_path, workers=2, slots=1) as made:
        monkeypatch.setenv("XDG_CONFIG_HOME", made.env["XDG_CONFIG_HOME"])
        with Session("remote", jobmanager=made.address) as opened:
            yield opened


def work(session: Session) -> None:
    array = t.filled(1, 8 * MIB)
    sums, back, text = session.run([t.spoilt(array) for _ in range(8)], t.same(array), t.text(65))
    assert sums == [MIB] * 8
    assert back.flags.writeable
    np.testing.assert_array_equal(back, np.ones(MIB))
    assert text == b"A" * MIB


def give(session: Session) -> None:
    """As `work`, with an array of the client's and no results that are large."""
    array = np.ones(MIB, dtype=np.int64)
    assert session.run([t.spoilt(array) for _ in range(8)]) == [MIB] * 8
    assert array.sum() == MIB, "what tasks write is their own"
    array[:] = 2
    assert session.run(t.total(array)) == 2 * MIB, "as it is when the run begins"


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="no such memory here")
@pytest.mark.parametrize("part", [work, give])
def test_no_bytes_of_them_go_over_the_network(
    session: Session, hosts: list[Host], part: Callable[[Session], None]
) -> None:
    part(session)
    assert len(hosts) == 2
    assert sum(host.channel.moved for host in hosts) < MIB
    del session
    assert t.memory_that_is_open() == []


def test_a_host_that_is_not_here_gets_the_bytes(
    tmp_path: Path, hosts: list[Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So does one of another user, or of another system."""
    monkeypatch.setattr(LocalListener, "accept", lambda _: None)
    put: list[Any] = []
    with cluster(tmp_path, workers=2, slots=1) as made:
        monkeypatch.setenv("XDG_CONFIG_HOME", made.env["XDG_CONFIG_HOME"])
        with Session("remote", jobmanager=made.address) as session:
            session.run(t.total(np.ones(1)))  # now it knows where they are
            monkeypatch.setattr(shared_memory, "put", lambda *given: put.append(given))
            give(session)
            given = sum(host.channel.moved for host in hosts)
            assert given > 2 * 8 * MIB, "once to each worker"
            assert put == [], "nothing is written where nobody can take it"
            work(session)
    assert sum(host.channel.moved for host in hosts) > given + 8 * MIB
