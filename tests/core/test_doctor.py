"""What the doctor says of a machine and an installation that are not at hand."""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from pathlib import Path

import pytest

from fancypipe_core import module, task
from fancypipe_core._base import resources as _machine
from fancypipe_core._codec.values import EncodedValues
from fancypipe_core._doctor import compose as doctor_compose
from fancypipe_core._doctor import installed, resources, travel
from fancypipe_core._doctor.compose import Met, compose
from fancypipe_core._doctor.finding import Finding
from fancypipe_core._model.ref import Instance


def marks(findings: Sequence[Finding]) -> list[str]:
    return [finding.mark for finding in findings]


def test_memory_for_all_workers() -> None:
    (bad,) = resources.memory(8, 500_000_000, 2_000_000_000)
    assert bad == Finding(
        "warning",
        "2.0 GB of memory are free; 8 workers take 4.0 GB before their first task (500.0 MB each)",
        "take fewer: -numworkers=2, or end other programs",
    )
    assert marks(list(resources.memory(2, 500_000_000, 2_000_000_000))) == ["ok"]
    assert not list(resources.memory(2, 500_000_000, None))


def test_the_disk_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(tmp_path)
    monkeypatch.setattr(_machine, "free_space", lambda _: 5_000_000_000)
    assert list(resources.disk(folder, "ext4")) == [
        Finding("ok", f"temporary files go to {folder}, 5.0 GB free")
    ]
    (slow,) = resources.disk(folder, "nfs4")
    assert slow.text.endswith("over the network (nfs4): they are slow there")
    (memory,) = resources.disk(folder, "tmpfs")
    assert memory.text.endswith("in memory (tmpfs): they count as memory")
    assert memory.advice == "name a folder on a disk of this machine: -tempdir FOLDER"
    monkeypatch.setattr(_machine, "free_space", lambda _: 5_000_000)
    assert marks(list(resources.disk(folder, "ext4"))) == ["warning"]
    monkeypatch.setattr(_machine, "writable", lambda _: False)
    (closed,) = resources.disk(folder, "ext4")
    assert closed.mark == "warning"
    assert closed.text.endswith(f"{folder}, cannot be written: tasks that make some will fail")


def test_the_kind_of_a_file_system(tmp_path: Path) -> None:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "mounts").write_text(
        "/dev/a / ext4 rw 0 0\n"
        "x /tmp tmpfs rw 0 0\n"
        "srv:/x /big\\040disk nfs4 rw 0 0\n"
        "/dev/b /tmp xfs rw 0 0\n"
    )
    root = str(tmp_path)
    assert resources.file_system("/home", root) == "ext4"
    assert resources.file_system("/big disk/of/mine", root) == "nfs4"
    assert resources.file_system("/tmp/x", root) == "xfs"
    assert resources.file_system("/tmpx", root) == "ext4"
    assert resources.file_system("/", str(tmp_path / "none")) == ""


def test_versions_that_do_not_fit() -> None:
    same = {"fancypipe-core": "0.1.0", "fancypipe-procs": "0.1.0"}
    assert marks(list(installed.versions(same))) == ["ok"]
    (bad,) = installed.versions({**same, "fancypipe-procs": "0.2.0"})
    assert bad == Finding(
        "warning",
        "the packages of fancypipe are of different versions: fancypipe-core 0.1.0, "
        "fancypipe-procs 0.2.0",
        "pip install fancypipe-core==0.1.0 fancypipe-procs==0.1.0",
    )
    needs = [
        "pluggy>=1.6",
        "cloudpickle>=99.1",
        "no-such-thing>=1",
        'tomli>=2; python_version < "3.11"',
    ]
    old, gone, rest = installed.missing(needs)
    assert old.text.startswith("fancypipe needs cloudpickle>=99.1, and cloudpickle ")
    assert gone == Finding(
        "problem",
        "fancypipe needs no-such-thing>=1, and no-such-thing is not installed",
        'pip install "no-such-thing>=1"',
    )
    assert (rest.mark, rest.text.split()[0]) == ("ok", "pluggy")


@task
def smooth(image: bytes) -> int:
    return len(image)


def test_inputs_that_are_heavy_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    values = EncodedValues()
    image = bytes(20_000_000)
    met: list[Met] = []
    for _ in range(3):
        met += compose(smooth(image), values).met
    monkeypatch.setattr(travel, "_MUCH_IN_ALL", 50_000_000)
    assert list(travel._heavy_inputs(met)) == [
        Finding(
            "warning",
            "3 tasks smooth take 60.0 MB of inputs to workers, up to 20.0 MB each",
            "pass the path of a file, and read it in the task",
        )
    ]
    assert not list(travel._heavy_inputs(met[:2]))


def test_what_is_too_much_is_not_all_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    @module
    def many() -> list[Instance[int]]:
        return [smooth(bytes(n)) for n in range(100)]

    composed = compose(many(), EncodedValues())
    assert (len(composed.met), composed.all) == (101, True)
    monkeypatch.setattr(doctor_compose, "_MOST", 50)
    composed = compose(many(), EncodedValues())
    assert (len(composed.met), composed.all) == (50, False)


def test_too_few_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def limits(kind: int) -> tuple[int, int]:
        return (20, 20) if kind == resource.RLIMIT_NPROC else (100_000, 100_000)

    monkeypatch.setattr(resource, "getrlimit", limits)
    monkeypatch.setattr(os, "getuid", lambda: 987_654)  # who has no process
    assert marks(list(resources.limits(4))) == ["ok"]
    _, bad = resources.limits(6)
    assert bad.mark == "warning"
    assert (
        bad.text == "20 more processes and threads may be started here, and 6 workers need some 24"
    )
