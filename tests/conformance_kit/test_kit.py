"""The conformance kit itself: sound backends pass it, and it finds what is wrong with others."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from fancypipe_core.testing._rules import rules
from fancypipe_core.testing.pytest_plugin import KIT
from tests.conformance_kit import planted

PLUGIN = "fancypipe_core.testing.pytest_plugin"


def pytest_knows_it() -> bool:
    return any(point.value == PLUGIN for point in metadata.entry_points(group="pytest11"))


def kit(folder: Path, *words: str, by_name: bool = False) -> subprocess.CompletedProcess[str]:
    """Run the kit as an author does, in a folder of its own."""
    load = () if pytest_knows_it() or by_name else ("-p", PLUGIN)
    environment = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    command = [sys.executable, "-m", "pytest", *load, "--pyargs", KIT, *words]
    return subprocess.run(
        [*command, "-p", "no:cacheprovider", "-rfEs"],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )


def planted_kit(folder: Path, bug: planted.Bug | None, *words: str) -> tuple[int, str]:
    (folder / "planted_backend.py").write_text(planted.source(bug), encoding="utf-8")
    over = kit(folder, "--backend", "planted_backend:plugin", "--limit", "4", *words)
    return over.returncode, over.stdout + over.stderr


@pytest.mark.parametrize("backend", ["serial", "threads", "procs"])
def test_our_backends_pass(backend: str, tmp_path: Path) -> None:
    over = kit(tmp_path, "--backend", backend, "--workers", "2")
    assert over.returncode == 0, over.stdout + over.stderr
    assert f"fancypipe conformance: {backend} " in over.stdout
    for line in over.stdout.splitlines():
        if line.startswith("SKIPPED"):
            assert f": {backend} " in line, "a skip says what it is of this backend"
    assert not list(tmp_path.iterdir())


def test_the_command_is_as_documented(tmp_path: Path) -> None:
    over = kit(tmp_path, "--backend", "threads", "-k", "rule_01", by_name=True)
    assert over.returncode == 0, over.stdout + over.stderr
    assert "2 passed" in over.stdout


def test_mistakes_are_told(tmp_path: Path) -> None:
    for words, message in (
        ((), "say which backend is to be tested"),
        (("--backend", "nosuch"), "there is no backend 'nosuch'"),
        (("--backend", "os:path"), "os:path is not a BackendPlugin"),
        (("--backend", "os:nosuch"), "AttributeError: module 'os' has no attribute 'nosuch'"),
        (("--backend", "no_such:plugin"), "'no_such'; a module in the current folder is found wi"),
        (("--backend", "serial", "--workers", "0"), "at least 1"),
    ):
        over = kit(tmp_path, *words)
        assert over.returncode == 4, over.stdout + over.stderr
        assert message in over.stderr


def test_other_runs_of_pytest_may_have_such_options(tmp_path: Path) -> None:
    """The plugin is loaded everywhere; it must be in nobody's way."""
    (tmp_path / "conftest.py").write_text(
        "def pytest_addoption(parser):\n    parser.addoption('--backend')\n", encoding="utf-8"
    )
    (tmp_path / "test_it.py").write_text(
        "def test_it(pytestconfig):\n    assert pytestconfig.getoption('backend') == 'x'\n",
        encoding="utf-8",
    )
    load = () if pytest_knows_it() else ("-p", PLUGIN)
    over = subprocess.run(
        [sys.executable, "-m", "pytest", *load, "--backend", "x"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert over.returncode == 0, over.stdout + over.stderr


def test_each_rule_has_its_text_and_its_tests(tmp_path: Path) -> None:
    assert sorted(rules()) == list(range(1, 11))
    assert rules()[10].endswith('so once, by a `Note` on the stream "warning".')
    listed = kit(tmp_path, "--backend", "serial", "--collect-only", "-q").stdout
    for number in rules():
        assert f"test_rule_{number:02}_" in listed


def test_a_sound_copy_passes(tmp_path: Path) -> None:
    code, text = planted_kit(tmp_path, None, "-k", "rule")
    assert code == 0, text


@pytest.mark.parametrize("name", planted.BUGS)
def test_a_planted_bug_is_found(name: str, tmp_path: Path) -> None:
    bug = planted.BUGS[name]
    code, text = planted_kit(tmp_path, bug, "-x", "-k", f"rule_{bug.rule:02}")
    assert code == 1, f"not found: {name}\n{text}"
    assert f"rule {bug.rule} is broken.\n" in text, text
    assert f"Rule {bug.rule}: {rules()[bug.rule]}" in text, text
