"""The security page: each line of its table is shown by tests, and stands there."""

from __future__ import annotations

from docs import security_rows
from docs.security_rows import ROWS, Row


def test_each_line_of_the_security_page_has_its_tests() -> None:
    assert security_rows.missing() == []


def test_a_test_that_is_not_there_is_noticed() -> None:
    rows = [
        Row("a", "b", True, "c", ("remote/test_keys.py::test_no_such",)),
        Row("a", "b", True, "c", ("remote/no_such.py::test_it",)),
        Row("a", "b", True, "c", ()),
    ]
    assert len(security_rows.missing(rows)) == 3


def test_the_page_says_first_who_trusts_whom() -> None:
    page = (security_rows.TESTS.parent / "docs" / "security.md").read_text("utf-8")
    assert page.index("a worker is trusted by its clients, whatever its key") < 900
    assert all(row.what in page for row in ROWS)
