"""What figures are turned into: ratios, verdicts, tables, and back from JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import report
from benchmarks.measure import Measured
from benchmarks.ratios import Change, Result, changes, judged, line_table, shown
from benchmarks.table import figure_table, markdown, written
from benchmarks.targets import Kind, Line

MACHINE: dict[str, Any] = {
    "date": "today", "commit": "abc", "cpu": "some", "cores": 2, "memory": 2**30, "system": "any",
    "python": "3", "versions": {"dask": "1"}, "load": [0.5, 0.5, 0.5],
}  # fmt: skip


def seconds(*values: float | None) -> list[dict[str, float] | None]:
    return [None if value is None else {"seconds": value} for value in values]


def tree(**runs: list[dict[str, float] | None]) -> Measured:
    return Measured("tree", sizes=dict.fromkeys(runs, 8), runs=dict(runs))


def line(kind: Kind = "time", must: float = 0.8, goal: float = 0.3) -> Line:
    return Line("tree", "threads", "inline", kind, 1.3, must, goal)


def only(found: Measured, wanted: Line) -> Result:
    (result,) = judged([wanted], [found])
    return result


def test_a_ratio_is_taken_within_a_round() -> None:
    # The machine was twice as slow in the second round, for both.
    found = tree(threads=seconds(1, 2, 1.2), inline=seconds(2, 4, 2))
    result = only(found, line())
    assert result.rounds == [0.5, 0.5, 0.6]
    assert result.value == 0.5
    assert list(only(found, line("rate")).rounds) == [2, 2, pytest.approx(1 / 0.6)]


def test_a_round_in_which_one_failed_does_not_count() -> None:
    found = tree(threads=seconds(1, None, 3), inline=seconds(2, 2, None))
    assert found.failed
    assert only(found, line()).rounds == [0.5]


def test_sizes_that_differ_are_compared_for_each_task() -> None:
    found = Measured(
        "noop",
        sizes={"remote": 100, "ray": 20},
        runs={"remote": seconds(1), "ray": seconds(2)},
    )
    assert only(found, Line("noop", "remote", "ray", "rate", 9, 25, 50)).value == 10


@pytest.mark.parametrize(
    ("kind", "value", "verdict"),
    [
        ("time", 0.9, "not reached"), ("time", 0.8, "reached"), ("time", 0.3, "goal reached"),
        ("rate", 1.9, "not reached"), ("rate", 2, "reached"), ("rate", 4, "goal reached"),
    ],
)  # fmt: skip
def test_what_was_reached(kind: Kind, value: float, verdict: str) -> None:
    must, goal = (2, 4) if kind == "rate" else (0.8, 0.3)
    assert Result(line(kind, must, goal), [value]).verdict == verdict


def test_who_could_not_be_measured_is_said_with_the_reason() -> None:
    found = tree(threads=seconds(1))
    found.lacks["inline"] = "it is on holiday"
    result = only(found, line())
    assert result.verdict == "not measured: inline: it is on holiday"
    assert "it is on holiday" in line_table([result])
    assert "it is on holiday" in figure_table(found)
    del found.lacks["inline"]
    assert only(found, line()).verdict == "not measured: inline: left out of this run"


def test_a_line_whose_workload_was_not_run_is_left_out() -> None:
    assert not judged([line()], [])


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (None, "rate", "-"), (12.0, "rate", "12x"), (0.5, "time", "0.5x"), (0.031, "over", "3.1 %"),
        (1117.4, "bytes", "1,117 B"), (100.0, "ms", "100 ms"), (90.0, "ms", "90 ms"),
        (0.0, "over", "0 %"),
    ],
)  # fmt: skip
def test_how_figures_are_written(value: float | None, kind: Kind, text: str) -> None:
    assert shown(value, kind) == text


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (2.0, "time", "2.00 s"), (0.0123, "time", "12.3 ms"), (0.5, "rate", "20.0"),
        (123456.0, "bytes", "123 kB"), (12.0, "bytes", "12 B"), (0.031, "percent", "3.1 %"),
        (1.5, "times", "1.50x"), (3.0, "count", "3"),
    ],
)  # fmt: skip
def test_how_numbers_are_written(value: float, form: str, text: str) -> None:
    assert written(value, form, 10) == text


def test_a_table_is_valid_markdown() -> None:
    assert markdown(["a", "n"], [["x", "1"]]).splitlines() == [
        "| a  |  n |",
        "| -- | -: |",
        "| x  |  1 |",
    ]


@pytest.mark.parametrize(
    ("rounds", "verdict"),
    [
        ([1.1, 1.2, 1.3], "worse"),
        ([0.8, 0.7, 0.9], "better"),
        ([0.9, 1.2, 1.3], "the same within noise"),
        ([1.01, 1.02, 1.02], "the same within noise"),
        ([1.1, 1.2, 1.2, 1.3, 0.9], "worse"),  # one stray round
        ([1.1, 1.2, 0.8, 1.3, 0.9], "the same within noise"),
    ],
)
def test_what_a_change_is(rounds: list[float], verdict: str) -> None:
    assert Change("tree", "threads", rounds).verdict == verdict


def test_changes_compare_time_also_where_something_else_counts() -> None:
    before = [{"over": 0.10, "seconds": 2.2}]
    found = Measured(
        "sleeps",
        sizes={"procs": 4, "procs @ other": 4},
        runs={"procs": [{"over": 0.05, "seconds": 2.1}], "procs @ other": [*before]},
    )
    pairs = {"procs": "procs @ other", "serial": "serial @ other"}
    (change,) = changes(found, pairs)
    assert change.rounds == [2.1 / 2.2]


def test_json_gives_back_what_it_was_given(tmp_path: Path) -> None:
    found = tree(threads=seconds(1, None), inline=seconds(2, 3))
    text = report.to_json(MACHINE, [found])
    assert report.from_json(text) == (MACHINE, [found])


def test_a_report_is_whole(tmp_path: Path) -> None:
    found = tree(threads=seconds(1), ThreadPoolExecutor=seconds(2))
    files = {path.name for path in report.write(tmp_path, MACHINE, [found])}
    assert {"figures.json", "figures.md"} <= files
    page = (tmp_path / "figures.md").read_text("utf-8")
    assert "| tree     | threads | ThreadPoolExecutor |" in page
    assert "Of 1 lines 1 have reached what they must, 0 of them the goal." in page
    assert "commit abc; some, 2 cores, 1 GiB" in page
