"""What tasks print reaches the user, under the task's name, within bounds."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fancypipe_core import Session, errors, run
from fancypipe_procs._output import Output
from fancypipe_procs._pool import ProcsBackend, _Reader
from tests.conformance import faulty as f
from tests.procs import tasks as t

CUT = 5 * 1024 * 1024  # bytes of a job that are passed on at once


@pytest.fixture(scope="module")
def alone() -> Iterator[Session]:
    with Session("procs", 1, max_losses=1) as session:
        session.run(f.good(1))
        yield session


def test_output_comes_under_the_tasks_name(capsys: pytest.CaptureFixture[str]) -> None:
    with Session("procs", 1) as session:
        session.run(t.prints(3))
        shown = capsys.readouterr()
        session.run(t.prints(2, end=" "))
    rest = capsys.readouterr()
    assert shown.out == "[prints] line 0\n[prints] line 1\n[prints] line 2\n"
    assert shown.err == "[prints] warned\n"
    assert (shown.out + rest.out).endswith("line 0 line 1 \n"), "a line without an end is shown too"


def test_output_is_there_when_the_result_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if a task prints and ends after it was looked who has something to say."""
    select = ProcsBackend._listen

    class Late:
        """A selector that does not see what is printed, as if that came after each look."""

        def __init__(self, selector: Any) -> None:
            self._selector = selector

        def __getattr__(self, name: str) -> Any:
            return getattr(self._selector, name)

        def select(self, timeout: float | None) -> list[Any]:
            ready = self._selector.select(timeout)
            return [one for one in ready if not isinstance(one[0].data, _Reader)]

    def listen(backend: Any, seconds: float | None) -> Any:
        if not isinstance(backend._selector, Late):
            backend._selector = Late(backend._selector)
        return select(backend, seconds)

    monkeypatch.setattr(ProcsBackend, "_listen", listen)
    with Session("procs", 1) as session:
        for count in range(1, 6):
            session.run(t.prints(count))
            lines = capsys.readouterr().out.splitlines()
            assert lines == [f"[prints] line {number}" for number in range(count)]


def test_what_is_printed_later_is_of_no_task(capsys: pytest.CaptureFixture[str]) -> None:
    """The one that printed before has ended, and nothing more is told of it."""
    with Session("procs", 1) as session:
        session.run(t.prints_at_the_end())
        session.run(f.good(1))
    assert capsys.readouterr().out == "[prints_at_the_end] now\nlater\n"


