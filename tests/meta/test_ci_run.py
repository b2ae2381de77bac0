"""`.ci/run` runs what README.md says, and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.meta.repo import PACKAGES, ROOT, call

MARK = "<!-- command: tests -->"
BLOCK = "{mark}\n```sh\n{command}\n```\n"
OTHER = "<!-- command: example -->\n```sh\necho wrong\n```\n"


def run_ci(place: Path, readme: str) -> subprocess.CompletedProcess[str]:
    (place / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", place / ".ci" / "run")
    (place / "README.md").write_text(readme, encoding="utf-8")
    # Called as from a clean checkout, from another folder.
    script = str(place / ".ci" / "run")
    env = {**os.environ, "CI": "true", "PYTHONDONTWRITEBYTECODE": "1"}
    return call("bash", script, cwd=place.parent, env=env)


@pytest.mark.parametrize("gap", ["", "\n"])
def test_the_marked_block_is_run_at_the_root(tmp_path: Path, gap: str) -> None:
    block = f"{MARK}\n{gap}```sh\ncd . &&\n  pwd\n```\n"
    over = run_ci(tmp_path, f"# Title\n{OTHER}{block}{OTHER}")
    assert over.returncode == 0, over.stderr
    assert over.stdout == f"cd . &&\n  pwd\n{tmp_path}\n"


def test_what_nobody_imports_is_not_compiled(tmp_path: Path) -> None:
    over = run_ci(
        tmp_path, BLOCK.format(mark=MARK, command='echo "PIP_NO_COMPILE=$PIP_NO_COMPILE"')
    )
    assert over.stdout.endswith("\nPIP_NO_COMPILE=1\n")


def test_what_is_imported_is_compiled_once(tmp_path: Path) -> None:
    command = 'echo "set: ${PYTHONDONTWRITEBYTECODE-never}"'
    over = run_ci(tmp_path, BLOCK.format(mark=MARK, command=command))
    assert over.stdout.endswith("\nset: never\n")


@pytest.mark.parametrize(
    "command", ["exit 3", "(exit 3)\necho on", "(exit 3) && echo on", "(exit 3) | cat"]
)
def test_a_failure_is_a_failure(tmp_path: Path, command: str) -> None:
    over = run_ci(tmp_path, BLOCK.format(mark=MARK, command=command))
    assert over.returncode == 3
    assert not over.stdout.endswith("\non\n")


@pytest.mark.parametrize(
    "readme",
    [
        "no block",
        OTHER,
        f"{MARK}\nwords\n```sh\necho wrong\n```\n",
        f"{MARK}\n```sh\necho open",
        2 * BLOCK.format(mark=MARK, command="echo twice"),
    ],
)
def test_without_one_block_nothing_is_run(tmp_path: Path, readme: str) -> None:
    over = run_ci(tmp_path, readme)
    assert over.returncode == 1
    assert over.stdout == ""
    assert "README.md must have one sh block" in over.stderr


def test_it_can_be_executed() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_command_in_the_readme_installs_everything() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert readme.count(MARK) == 1
    command = readme.partition(MARK)[2].split("```")[1]
    for part in (*PACKAGES, "-r tests/requirements.txt", "pytest -n auto"):
        assert part in command
