"""`fancypipe doctor`, as a user types it: each finding with its sentence, and no false alarm."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from fancypipe_core import _machine, task
from fancypipe_core._doctor import installed, machine, travel
from fancypipe_core._doctor.compose import Met, compose
from fancypipe_core._doctor.finding import Finding
from fancypipe_core._values import EncodedValues
from tests.meta.repo import ROOT

SECONDS = 120.0
HEALTHY = """\
from fancypipe_core import module, task

@task
def square(x: float) -> float:
    return x * x

@task
def add(a: float, b: float) -> float:
    return a + b

@module
def sum_of_squares(x1: float = 3, x2: float = 4):
    return add(square(x1), square(x2))

if __name__ == "__main__":
    sum_of_squares.cli()
"""
GUARD = '`if __name__ == "__main__":`'


class Place:
    """A folder with a pipeline in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.token = uuid.uuid4().hex
        own = ("FANCYPIPE_", "PYTHONUNBUFFERED")
        threads = ("OMP_", "OPENBLAS_", "MKL_", "BLIS_", "VECLIB_", "NUMEXPR_")
        known = {n: text for n, text in os.environ.items() if not n.startswith((*own, *threads))}
        home = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder / "config")}
        self.env = {**known, **home, "DOCTOR_TEST": self.token}

    def write(self, text: str, name: str = "pipeline.py") -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def start(self, line: str, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "fancypipe_core.cli", "doctor", *line.split()],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **{"env": self.env, "stdin": subprocess.DEVNULL, **options},
        )

    def call(self, line: str, **options: Any) -> tuple[int, str, str]:
        process = self.start(line, **options)
        try:
            out, err = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
        return process.returncode, out, err

    def found(self, line: str = "pipeline.py", code: int | None = None, **options: Any) -> Found:
        ended, out, err = self.call(f"--json {line}", **options)
        assert ended in (0, 1), err
        answer = json.loads(out)
        assert ended == bool(answer["problems"])
        assert code in (None, ended), out
        return Found(answer["findings"])

    def refused(self, line: str, code: int = 2) -> str:
        ended, out, err = self.call(line)
        assert (ended, out) == (code, "")
        return err

    def left(self) -> list[int]:
        """Return the processes that were started here and still live."""
        pids = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    if self.token.encode() in (entry / "environ").read_bytes():
                        pids.append(int(entry.name))
                except OSError:
                    continue
        return pids


class Found:
    """What the doctor found."""

    def __init__(self, findings: Sequence[dict[str, str]]) -> None:
        self.findings = findings

    def of(
        self, mark: str, about: Sequence[str] = ("pipeline.py", "tasks and inputs")
    ) -> list[str]:
        return [f["text"] for f in self.findings if f["mark"] == mark and f["about"] in about]

    def one(self, mark: str, about: Sequence[str] = ("pipeline.py", "tasks and inputs")) -> str:
        """Return the only finding with this mark, and its advice."""
        (text,) = self.of(mark, about)
        (advice,) = (f["advice"] for f in self.findings if f["text"] == text)
        return f"{text} -> {advice}" if advice else text

    def is_well(self) -> None:
        """There is nothing to say of the pipeline itself."""
        assert not self.of("problem") + self.of("warning"), self.findings


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.write(HEALTHY)
    return made


def wait_until(so: Callable[[], object]) -> None:
    until = time.monotonic() + 60
    while not so():
        assert time.monotonic() < until, "it did not come to be"
        time.sleep(0.02)


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
    found = place.found("pipeline.py -workertype=T", code=0)
    found.is_well()
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
        "a worker that imports pipeline.py does not come to an end: it takes more than 6 s, and is "
        f"in line 4 -> put what is not for workers below {GUARD}; if it needs longer, give it more "
        "time: --limit SECONDS"
    )
    assert not place.left()


