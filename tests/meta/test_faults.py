"""The fault matrix: each row that we deal with has a test that shows it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs import fault_rows
from docs.fault_rows import ROWS, SECTIONS, Shown


def test_every_fault_that_we_deal_with_has_a_test() -> None:
    with_test = {one.row for one in fault_rows.shown()}
    missing = [row for row in ROWS.values() if row.outcome and row.number not in with_test]
    told = "\n".join(f"  {row.number}: {row.fault}" for row in missing)
    assert not missing, f"no test is marked for these rows of docs/faults.md:\n{told}"


def test_the_rows_are_numbered_without_gaps() -> None:
    numbers = [row.number for rows in SECTIONS.values() for row in rows]
    assert numbers == list(range(1, len(numbers) + 1))


def marks(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Shown]:
    (folder / "test_it.py").write_text(text, encoding="utf-8")
    monkeypatch.setattr(fault_rows, "TESTS", folder)
    return fault_rows.shown()


def test_marks_are_found_wherever_they_may_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
TABLE = [pytest.param(1, marks=pytest.mark.fault(3)), pytest.param(2, marks=[pytest.mark.fault(4)])]

@pytest.mark.fault(9, 8)
@pytest.mark.fault(8)
def test_a(): ...

class TestIt:
    @pytest.mark.parametrize("x", TABLE)
    def test_b(self, x): ...

    @pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.fault(3)), fault(5)])
    def test_c(self, x): ...
"""
    assert marks(text, tmp_path, monkeypatch) == [
        Shown(3, "test_it.py", "test_b"),
        Shown(3, "test_it.py", "test_c"),
        Shown(4, "test_it.py", "test_b"),
        Shown(8, "test_it.py", "test_a"),
        Shown(9, "test_it.py", "test_a"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "@pytest.mark.fault(999)\ndef test_a(): ...",
            "tests/test_it.py:1: the fault matrix",
        ),
        ("@pytest.mark.fault('8')\ndef test_a(): ...", "has no row '8'"),
        ("pytestmark = pytest.mark.fault(8)\ndef test_a(): ...", "belongs to no test"),
        ("@pytest.mark.fault(8)\ndef helper(): ...", "belongs to no test"),
    ],
)
def test_marks_that_show_nothing_are_refused(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        marks(text, tmp_path, monkeypatch)
