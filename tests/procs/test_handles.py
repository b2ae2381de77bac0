"""Large values between processes: not copied, not shared with who writes, and never left behind."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fancypipe_core import Session, errors
from fancypipe_core._base.shared_memory import memory_descriptors

np = pytest.importorskip("numpy")
from tests.procs import large as t  # noqa: E402 - it needs numpy
from tests.procs.test_deaths import gone  # noqa: E402
from tests.waiting import wait_until  # noqa: E402

pytestmark = pytest.mark.skipif(
    not hasattr(os, "memfd_create"), reason="there is no such memory on this system"
)

ROOT = Path(__file__).resolve().parents[2]
MIB = t.MIB


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Session("procs", 2) as opened:
        yield opened


def test_values_are_what_they_were_and_can_be_written_to(session: Session) -> None:
    made, text, between = session.run(t.filled(3), t.text(65), t.same(t.filled(4)))
    assert made.flags.writeable
    assert made.flags.aligned
    np.testing.assert_array_equal(made, np.full(MIB // 8, 3))
    np.testing.assert_array_equal(between, np.full(MIB // 8, 4))
    made[:] = 7
    assert made.sum() == 7 * MIB // 8
    assert text == b"A" * MIB
    frame = {"a": [np.arange(MIB // 8), "x" * MIB], "b": np.asfortranarray(np.ones((512, 512)))}
    back = session.run(t.same(frame))
    np.testing.assert_equal(back, frame)
    assert back["b"].flags.f_contiguous


def test_what_a_consumer_writes_nobody_else_sees(session: Session) -> None:
    array = t.filled(5)
    sums = session.run([t.spoilt(array) for _ in range(10)] + [t.total(array)])
    assert sums == [5 * MIB // 8] * 11
    mine = np.full(MIB // 8, 6)
    assert session.run([t.spoilt(mine) for _ in range(10)]) == [6 * MIB // 8] * 10
    assert mine.sum() == 6 * MIB // 8


def test_what_a_task_returns_and_keeps_it_still_has(tmp_path: Path) -> None:
    with Session("procs", workers=1) as session:
        assert session.run(t.sum_of_kept(t.kept_too(1, 40 * MIB))) == 0


def test_the_client_moves_no_bytes(session: Session) -> None:
    """A result that eight tasks read is not in the client, and in the workers only mapped."""
    size = 64 * MIB
    session.run(t.total(t.filled(1)))  # what the first use imports
    before = t.memory()
    array = t.filled(1, size)
    grown = session.run([t.grown(array) for _ in range(8)])
    after = t.memory()
    assert [one[0] for one in grown] == [size // 8] * 8
    assert max(one[1] for one in grown) < size // 8, "a worker has a copy of its own"
    assert max(one[2] for one in grown) > size // 2, "what is read is not mapped"
    assert after[1] - before[1] < size // 8


def test_a_worker_without_work_keeps_nothing(session: Session) -> None:
    array = t.filled(1, 8 * MIB)
    assert session.run([t.total(array) for _ in range(8)]) == [MIB] * 8
    wait_until(lambda: not any(map(maps_memory, children_of(os.getpid()))))


def maps_memory(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return "/memfd:fancypipe (" in Path(f"/proc/{pid}/maps").read_text()
    return False


def test_what_the_client_gives_to_many_is_written_once(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fancypipe_core._base import shared_memory

    sizes: list[int] = []
    put = shared_memory.put

    def counted(pieces: list[memoryview], *more: Any) -> object:
        sizes.extend(one.nbytes for one in pieces)
        return put(pieces, *more)

    monkeypatch.setattr(shared_memory, "put", counted)
    mine = np.ones(MIB)
    assert session.run([t.total(mine) for _ in range(20)]) == [MIB] * 20
    assert sizes == [8 * MIB]


def test_an_array_that_a_module_changes_is_sent_as_it_is_then(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where what was written before is still in use."""
    from fancypipe_core._base import shared_memory

    in_use: list[object] = []
    put = shared_memory.put

    def kept(pieces: list[memoryview], *more: Any) -> object:
        in_use.append(made := put(pieces, *more))
        return made

    monkeypatch.setattr(shared_memory, "put", kept)
    assert session.run(t.changes_its_mind()) == [n * MIB // 8 for n in (1, 2, 3, 3)]


def test_what_is_released_is_gone(session: Session) -> None:
    """In the client and in the workers, when the run is over, and what the user drops."""
    found = session.run([t.total(t.same(t.filled(n))) for n in range(20)], [t.filled(1)])
    assert found[1]
    del found
    assert t.memory_that_is_open() == []
    assert session.run([t.kept_open() for _ in range(8)]) == [[]] * 8


@pytest.mark.parametrize("task", [t.fails, t.unreadable])
def test_what_came_with_an_error_is_gone_with_it(session: Session, task: Any) -> None:
    """At once, and not with the next collection."""
    gc.collect()
    before = memory_descriptors()
    gc.disable()
    try:
        with contextlib.suppress(ValueError, errors.FancyPipeError):
            session.run(task())
            pytest.fail("no error")
        assert memory_descriptors() == before
        assert t.memory_that_is_open() == []
    finally:
        gc.enable()


def test_a_large_error_is_what_it_was(session: Session) -> None:
    with pytest.raises(ValueError, match="x") as caught:
        session.run(t.fails())
    cause = caught.value.__cause__
    assert cause is not None
    assert cause.args == (b"x" * MIB,)
    (frame,) = traceback.extract_tb(cause.__traceback__)
    assert (frame.filename, frame.name) == (t.__file__, "fails")
    assert frame.line == 'raise ValueError(b"x" * size)'


def test_more_values_than_descriptors(tmp_path: Path) -> None:
    """What finds no descriptor is copied; and a task with hundreds of inputs gets all of them."""
    script = tmp_path / "main.py"
    script.write_text(
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))\n"
        "from fancypipe_core import Session\n"
        "from tests.procs import large as t\n"
        "if __name__ == '__main__':\n"
        "    with Session('procs', 2) as session:\n"
        "        arrays = [t.filled(n, 1 << 18) for n in range(300)]\n"
        "        found = session.run(arrays, t.summed(*arrays))\n"
        "    assert [int(one[5]) for one in found[0]] == list(range(300))\n"
        "    assert found[1] == sum(range(300)) * (1 << 15)\n"
        "    print('all there')\n"
    )
    said = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert said.returncode == 0, said.stderr
    assert said.stdout == "all there\n"
    assert "warning" not in said.stderr


