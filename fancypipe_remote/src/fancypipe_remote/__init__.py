"""The remote backend of fancypipe: jobs run on other machines.

A manager knows who is there and passes sealed bytes on; workers run jobs on any
local backend; clients run pipelines.  All three meet at the manager's address.
"""

from __future__ import annotations

from fancypipe_core.backend import BackendPlugin, Command
from fancypipe_remote._settings import (
    ClientSettings,
    ManagerSettings,
    SecretSettings,
    StatusSettings,
    WorkerSettings,
)

__all__ = ["plugin"]

_HOME = "fancypipe_remote._commands.worker"


plugin = BackendPlugin(
    name="remote",
    aliases=("R",),
    help="workers on any number of machines, which meet at a manager",
    make="fancypipe_remote._client.connect:make",
    kills=True,
    unit="slot",
    handles=True,
    understands=frozenset({"cpus", "memory", "gpu"}),
    settings=ClientSettings,
    commands={
        "manager": Command(
            "Let clients and workers meet here, and pass on what they say.",
            "fancypipe_remote._commands.manager:manager",
            ManagerSettings,
        ),
        "worker": Command("Run the jobs of clients.", f"{_HOME}:worker", WorkerSettings),
        "secret": Command(
            "Make, find and share the secret that all parties need.",
            "fancypipe_remote._commands.secret:secret",
            SecretSettings,
            "new|show-path|export-worker-key FILE",
        ),
        "status": Command(
            "Say who is at a manager.", "fancypipe_remote._commands.status:status", StatusSettings
        ),
    },
)
