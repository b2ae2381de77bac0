"""`fancypipe doctor`, as a user types it: importing, the machine, and nothing left behind."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.meta.repo import ROOT
from tests.system.examined import GUARD, HEALTHY, SECONDS, Place
from tests.waiting import wait_until


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.write(HEALTHY)
    return made


# ---- what is well ------------------------------------------------------------------------


def test_a_healthy_pipeline(place: Place) -> None:
    code, out, err = place.call("pipeline.py --x1 5 -numworkers=2")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "pipeline.py"
    assert lines[1].startswith("  ok       a worker imports it in ")
    assert lines[2:6] == [
        "tasks and inputs",
        "  ok       composed 3 tasks and 1 module",
        "  ok       found by name in a worker: square, add",
        "  ok       the inputs of 3 tasks were read in a clean interpreter",
    ]
    assert "workers" in lines
    assert any(line.startswith("  ok       the backend procs starts") for line in lines)
    assert any("2 workers (argument: -numworkers) on " in line for line in lines)
    assert lines[-1].startswith("no problem found, ")


def test_the_example_is_well() -> None:
    pytest.importorskip("nibabel")
    place = Place(ROOT / "examples" / "brain")
    found = place.found("pipeline.py --quick")
    found.is_well()
    assert "denoise" in " ".join(found.of("ok"))  # of a module beside it
    assert "1 module (study) cannot be looked into before the results" in found.one("note")


def test_no_file_is_an_examination_of_the_machine(place: Place) -> None:
    found = place.found("", code=0)
    assert not found.of("ok")
    assert any("fancypipe-core" in text for text in found.of("ok", ["installed"]))


def test_on_threads_nothing_has_to_travel(place: Place) -> None:
    place.write(
        HEALTHY.replace("square(x1)", "square((n for n in 'ab'))"),
    )
    assert "a generator" in place.found(code=1).one("problem")
    text = (place.folder / "pipeline.py").read_text(encoding="utf-8")
    place.write(text.replace("x * x", "unit").replace("sum_of_squares.cli", "unit = max; print"))
    found = place.found("pipeline.py -workertype=T", code=0)
    found.is_well()
    assert "composed 3 tasks and 1 module" in found.of("ok")
    assert "nothing has to travel: the workers share this process's memory" in found.of("ok")


def test_what_has_no_name_goes_whole(place: Place) -> None:
    place.write(
        "from fancypipe_core import module, task\n"
        "def made(n):\n"
        "    @task\n"
        "    def inner(x):\n"
        "        return x + n\n"
        "    return inner\n"
        "@module\n"
        "def whole(n: int = 2):\n"
        "    return [made(n)(1), made(n)(lambda: 3)]\n"
    )
    found = place.found(code=0)
    found.is_well()
    assert "sent whole, since it has no name to import: inner" in found.of("ok")


# ---- importing ---------------------------------------------------------------------------


def test_a_run_without_a_guard_is_named_and_not_started(place: Place) -> None:
    place.write(
        "import pathlib\n"
        "from fancypipe_core import run, task\n"
        "@task\n"
        "def f():\n"
        "    pathlib.Path('has-run').touch()\n"
        "run(f())\n"
    )
    assert place.found(code=1).one("problem") == (
        "pipeline.py:6 starts a run when the script is imported; workers import it to find its "
        f"tasks -> put what starts the run below {GUARD}"
    )
    assert not (place.folder / "has-run").exists()
    assert place.found("pipeline.py -workertype=T", code=0).one("warning").startswith("pipeline.py")


def test_an_import_that_does_not_end(place: Place) -> None:
    place.write("import time\nfrom fancypipe_core import task\n\ntime.sleep(1000)\n")
    assert place.found("--limit 6 pipeline.py", code=1).one("problem") == (
        "a worker that imports pipeline.py does not finish: it takes more than 6 s, and is "
        f"in line 4 -> put what is not for workers below {GUARD}; if it needs longer, give it more "
        "time: --limit SECONDS"
    )
    assert not place.left()


def test_an_import_that_ends_the_process(place: Place) -> None:
    place.write("import os, sys\nprint('no license', file=sys.stderr, flush=True)\nos._exit(3)\n")
    assert (
        place.found(code=1)
        .one("problem")
        .startswith("a worker that imports pipeline.py dies (exit code 3); it said: no license -> ")
    )


def test_a_file_that_cannot_be_loaded_is_told_as_by_a_run(place: Place) -> None:
    place.write("import nothing_of_this_name\n")
    said = place.refused("pipeline.py", code=1)
    ran = subprocess.run(
        [sys.executable, "-m", "fancypipe_core.cli", "pipeline.py"],
        cwd=place.folder,
        env=place.env,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (said, 1) == (ran.stderr, ran.returncode)
    assert "could not be loaded: No module named 'nothing_of_this_name'" in said


def test_what_only_a_worker_cannot_import(place: Place) -> None:
    place.write("from fancypipe_core import task\nname = input()\n@task\ndef f(): return name\n")
    with (place.folder / "typed").open("w+", encoding="utf-8") as typed:
        typed.write("me\n")
        typed.seek(0)
        said = place.found(code=1, stdin=typed).one("problem")
    assert said == (
        "a worker cannot import pipeline.py: EOFError: EOF when reading a line at pipeline.py:2 -> "
        f"make it importable in a fresh Python; put what is not for workers below {GUARD}"
    )


def test_what_an_import_does_besides(place: Place) -> None:
    place.write(f"print('loading')\nprint('loaded')\nopen('out.log', 'w')\n{HEALTHY}")
    printed, made = place.found(code=0).of("warning")
    assert printed == "it prints 2 lines when it is imported, once for each worker: loading"
    assert made == (
        "it makes files in the current folder when it is imported, once for each worker: out.log"
    )


def test_a_path_that_holds_only_here(place: Place) -> None:
    place.write(f"NAMES = open('names.txt').read()\n{HEALTHY}")
    place.write("a b", "names.txt")
    assert place.found(code=0).one("warning") == (
        f"it can only be imported while {place.folder} is the current folder (FileNotFoundError: "
        "[Errno 2] No such file or directory: 'names.txt') -> make paths in it begin at "
        "Path(__file__).parent, so that workers in other folders find the files too"
    )


def test_what_an_import_costs(place: Place) -> None:
    place.write("import time\ntime.sleep(2.5)\n", "heavy.py")
    place.write("import heavy\nfrom heavy import time\n" + HEALTHY)
    said = place.found(code=0).one("note")
    assert said.startswith("each worker needs ")
    assert "s to import it when it starts; most of it: heavy " in said
    assert said.endswith("-> import inside a task what only that task needs")


# ---- it leaves nothing -------------------------------------------------------------------


def started(place: Place) -> subprocess.Popen[str]:
    place.write(
        "import pathlib, subprocess, time\n"
        "subprocess.Popen(['sleep', '1000'])\n"
        "pathlib.Path(__file__ + '.on').touch()\n"
        "time.sleep(1000)\n"
    )
    process = place.start("--limit 600 pipeline.py", start_new_session=True)
    wait_until((place.folder / "pipeline.py.on").exists)
    return process


def test_ctrl_c_leaves_nothing(place: Place) -> None:
    process = started(place)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out, err.strip()) == (130, "", "fancypipe: interrupted (Ctrl-C)")
    assert not place.left()


def test_its_own_death_leaves_no_process(place: Place, tmp_path: Path) -> None:
    place.env["TMPDIR"] = str(tmp_path)  # its folder stays: nobody is left to remove it
    process = started(place)
    process.kill()
    process.communicate(timeout=SECONDS)
    wait_until(lambda: not place.left())


# ---- the machine and what is installed ----------------------------------------------------


def test_threads_of_libraries_that_are_too_many(place: Place) -> None:
    place.env["OMP_NUM_THREADS"] = "64"
    cores = len(os.sched_getaffinity(0))
    said = place.found("-numworkers=64", code=0).of("warning", ["workers"])
    assert said[0].startswith(f"64 workers (argument: -numworkers) on {cores} core")
    assert said[1].startswith(
        "numerical libraries have 64 threads in each worker (OMP_NUM_THREADS in the environment): "
        "4096 threads on "
    )


def test_too_few_descriptors(place: Place) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))

    said = place.found("-numworkers=50", preexec_fn=few).of("warning", ["this machine"])
    assert "this process may open 100 files, and 50 workers need some 464" in said


def test_a_broken_backend_is_named(place: Place) -> None:
    place.write("raise OSError('no license')\n", "broken.py")
    info = place.folder / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fancypipe.backends]\nbroken = broken:plugin\n")
    place.env["PYTHONPATH"] = str(place.folder)
    said = place.found("", code=0).one("warning", ["installed"])
    assert said.startswith("the backend broken is installed and broken: ")
    assert "OSError: no license" in said
    assert said.endswith("-> install broken anew, or remove it")
    assert place.found("-workertype=broken", code=1).of("problem", ["installed"])
