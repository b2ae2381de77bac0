"""Pictures among what tasks return are told to who looks on, and to nobody else."""

from __future__ import annotations

import base64
import io
import os
import shutil
import struct
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from PIL import Image

from fancypipe_core import Exec, File, Outputs, Session, current, run, task
from fancypipe_core._worker import pictures
from fancypipe_core._worker.pictures import Pictures
from fancypipe_core.hooks import TaskNote, Wants, hookimpl
from fancypipe_core.plugins import journal
from fancypipe_core.plugins.runs import find_runs, read_journal

_WATCHED = {pictures.__file__}
BACKENDS = ["serial", "threads", "procs"]
SVG = '<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
JPEG = b"\xff\xd8\xff\xe0" + bytes(40)


def png(wide: int = 2, high: int = 2, more: bytes = b"") -> bytes:
    """Return a picture of one color, or what begins like it."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    shape = struct.pack(">IIBBBBB", wide, high, 8, 0, 0, 0, 0)
    dots = zlib.compress(bytes((wide + 1) * high)) if wide * high < 1e6 else b""
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", shape)
        + chunk(b"IDAT", dots)
        + chunk(b"IEND", b"")
        + more
    )


@task
def drawn() -> bytes:
    return png()


@task
def number(x: int) -> int:
    return x


@task
def dot(x: int) -> bytes:
    return png(x + 1)


@task
def filed() -> File:
    path = current().tempfile("plot.PNG")
    path.write_bytes(png())
    return File(path)


@task
def several() -> Outputs:
    folder = current().tempdir("plots")
    (folder / "a.svg").write_text(SVG)
    (folder / "b.jpeg").write_bytes(JPEG)
    return Outputs(plots=[File(folder / "a.svg"), File(folder / "b.jpeg")], x=3, raw=b"\x89PNG?")


@task
def image() -> Image.Image:
    return Image.new("RGB", (3000, 1500), "teal")


class Unpaintable:
    def _repr_png_(self) -> bytes:
        raise ValueError("not today")

    @staticmethod
    @task
    def made() -> Unpaintable:
        return Unpaintable()


def told() -> dict[str, list[tuple[str, str]]]:
    """Return the pictures of the only journal, by task: names, and addresses or reasons."""
    (folder,) = find_runs("runs")
    found: dict[str, list[tuple[str, str]]] = {}
    for line in read_journal(folder):
        if line.get("stream") == "picture":
            name, _, picture = line["text"].partition("\n")
            found.setdefault(line.get("name", ""), []).append((name, picture))
    return found


def address(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_journal_has_the_pictures_that_tasks_return(
    backend: str, capfd: pytest.CaptureFixture[str]
) -> None:
    targets = [drawn(), filed(), several(), image(), number(3), dot.map(range(3))]
    run(targets, backend=backend, workers=1, journal=True, tempdir="runs")
    found = told()
    (smaller,) = found.pop("image")
    assert found == {
        "drawn": [("", address(png()))],
        "filed": [("plot.PNG", address(png()))],
        "several": [
            ("plots[0] a.svg", address(SVG.encode(), "svg+xml")),
            ("plots[1] b.jpeg", address(JPEG, "jpeg")),
        ],
        "dot": [(f"[{x}]", address(png(x + 1))) for x in range(3)],
    }
    data = base64.b64decode(smaller[1].removeprefix("data:image/png;base64,"))
    assert Image.open(io.BytesIO(data)).size == (1000, 500)
    assert capfd.readouterr() == ("", ""), "a picture is not shown on the terminal"


@pytest.mark.usefixtures("loaded_long_ago")
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_run_that_takes_results_from_before_has_their_pictures(backend: str) -> None:
    def targets() -> list[Any]:
        return [drawn(), filed(), several(), image(), number(3), Unpaintable.made()]

    seen = []
    for again in (False, True):
        run(
            targets(), backend=backend, workers=1, journal=True, tempdir="runs", resume=True,
            cache="kept",
        )  # fmt: skip
        lines = [line for one in find_runs("runs") for line in read_journal(one)]
        seen.append(told())
        assert [line.get("cached", False) for line in lines].count(True) == 6 * again
        shutil.rmtree("runs")
    assert set(seen[0]) == {"drawn", "filed", "several", "image"}
    # To draw it again would hold up a run of thousands.
    assert seen[1] == {name: seen[0][name] for name in ("drawn", "filed", "several")}


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_a_program_makes_is_a_picture_too(backend: str) -> None:
    Path("from.svg").write_text(SVG)
    made = Exec("cp", os.path.abspath("from.svg"), "made.svg", outputs={"plot": "made.svg"})
    run(made, backend=backend, workers=1, journal=True, tempdir="runs")
    assert told() == {"exec": [("plot made.svg", address(SVG.encode(), "svg+xml"))]}


class Looks:
    """Wants to be told pictures, or not."""

    def __init__(self, pictures: bool) -> None:
        self.notes: list[TaskNote] = []
        self._wants = Wants({"done"}, (), pictures=pictures)

    @hookimpl
    def fancypipe_wants(self) -> Wants:
        return self._wants

    @hookimpl
    def fancypipe_task_events(self, events: Sequence[Any]) -> None:
        """It looks on."""

    @hookimpl
    def fancypipe_notes(self, notes: Sequence[TaskNote]) -> None:
        self.notes += notes


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("wanted", [True, False])
def test_who_wants_pictures_is_told(backend: str, wanted: bool) -> None:
    looks = Looks(wanted)
    with Session(backend=backend, workers=1, observers=[looks]) as session:
        session.run(drawn())
    assert [note.stream for note in looks.notes] == ["picture"] * wanted


def test_what_is_no_picture_costs_no_call() -> None:
    called: list[str] = []

    def see(frame: FrameType, event: str, _arg: Any) -> None:
        if event == "call" and frame.f_code.co_filename in _WATCHED:
            called.append(frame.f_code.co_name)

    for wanted, targets in (
        (False, [drawn(), number(1), number.map(range(3))]),
        (True, [number(1), number.map(range(3))]),
        (True, [drawn()]),
    ):
        assert not called
        with Session(backend="serial", workers=1, observers=[Looks(wanted)]) as session:
            session.run(number(0))
            before = sys.getprofile()
            sys.setprofile(see)
            try:
                session.run(targets)
            finally:
                sys.setprofile(before)
    assert "of" in called


@task
def odd(kind: str) -> Any:
    if kind == "fifo":
        os.mkfifo("pipe.png")
        return [File("pipe.png")]
    if kind == "text":
        Path("text.png").write_text("no picture")
        return File(Path("text.png").absolute())
    if kind == "gone":
        return [File("gone.png")]
    return Raises(kind)


class Raises:
    """Shows itself badly."""

    def __init__(self, how: str) -> None:
        self.how = how

    def _repr_png_(self) -> object:
        if self.how == "raises":
            raise RuntimeError("no picture")
        return "no bytes" if self.how == "str" else None


@pytest.mark.parametrize("backend", ["serial", "procs"])
@pytest.mark.parametrize("kind", ["fifo", "text", "gone", "raises", "str", "none"])
def test_what_is_no_picture_harms_nothing(backend: str, kind: str) -> None:
    run(odd(kind), backend=backend, workers=1, journal=True, tempdir="runs")
    said = {"gone": {"odd": [("[0] gone.png", "cannot be read: No such file or directory")]}}
    assert told() == said.get(kind, {})


def said_of(value: object, finder: Pictures | None = None) -> list[str]:
    return [text.partition("\n")[2][:40] for text in (finder or Pictures()).of(value)]


def test_pictures_are_bounded(tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    large.write_bytes(png(more=bytes(1 << 20)))
    too_large = "too large to be shown here: 1.0 MB, of 1"
    assert said_of(large.read_bytes()) == said_of(File(large)) == [too_large]
    assert said_of(png(10**5, 10**5)) == ["too large to be shown here: 10,000,000,0"]
    assert len(said_of([png()] * 100)) == 16
    assert said_of([[[[png()]]]]) == []
    half = png(more=bytes(1 << 19))
    assert [text[:5] for text in said_of([half] * 10)] == ["data:"] * 7 + ["not k"] * 3


def test_not_too_many_are_told_at_once() -> None:
    now = 0.0
    finder = Pictures(lambda: now)
    half = png(more=bytes(1 << 19))
    texts = [said_of(half, finder)[0] for _ in range(70)]
    told = sum(text.startswith("data:") for text in texts)
    assert told == 63
    assert texts[-1] == "not kept: too many pictures came at once"
    now = 2.0
    assert said_of(half, finder)[0].startswith("data:")


def test_a_journal_takes_no_more_than_can_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_PICTURES", 1000)
    run([dot(x) for x in range(20)], backend="serial", journal=True, tempdir="runs")
    found = told()["dot"]
    assert 1 < len(found) < 10
    assert all(picture.startswith("data:") for _, picture in found[:-1])
    assert found[-1][1].startswith("no more pictures are kept")
