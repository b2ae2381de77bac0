"""Which files are installed: the interpreter's own and other packages', not the user's project."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from functools import cache
from pathlib import Path

__all__ = ["OURS", "installed_folders", "is_installed"]

OURS = {
    *("fancypipe_core", "fancypipe_procs", "fancypipe_remote", "fancypipe_threads"),
    *("fancypipe_dask", "fancypipe_ray", "fancypipe_slurm"),
}
"""What each worker has itself, in its own version, also where it is installed as editable."""


def is_installed(path: str) -> bool:
    """Tell whether a file or folder is the interpreter's own, or was installed for it."""
    if path.startswith(_installed_starts()) or path in installed_folders():
        return True
    real = os.path.realpath(path)
    return real.startswith(_installed_starts()) or real in installed_folders()


@cache
def _installed_starts() -> tuple[str, ...]:
    return tuple(os.path.join(folder, "") for folder in installed_folders())


@cache
def installed_folders() -> tuple[str, ...]:
    """Return the standard library's folder, then the others; with those that links lead to."""
    known = sysconfig.get_paths()
    stdlib = known["stdlib"]
    folders = [stdlib, known["platstdlib"], known["purelib"], known["platlib"]]
    folders += [site.getusersitepackages(), *site.getsitepackages()]
    version = f"python{sys.version_info[0]}{sys.version_info[1]}.zip"
    folders += [os.path.join(os.path.dirname(stdlib), version)]
    for prefix in {sys.prefix, sys.base_prefix}:
        # Distributions of Linux have folders of their own for what they install.
        for lib in ("lib", "local/lib"):
            folders += map(str, Path(prefix, lib).glob("python*/dist-packages"))
    return tuple(
        dict.fromkeys(f(path) for f in (os.path.abspath, os.path.realpath) for path in folders)
    )
