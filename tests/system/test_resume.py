"""A run is killed, its code edited, its store shared, damaged or full; and it is taken up again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fancypipe_core import errors, run
from fancypipe_core.plugins.runs import find_runs
from tests.system.kills import after, check, killed

PIPELINE = """
from pathlib import Path
from typing import Any
from fancypipe_core import module, task

def note(name):
    with open(Path(__file__).with_name("ran.txt"), "a") as file:
        file.write(f"{name}\\n")

@task
def number(n: int) -> int:
    note(f"number {n}")
    return sum(k % 7 for k in range(n * 100_000))

@task
def double(x: int) -> int:
    note("double")
    return x * 2

@module
def pair(n: int):
    note("pair")
    return double(number(n))

@task
def total(xs: list[int]) -> int:
    note("total")
    return sum(xs)

@module
def study(count: int = 12):
    note("study")
    return total([pair(n) for n in range(count)])

if __name__ == "__main__":
    study.cli()
"""
RUNS = Path(".fancypipe", "runs")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    return tmp_path


def command(*words: str, way: str = "P") -> list[str]:
    engine = [f"-workertype={way}", "-numworkers=2", "-no-page", "-resume"]
    return [sys.executable, "pipeline.py", *engine, *words]


def call(here: Path, *words: str, way: str = "P") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command(*words, way=way), cwd=here, check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done


def ran(here: Path) -> list[str]:
    """Return what has run since this was asked last."""
    file = here / "ran.txt"
    lines = file.read_text().splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    return sorted(lines)


@pytest.mark.slow
@pytest.mark.fault(92)
def test_killed_and_resumed(here: Path, tmp_path: Path) -> None:
    for count in (1, 5, 9):
        assert killed(command(), here, here / RUNS, after(count))
    result = call(here).stdout
    found = check(find_runs(here / RUNS))
    assert found[-1].cached
    ran(here)
    assert call(here).stdout == result
    assert ran(here) == []
    # One that nobody disturbed.
    assert call(here, "-cache=other", way="S").stdout == result


@pytest.mark.slow
def test_only_what_was_edited_and_what_depends_on_it(here: Path) -> None:
    first = call(here, "--count", "3", way="S")
    assert "of them cached" not in first.stderr
    ran(here)
    assert "cached" in call(here, "--count", "3", way="S").stderr
    assert ran(here) == []
    text = PIPELINE.replace("return x * 2", "return x * 3")
    (here / "pipeline.py").write_text(text)
    assert int(call(here, "--count", "3", way="S").stdout) == int(first.stdout) // 2 * 3
    assert ran(here) == ["double"] * 3 + ["pair"] * 3 + ["study", "total"]


@pytest.mark.slow
def test_two_runs_on_one_store(here: Path) -> None:
    whole = call(here, "-cache=other", way="S").stdout
    both = [
        subprocess.Popen(command(way="S"), cwd=here, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [one.communicate(timeout=120)[0] for one in both] == [whole, whole]
    ran(here)
    assert call(here, way="S").stdout == whole
    assert ran(here) == []


MAPS = """
from fancypipe_core import module, task

@task
def cube(n: int) -> int:
    return n ** 3

@module
def cubes(last: int = 9):
    return cube.map([0, 1, 2, 3, 4, 5, 6, 7, 8, last])

if __name__ == "__main__":
    cubes.cli()
