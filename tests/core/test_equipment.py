"""What a machine has for tasks: memory within its limits, and devices."""

from __future__ import annotations

from pathlib import Path

import pytest

from fancypipe_core._base.equipment import devices, this_machine
from fancypipe_core._base.resources import total_memory
from fancypipe_core.backend import Equipment, Needs

GIB = 1 << 30


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root.joinpath(*name.split("__"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")


def test_memory_is_what_the_machine_has_or_its_group_may_have(tmp_path: Path) -> None:
    write(tmp_path, proc__meminfo="MemTotal: 4194304 kB\nMemAvailable: 1024 kB\n")
    assert total_memory(str(tmp_path)) == 4 * GIB
    write(tmp_path, proc__self__cgroup="0::/box\n")
    limit = tmp_path / "sys/fs/cgroup/box/memory.max"
    limit.parent.mkdir(parents=True)
    limit.write_text("max\n", encoding="ascii")
    assert total_memory(str(tmp_path)) == 4 * GIB
    limit.write_text(f"{GIB}\n", encoding="ascii")
    assert total_memory(str(tmp_path)) == GIB


def test_nothing_is_known_of_the_memory_of_some_systems(tmp_path: Path) -> None:
    assert total_memory(str(tmp_path)) is None
    assert Equipment(2).lacks(Needs(1, 1 << 50)) == ""


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"CUDA_VISIBLE_DEVICES": "2, 5"}, ("2", "5")),
        ({"CUDA_VISIBLE_DEVICES": "GPU-1a,MIG-2b"}, ("GPU-1a", "MIG-2b")),
        ({"CUDA_VISIBLE_DEVICES": ""}, ()),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, ()),
        ({"HIP_VISIBLE_DEVICES": "1"}, ("1",)),
        ({"ZE_AFFINITY_MASK": "0.1,1"}, ("0.1", "1")),
        ({}, ()),
    ],
)
def test_devices_are_those_that_the_process_may_use(
    variables: dict[str, str], expected: tuple[str, ...], tmp_path: Path
) -> None:
    assert devices(variables, str(tmp_path)) == expected


def test_devices_of_the_system_are_counted(tmp_path: Path) -> None:
    write(tmp_path, dev__nvidia0="", dev__nvidia1="", dev__nvidiactl="", dev__null="")
    assert devices({}, str(tmp_path)) == ("0", "1")


def test_devices_of_amd_are_the_nodes_that_are_no_processors(tmp_path: Path) -> None:
    nodes = "sys__class__kfd__kfd__topology__nodes"
    write(tmp_path, **{f"{nodes}__{n}__gpu_id": text for n, text in enumerate(("0", "77", "78"))})
    assert devices({}, str(tmp_path)) == ("0", "1")


def test_what_is_lacking_is_said_in_a_phrase() -> None:
    there = Equipment(2, 4 * GIB, ("0",))
    assert there.lacks(Needs(2, 4 * GIB, 1)) == ""
    assert there.lacks(Needs(3)) == "there are 2 cpus"
    assert there.lacks(Needs(1, 5 * GIB)) == "there is 4G of memory"
    assert there.lacks(Needs(1, 0, 2)) == "there is 1 gpu"
    assert Equipment(1).lacks(Needs(1, 0, 1)) == "there is no gpu"
    assert this_machine(3).cpus == 3