def test_an_import_that_ends_the_process(place: Place) -> None:
    place.write("import os, sys\nprint('no license', file=sys.stderr, flush=True)\nos._exit(3)\n")
    assert (
        place.found(code=1)
        .one("problem")
        .startswith(
            "a worker that imports pipeline.py dies of it (exit code 3); it said: no license -> "
        )
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


# ---- tasks and inputs --------------------------------------------------------------------


def test_the_path_to_what_cannot_be_sent(place: Place) -> None:
    place.write(
        "import threading\n"
        "from fancypipe_core import module, task\n"
        "class Device:\n"
        "    def __init__(self): self.parts = [1, {'lock': threading.Lock()}]\n"
        "@task\n"
        "def measure(x): return x\n"
        "@module\n"
        "def lab():\n"
        "    return [measure(Device()), measure(1), measure(Device())]\n"
    )
    assert place.found(code=1).one("problem") == (
        "task measure (made at pipeline.py:9, and 1 more such task): inputs['x'].parts[1]['lock'] "
        "cannot be sent to another process: it is a _thread.lock (TypeError: cannot pickle "
        "'_thread.lock' object) -> make it inside the task that uses it, or use the threads or "
        "serial backend"
    )


def test_code_that_cannot_be_sent(place: Place) -> None:
    place.write(
        "from fancypipe_core import module, task\n"
        "def made():\n"
        "    source = (n for n in range(3))\n"
        "    @task\n"
        "    def take(x): return next(source) + x\n"
        "    return take\n"
        "@module\n"
        "def m(): return made()(1)\n"
    )
    said = place.found(code=1).one("problem")
    assert said == (
        "task take (pipeline.py:4) has no name to import, and cannot be sent whole: "
        "take.<closure source> cannot be sent to another process: it is a generator (TypeError: "
        "cannot pickle 'generator' object) -> make a list of it"
    )


def test_what_is_heavy_is_named(place: Place) -> None:
    place.write(
        "from fancypipe_core import module, task\n"
        "TABLE = bytes(3_000_000)\n"
        "def made():\n"
        "    rows = b'1' * 2_000_000\n"
        "    @task\n"
        "    def look_up(x): return TABLE[x] + rows[x]\n"
        "    return look_up\n"
        "@module\n"
        "def m(): return made()(1)\n"
    )
    assert place.found(code=0).one("warning") == (
        "the code of task look_up (pipeline.py:5) takes 5.0 MB along to each worker: TABLE 3.0 MB, "
        "rows 2.0 MB -> pass it to the task as an input, or read it in the task"
    )


def test_names_below_the_guard(place: Place) -> None:
    place.write(
        "from fancypipe_core import module, task\n"
        "scale = 1\n"
        "count = 0\n"
        "def helper(x): return x + offset\n"
        "@task\n"
        "def shift(x): return helper(x)\n"
        "@task\n"
        "def grow(x): return x * scale\n"
        "@task\n"
        "def own(x):\n"
        "    global count\n"
        "    count += x\n"
        "    offset = size = 1\n"
        "    return count + offset + x.size\n"
        "@module\n"
        "def m(): return [shift(1), grow(2), own(3)]\n"
        "if __name__ == '__main__':\n"
        "    import sys\n"
        "    offset = 2\n"
        "    scale, count = 3, 4\n"
        "    size = [unused for unused in sys.argv]\n"
        "    m.cli()\n"
    )
    found = place.found(code=1)
    assert found.one("problem") == (
        "task shift uses 'offset' (pipeline.py:4), which is set in line 19 only, below "
        f"{GUARD}: workers do not have it -> pass it to the task as an input, or set it above that "
        "line"
    )
    assert found.one("warning").startswith(
        "task grow uses 'scale' (pipeline.py:8), which is set anew in line 20, below "
        f"{GUARD}: workers have the one from before -> "
    )


MADE_THERE = """\
import os, time
from fancypipe_core import module, task
PID = os.environ.setdefault("MADE_BY", str(os.getpid()))
def make(what):
    if PID != str(os.getpid()):
        {there}
    return what
class Thing:
    def __reduce__(self): return make, (1,)
class Fussy:
    def __init__(self, x): self.x = x
    def __setstate__(self, state):
        if not isinstance(state["x"], int): raise TypeError("x must be a number")
@task
def f(x): return 1
@module
def m(): return {what}
"""


@pytest.fixture
def elsewhere(place: Place) -> Callable[[str, str], None]:
    def write(what: str, there: str) -> None:
        # Only where it is not the first that imports it: the client of a run.
        place.env.pop("MADE_BY", None)
        place.write(MADE_THERE.format(what=what, there=there))

    return write


def test_what_cannot_be_read_in_a_clean_interpreter(
    place: Place, elsewhere: Callable[[str, str], None]
) -> None:
    elsewhere("[f(Thing()), f(Thing()), f(2)]", "raise OSError('no device here')")
    said = place.found(code=1).one("problem")
    assert said.startswith("the inputs of task f could not be read by the worker on host ")
    assert said.endswith(": OSError: no device here (and 1 more such)")


def test_what_does_not_come_to_an_end_when_it_is_read(
    place: Place, elsewhere: Callable[[str, str], None]
) -> None:
    elsewhere("f(Thing())", "time.sleep(1000)")
    assert place.found("--limit 6 pipeline.py", code=1).one("problem") == (
        "a worker does not come to an end with reading the tasks and their inputs: it takes more "
        "than 6 s -> if it needs longer, give it more time: --limit SECONDS"
    )
    assert not place.left()


def test_what_kills_when_it_is_read(place: Place, elsewhere: Callable[[str, str], None]) -> None:
    elsewhere("f(Thing())", "os.abort()")
    said = place.found(code=1).one("problem")
    assert said.startswith("a worker dies when it reads the tasks and their inputs (signal 6)")


def test_what_cannot_be_known_yet_is_no_problem(
    place: Place, elsewhere: Callable[[str, str], None]
) -> None:
    elsewhere("[f(Fussy(f(1))), f(Fussy(2))]", "pass")
    found = place.found(code=0)
    found.is_well()
    assert found.one("note").startswith(
        "1 task could not be looked at before the results of others are there: "
    )


def test_a_module_that_raises_or_waits(place: Place) -> None:
    place.write(
        "from fancypipe_core import module, task\n"
        "@task\n"
        "def f(x=1): return x\n"
        "@module\n"
        "def waits():\n"
        "    return [f(2)] if f().result() else []\n"
        "@module\n"
        "def wrong(x):\n"
        "    raise ValueError('no such scan')\n"
        "@module\n"
        "def m(n: int = 1): return [waits(), *([wrong(1)] if n > 1 else [])]\n"
    )
    found = place.found("pipeline.py:m", code=0)
    found.is_well()
    assert "1 module (waits) cannot be looked into before the results" in found.one("note")
    assert place.found("pipeline.py:m --n 2", code=1).one("problem") == (
        "module wrong raises ValueError: no such scan (pipeline.py:9) -> mend it, or give other "
        "inputs behind the file"
    )


def test_no_target(place: Place) -> None:
    place.write(HEALTHY.replace("x1: float = 3", "x1: float"))
    found = place.found(code=0)
    assert found.one("note") == (
        "nothing was composed: task sum_of_squares needs --x1 FLOAT; give it behind the file"
    )
    assert "found by name in a worker: square, add" in found.of("ok")
    place.write(HEALTHY + "@module\ndef other(): return 1\n")
    assert (
        place.found(code=0)
        .one("note")
        .startswith("nothing was composed: pipeline.py has several modules, say which is meant: ")
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("pipeline.py --x1 many", "input x1 must be a number, not 'many'"),
        ("pipeline.py --y 1", "there is no option --y"),
        ("pipeline.py:sum", "pipeline.py has no task or module 'sum'"),
        ("pipelin.py", "there is no file pipelin.py"),
        ("--limit soon pipeline.py", "option --limit must be seconds above 0, not 'soon'"),
        ("pipeline.py -workertype=Q", "there is no backend 'Q'"),
        ("-numworkers=-1 pipeline.py", "argument -numworkers must be a whole number from 1"),
    ],
)
def test_what_is_typed_wrong(place: Place, line: str, said: str) -> None:
    assert place.refused(line).startswith(f"fancypipe: {said}")


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
    assert (process.returncode, out, err.strip()) == (130, "", "fancypipe: interrupted")
    assert not place.left()


