"""A task that kills its workers: it is tried alone at last, and its neighbours never pay."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fancypipe_core import Session, errors, run
from tests.procs import storm as s
from tests.procs import tasks as t


@pytest.mark.fault(77)
@pytest.mark.parametrize("workers", [1, 2])
def test_the_last_attempt_has_a_fresh_process_for_itself(workers: int, tmp_path: Path) -> None:
    """While the pool is full of short tasks, which would never leave a worker idle."""
    with Session("procs", workers, debug=True) as session:
        session.run([s.count_here() for _ in range(200)])
        suspect = s.die_then_count(str(tmp_path / "marks"), 2)
        # Together they take seconds: longer than three processes to start.
        others = [s.count_here(0.003) for _ in range(1000 * workers)]
        # What stands first is begun first.
        (here, when), rest = session.run((suspect, others))
        assert session.run(s.count_here())[0] > 0
    assert here == 0, "the process had run nothing before"
    assert when < max(end for _, end in rest), "it did not have to wait for the others"


@pytest.mark.fault(77)
def test_a_suspect_does_not_wait_for_a_long_task(tmp_path: Path) -> None:
    """Who is idle first is replaced; who is busy goes on."""
    with Session("procs", 2, debug=True) as session:
        long = s.wait_for(str(tmp_path / "done"), 60.0)
        suspect = s.die_then_touch(str(tmp_path / "marks"), 2, str(tmp_path / "done"))
        waited, _ = session.run(long, suspect)
    assert waited, "the suspect was done while the other went on"


@pytest.mark.fault(8, 77)
def test_one_deadly_task_among_a_thousand(session_folder: Path) -> None:
    targets: list[Any] = [s.leave_mark(str(session_folder), number, 0.0) for number in range(1000)]
    targets.insert(500, t.segfault())
    with pytest.raises(errors.RunFailed) as caught:
        run(targets, backend="procs", workers=2, keep_going=True)
    results = caught.value.results
    lost = results.pop(500)
    assert results == list(range(1000))
    marks = [len((session_folder / str(number)).read_text()) for number in range(1000)]
    # What ran in the same millisecond may run again, and counts once.
    assert Counter(marks)[1] > 900
    (failure,) = caught.value.failures
    assert failure is lost
    assert isinstance(lost, errors.TaskLost)
    assert lost.attempt == 3
    assert len(lost.certificates) == 3
    text = str(lost).splitlines()
    assert text[0].startswith("task segfault (made at ")
    assert "was given up: its worker died 3 times, at last by SIGSEGV (host " in text[0]
    assert text[1].startswith("  attempt 1: SIGSEGV (host ")
    assert text[2].startswith("  attempt 2: SIGSEGV (host ")
    assert text[3].startswith("  attempt 3, alone in a fresh process: SIGSEGV (host ")
    assert text[4] == "  the last that it printed:"
    assert any("tasks.py" in line and " in segfault" in line for line in text[5:]), "the stack"


@pytest.fixture
def session_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "marks"
    folder.mkdir()
    return folder


@pytest.mark.fault(77)
def test_suspects_are_tried_one_after_the_other(tmp_path: Path) -> None:
    with Session("procs", 2, debug=True) as session:
        suspects = [s.die_then_count(str(tmp_path / str(n)), 2) for n in range(4)]
        found = session.run(suspects)
    assert [here for here, _ in found] == [0, 0, 0, 0]
