"""A ray cluster of two slots on this machine, for clients in other processes.

    python -m tests.engines.ray_cluster FOLDER

It says its address, and ends when its standard input does.
"""

from __future__ import annotations

import sys

import ray


def main(folder: str) -> None:
    """Serve until there is no more input."""
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        _temp_dir=folder,
        _node_ip_address="127.0.0.1",
    )
    print(ray.get_runtime_context().gcs_address, flush=True)  # noqa: T201 - who has started us reads it
    sys.stdin.read()
    ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
