"""A folder with a pipeline, and what `fancypipe doctor` finds in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SECONDS = 120.0
HEALTHY = """\
from fancypipe_core import module, task

@task
def square(x: float) -> float:
    return x * x

@task
def add(a: float, b: float) -> float:
    return a + b

@module
def sum_of_squares(x1: float = 3, x2: float = 4):
    return add(square(x1), square(x2))

if __name__ == "__main__":
    sum_of_squares.cli()
"""
GUARD = '`if __name__ == "__main__":`'


class Place:
    """A folder with a pipeline in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.token = uuid.uuid4().hex
        own = ("FANCYPIPE_", "PYTHONUNBUFFERED")
        threads = ("OMP_", "OPENBLAS_", "MKL_", "BLIS_", "VECLIB_", "NUMEXPR_")
        known = {n: text for n, text in os.environ.items() if not n.startswith((*own, *threads))}
        home = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder / "config")}
        self.env = {**known, **home, "DOCTOR_TEST": self.token}

    def write(self, text: str, name: str = "pipeline.py") -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def start(self, line: str, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "fancypipe_core.cli", "doctor", *line.split()],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **{"env": self.env, "stdin": subprocess.DEVNULL, **options},
        )

    def call(self, line: str, **options: Any) -> tuple[int, str, str]:
        process = self.start(line, **options)
        try:
            out, err = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
        return process.returncode, out, err

    def found(self, line: str = "pipeline.py", code: int | None = None, **options: Any) -> Found:
        ended, out, err = self.call(f"--json {line}", **options)
        assert ended in (0, 1), err
        answer = json.loads(out)
        assert ended == bool(answer["problems"])
        assert code in (None, ended), out
        return Found(answer["findings"])

    def refused(self, line: str, code: int = 2) -> str:
        ended, out, err = self.call(line)
        assert (ended, out) == (code, "")
        return err

    def left(self) -> list[int]:
        """Return the processes that were started here and still live."""
        pids = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    if self.token.encode() in (entry / "environ").read_bytes():
                        pids.append(int(entry.name))
                except OSError:
                    continue
        return pids


class Found:
    """What the doctor found."""

    def __init__(self, findings: Sequence[dict[str, str]]) -> None:
        self.findings = findings

    def of(
        self, mark: str, about: Sequence[str] = ("pipeline.py", "tasks and inputs")
    ) -> list[str]:
        return [f["text"] for f in self.findings if f["mark"] == mark and f["about"] in about]

    def one(self, mark: str, about: Sequence[str] = ("pipeline.py", "tasks and inputs")) -> str:
        """Return the only finding with this mark, and its advice."""
        (text,) = self.of(mark, about)
        (advice,) = (f["advice"] for f in self.findings if f["text"] == text)
        return f"{text} -> {advice}" if advice else text

    def is_well(self) -> None:
        """There is nothing to say of the pipeline itself."""
        assert not self.of("problem") + self.of("warning"), self.findings
