"""The tools that read the code find nothing to say; so one command checks everything."""

from __future__ import annotations

import sys

import pytest

from tests.meta.repo import call


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "--no-fix"],
        ["ruff", "format", "--check"],
        pytest.param(["mypy"], marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_nothing_to_say(command: list[str]) -> None:
    over = call(sys.executable, "-m", *command, seconds=170)
    if over.returncode != 0:
        pytest.fail(f"{' '.join(command)}:\n{over.stdout}{over.stderr}", pytrace=False)
