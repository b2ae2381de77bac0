"""A dask cluster of one worker process with two threads, which serves one client after the other.

    python -m tests.engines.cluster [FOLDER]

It says its address, and ends when its standard input does.  The worker sees nothing in FOLDER.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from dask.distributed import Client, LocalCluster

from tests.core.engines import hide


def main(hidden: list[str]) -> None:
    """Serve until there is no more input."""
    with (
        LocalCluster(1, threads_per_worker=2, dashboard_address=":0", protocol="tcp") as cluster,
        Client(cluster) as client,
    ):
        for folder in hidden:
            client.run(hide, os.path.join(Path(folder), ""))
        print(cluster.scheduler_address, flush=True)  # noqa: T201 - who has started us reads it
        sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1:])
