"""Folders of processes that were killed are removed by the next; of all others, never."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fancypipe_core import Session, current, task
from fancypipe_core._engine import orphans
from fancypipe_core._engine.orphans import owned_prefix, sweep_orphans
from fancypipe_core._model.temp_paths import KEPT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is swept")


def dead_prefix() -> str:
    """Return the prefix of a process that has ended."""
    code = "from fancypipe_core._engine.orphans import owned_prefix; print(owned_prefix())"
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture(scope="module")
def dead() -> str:
    return dead_prefix()


def filled(folder: Path) -> Path:
    (folder / "1_task" / "below").mkdir(parents=True)
    (folder / "1_task" / "below" / "file").write_text("x")
    (folder / "1_task" / "link").symlink_to("/")
    (folder / "1_task" / "nowhere").symlink_to("nowhere")
    return folder


def changed(prefix: str, place: int, to: str) -> str:
    parts = prefix.split("-")
    parts[place] = to
    return "-".join(parts)


@pytest.mark.fault(68)
def test_what_a_dead_process_left_is_removed(tmp_path: Path, dead: str) -> None:
    for name in (f"{dead}a1b2", dead.replace("fancypipe-", "fancypipe-worker-") + "xy_z"):
        filled(tmp_path / name)
    sweep_orphans(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault(68)
def test_what_is_not_dead_beyond_doubt_stays(tmp_path: Path, dead: str) -> None:
    mine = owned_prefix()
    machine, boot, space, pid, start = range(1, 6)
    stays = [
        f"{mine}a1b2",  # alive
        changed(dead, machine, "0123abcd") + "a",  # another machine
        changed(changed(dead, machine, "0123abcd"), boot, "0123abcd") + "a",
        changed(dead, space, "4026531000") + "a",  # a container on this machine
        changed(mine, space, "4026531000") + "a",
        "fancypipe-a1b2c3d4e5f6",  # says nothing of its owner
        "fancypipe-" + "-".join(["x"] * 6),
        "somebody-" + dead.removeprefix("fancypipe-") + "a",
    ]
    goes = [
        changed(mine, start, "1") + "a",  # our number, but of a process before us
        changed(dead, boot, "0123abcd") + "a",  # this machine was started anew
        changed(changed(mine, boot, "0123abcd"), space, "1") + "a",
    ]
    for name in (*stays, *goes):
        filled(tmp_path / name)
    (tmp_path / f"{dead}file").write_text("no folder")
    (tmp_path / f"{dead}link").symlink_to(filled(tmp_path / "theirs"))
    sweep_orphans(str(tmp_path))
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {*stays, "theirs", f"{dead}file", f"{dead}link"}
    assert (tmp_path / "theirs" / "1_task" / "below" / "file").exists()
    assert pid  # its place is tried by all of them


def test_where_the_system_says_nothing_nothing_is_removed(
    tmp_path: Path, dead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "this_place", lambda: None)
    assert owned_prefix("worker") == "fancypipe-worker-"
    filled(tmp_path / f"{dead}a")
    sweep_orphans(str(tmp_path))
    assert (tmp_path / f"{dead}a" / "1_task").exists()


@task
def write(text: str) -> Path:
    path: Path = current().tempfile("result.txt")
    path.write_text(text)
    current().tempfile("scratch").write_text("not returned")
    return path


def test_files_that_the_user_was_given_outlive_their_process(tmp_path: Path, dead: str) -> None:
    with Session(backend="serial", tempdir=str(tmp_path)) as session:
        path = Path(session.run(write("mine")))
        # As if it were killed now: nothing of what follows is done.
        killed = Path(session.directory).rename(tmp_path / f"{dead}a")
        path = killed / path.relative_to(session.directory)
        (killed / "more").mkdir()
        sweep_orphans(str(tmp_path))
    assert path.read_text() == "mine"
    assert sorted(p.name for p in killed.rglob("*") if p.is_file()) == [
        KEPT,
        "result.txt",
        "scratch",
    ], "the folder is theirs"
    shutil.rmtree(path.parent)
    sweep_orphans(str(tmp_path))
    assert not killed.exists()


CLIENT = """
import sys
import time
from fancypipe_core import current, run, task

@task
def hold(n):
    current().tempfile("big").write_bytes(bytes(1000))
    time.sleep(0.1 * n)
    return n

if __name__ == "__main__":
    run([hold(n) for n in range(200)], backend=sys.argv[1], workers=2, tempdir=sys.argv[2])
"""


@pytest.mark.fault(68)
@pytest.mark.parametrize("backend", ["procs", "threads"])
def test_a_session_removes_what_killed_clients_left(tmp_path: Path, backend: str) -> None:
    """They are killed at any moment, and one that lives is left alone."""
    (tmp_path / "client.py").write_text(CLIENT)
    base = tmp_path / "temporary"
    base.mkdir()
    command = [sys.executable, str(tmp_path / "client.py"), backend, str(base)]
    clients = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(4)]
    until = time.monotonic() + 60
    while not all(any(base.glob(f"*-{one.pid}-*/*")) for one in clients):
        assert time.monotonic() < until
        time.sleep(0.01)
    alive, *others = clients
    alive.send_signal(signal.SIGSTOP)
    for one in others:
        time.sleep(random.random() / 20)
        one.kill()
        one.wait()
    with Session(backend="serial", tempdir=str(base)):
        left = [path.name for path in base.iterdir()]
    alive.kill()
    alive.wait()
    assert len(left) == 1
    assert f"-{alive.pid}-" in left[0]
    with Session(backend="serial", tempdir=str(base)):
        assert list(base.iterdir()) == []
