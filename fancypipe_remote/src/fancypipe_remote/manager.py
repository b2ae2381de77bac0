"""`python -m fancypipe_remote.manager`, also the command `fancymanager`: `fancypipe manager`."""

from __future__ import annotations

from typing import NoReturn

from fancypipe_core.toolkit import run_command
from fancypipe_remote import plugin

__all__ = ["main"]


def main() -> NoReturn:
    """Run a manager with the arguments of this process."""
    run_command(plugin, "manager")


if __name__ == "__main__":
    main()
