"""What a task that has needs finds in the environment: its devices, and threads for its cores."""

from __future__ import annotations

from fancypipe_core._base.equipment import DEVICE_VARIABLES
from fancypipe_core._base.needs import Needs

__all__ = ["THREAD_VARIABLES", "own_variables", "task_variables"]

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
"""Tell numerical libraries how many threads they may have."""

own_variables: set[str] = set()
"""Those of them that a backend has set in this process, and not the user."""


def task_variables(needs: Needs | None, devices: tuple[str, ...]) -> dict[str, str]:
    """Return the environment variables for a task; none for one that needs nothing special.

    Threads are what the user says, if he does.

    Args:
        needs: What it needs.
        devices: Which devices it has.
    """
    if needs is None:
        return {}
    made = dict.fromkeys(own_variables, str(needs.cpus))
    if needs.gpu:
        made |= dict.fromkeys(DEVICE_VARIABLES, ",".join(devices))
    return made
