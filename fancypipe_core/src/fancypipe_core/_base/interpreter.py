"""How a process of ours is started: the same interpreter, with the same options."""

from __future__ import annotations

import subprocess
import sys

__all__ = ["interpreter"]

# Runs a module as `-m` does, but a file in the current folder cannot stand in for a module of
# ours or of Python's own.  The option -P does the same, and Python 3.10 has none.  Nothing is
# imported before the folder is out but `sys`, which is built in; nothing is left in `__main__`.
_RUN = (
    "__import__('sys').path[:1] == [''] and __import__('sys').path.pop(0); "
    "__import__('runpy')._run_module_as_main(__import__('sys').argv.pop(1))"
)


def interpreter(module: str, *options: str) -> list[str]:
    """Return the beginning of a command that runs a module; its arguments come behind it.

    It is this interpreter, with the options that it was started with.

    Args:
        module: The module's name.
        *options: Further options of the interpreter.
    """
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return [sys.executable, *flags, *options, "-c", _RUN, module]
