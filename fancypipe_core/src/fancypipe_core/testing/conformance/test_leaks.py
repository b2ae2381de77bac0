"""What a run leaves behind: nothing, whatever happened in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fancypipe_core import Session, errors
from fancypipe_core.testing import _jobs as j
from fancypipe_core.testing._leaks import holdings
from fancypipe_core.testing._rules import broken
from fancypipe_core.testing.conformance.conftest import Bench


def _nothing(session: Session) -> None:
    assert session.run(5) == 5


def _work(session: Session) -> None:
    assert session.run([j.same(number) for number in range(200)]) == list(range(200))


def _files(session: Session) -> None:
    # Nobody asked for the file or its name, only for its size.
    assert session.run(j.size_of(j.writes_file())) == 1000


def _large(session: Session) -> None:
    # Large enough to be in memory of their own, in the client as well, and dropped there.
    data = bytes(1 << 20)
    found = session.run([j.same(j.same(data)) for _ in range(5)])
    assert found == [data] * 5
    before = holdings()
    del found
    session.run([j.same(data) for _ in range(5)])
    more = [
        one
        for one in holdings().more_than(before)
        if "memfd:fancypipe (" in one or "/dev/shm" in one
    ]
    assert not more, broken(8, f"after the values are released there are: {', '.join(more)}")


def _failure(session: Session) -> None:
    with pytest.raises(ValueError, match="on purpose"):
        session.run([j.fails("on purpose"), *[j.same(number) for number in range(50)]])


def _death(session: Session) -> None:
    with pytest.raises(errors.TaskLost):
        session.run(j.dies("kill"))


@pytest.mark.parametrize(
    "what",
    [_nothing, _work, _files, _large, _failure, _death],
    ids=lambda what: str(what.__name__).strip("_"),
)
def test_a_session_leaves_nothing(
    bench: Bench, tmp_path: Path, what: Callable[[Session], None]
) -> None:
    """Threads, child processes, descriptors and the session's folder are as before."""
    if what is _death:
        bench.needs_isolation("a worker cannot die alone")
    before = holdings()
    with Session(
        bench.plugin.name, bench.workers, tempdir=str(tmp_path), max_losses=1, grace=5.0
    ) as session:
        what(session)
    left = bench.left(before)
    assert not left, f"after the session there are: {', '.join(left)}"
    files = [path.name for path in tmp_path.iterdir()]
    assert not files, f"after the session its folder holds: {files}"


def test_sessions_one_after_the_other_do_not_add_up(bench: Bench) -> None:
    """After five sessions as much is held as before them."""
    before = holdings()
    for number in range(5):
        with bench.rig() as rig:
            assert rig.run(j.same(number)) == [number]
    left = bench.left(before, sessions=5)
    assert not left, f"after five sessions there are: {', '.join(left)}"
