"""The public door to the command line: `python -m fancypipe_core.cli`."""

from __future__ import annotations

from fancypipe_core._cli.main import cli_for, main, run_command

__all__ = ["cli_for", "main", "run_command"]

if __name__ == "__main__":
    main()
