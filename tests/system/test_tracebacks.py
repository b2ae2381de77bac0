"""What a user sees of a failure in a notebook and at a prompt: the task's own frames."""

from __future__ import annotations

import code
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Callable
from importlib import util
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from fancypipe_core import Session, errors, module, run, task

BACKENDS = ["serial", "threads", "procs"]


@task
def divide(x: float) -> float:
    return 1 / x


@module
def misuses(x: float) -> Any:
    return [1 for _ in divide(x)]  # type: ignore[attr-defined]


@module
def waits(x: float) -> Any:
    return divide(x).result()


def frames(trace: TracebackType | None) -> list[str]:
    """Return the functions of a traceback; the engine's with their package."""
    found = []
    for frame in traceback.extract_tb(trace):
        ours = "fancypipe_core" in frame.filename
        found.append(f"engine: {frame.name}" if ours else frame.name)
    return found


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_few_frames_are_the_engines(backend: str) -> None:
    def in_session(target: Any) -> None:
        with Session(backend, 1) as session:
            session.run(target)

    def by_run(target: Any) -> None:
        run(target, backend=backend, workers=1)

    def by_result(target: Any) -> None:
        target.result()

    ways: list[Callable[[Any], None]] = [in_session, by_run, by_result]
    for call in ways:
        for target in (divide(0), waits(0)):
            with pytest.raises(ZeroDivisionError) as caught:
                call(target)
            shown = frames(caught.value.__traceback__)
            assert call.__name__ in shown
            assert len([name for name in shown if name.startswith("engine: ")]) <= 2
            # The task's own frame is that of the cause.
            assert caught.value.__cause__ is not None
            assert frames(caught.value.__cause__.__traceback__)[-1] == "divide"
        with pytest.raises(errors.GraphError) as wrong:
            call(misuses(0))
        assert wrong.value.__cause__ is not None
        assert "misuses" in frames(wrong.value.__cause__.__traceback__)


def test_debug_shows_all_frames() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run(divide(0), backend="serial", debug=True)
    shown = frames(caught.value.__traceback__)
    assert len([name for name in shown if name.startswith("engine: ")]) > 2  # see above


CELL = """
from fancypipe_core import run, task

@task
def divide(x):
    return 1 / x

run(divide(0), backend="{backend}", workers=1)
"""


def test_a_prompt_shows_the_tasks_own_frames(
    backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    console = code.InteractiveInterpreter()
    console.runcode(compile(CELL.format(backend=backend), "<prompt>", "exec"))
    text = capsys.readouterr().err
    files = [line.strip() for line in text.splitlines() if line.startswith("  File ")]
    assert len(files) <= 4, text
    assert len([file for file in files if "fancypipe" in file]) <= 1, text
    assert "in divide" in text


def test_a_notebook_shows_the_tasks_own_frames(backend: str, tmp_path: Path) -> None:
    if util.find_spec("IPython") is None:
        pytest.skip("IPython is not installed")
    words = ["--no-banner", "--colors=nocolor", "--HistoryManager.enabled=False"]
    over = subprocess.run(
        [sys.executable, "-m", "IPython", *words, "-c", CELL.format(backend=backend)],
        env={**os.environ, "IPYTHONDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    text = re.sub(r"\x1b\[[0-9;]*m", "", over.stdout)
    files = [line for line in text.splitlines() if line.startswith(("File ", "Cell "))]
    assert "ZeroDivisionError" in text, over.stderr
    assert "return 1 / x" in text
    assert len([file for file in files if "fancypipe" in file]) <= 2, text
