"""`python -m fancypipe_remote.worker`, also the command `fancyworker`: `fancypipe worker`."""

from __future__ import annotations

from typing import NoReturn

from fancypipe_core.toolkit import run_command
from fancypipe_remote import plugin

__all__ = ["main"]


def main() -> NoReturn:
    """Run a worker with the arguments of this process."""
    run_command(plugin, "worker")


if __name__ == "__main__":
    main()
