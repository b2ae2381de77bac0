"""A folder to work in, and the command line that is typed there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

__all__ = ["FANCYPIPE", "PIPELINE", "SECONDS", "Place"]

FANCYPIPE = (sys.executable, "-m", "fancypipe_core.cli")
SECONDS = 60.0

# The one of the README and of the design.
PIPELINE = '''\
from fancypipe_core import module, task

@task
def square(x: float) -> float:
    """Square of x."""
    return x * x

@task
def add(a: float, b: float) -> float:
    return a + b

@module
def sum_of_squares(x1: float = 3, x2: float = 4):
    """Sum of the squares of x1 and x2."""
    return add(square(x1), square(x2))      # nothing has run yet: these are references

if __name__ == "__main__":
    sum_of_squares.cli()
'''


class Place:
    """A folder to work in, with a home of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # No settings of whoever runs the tests, and output in the order that users see.
        own = ("FANCYPIPE_", "PYTHONUNBUFFERED", "PYTHONIOENCODING")
        self.env = {name: text for name, text in os.environ.items() if not name.startswith(own)}
        self.env |= {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder / "config")}
        self.env |= {"TERM": "xterm", "COLUMNS": "100", "LINES": "24"}
        self.write("pipeline.py", PIPELINE)

    def write(self, name: str, text: str) -> Path:
        file = self.folder / name
        file.write_text(text, encoding="utf-8")
        return file

    def call(self, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=SECONDS,
            check=False,
        )

    def fancypipe(self, line: str, **env: str) -> subprocess.CompletedProcess[str]:
        return self.call(*FANCYPIPE, *line.split(), **env)

    def typed(self, text: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command line, and type this when it reads."""
        return subprocess.run(
            [*FANCYPIPE, *words],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            input=text,
            timeout=SECONDS,
            check=False,
        )

    def result(self, line: str, **env: str) -> object:
        """Run a command line that is right, and return what it prints."""
        over = self.fancypipe(line, **env)
        assert over.returncode == 0, over.stderr
        return json.loads(over.stdout)

    def refused(self, line: str, code: int = 2, **env: str) -> str:
        """Run a command line that is wrong, and return the one line that it says."""
        over = self.fancypipe(line, **env)
        assert (over.returncode, over.stdout) == (code, ""), over.stderr
        (said,) = over.stderr.splitlines()
        assert said.startswith("fancypipe: ")
        return said.removeprefix("fancypipe: ")
