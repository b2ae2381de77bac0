"""What no import finds, on every backend, from a function and from a prompt."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from fancypipe_core import Session
from tests.conformance import nameless


def test_what_stands_in_a_function(session: Session) -> None:
    nameless.check(session)


def test_what_stands_in_a_function_or_above_it_at_a_prompt(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-"],
        cwd=tmp_path,
        env={**os.environ, "FANCYPIPE_BACKEND": "procs", "TMPDIR": str(tmp_path)},
        input=Path(nameless.__file__).read_text(encoding="utf-8"),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stdout == "all is right\n", done.stdout + done.stderr
