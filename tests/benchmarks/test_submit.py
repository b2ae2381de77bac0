"""The command that measures submissions: everybody is in its table, and done in time."""

from __future__ import annotations

import pytest

from benchmarks import submit


def test_all_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert submit.main(["threads", "procs", "remote", "--n=50", "--rounds=1"]) == 0
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines()[3:]]
    names = [row[0].strip() for row in rows]
    assert names == [
        "threads",
        "threads, executor()",
        "ThreadPoolExecutor",
        "procs",
        "procs, executor()",
        "ProcessPoolExecutor",
        "remote",
    ]
    for _, submitted, done, short in rows:
        assert int(submitted.replace(",", "")) >= int(done.replace(",", "")) > 0
        assert float(short) > 0


def test_wrong_results_are_no_figures() -> None:
    with submit.ours("threads") as one, pytest.raises(RuntimeError, match="wrong results"):
        submit.measured(lambda function, value: one(function, value and 1), 5)
