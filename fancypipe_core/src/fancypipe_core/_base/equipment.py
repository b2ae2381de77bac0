"""What a machine has for tasks: cores, memory and devices."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress

from fancypipe_core._base.needs import Equipment
from fancypipe_core._base.resources import total_memory

__all__ = ["DEVICE_VARIABLES", "devices", "show_devices", "this_machine"]

DEVICE_VARIABLES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")
"""Name the devices that a process may use: of NVIDIA, of AMD, of Intel."""


def this_machine(cpus: int) -> Equipment:
    """Return what this machine has, with so many cores for tasks.

    Memory is what the system has, or what its control groups let this process have.
    """
    return Equipment(cpus, total_memory() or 0, devices())


def show_devices(names: str) -> None:
    """Let this process, and those that it starts, see these devices only: `0,1`, or none."""
    os.environ.update(dict.fromkeys(DEVICE_VARIABLES, names))


def devices(environment: Mapping[str, str] = os.environ, root: str = "/") -> tuple[str, ...]:
    """Return the devices that this process may use, by the names that the variables have.

    Args:
        environment: Where the variables are.
        root: Where `dev` and `sys` are; for tests.
    """
    for name in DEVICE_VARIABLES:
        named = environment.get(name)
        if named is not None:
            names = [one.strip() for one in named.split(",")]
            return tuple(one for one in names if one and one not in ("-1", "NoDevFiles", "none"))
    return tuple(map(str, range(_nvidia(root) or _amd(root))))


def _nvidia(root: str) -> int:
    with suppress(OSError):
        files = os.listdir(os.path.join(root, "dev"))
        return sum(re.fullmatch(r"nvidia\d+", name) is not None for name in files)
    return 0


def _amd(root: str) -> int:
    nodes, count = os.path.join(root, "sys/class/kfd/kfd/topology/nodes"), 0
    with suppress(OSError):
        for node in os.listdir(nodes):
            with suppress(OSError), open(os.path.join(nodes, node, "gpu_id"), "rb") as file:
                count += int(file.read().strip() or 0) > 0  # a node without it is a processor
    return count
