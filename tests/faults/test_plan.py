"""Fault points themselves: what a plan says, and that each point is used by a test."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fancypipe_core._base import faults as _faults
from fancypipe_core._base.faults import InjectedFault, fault
from tests.faults.conftest import Plan
from tests.meta.repo import PACKAGES, ROOT, source_of

POINT = re.compile(r"""\bfault\(["']([^"']+)["']\)""")


def test_nothing_happens_without_a_plan(plan: Plan) -> None:
    fault("a")
    plan("b=raise")
    fault("a")


def test_it_acts_the_time_that_is_planned(plan: Plan) -> None:
    plan("a=raise@3; b=raise")
    fault("a")
    fault("a")
    with pytest.raises(InjectedFault):
        fault("a")
    fault("a")
    with pytest.raises(InjectedFault):
        fault("b")


def test_it_acts_from_then_on(plan: Plan) -> None:
    plan("a=raise@2+")
    fault("a")
    for _ in range(3):
        with pytest.raises(InjectedFault):
            fault("a")


def test_with_a_file_it_acts_once_in_all_processes(plan: Plan, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    plan(f"a=raise!{mark}")
    with pytest.raises(InjectedFault):
        fault("a")
    plan(f"a=raise!{mark}")
    fault("a")


def test_what_is_frozen_goes_on_with_the_next_plan(plan: Plan) -> None:
    plan("a=freeze")
    thread = threading.Thread(target=fault, args=("a",))
    thread.start()
    thread.join(0.05)
    assert thread.is_alive()
    plan("")
    thread.join(60)
    assert not thread.is_alive()


@pytest.mark.parametrize("text", ["a", "a=", "a=burn", "a=raise@x", "=raise", "a=raise@+x"])
def test_what_is_no_plan(text: str, plan: Plan) -> None:
    with pytest.raises(ValueError, match="is not POINT="):
        plan(text)


@pytest.mark.parametrize(("action", "code"), [("kill", -signal.SIGKILL), ("exit", 7), ("raise", 1)])
def test_how_a_process_ends(action: str, code: int) -> None:
    over = subprocess.run(
        [sys.executable, "-c", "from fancypipe_core._base.faults import fault; fault('here')"],
        env={**os.environ, _faults.VARIABLE: f"here={action}"},
        stderr=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )
    assert over.returncode == code


def test_a_process_stops() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "from fancypipe_core._base.faults import fault; fault('here')"],
        env={**os.environ, _faults.VARIABLE: "here=stop"},
    ) as process:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        process.kill()


def test_each_point_is_used_by_a_test() -> None:
    tests = [path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py")]
    points = {
        point: path.relative_to(ROOT)
        for package in PACKAGES
        for path in source_of(package).rglob("*.py")
        if path.name != "faults.py"
        for point in POINT.findall(path.read_text("utf-8"))
    }
    assert len(points) > 10
    unused = [
        f"{path}: {point}"
        for point, path in points.items()
        if not any(_plans(test, point) for test in tests)
    ]
    assert not unused, f"no test makes use of these fault points: {unused}"


def _plans(test: str, point: str) -> bool:
    """Whether a test's text names the point, whole or put together of its two parts."""
    if f"{point}=" in test or f'"{point}"' in test:
        return True
    part, _, name = point.partition(".")
    return f"{part}.{{" in test and re.search(rf'"{name}["=]', test) is not None
