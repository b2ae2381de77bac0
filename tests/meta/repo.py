"""What the tests of this folder know of the repository."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
CORE = "fancypipe_core"
SIBLINGS = ("fancypipe_threads", "fancypipe_procs", "fancypipe_remote")
ENGINES = (
    "fancypipe_dask",
    "fancypipe_ray",
    "fancypipe_slurm",
)  # each needs an engine of others, which may not be installed
PACKAGES = (CORE, *SIBLINGS)
META = "fancypipe"  # holds no code: what it needs is what it is for

# Where there is no git, what is not the repository's own.
_NOT_OURS = {"__pycache__", "build", "dist", "htmlcov", "venv"}


def source_of(package: str) -> Path:
    """Return the folder of a package's modules."""
    return ROOT / package / "src" / package


def project_of(package: str) -> dict[str, Any]:
    """Return the table `project` of a package's pyproject.toml."""
    project = tomllib.loads((ROOT / package / "pyproject.toml").read_text("utf-8"))["project"]
    assert isinstance(project, dict)
    return project


def distribution_of(package: str) -> str:
    """Return the name under which a package is installed."""
    return package.replace("_", "-")


def call(
    *command: str, cwd: Path = ROOT, env: Mapping[str, str] | None = None, seconds: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with nothing to read, and keep what it writes."""
    return subprocess.run(
        command,
        check=False,
        cwd=cwd,
        env=env,
        timeout=seconds,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter, in which warnings are errors."""
    return call(sys.executable, "-W", "error", "-c", code)


def our_files() -> list[Path]:
    """Return the files that git knows, or would take in if asked to."""
    if (ROOT / ".git").exists():
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=60)
        paths = (ROOT / name.decode() for name in listed.stdout.split(b"\0") if name)
        return sorted(path for path in paths if path.is_file())
    return sorted(_walk(ROOT))


def _walk(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir():
            hidden = path.name.startswith(".") and path.name != ".ci"
            if not hidden and path.name not in _NOT_OURS and not path.name.endswith(".egg-info"):
                yield from _walk(path)
        elif path.suffix != ".pyc":
            yield path
