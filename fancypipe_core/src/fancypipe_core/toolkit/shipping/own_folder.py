"""A folder of a worker process's own, which is gone when the process is."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading

from fancypipe_core._engine.orphans import owned_prefix, sweep_orphans

__all__ = ["own_folder"]

_START = 30.0  # seconds in which a process of the system's shell is there
_REMOVE = 'exec 3<&0; { cat <&3; rm -rf -- "$1"; } &'
_of: dict[int, str] = {}
_making = threading.Lock()


def own_folder() -> str:
    """Return it; the same one for all of this process, and another in a fork.

    Raises:
        OSError: It cannot be made.
        SubprocessError: Nobody could be found to remove it.
    """
    process = os.getpid()
    with _making:
        if process not in _of:
            base = tempfile.gettempdir()
            sweep_orphans(base)
            folder = tempfile.mkdtemp(prefix=owned_prefix("worker"), dir=base)
            _remove_at_end(folder)
            _of.clear()
            _of[process] = folder
        return _of[process]


def _remove_at_end(folder: str) -> None:
    """Have a folder removed when this process ends, however it does.

    Engines kill their workers, and the children of these.  So this is a grandchild, which waits
    for the end of a pipe of which we alone have the other end.
    """
    end, _ = os.pipe()
    subprocess.run(
        ["/bin/sh", "-c", _REMOVE, "fancypipe-worker", folder],
        check=True,
        timeout=_START,
        cwd="/",
        stdin=end,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(end)


def _after_fork() -> None:
    global _making  # noqa: PLW0603 - a thread that is not here may hold the other
    _making = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
