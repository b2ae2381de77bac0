"""A session on each backend, shared by the tests of a module; and a folder to type commands in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fancypipe_core import Session
from tests.remote.cluster import in_force
from tests.system.place import Place


@pytest.fixture(scope="module", params=["serial", "threads", "procs", "remote"])
def session(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Session]:
    folder = str(tmp_path_factory.mktemp("session"))  # what tasks keep is the caller's
    if request.param != "remote":
        with Session(request.param, 2, tempdir=folder) as opened:
            yield opened
        return
    with (
        in_force(tmp_path_factory.mktemp("cluster")),
        Session("remote", tempdir=folder) as opened,
    ):
        yield opened


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)
