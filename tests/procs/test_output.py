"""What tasks print reaches the user, under the task's name, within bounds."""

from __future__ import annotations

import resource

import pytest

from fancypipe_core import Session, errors, run
from tests.procs import tasks as t


def test_output_comes_under_the_tasks_name(capsys: pytest.CaptureFixture[str]) -> None:
    with Session("procs", 1) as session:
        session.run(t.prints(3))
        shown = capsys.readouterr()
        session.run(t.prints(2, end=" "))
    rest = capsys.readouterr()
    assert shown.out == "[prints] line 0\n[prints] line 1\n[prints] line 2\n"
    assert shown.err == "[prints] warned\n"
    assert (shown.out + rest.out).endswith("line 0 line 1 \n"), "a line without an end is shown too"


@pytest.mark.fault(8)
def test_last_words(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(errors.TaskLost, match="SIGABRT") as caught:
        run(t.prints_and_dies(), backend="procs", workers=1, max_losses=1)
    assert set(caught.value.certificate.output) >= {"before the end", "from C"}
    assert "  | before the end" in str(caught.value)
    assert "[prints_and_dies] before the end\n" in capsys.readouterr().out


@pytest.mark.fault(19)
def test_much_output_is_cut_and_memory_is_flat(capsys: pytest.CaptureFixture[str]) -> None:
    with Session("procs", 1) as session:
        session.run(t.prints_much(1))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        capsys.readouterr()
        session.run(t.prints_much(200))
    out = capsys.readouterr().out
    assert len(out) < 8 * 1024 * 1024
    assert "bytes were cut out here ..." in out
    assert "[prints_much] the end" in out
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 100 * 1024, "kilobytes; what is captured here is most of it"


def test_what_is_printed_at_the_end_of_a_worker(capsys: pytest.CaptureFixture[str]) -> None:
    with Session("procs", 1) as session:
        session.run(t.prints_at_exit())
    assert "at exit\n" in capsys.readouterr().out