"""


def test_why_of_elements(tmp_path: Path) -> None:
    (tmp_path / "pipeline.py").write_text(MAPS)
    call(tmp_path, way="S")
    said = why(tmp_path, "pipeline.py", "--last", "10")
    assert "elements cubes/cube.map: 9 of 10 elements were there; to run: 9\n" in said
    assert "1 task would run, and 9 results are there" in said
    call(tmp_path, "--last", "10", way="S")
    name = find_runs(tmp_path / RUNS)[-1].name
    said = why(tmp_path, name, "cubes/cube.map")
    assert "cubes/cube.map ran:\n  input `n` changed\n" in said
    assert "cubes/cube.map: 9 of 10 elements were there; ran: 9\n" in said
    assert "cubes/cube.map/9 ran: no result of it is there" in why(
        tmp_path, name, "cubes/cube.map/9"
    )
    assert "cubes/cube.map/3 did not run" in why(tmp_path, name, "cubes/cube.map/3")
    assert "no task cubes/cube.map/10 was looked for" in why(tmp_path, name, "cubes/cube.map/10")
    assert "there is no run 'nothing'" in why(tmp_path, "nothing", "cubes")


def why(here: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "fancypipe_core", "why", *words],
        cwd=here, check=False, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return done.stdout + done.stderr


@pytest.mark.slow
def test_why(here: Path) -> None:
    small = "--count", "2"
    call(here, *small, way="S")
    ran(here)
    text = PIPELINE.replace("return x * 2", "return x * 3")
    line = text.split("return x * 3")[0].count("\n") + 1
    (here / "pipeline.py").write_text(text)
    changed = f"code of `pipeline.double` changed: line {line} of pipeline.py"
    # Before it runs.
    dry = "--dry-run", "-on-end=touch told", "-outdir=out", "-metrics-file=metrics"
    for said in (why(here, "pipeline.py", *small), call(here, *dry, *small, way="S").stdout):
        assert f"run      study/pair/double: {changed}\n" in said
        assert "cached   study/pair[2]/number\n" in said
        assert f"compose  study: {changed}\n" in said
    assert why(here, "pipeline.py", "--task", "study/pair/number", *small) == (
        "cached   study/pair/number\n"
    )
    assert "there is no task study/none" in why(here, "pipeline.py", "--task", "study/none")
    assert ran(here) == sorted(
        ["pair", "pair", "study"] * 3 + ["pair"] * 12 + ["study"]
    )  # modules have composed, and no task ran
    names = {one.name for one in here.iterdir()}
    assert not names & {"told", "out", "metrics"}, names
    # And afterwards.
    call(here, *small, way="S")
    run = find_runs(here / RUNS)[-1].name
    assert why(here, run, "study/pair/double") == f"study/pair/double ran:\n  {changed}\n"
    assert "study/pair/number did not run" in why(here, run, "study/pair/number")
    assert "no task study/pair/nothing was looked for" in why(here, run, "study/pair/nothing")
    first = find_runs(here / RUNS)[0].name
    assert "no earlier run" in why(here, first, "study/total")
    assert "there is no run '19990101' in" in why(here, "19990101", "study")
    assert "took no results from before" in why(here, _unresumed(here), "study")


def _unresumed(here: Path) -> str:
    words = [one for one in command("--count", "1", way="S") if one != "-resume"]
    subprocess.run(words, cwd=here, check=True, capture_output=True, timeout=120)
    return find_runs(here / RUNS)[-1].name


@pytest.mark.slow
def test_a_dry_run_says_what_it_cannot_know(here: Path) -> None:
    text = PIPELINE.replace(
        "return total([pair(n) for n in range(count)])",
        "return total([pair(number(n)) for n in range(number(count).result())])",
    )
    (here / "pipeline.py").write_text(text)
    done = call(here, "--dry-run", way="S")
    new = "no earlier run that took results from before has met it"
    assert done.stdout.splitlines() == [
        f"compose  study (when what it needs is there): {new}",
        f"run      study/number: {new}",
    ]
    assert "at least 1 task would run" in done.stderr
    assert "what 1 module would make cannot be told" in done.stderr


# ---- a store that is not as it should be -------------------------------------------


def kept(cache: Path) -> list[Path]:
    return [file for file in cache.glob("??/*") if len(file.name) == 32]


def results(cache: Path) -> float:
    from tests.core.test_resume import double, load, total

    value: float = run(total([double(load(k)) for k in range(4)]), backend="serial", resume=True,
                     cache=cache)  # fmt: skip
    return value


def test_an_entry_that_was_cut_short(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    whole = results(cache)
    for file in kept(cache):
        os.truncate(file, file.stat().st_size - 1)
    assert results(cache) == whole
    for file in kept(cache):
        data = bytearray(file.read_bytes())
        data[-40] ^= 1
        file.write_bytes(data)
    assert results(cache) == whole


def test_a_folder_that_cannot_be_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cache = tmp_path / "cache"
    cache.write_text("this is a file")
    assert results(cache) == 8.0
    said = capfd.readouterr().err
    assert said.count("cannot keep results") == 1
    assert "the run goes on" in said


def test_a_full_disk(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("resource")
    # What is imported first: Python must not write half a file of its own.
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from tests.system.test_resume import results\n"
        "assert sys.dont_write_bytecode\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        f"print(results(Path({str(tmp_path / 'cache')!r})))\n"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "8.0\n"
    assert done.stderr.count("cannot keep results") == 1
    assert not kept(tmp_path / "cache")


def test_a_store_that_everybody_may_write_into(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    cache.chmod(0o777)
    with pytest.raises(errors.ConfigError, match=r"^-cache .*: everybody may write .* chmod o-w"):
        results(cache)


def test_a_budget(tmp_path: Path) -> None:
    from tests.core.test_resume import load

    for n in range(5):
        run(load(20_000 + n), backend="serial", resume=True, cache=tmp_path, cache_budget="400K")
    assert len(kept(tmp_path)) == 2


def test_results_of_workers_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large ones too, which stay in shared memory; and what is taken from there goes to workers."""
    np = pytest.importorskip("numpy")
    from tests.core.test_resume import double, load

    monkeypatch.chdir(tmp_path)
    way: dict[str, Any] = {"backend": "procs", "workers": 1, "resume": True, "journal": True}
    big = load(300_000)
    first = run(double(big)[::3], **way)
    again = run([double(big)[::3], double(double(big))[:2]], **way)
    assert np.array_equal(first, again[0])
    assert list(again[1]) == [0.0, 4.0]
    lines = (find_runs(RUNS)[-1] / "keys.jsonl").read_text().splitlines()
    found = {one["path"]: one["kind"] for one in map(json.loads, lines) if "path" in one}
    assert found == {"double": "hit", "double[2]": "miss", "double[3]": "hit"}