def test_its_own_death_leaves_no_process(place: Place) -> None:
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


def marks(findings: Sequence[Finding]) -> list[str]:
    return [finding.mark for finding in findings]


def test_memory_for_all_workers() -> None:
    (bad,) = machine.memory(8, 500_000_000, 2_000_000_000)
    assert bad == Finding(
        "warning",
        "2.0 GB of memory are free; 8 workers take 4.0 GB before their first task (500.0 MB each)",
        "take fewer: -numworkers=2, or end other programs",
    )
    assert marks(list(machine.memory(2, 500_000_000, 2_000_000_000))) == ["ok"]
    assert not list(machine.memory(2, 500_000_000, None))


def test_the_disk_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(tmp_path)
    monkeypatch.setattr(_machine, "free_space", lambda _: 5_000_000_000)
    assert list(machine.disk(folder, "ext4")) == [
        Finding("ok", f"temporary files go to {folder}, 5.0 GB free")
    ]
    (slow,) = machine.disk(folder, "nfs4")
    assert slow.text.endswith("over the network (nfs4): they are slow there")
    (memory,) = machine.disk(folder, "tmpfs")
    assert memory.text.endswith("in memory (tmpfs): they count as memory")
    assert memory.advice == "name a folder on a disk of this machine: -tempdir FOLDER"
    monkeypatch.setattr(_machine, "free_space", lambda _: 5_000_000)
    assert marks(list(machine.disk(folder, "ext4"))) == ["warning"]
    monkeypatch.setattr(_machine, "writable", lambda _: False)
    (closed,) = machine.disk(folder, "ext4")
    assert (closed.mark, closed.text) == (
        "problem",
        f"the folder for temporary files, {folder}, cannot be written",
    )


