"""Results from before: which tasks run, what is kept, and that no fault of a store is felt."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fancypipe_core import Dir, File, Outputs, Session, current, module, run, task
from fancypipe_core.hooks import CacheEvent, Outcome, RunInfo, TaskEvent, Wants, hookimpl

pytestmark = pytest.mark.usefixtures("loaded_long_ago")

RAN: list[str] = []
"""What ran, in this process."""

Way = dict[str, Any]


class Store:
    """Keeps results in memory, and what it was told."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.events: list[CacheEvent] = []
        self.told: list[tuple[str, str]] = []
        self.outcomes: list[Outcome] = []

    @hookimpl
    def fancypipe_cache_get(self, key: str) -> bytes | None:
        return self.kept.get(key)

    @hookimpl
    def fancypipe_cache_put(self, key: str, value: Sequence[Any], about: Any) -> bool:
        self.kept[key] = b"".join(value)
        self.told.append(("kept", about.task.rpartition(".")[2]))
        return True

    @hookimpl
    def fancypipe_cache_events(self, events: Sequence[CacheEvent]) -> None:
        self.events += events

    @hookimpl
    def fancypipe_wants(self) -> Wants:
        return Wants(("done", "failed"), ())

    @hookimpl
    def fancypipe_task_events(self, events: Sequence[TaskEvent]) -> None:
        for event in events:
            self.told.append((f"{event.kind}{' cached' * event.cached}", event.name))
            assert event.cached == (event.kind == "done" and not event.attempt)

    @hookimpl
    def fancypipe_run_over(self, run: RunInfo, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def why(self) -> str:
        return "; ".join(event.why for event in self.events if event.why)


@pytest.fixture(autouse=True)
def _fresh() -> None:
    RAN.clear()


@pytest.fixture(params=["serial", "threads"])
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Way:
    """How runs are made that share results."""
    return {
        "backend": request.param,
        "workers": 2,
        "resume": True,
        "cache": tmp_path / "cache",
        "tempdir": tmp_path,
    }


def ran(target: Any, **way: Any) -> tuple[Any, list[str]]:
    """Run a target; return its value and what ran for that."""
    RAN.clear()
    value = run(target, **way)
    return value, sorted(RAN)


@task
def load(n: int) -> Any:
    RAN.append("load")
    return np.arange(n, dtype=float)


@task
def double(x: Any) -> Any:
    RAN.append("double")
    return x * 2


@task
def total(xs: Any) -> float:
    RAN.append("total")
    return float(sum(np.sum(x) for x in xs))


@task
def split(n: int) -> Any:
    RAN.append("split")
    return Outputs(low=n // 2, high=n)


@task
def unfold(n: int) -> Any:
    RAN.append("unfold")
    return [double(load(k)) for k in range(n)]


@module
def inner(x: Any, factor: int) -> Any:
    RAN.append("inner")
    return {"sum": total([double(x)]), "low": split(factor)["low"]}


@module
def outer(n: int) -> Any:
    RAN.append("outer")
    each = [inner(load(k), n) for k in range(1, 4)]
    return [one["sum"] for one in each], each[0]["low"], unfold(2), double.map([1, 2, 3])


def same(a: Any, b: Any) -> bool:
    return bool(repr(a) == repr(b))


# ---- what runs -----------------------------------------------------------------


def test_nothing_runs_twice(way: Way) -> None:
    first, before = ran(outer(8), **way)
    assert before.count("double") >= 6
    again, after = ran(outer(8), **way)
    assert same(first, again)
    assert after == []


@task
def nothing(n: int) -> None:
    RAN.append("nothing")


def test_a_result_of_none_is_a_result(way: Way) -> None:
    ran([nothing(1), nothing.map([2, 3])], **way)
    assert ran([nothing(1), nothing.map([2, 3])], **way) == ([None, [None, None]], [])
    assert ran(nothing.map([2, 3, 4]), **way) == ([None, None, None], ["nothing"])


def test_without_resume_all_runs(way: Way) -> None:
    ran(total([load(3)]), **way)
    assert ran(total([load(3)]), **{**way, "resume": False})[1] == ["load", "total"]


def test_what_a_result_was_made_of_is_not_looked_for(way: Way) -> None:
    store = Store()
    chain = load(5)
    for _ in range(20):
        chain = double(chain)
    ran(total([chain]), observers=[store], **way)
    assert store.kinds() == ["miss"] * 22
    store.events.clear()
    value, names = ran(total([chain]), observers=[store], **way)
    assert (value, names) == (10.0 * 2**20, [])
    assert store.kinds() == ["hit"]


def test_a_long_chain_needs_no_recursion(way: Way) -> None:
    chain = load(1)  # of a zero
    for _ in range(1000):
        chain = double(chain)
    assert len(ran(total([chain]), **way)[1]) == 1002
    assert ran(total([chain]), **way)[1] == []


def test_only_what_has_changed_runs(way: Way) -> None:
    ran(total([double(load(k)) for k in range(5)]), **way)
    _, names = ran(total([double(load(k)) for k in range(6)]), **way)
    assert names == ["double", "load", "total"]


def test_inside_a_module_tasks_are_looked_up_one_by_one(way: Way) -> None:
    ran(inner(load(4), 6), **way)
    assert ran(inner(load(4), 6), **way)[1] == []
    # Its main runs again, and what it makes is there but for one.
    assert ran(inner(load(4), 7), **way)[1] == ["inner", "split"]


def test_items_and_outputs(way: Way) -> None:
    values = split(9)["low"], double(split(9)["high"]), load(4)[2]
    assert ran(list(values), **way)[0] == [4, 18, 2.0]
    assert ran(list(values), **way) == ([4, 18, 2.0], [])
    assert ran(double(split(9)["low"]), **way) == (8, ["double"])


def test_a_task_that_unfolds_is_kept_with_its_final_value(way: Way) -> None:
    first, names = ran(unfold(3), **way)
    assert names.count("double") == 3
    again, names = ran(unfold(3), **way)
    assert (same(first, again), names) == (True, [])
    assert ran(total(unfold(3)), **way)[1] == ["total"]


def test_a_map_is_kept_as_a_whole(way: Way) -> None:
    assert ran(double.map(range(50)), **way)[0] == [2 * n for n in range(50)]
    assert ran(double.map(range(50)), **way) == ([2 * n for n in range(50)], [])


def test_modules_of_a_map_are_kept_one_by_one(way: Way) -> None:
    ran(inner.map([load(2)], [4]), **way)
    _, names = ran(inner.map([load(2), load(3)], [4, 4]), **way)
    assert names == ["double", "inner", "load", "total"]


def test_results_one_by_one_are_no_affair_of_a_cache(way: Way) -> None:
    run(double.map(range(9)), **way)
    with Session(**way) as session:
        assert list(session.stream(double.map(range(9)))) == [2 * n for n in range(9)]


def test_a_result_inside_a_module(way: Way) -> None:
    value, names = ran(waits(3), **way)
    assert (value, names) == (3.0, ["load", "total", "waits"])
    assert ran(waits(3), **way) == (3.0, [])


@module
def waits(n: int) -> Any:
    RAN.append("waits")
    return total([load(n)]).result()


# ---- what an author says ---------------------------------------------------------


@task(cache=False)
def now(n: int) -> int:
    RAN.append("now")
    return n


@module(cache=False)
def composes(n: int) -> Any:
    RAN.append("composes")
    return total([load(n)])


def test_cache_false(way: Way) -> None:
    store = Store()
    for _ in range(2):
        assert ran(now(1), observers=[store], **way) == (1, ["now"])
        # What is made of it cannot be known either.
        assert ran(double(now(1)), observers=[store], **way) == (2, ["double", "now"])
    assert "miss" not in store.kinds()
    assert "cache=False" in store.why()
    ran(composes(3), **way)
    assert ran(composes(3), **way) == (3.0, ["composes"])
    assert ran(load(3).with_options(cache=False), **way)[1] == ["load"]


@module
def publishes(n: int) -> Any:
    RAN.append("publishes")
    return now(double(n))


@module
def tells(n: int) -> Any:
    RAN.append("tells")
    return total([publishes(n)])


@task
def passes(n: int) -> Any:
    RAN.append("passes")
    return now(n)


def test_what_runs_each_time_is_hidden_by_nothing_above_it(way: Way) -> None:
    store = Store()
    everything = ["double", "now", "publishes", "tells", "total"]
    assert ran(tells(2), observers=[store], **way) == (4.0, everything)
    assert "is to run each time" in store.why()
    less = ["now", "publishes", "tells", "total"]
    assert ran(tells(2), observers=[store], **way) == (4.0, less)
    for _ in range(2):
        assert ran(passes(3), observers=[store], **way) == (3, ["now", "passes"])


@task(cache=False)
def chance() -> int:
    return int.from_bytes(os.urandom(8), "big")


@task
def draws() -> Any:
    return chance()


def test_what_a_worker_makes_may_run_each_time(way: Way) -> None:
    way |= {"backend": "procs", "workers": 1}
    assert run(draws(), **way) != run(draws(), **way)


def test_version(way: Way) -> None:
    ran(load(3), **way)
    assert ran(load(3).with_options(version="2"), **way)[1] == ["load"]
    assert ran(load(3).with_options(version="2"), **way)[1] == []
    assert ran(load(3), **way)[1] == []
    # How it is run changes nothing.
    assert ran(load(3).with_options(retries=2, timeout=60), **way)[1] == []


def test_options_that_cannot_be() -> None:
    with pytest.raises(Exception, match="cache must be True or False, not 1"):
        task(cache=1)(len)  # type: ignore[call-overload]
    with pytest.raises(Exception, match="version must be a text such as '2', not 2"):
        module(version=2)(lambda: None)  # type: ignore[call-overload]
    inner(load(1), 2).with_options(version="2")


# ---- what is not kept ------------------------------------------------------------


@task
def fails(n: int) -> int:
    RAN.append("fails")
    raise ValueError(n)


@task
def makes_file() -> str:
    RAN.append("makes_file")
    path = current().tempdir() / "a.txt"
    path.write_text("x")
    return str(path)


@task
def reads(path: str) -> str:
    RAN.append("reads")
    return Path(path).read_text()


def test_a_failure_is_not_kept(way: Way) -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match="5"):
            ran([fails(5), load(2)], **way)
        assert "fails" in RAN


def test_what_names_temporary_files_is_not_kept(way: Way) -> None:
    store = Store()
    assert ran(reads(makes_file()), observers=[store], **way)[0] == "x"
    assert "temporary files" in store.why()
    assert ran(reads(makes_file()), observers=[store], **way) == ("x", [])
    both = [reads(makes_file()), makes_file()]
    assert ran(both, observers=[store], **way)[1] == ["makes_file"]


@task
def makes_files(text: str) -> Any:
    RAN.append("makes_files")
    path = current().tempdir() / "a.txt"
    path.write_text(text)
    folder = current().tempdir("folder")
    (folder / "b.txt").write_text(text)
    return [File(path), Dir(folder)]


@task
def reads_files(files: Any) -> list[str]:
    RAN.append("reads_files")
    file, folder = files
    assert (type(file), type(folder)) == (File, Dir)
    files.clear()  # each has a list of its own
    return [file.read_text(), (folder / "b.txt").read_text()]


def test_files_are_kept_with_their_content(way: Way) -> None:
    assert ran(reads_files(makes_files("x")), **way) == (["x"] * 2, ["makes_files", "reads_files"])
    again = reads_files.map([makes_files("x")])
    assert ran([again, reads_files(makes_files("x"))], **way) == (
        [[["x"] * 2], ["x"] * 2], ["reads_files"],
    )  # fmt: skip
    value, names = ran([makes_files("x"), makes_files("x")[0]], **way)
    assert names == []
    assert value[0][0].read_text() == value[1].read_text() == "x", "it is the caller's"
    left = [one.name for one in way["tempdir"].glob("fancypipe-*/*")]
    assert not [name for name in left if name.startswith("makes_files")]


def test_files_are_kept_between_processes(way: Way) -> None:
    way |= {"backend": "procs", "workers": 1}
    store = Store()
    for kinds in (["miss", "miss"], ["hit"]):
        store.events.clear()
        assert run(reads_files(makes_files("x")), observers=[store], **way) == ["x"] * 2
        assert store.kinds() == kinds, store.why()
    store.events.clear()
    assert run(join_texts(makes_files("x")[0]), observers=[store], **way) == "x!"
    assert store.kinds() == ["miss", "hit"], "its input came from the store"


@task
def join_texts(file: Any) -> str:
    return str(file.read_text()) + "!"


def test_files_that_are_too_large_are_not_kept(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fancypipe_core._engine.stored_values._MOST_OF_FILES", 3)
    store = Store()
    for _ in range(2):
        assert ran(reads_files(makes_files("1234")), observers=[store], **way)[0] == ["1234"] * 2
    assert "only up to 3 bytes" in store.why()


# ---- what others are told ----------------------------------------------------------


def test_it_is_kept_before_it_is_told(way: Way) -> None:
    store = Store()
    ran(total([load(3)]), observers=[store], **way)
    for name in "load", "total":
        assert store.told.index(("kept", name)) < store.told.index(("done", name))
    store.told.clear()
    ran(double(total([load(3)])), observers=[store], **way)
    assert store.told[0] == ("done cached", "total")
    assert [one.cached for one in store.outcomes] == [0, 1]
    assert store.outcomes[1].counts["done"] == 2


# ---- faults ------------------------------------------------------------------------


class Broken:
    """A store that only fails."""

    @hookimpl
    def fancypipe_cache_get(self, key: str) -> bytes:
        raise OSError("the network is gone")

    @hookimpl
    def fancypipe_cache_put(self, key: str, value: Sequence[Any], about: Any) -> bool:
        raise OSError("no room")


def test_a_store_that_fails(way: Way, capfd: pytest.CaptureFixture[str]) -> None:
    many = [double(load(k)) for k in range(20)]
    assert len(ran(total(many), observers=[Broken()], **way)[1]) == 41
    said = capfd.readouterr().err
    assert said.count("the network is gone") == 1
    assert said.count("no room") == 1
    assert said.count("not asked to give results any more") == 1
    # The engine's own has them all.
    assert ran(total(many), observers=[Broken()], **way)[1] == []


class Wrong(Store):
    """A store whose answers are no results."""

    answer: Any = b"nothing of ours"

    @hookimpl
    def fancypipe_cache_get(self, key: str) -> Any:
        return self.answer


@pytest.mark.parametrize("answer", [b"", b"nothing", b"fpvalue1" + bytes(40), "text", 3])
def test_what_is_no_result_is_computed(
    way: Way, answer: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    store = Wrong()
    store.answer = answer
    assert ran(total([load(3)]), observers=[store], **way) == (3.0, ["load", "total"])
    assert capfd.readouterr().err.count("cannot be read") == isinstance(answer, bytes)


def test_every_cut_of_a_result_is_computed(way: Way) -> None:
    store = Store()
    ran(load(4), observers=[store], **way)
    (key, whole), *_ = store.kept.items()
    for size in range(0, len(whole), 5):
        store.kept[key] = whole[:size]
        assert ran(load(4), observers=[store], **way)[1] == ["load"]


class Other:
    """What a task returns."""


@task
def odd() -> Any:
    RAN.append("odd")
    return [Other(), np.ones(3)]


def test_a_result_of_a_class_that_is_gone(way: Way, capfd: pytest.CaptureFixture[str]) -> None:
    store = Store()
    ran(odd(), observers=[store], **way)
    (key,) = store.kept
    assert b"Other" in store.kept[key]
    store.kept[key] = store.kept[key].replace(b"Other", b"Odder")
    assert ran(odd(), observers=[store], **way)[1] == ["odd"]
    assert "cannot be read, so the task runs" in capfd.readouterr().err


@task
def writes(x: Any) -> float:
    x[0] = 100.0
    return float(x.sum())


def test_what_comes_from_a_store_may_be_changed(way: Way) -> None:
    big = load(100_000)
    first = ran(big, **way)[0]
    assert ran(writes(big), **way)[0] == first.sum() + 100.0
    taken = ran(big, **way)[0]
    taken[0] = 7.0
    assert ran(big, **way)[0][0] == 0.0


# ---- who does not ask for it ---------------------------------------------------------


def test_who_does_not_resume_imports_nothing_of_it() -> None:
    code = (
        "import sys\n"
        "from fancypipe_core import run\n"
        "from tests.core.test_resume import load\n"
        "run(load(3), backend='serial')\n"
        "print([name for name in sys.modules if 'resume' in name or '_cache' in name"
        " or 'cache' in name and name.startswith('fancypipe')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "['tests.core.test_resume']", done.stdout
