"""Starts a Python of its own for an engine: what such an engine leaves in one is its affair."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

__all__ = ["start", "use"]

_LIMIT = 600  # seconds; a loaded machine took 170 for the longest


def start(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python to its end, with warnings as errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", *words],
        check=False,
        env=env,
        capture_output=True,
        text=True,
        timeout=_LIMIT,
        stdin=subprocess.DEVNULL,
    )


def use(engine: str, folder: Path, *words: str, env: dict[str, str] | None = None) -> None:
    """Use a backend as `tests.engines.use` does; fail with all that was wrong."""
    over = start("-m", "tests.engines.use", engine, str(folder), *words, env=env)
    assert over.returncode == 0, over.stdout[-3000:] + over.stderr[-5000:]
    seen = json.loads((folder / "seen.json").read_text("utf-8"))
    wrong = [f"{part}: {text}" for part, text in seen.items() if text]
    assert not wrong, "\n".join(wrong) + over.stderr[-3000:]
