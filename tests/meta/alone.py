"""Uses what is installed, as a newcomer would; needs nothing but the standard library.

The nox session `alone` runs it in an environment that holds one package and what that
package needs:

    python alone.py serial threads      # the backends that must be there, and no others
"""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

PIPELINE = '''\
from fancypipe_core import module, task

@task
def square(x: float) -> float:
    return x * x

@task
def add(a: float, b: float) -> float:
    return a + b

@module
def sum_of_squares(x1: float = 3, x2: float = 4):
    """Sum of the squares of x1 and x2."""
    return add(square(x1), square(x2))

if __name__ == "__main__":
    sum_of_squares.cli()
'''

BACKENDS = {
    "serial": "fancypipe-core",
    "threads": "fancypipe-threads",
    "procs": "fancypipe-procs",
    "remote": "fancypipe-remote",
    "dask": "fancypipe-dask",
    "ray": "fancypipe-ray",
    "slurm": "fancypipe-slurm",
}


def call(*command: str, where: Path, code: int = 0) -> tuple[str, str]:
    """Return what the command wrote to stdout and to stderr; its exit code must be `code`."""
    over = subprocess.run(
        command,
        check=False,
        cwd=where,
        timeout=120,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if over.returncode != code:
        sys.exit(f"{command} ended with {over.returncode}:\n{over.stdout}{over.stderr}")
    return over.stdout, over.stderr


def must(true: object, message: str) -> None:
    """End with the message unless it is true."""
    if not true:
        sys.exit(message)


def check(present: Sequence[str], where: Path) -> None:
    """Use each backend that must be present, and ask for those that must not."""
    fancypipe = str(Path(sysconfig.get_path("scripts"), "fancypipe"))
    (where / "pipeline.py").write_text(PIPELINE, encoding="utf-8")
    ours = ["pipeline.py", "--x1", "3", "--x2", "4"]

    for command in ([fancypipe, *ours], [sys.executable, *ours]):
        out, _ = call(*command, where=where)
        must(out == "25.0\n", f"{command} printed {out!r}")
    listed, _ = call(fancypipe, "backends", where=where)
    for name, distribution in BACKENDS.items():
        must(
            bool(re.search(rf"\b{name}\b", listed)) == (name in present),
            f"`fancypipe backends` is wrong about {name}:\n{listed}",
        )
        if name in present:
            if name not in ("remote", "slurm"):  # they need a manager and workers
                out, _ = call(fancypipe, f"-workertype={name}", *ours, where=where)
                must(out == "25.0\n", f"{name} printed {out!r}")
            files = [str(file) for file in metadata.files(distribution) or ()]
            package = distribution.replace("-", "_")
            must(f"{package}/py.typed" in files, f"{distribution} has no py.typed")
            must(any(file.endswith("/LICENSE") for file in files), f"{distribution}: no LICENSE")
        else:
            _, errors = call(fancypipe, f"-workertype={name}", *ours, where=where, code=2)
            must(errors.count("\n") == 1, f"not one line: {errors!r}")
    print("alone: good, with", ", ".join(present))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        check(sys.argv[1:], Path(folder))
