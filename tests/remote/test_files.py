"""Files of tasks go between machines that share no folder, with their content."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import pytest

from fancypipe_core import Dir, File, Outputs, Session, errors
from tests.conformance import filed as f
from tests.remote.cluster import Cluster, Party, cluster

LIMIT = 60.0


class Hidden(NamedTuple):
    cluster: Cluster
    root: Path


@pytest.fixture(scope="module")
def hidden(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hidden]:
    """A worker of two slots that sees an empty folder where the client has its own."""
    root = tmp_path_factory.mktemp("hidden")
    try:
        subprocess.run(["unshare", "--mount", "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine lets nobody have mounts of its own")
    with cluster(tmp_path_factory.mktemp("cluster"), workers=0) as made:
        shell = ["unshare", "--mount", "sh", "-c", f"mount -t tmpfs none '{root}' && exec \"$@\""]
        command = made.command("worker", f"-jobmanager={made.address}", "-numworkers=2")
        log = made.folder / "hidden.log"
        party = Party([*shell, "sh", *command], made.env, log, made.folder)
        try:
            party.says("connected to the manager")
            yield Hidden(made, root)
        finally:
            party.stop()


@pytest.fixture
def session(
    hidden: Hidden, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Session]:
    for name, value in hidden.cluster.env.items():
        if name.startswith(("FANCYPIPE", "XDG")):
            monkeypatch.setenv(name, value)
    folder = hidden.root / request.node.name
    folder.mkdir()
    with Session(
        "remote", tempdir=str(folder), jobmanager=hidden.cluster.address, debug=True
    ) as opened:
        yield opened


def left(session: Session) -> list[str]:
    """What there is of files in the client's folder."""
    names = os.listdir(session.directory)
    return sorted(name for name in names if name.startswith(("came-", "writes", "fills")))


def test_files_go_there_and_come_back(session: Session, hidden: Hidden) -> None:
    mine = hidden.root / "mine.txt"
    mine.write_text("mine")
    made = f.writes("made")
    assert session.run(
        f.reads(made),
        f.reads(mine),
        f.joins([made, mine], {"a": made}, mine),
        f.lists(f.fills("a", "b")),
    ) == ("one.txt: made", "mine.txt: mine", "mademinemademine", ["a", "b"])
    assert left(session) == []


def test_a_result_is_the_callers(session: Session) -> None:
    file, folder, several = session.run(f.writes("1"), f.fills("x"), f.several())
    assert (type(file), file.name, file.read_text()) == (File, "one.txt", "1")
    assert (type(folder), [one.read_text() for one in folder.iterdir()]) == (Dir, ["x"])
    assert [several[0].read_text(), *(one.read_text() for one in several[1])] == ["0", "1", "2"]
    assert file.parts[: len(Path(session.directory).parts)] == Path(session.directory).parts
    session.close()
    assert file.read_text() == "1"


def test_modules_and_maps_take_them(session: Session) -> None:
    made = f.copies(f.copies(f.writes("1")))
    assert session.run(f.reads(made)) == "one.txt: 1!!"
    assert session.run(f.reads.map(f.writes.map(["1", "2", "3"]))) == [
        "one.txt: 1", "one.txt: 2", "one.txt: 3",
    ]  # fmt: skip
    assert left(session) == []


def test_a_file_that_is_passed_on_keeps_its_content(session: Session) -> None:
    assert session.run(f.reads(f.returns(f.returns(f.writes("x"))))) == "one.txt: x"
    found: Outputs = session.run(f.kinds(f.writes("x")))
    assert found.digest == session.run(f.writes("x", "other")).digest


def test_a_folder_with_folders_and_links(session: Session, hidden: Hidden) -> None:
    top = hidden.root / "top"
    (top / "empty").mkdir(parents=True)
    (top / "sub").mkdir()
    (top / "sub" / "tool").write_text("#!")
    (top / "sub" / "tool").chmod(0o755)
    os.symlink("tool", top / "sub" / "same")
    os.symlink("nowhere", top / "dangling")
    there = session.run(f.tree(top))
    assert there == [
        ("dangling", "link nowhere"), ("empty", "folder"), ("sub", "folder"),
        ("sub/same", "#! 755"), ("sub/tool", "#! 755"),
    ]  # fmt: skip


def test_a_large_file_is_whole(session: Session, hidden: Hidden) -> None:
    large = hidden.root / "large"
    large.write_bytes(os.urandom(1 << 20) * 20)
    passed = session.run(f.returns(File(large)))
    assert passed != large
    assert passed.read_bytes() == large.read_bytes()
    place = passed.relative_to(session.directory).parts[0]
    assert place.startswith("came-"), "a folder of the job's: on the disk at once, not in memory"
    assert place.endswith(".1")


def test_what_has_gone_to_the_client_is_not_kept_there(session: Session, hidden: Hidden) -> None:
    """A session of a week would fill the worker's disk."""
    file, folder, (first, rest), text = session.run(
        f.copies(f.writes("x")), f.fills("a", "b"), f.several(), f.joins([f.writes("y")])
    )
    assert (file.read_text(), len(os.listdir(folder)), text) == ("x!", 2, "y")
    assert [first.read_text(), *(one.read_text() for one in rest)] == ["0", "1", "2"]
    assert there(hidden) == []
    # A text may name what it is, and that is not known.
    named = session.run(f.names_one("one", "other"))
    assert there(hidden) == [named]
    assert named.endswith("other.txt")
    with pytest.raises(errors.TaskError):
        session.run(f.writes_and_fails("x"))
    assert len(there(hidden)) == 2, "it is kept for whoever looks into it"


def there(hidden: Hidden) -> list[str]:
    """Return the files that tasks have left with the worker."""
    folders = Path(hidden.cluster.env["TMPDIR"]).glob("*/fancypipe-host-*/*.1")
    return sorted(str(one) for folder in folders for one in folder.rglob("*") if one.is_file())


def test_what_is_nowhere_is_told(session: Session, hidden: Hidden) -> None:
    gone = hidden.root / "gone.txt"
    gone.write_text("x")
    made = f.reads(gone)
    gone.unlink()
    with pytest.raises(errors.BadInput, match="task reads: input file: there is no file"):
        session.run(made)


def test_some_workers_see_the_folder_and_some_do_not(session: Session, hidden: Hidden) -> None:
    """Whoever has made a file and whoever is given it, it is the same."""
    proof = hidden.root / "proof"
    proof.write_text("")
    other = hidden.cluster.worker(2)
    ways: set[tuple[bool, bool]] = set()
    until = monotonic() + LIMIT
    try:
        while len(ways) < 4:
            assert monotonic() < until, f"only these pairs of maker and reader: {ways}"
            level = [f.moves("x", [], str(proof)) for _ in range(8)]
            levels = [level]
            for _ in range(3):  # each needs two, so that few find both where they are
                files = [one[1] for one in level]
                pairs = zip(files, files[1:] + files[:1], strict=True)
                level = [f.moves("x", list(pair), str(proof)) for pair in pairs]
                levels.append(level)
            sees = session.run([[one[0] for one in level] for level in levels])
            ways |= {pair for made, used in pairwise(sees) for pair in zip(made, used, strict=True)}
    finally:
        other.kill()  # it would wait for the client to go