@pytest.mark.fault(8)
def test_last_words(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(errors.TaskLost, match="SIGABRT") as caught:
        run(t.prints_and_dies(), backend="procs", workers=1, max_losses=1)
    assert set(caught.value.certificate.output) >= {"before the end", "from C"}
    assert "  | before the end" in str(caught.value)
    assert "[prints_and_dies] before the end\n" in capsys.readouterr().out


@pytest.mark.fault(19)
def test_much_output_is_cut_and_memory_is_flat(
    alone: Session, capfd: pytest.CaptureFixture[str]
) -> None:
    """The head and the tail, and how much is missing; 200 MB here, and it is the same for more."""
    alone.run(f.prints_blocks(10))
    capfd.readouterr()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    alone.run(f.prints_blocks(200))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    lines = capfd.readouterr().out.splitlines()
    (mark,) = (line for line in lines if "cut out" in line)
    cut = int(mark.split()[2])
    assert mark == f"[prints_blocks] ... {cut} bytes were cut out here ..."
    lines.remove(mark)
    assert set(lines) <= {"[prints_blocks] " + "x" * 99, lines[-51], lines[-50]}
    assert CUT < 100 * len(lines) < 1.1 * CUT
    assert abs(cut + 100 * len(lines) - 200 * 1_000_000) < 200, "all is accounted for"
    assert grown < 20 * 1024, "kilobytes: 5 MB of text in both processes, and no more"
    assert alone.run(f.good(1)) == 1


@pytest.mark.fault(19)
def test_whatever_is_printed_is_shown(alone: Session, capfd: pytest.CaptureFixture[str]) -> None:
    for data, shown in [
        (b"bad \xff\xfe utf-8\n", "[writes_bytes] bad ?? utf-8\n"),
        (b"\x1b[31mred\x1b[0m\n", "[writes_bytes] \x1b[31mred\x1b[0m\n"),
        (b"zero \0 byte\n", "[writes_bytes] zero \0 byte\n"),
        (b"no end", "[writes_bytes] no end\n"),
        (b"windows\r\n", "[writes_bytes] windows\n"),
        (b"\n\n", "[writes_bytes] \n[writes_bytes] \n"),
    ]:
        alone.run(f.writes_bytes(data))
        assert capfd.readouterr().out == shown


@pytest.mark.fault(19)
def test_ten_megabytes_without_a_line_end(
    alone: Session, capfd: pytest.CaptureFixture[str]
) -> None:
    alone.run(f.writes_bytes("schön ".encode() * 1_500_000 + b"the end"))
    lines = [line.removeprefix("[writes_bytes] ") for line in capfd.readouterr().out.splitlines()]
    assert lines[-1].endswith("schön the end")
    head = "".join(lines[:-2])
    assert head == ("schön " * 1_500_000)[: len(head)], "no character was torn apart"
    assert CUT <= len(head.encode()) < 1.1 * CUT
    assert "bytes were cut out here" in lines[-2]


@pytest.mark.fault(19)
def test_what_the_clients_stream_cannot_show_is_spelled_out() -> None:
    script = (
        "from fancypipe_core import run\n"
        "from tests.conformance import faulty as f\n"
        "if __name__ == '__main__':\n"
        "    print(run(f.writes_bytes('schön\\n'.encode()), backend='procs', workers=1))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={
            **os.environ,
            "PYTHONPATH": str(Path(f.__file__).parents[2]),
            "PYTHONIOENCODING": "ascii",
        },
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    assert done.stdout == "[writes_bytes] sch\\xf6n\n7\n"


def test_what_comes_late_comes_all_the_same(
    alone: Session, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """From a thread that outlives its task, and from a program that a task starts."""
    go = str(tmp_path / "go")
    assert alone.run(f.prints_late(go)) == 1
    assert alone.run(f.touches(go)) == 1
    assert alone.run(f.waits_for(go + ".printed"))
    assert alone.run(f.prints_by_program("by a program")) == 0
    out = capfd.readouterr().out
    assert "from a thread that was left behind\n" in out
    assert "[prints_by_program] by a program\n" in out


@given(
    st.lists(st.binary(max_size=200) | st.sampled_from([b"x\n" * 3000, b"y" * 70_000]), max_size=8),
    st.integers(1, 40),
)
@example([b"y" * 119_999, b"\r", b"y" * 10], 2)  # a piece of a long line ends with it
def test_lines_are_put_together(pieces: Sequence[bytes], reads: int) -> None:
    """Whatever the pieces in which it comes: below the cut, all of it is passed on."""
    data = b"".join(pieces)
    size = min(len(data) // reads + 1, 60_000)
    reading, writing = os.pipe()
    output = Output("stdout", reading)
    texts = []
    for at in range(0, len(data), size):
        os.write(writing, data[at : at + size])
        notes, _ = output.read(None)
        texts += [note.text for note in notes]
    os.close(writing)
    notes, more = output.read(None)
    output.close()
    assert not more
    texts += [note.text for note in notes]
    expected = data.decode(errors="surrogateescape").removesuffix("\n").split("\n") if data else []
    if max(map(len, data.split(b"\n"))) <= 65536:
        assert texts == [line.rstrip("\r") for line in expected]
    assert sum(map(len, texts)) >= sum(len(line.rstrip("\r")) for line in expected)
    assert output.last == [text[:1000] for text in texts[-50:]]


def test_last_lines_are_short(alone: Session) -> None:
    with pytest.raises(errors.TaskLost) as caught:
        alone.run(t.prints_much_and_dies())
    last = caught.value.certificate.output
    assert "before the end" in last
    assert 40 <= len(last) <= 50
    assert len(str(caught.value)) < 200_000


def test_what_is_printed_at_the_end_of_a_worker(capsys: pytest.CaptureFixture[str]) -> None:
    with Session("procs", 1) as session:
        session.run(t.prints_at_exit())
    assert "at exit\n" in capsys.readouterr().out