def test_the_kind_of_a_file_system(tmp_path: Path) -> None:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "mounts").write_text(
        "/dev/a / ext4 rw 0 0\n"
        "x /tmp tmpfs rw 0 0\n"
        "srv:/x /big\\040disk nfs4 rw 0 0\n"
        "/dev/b /tmp xfs rw 0 0\n"
    )
    root = str(tmp_path)
    assert machine.file_system("/home", root) == "ext4"
    assert machine.file_system("/big disk/of/mine", root) == "nfs4"
    assert machine.file_system("/tmp/x", root) == "xfs"
    assert machine.file_system("/tmpx", root) == "ext4"
    assert machine.file_system("/", str(tmp_path / "none")) == ""


def test_versions_that_do_not_fit() -> None:
    same = {"fancypipe-core": "0.1.0", "fancypipe-procs": "0.1.0"}
    assert marks(list(installed.versions(same))) == ["ok"]
    (bad,) = installed.versions({**same, "fancypipe-procs": "0.2.0"})
    assert bad == Finding(
        "warning",
        "the packages of fancypipe are of different versions: fancypipe-core 0.1.0, "
        "fancypipe-procs 0.2.0",
        "pip install fancypipe-core==0.1.0 fancypipe-procs==0.1.0",
    )
    needs = ["pluggy>=1.6", "dill>=99.1", "no-such-thing>=1", 'tomli>=2; python_version < "3.11"']
    old, gone, rest = installed.missing(needs)
    assert old.text.startswith("fancypipe needs dill>=99.1, and dill ")
    assert gone == Finding(
        "problem",
        "fancypipe needs no-such-thing>=1, and no-such-thing is not installed",
        'pip install "no-such-thing>=1"',
    )
    assert (rest.mark, rest.text.split()[0]) == ("ok", "pluggy")


@task
def smooth(image: bytes) -> int:
    return len(image)


def test_inputs_that_are_heavy_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    values = EncodedValues()
    image = bytes(20_000_000)
    met: list[Met] = []
    for _ in range(3):
        met += compose(smooth(image), values).met
    monkeypatch.setattr(travel, "_MUCH_IN_ALL", 50_000_000)
    assert list(travel._heavy_inputs(met)) == [
        Finding(
            "warning",
            "3 tasks smooth take 60.0 MB of inputs to workers, up to 20.0 MB each",
            "pass the path of a file, and read it in the task",
        )
    ]
    assert not list(travel._heavy_inputs(met[:2]))