def test_values_that_tasks_keep_are_not_taken_for_open_files(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with Session("procs", 1) as session:
        assert max(session.run([t.hoards(t.filled(n)) for n in range(80)])) == 80
    assert "files or sockets" not in capfd.readouterr().err


@pytest.mark.fault(93)
def test_where_values_take_too_much_tasks_go_one_at_a_time(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with Session("procs", 2, value_memory=1e-9, debug=True) as session:
        arrays = [t.filled(n) for n in range(4)]
        # All that `alone` needs is there before it begins, and is held until it ends.
        found = session.run([t.alone(str(tmp_path), *arrays) for _ in range(6)])
    assert found == [6 * MIB // 8] * 6
    assert capfd.readouterr().err.count("tasks are sent one at a time") == 1


@pytest.mark.fault(91)
def test_a_result_outlives_its_worker(session: Session, tmp_path: Path) -> None:
    array = t.filled(2, 4 * MIB)
    deaths = [t.dies_once(array, str(tmp_path / str(n))) for n in range(3)]
    assert session.run(*deaths, t.total(array)) == (MIB, MIB, MIB, MIB)


@pytest.mark.fault(91)
@pytest.mark.parametrize("number", [1, 4])
@pytest.mark.parametrize("point", ["begun", "ended", "report", "reported"])
def test_a_worker_is_killed_while_it_hands_values_on(
    point: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened = tmp_path / "it happened"
    monkeypatch.setenv("FANCYPIPE_FAULTS", f"child.{point}=kill@{number}!{happened}")
    with Session("procs", 2, debug=True) as session:
        found = session.run([t.total(t.same(t.filled(n))) for n in range(12)])
        assert t.memory_that_is_open() == []
    assert happened.exists()
    assert found == [n * MIB // 8 for n in range(12)]


@pytest.mark.fault(91)
@pytest.mark.parametrize("who", ["client", "all"])
def test_nothing_is_left_when_all_are_killed(tmp_path: Path, who: str) -> None:
    script = tmp_path / "main.py"
    script.write_text(
        "from fancypipe_core import run\n"
        "from tests.procs import large as t\n"
        "if __name__ == '__main__':\n"
        "    while True:\n"
        "        arrays = [t.filled(n, 1 << 22) for n in range(50)]\n"
        "        run([t.total(t.same(one)) for one in arrays], backend='procs', workers=2)\n"
        "        print('round', flush=True)\n"
    )
    shared = Path("/dev/shm")
    before = set(shared.iterdir()) if shared.is_dir() else set()
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
        start_new_session=True,
    ) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"round\n"
        workers = children_of(client.pid)
        for pid in [client.pid, *(workers if who == "all" else ())]:
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: all(gone(pid) for pid in workers))
    left = {path for path in shared.iterdir() if "fancypipe" in path.name} if before else set()
    assert left <= before
    folders = [path for path in tmp_path.iterdir() if path != script]
    assert all(not list(folder.rglob("*")) for folder in folders)


def children_of(pid: int) -> set[int]:
    found: set[int] = set()
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found.update(map(int, path.read_text().split()))
        except OSError:
            continue
    return found
