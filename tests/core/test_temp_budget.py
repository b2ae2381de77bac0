"""When temporary files take too much, and when it is enough again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import pytest

from fancypipe_core import File, Session, current, errors, task
from fancypipe_core._engine import temp_budget
from fancypipe_core._engine.machine.states import Room
from fancypipe_core._engine.temp_budget import Budgets, DiskLimit, TempBudget, taken
from fancypipe_core._settings.table import ENGINE


def test_the_limit_is_reached_until_clearly_less_is_taken() -> None:
    limit = DiskLimit(1000)
    seen = [bool(limit.heed(used, None)) for used in (1000, 1001, 900, 801, 800, 1000, 1001)]
    assert seen == [False, True, True, True, False, False, True]
    assert "take 2K" in DiskLimit(1000).heed(2048, None)


def test_what_is_left_on_the_disk_counts_too() -> None:
    limit = DiskLimit(1000)  # so much is to be left as well, at most
    free = (1000, 999, 1249, 1250, 1000)
    assert [bool(limit.heed(1, one)) for one in free] == [False, True, True, False, False]
    assert not DiskLimit(1000).heed(0, 0), "there is nothing that could be waited for"
    large = DiskLimit(1 << 50)
    assert not large.heed(1, 1 << 30)
    assert "are left on the disk" in large.heed(1, (1 << 30) - 1)


def test_what_is_counted(tmp_path: Path) -> None:
    for name in ("a/b", "kept"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "x").write_bytes(bytes(10_000))
    os.symlink("/", tmp_path / "a" / "link")
    found = taken(str(tmp_path))
    assert 20_000 <= found < 200_000
    assert taken(str(tmp_path), {str(tmp_path / "kept")}) < found - 9_000
    assert taken(str(tmp_path / "none")) == 0


def test_looks_are_few_and_the_warning_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    looks: list[float] = []
    lasts = 0.0
    used = 0

    def look(*_: object) -> int:
        nonlocal now
        looks.append(now)
        now += lasts
        return used

    monkeypatch.setattr(temp_budget, "taken", look)
    monkeypatch.setattr(temp_budget, "free_space", lambda _: None)
    said: list[str] = []
    budget = TempBudget("/nowhere", 100, (), said.append, lambda: now)
    assert not budget.changes()
    for now in (0.1, 0.4):  # noqa: B007 - the clock
        assert not budget.changes()
    assert looks == [0.0]
    seen = []
    lasts = 1.0
    # It looks for a second, and then not for 20.
    for now, used in ((0.5, 101), (21.4, 0), (21.5, 0), (99.0, 101)):  # noqa: B007 - as above
        seen.append((budget.changes(), budget.is_used_up))
    assert seen == [(True, True), (False, True), (True, False), (True, True)]
    assert len(looks) == 4
    assert len(said) == 1
    assert said[0].startswith("temporary files take 101 bytes (max_temp is 100 bytes): until ")


class Fixed:
    def __init__(self, states: Iterator[bool]) -> None:
        self.is_used_up = False
        self._states = states

    def changes(self) -> bool:
        before, self.is_used_up = self.is_used_up, next(self._states)
        return self.is_used_up != before


def test_none_of_several_is_to_be_used_up() -> None:
    both = Budgets(Fixed(iter([False, True, True, False])), Fixed(iter([False, False, True, True])))
    seen = [(both.changes(), both.is_used_up) for _ in range(4)]
    assert seen == [(False, False), (True, True), (False, True), (False, True)]
    assert not Budgets(Fixed(repeat(False))).changes()


@task
def fill(number: int, folder: str) -> File:
    """Make a file, and write down how many others are there."""
    path = current().tempfile("data")
    path.write_bytes(bytes(100_000))
    Path(folder, f"began-{number}").touch()
    return File(path)


@task
def use(file: File) -> int:
    return len(file.read_bytes())


@pytest.mark.parametrize("backend", ["serial", "threads", "procs"])
def test_a_run_comes_to_its_end_however_little_there_may_be(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(temp_budget, "_PAUSE", 0.0)
    monkeypatch.setattr(temp_budget, "_SHARE", 0)
    with Session(backend, 2, tempdir=str(tmp_path), max_temp="10k") as session:
        rooms: list[Room] = []
        reactor = session._driver._reactor
        own = reactor._room

        def noted() -> Room:
            rooms.append(own())
            return rooms[-1]

        monkeypatch.setattr(reactor, "_room", noted)
        made = [fill(number, str(tmp_path)) for number in range(6)]
        assert session.run([use(one) for one in made]) == [100_000] * 6
        assert min(room.count for room in rooms) == 1, "tasks were sent one at a time"
    said = capfd.readouterr().err
    assert said.count("max_temp is 10K") == 1
    assert "sent one at a time" in said


def test_what_may_be_given() -> None:
    def most(value: object) -> int | None:
        return ENGINE.resolve({"max_temp": value}, {}).settings.max_temp

    assert (most("200G"), most(5), most("1.5k")) == (200 << 30, 5, 1536)
    assert ENGINE.resolve({}, {}).settings.max_temp is None
    with pytest.raises(errors.ConfigError, match="must be bytes, or a size such as 200G"):
        most("much")
