"""A task that has failed anywhere is run again here, with what it was given."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from fancypipe_core import Session, errors, run, task
from fancypipe_core._base.grants import THREAD_VARIABLES
from fancypipe_core._cli.debugger import PostMortem
from fancypipe_core._cli.replay import replay
from fancypipe_core._cli.which_run import run_meant
from fancypipe_core._codec.failure import where
from fancypipe_core._wire.kept_job import read
from fancypipe_core._worker.replay import variables_of
from fancypipe_core.backend import Needs
from fancypipe_core.hooks import TaskJob, Wants, hookimpl
from fancypipe_core.plugins import jobs
from fancypipe_core.plugins.runs import find_runs
from tests.remote.cluster import in_force
from tests.system.failing import ISOLATING
from tests.system.place import FANCYPIPE, Place
from tests.waiting import wait_until

# All in one process: each is a second of its own else.
_AGAIN = """
import contextlib, io, json, os, sys
from pathlib import Path
from fancypipe_core._cli.replay import replay
from fancypipe_core.plugins.jobs import kept_in
from fancypipe_core.plugins.runs import find_runs
base, runs = sys.argv[1:]
os.chdir(base)  # so that the run's folder is a relative path, and the task's folder another one
(run,) = find_runs(runs)
told = {}
for kept in kept_in(run):
    if kept.name != "dies":
        os.chdir(base)
        with contextlib.redirect_stderr(io.StringIO()) as said:
            code = replay([str(run), kept.path], None, debug=False, stop=False)
        told[kept.path] = code, said.getvalue()
print(json.dumps(told))
"""

EXPECTED = {
    "inside": (r"ZeroDivisionError: ", r"failing\.py:\d+"),
    "<lambda>": (r"KeyError: 'no'", r"failing\.py:\d+"),
    "Ratio": (r"ZeroDivisionError: ", r"failing\.py:\d+"),
    "reads": (r"KeyError: 'read all'", r"failing\.py:\d+"),
    "element.map/7": (r"ValueError: no 7 by \[2\]", r"failing\.py:\d+"),
    "waits": (r"TaskError\[RuntimeError\]: task inner \(n=3\) failed", r"failing\.py:\d+"),
    "makes/inner": (r"RuntimeError: inner 4", r"failing\.py:\d+"),
    "composes": (r"IndexError: ", r"failing\.py:\d+"),
    "exec": (r"ExecError: sh -c 'echo said; exit 3' ended with exit code 3", ""),
}


class Failed(NamedTuple):
    """A run in which all fails."""

    backend: str
    place: Place
    run: Path

    def replay(self, *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        return self.place.typed(typed, "replay", self.run.name, *words)


@pytest.fixture(scope="module", params=["serial", "threads", "procs", "remote"])
def failed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Failed:
    place = Place(tmp_path_factory.mktemp("failed"))
    shutil.copy(Path(__file__).with_name("failing.py"), place.folder)
    backend = request.param
    if backend == "remote":
        with in_force(tmp_path_factory.mktemp("cluster")):
            over = place.call(sys.executable, "failing.py", backend, **os.environ)
    else:
        over = place.call(sys.executable, "failing.py", backend)
    assert over.returncode == 0, over.stderr
    (the_run,) = find_runs(place.folder / ".fancypipe" / "runs")
    return Failed(backend, place, the_run)


def test_all_that_failed_fails_again_in_the_same_way(failed: Failed) -> None:
    folder = failed.place.folder
    runs = str((folder / ".fancypipe" / "runs").relative_to(folder.parent))
    over = failed.place.call(sys.executable, "-c", _AGAIN, str(folder.parent), runs)
    assert over.returncode == 0, over.stderr
    told: dict[str, Any] = json.loads(over.stdout)
    expected = dict(EXPECTED)
    if failed.backend in ISOLATING:
        expected["sends_a_file"] = (r"EncodeError: result cannot be sent", "")
    assert sorted(told) == sorted(expected)
    for path, (error, place) in expected.items():
        code, said = told[path]
        assert code == 1
        assert "has changed" not in said
        assert re.search(f"{re.escape(path)} failed again: {error}", said), said
        assert re.search(place, said.splitlines()[-1]), said
    left = re.search(r"its temporary folder is (\S+)", told["reads"][1])
    assert left is not None
    assert Path(left[1], "debris").read_text() == "left behind"
    shutil.rmtree(Path(left[1]).parent)


def test_what_is_kept_is_nobody_elses(failed: Failed) -> None:
    folder = failed.run / jobs.FOLDER
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = list(folder.glob("*.job"))
    assert len(files) == len(EXPECTED) + 2 * (failed.backend in ISOLATING)
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_debugger_stops_at_the_tasks_own_line(failed: Failed) -> None:
    if failed.backend not in ("serial", "remote"):
        pytest.skip("one of each kind is enough")
    over = failed.replay("inside", "--pdb", typed="p there + 41\nq\n")
    assert over.returncode == 1, over.stderr
    assert re.search(r"failing\.py\(\d+\)inside\(\)\n-> return there / by", over.stdout)
    assert "(Pdb) 42" in over.stdout


def test_what_a_library_raised_is_looked_at_where_it_was_called() -> None:
    try:
        json.loads("{")
    except ValueError as error:
        stack, at = PostMortem(where(error)).get_stack(None, error.__traceback__)
        assert stack[at][0] is sys._getframe()
        assert len(stack) > at + 1
    else:
        pytest.fail("nothing was raised")


def test_it_stops_at_its_first_line(failed: Failed) -> None:
    if failed.backend != "remote":
        pytest.skip("one is enough")
    over = failed.replay("reads", "--break", typed="p words\nn\nn\nn\np words\nc\n")
    assert over.returncode == 1, over.stderr
    assert re.search(r"failing\.py\(\d+\)reads\(\)\n-> assert path", over.stdout), over.stdout
    assert "(Pdb) ['as', 'new']" in over.stdout
    assert "'changed by the task'" in over.stdout
    left = re.search(r"its temporary folder is (\S+)", over.stderr)
    assert left is not None
    shutil.rmtree(Path(left[1]).parent)


def test_what_killed_its_worker_is_said_first(failed: Failed) -> None:
    if failed.backend not in ISOLATING:
        pytest.skip("nothing dies there")
    over = failed.replay("dies")
    assert over.returncode == 5
    assert "task dies (code=5), attempt 1; then: failed" in over.stderr
    assert "its worker died" in over.stderr


def test_a_wrong_word_gives_the_nearest(failed: Failed) -> None:
    if failed.backend != "serial":
        pytest.skip("one is enough")
    for words, text in (
        (("raeds",), "there is no task raeds in .*; did you mean reads"),
        (("writes",), "task writes was done, .*-keep-jobs=all.*what can be replayed: "),
        (("element.map/8",), "there is no task element.map/8 in .*did you mean element.map/7"),
        ((), "replay takes a run and a task"),
    ):
        with pytest.raises(errors.UsageError, match=text):
            replay([str(failed.run), *words], None, debug=False, stop=False)
    with pytest.raises(errors.UsageError, match="'nothing-like-it'.*" + failed.run.name):
        run_meant("nothing-like-it", str(failed.run.parent))
    said = failed.place.refused(f"replay {failed.run.name} raeds")
    assert "did you mean reads" in said


def test_what_runs_is_what_is_there_now(place: Place) -> None:
    code = "from fancypipe_core import task\n\n@task\ndef root(x: float):\n    return x / 0\n"
    file = place.write("p.py", code)
    over = place.typed("", "-workertype=S", "p.py", "--x", "3")
    assert over.returncode == 1
    command = re.search(r"or: +.*: fancypipe (replay \w+ root --pdb)$", over.stderr, re.MULTILINE)
    assert command is not None, over.stderr
    words = command[1].split()
    file.write_text(code.replace("/ 0", "/ 2"))
    over = place.typed("", *words)
    assert over.returncode == 0, over.stderr
    assert over.stdout == "1.5\n"
    assert f"{file} has changed since; what runs is what is there now" in over.stderr
    file.unlink()
    over = place.typed("", *words)
    assert over.returncode == 1
    assert f"{file} is not there any more" in over.stderr


INSIDE = """\
from fancypipe_core import errors, run, task

def main(by):
    @task
    def inside(x):
        return x / by

    try:
        run([inside(1.0), task(lambda x: x / by)(2.0)], journal=True, keep_going=True)
    except errors.RunFailed:
        pass

if __name__ == "__main__":
    main(0)
"""


def test_a_task_inside_a_function_has_the_code_of_now_if_it_is_found(place: Place) -> None:
    file = place.write("p.py", INSIDE)
    over = place.call(sys.executable, "p.py")
    assert over.returncode == 0, over.stderr
    (the_run,) = find_runs(place.folder / ".fancypipe" / "runs")
    file.write_text("# a line more\n" + INSIDE.replace("x / by", "x - by"))
    over = place.typed("", "replay", the_run.name, "inside")
    assert (over.returncode, over.stdout) == (0, "1.0\n"), over.stderr
    assert "what runs is what is there now" in over.stderr
    file.write_text(
        INSIDE.replace("return x / by", "return x").replace("task(lambda x: x / by)", "task(abs)")
    )
    over = place.typed("", "replay", the_run.name, "inside")
    assert over.returncode == 1, over.stderr
    assert "it runs as it was then" in over.stderr


SLEEPS = """\
import os, time
from fancypipe_core import errors, run, task

@task
def sleeps(x):
    if os.path.exists("begin"):
        open("begun", "x").close()
        time.sleep(600)
    return 1 / x

if __name__ == "__main__":
    try:
        run(sleeps(0), backend="serial", journal=True)
    except errors.TaskError:
        pass
"""


def test_one_that_is_interrupted_ends_as_a_run_does(place: Place) -> None:
    place.write("p.py", SLEEPS)
    assert place.call(sys.executable, "p.py").returncode == 0
    (the_run,) = find_runs(place.folder / ".fancypipe" / "runs")
    place.write("begin", "")  # this time it sleeps
    words = [*FANCYPIPE, "replay", the_run.name, "sleeps"]
    with subprocess.Popen(
        words, cwd=place.folder, env=place.env, stderr=subprocess.PIPE
    ) as process:
        wait_until((place.folder / "begun").exists, "it has begun")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert said.endswith(b"fancypipe: interrupted (Ctrl-C)\n")


# ---- what is kept, and what not ----


@task
def fails(x: Any) -> None:
    raise ValueError("no")


@task
def twice(x: float) -> float:
    return 2 * x


@task
def adds(a: float, b: float) -> float:
    return a + b


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def failing_run(*inputs: Any, backend: str = "serial", **settings: Any) -> Path:
    with pytest.raises(errors.FancyPipeError):
        run([fails(x) for x in inputs], backend=backend, journal=True, keep_going=True, **settings)
    return find_runs(jobs_base())[-1]


def jobs_base() -> Path:
    return Path(".fancypipe", "runs")


def test_so_many_are_kept_and_no_more(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(jobs, "MOST", 2)
    the_run = failing_run(1, 2, 3, 4)
    assert len(jobs.kept_in(the_run)) == 2
    with pytest.raises(errors.UsageError, match=r"task fails\[3\] failed, but of a run 2 such"):
        replay([str(the_run), "fails[3]"], None, debug=False, stop=False)
    said = capsys.readouterr().err
    assert "2 tasks cannot be run again with 'fancypipe replay'" in said
    assert "of a run 2 tasks that failed are kept" in said


@pytest.mark.parametrize("backend", ["serial", "procs"])
def test_so_much_is_kept_and_no_more(
    here: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    monkeypatch.setattr(jobs, "_LARGEST", 100_000)
    the_run = failing_run(bytes(1000), bytes(200_000), backend=backend)
    assert [kept.inputs for kept in jobs.kept_in(the_run)] == [f"x={bytes(30)!r}..."]
    ((_, path, why),) = jobs.left_out_of(the_run)
    assert path == "fails[2]"
    assert "of one 0.0 GB are" in why
    assert not list(the_run.glob("jobs/*.part"))


def test_what_cannot_be_written_down_is_left_out(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    the_run = failing_run([threading.Lock()])
    assert jobs.kept_in(the_run) == []
    ((_, path, why),) = jobs.left_out_of(the_run)
    assert path == "fails"
    assert "it cannot be written down: inputs" in why
    assert "1 task cannot be run again" in capsys.readouterr().err


def test_a_disk_that_is_full_ends_nothing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    the_run = failing_run(1)
    ((_, _, why),) = jobs.left_out_of(the_run)
    assert why == "it cannot be written (No space left on device)"
    assert [file.name for file in (the_run / "jobs").iterdir()] == ["left-out.jsonl"]


def test_none_is_kept_if_nobody_wants_it(here: Path) -> None:
    the_run = failing_run(1, keep_jobs="none")
    assert not (the_run / "jobs").exists()


@pytest.mark.parametrize("backend", ["serial", "procs"])
def test_all_are_kept_if_that_is_asked_for(
    here: Path, backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    chain = twice(twice(twice(twice(1.0))))  # each would follow the one before
    value = run(adds(chain, twice(2.0)), backend=backend, workers=1, journal=True, keep_jobs="all")
    assert value == 20.0
    (the_run,) = find_runs(jobs_base())
    kept = jobs.kept_in(the_run)
    assert sorted(one.path for one in kept) == [
        "adds",
        "twice",
        *(f"twice[{n}]" for n in range(2, 6)),
    ]
    for one in kept:
        inputs = read(jobs.opened(one)).inputs
        # Each hole is filled by a value that is there, before it.
        assert all(hole < at for at, part in enumerate(inputs) for hole, _ in part.holes)
    code = f"import sys; sys.path.insert(0, {os.getcwd()!r})\n"
    code += "from fancypipe_core._cli.replay import replay\n"
    code += f"sys.exit(replay([{the_run.name!r}, 'adds'], None, debug=False, stop=False))"
    over = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert (over.returncode, over.stdout) == (0, "20.0\n"), over.stderr


def test_it_has_as_many_threads_as_in_a_worker(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    (kept,) = jobs.kept_in(failing_run(1, backend="procs"))
    job = read(jobs.opened(kept))
    assert set(variables_of(job).values()) == {"1"}
    job = msgspec.structs.replace(job, needs=Needs(4))
    assert variables_of(job)["OMP_NUM_THREADS"] == "4"
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert "OMP_NUM_THREADS" not in variables_of(job)
    around = msgspec.structs.replace(job.around, live=True)
    assert variables_of(msgspec.structs.replace(job, around=around)) == {}


def test_one_of_another_user_is_not_run(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (kept,) = jobs.kept_in(failing_run(1))
    jobs.opened(kept)
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    with pytest.raises(PermissionError, match="another user's"):
        jobs.opened(kept)


def test_a_run_is_found_by_what_its_name_begins_with(here: Path) -> None:
    one, other = failing_run(1), failing_run(2)
    for word in (one.name, str(one), str(one / "journal.jsonl"), one.name.rpartition("-")[2]):
        assert run_meant(word, None).name == one.name
    assert run_meant(other.name.rpartition("-")[2][:8], None).name == other.name
    with pytest.raises(errors.UsageError, match="several runs are called"):
        run_meant(one.name[:4], None)


class Wanting:
    """Wants jobs, and no events."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int | None, int]] = []

    @hookimpl
    def fancypipe_wants(self) -> Wants:
        return Wants((), (), jobs="all")

    @hookimpl
    def fancypipe_task_job(self, job: TaskJob) -> None:
        self.told.append((job.path, job.size, len(job.encode())))


def test_an_observer_may_have_them_too() -> None:
    wanting = Wanting()
    with Session("serial", observers=[wanting]) as session:
        session.run(adds(twice(1.0), 2.0))
    assert [(path, size) for path, size, _ in wanting.told] == [("twice", None), ("adds", None)]
    assert all(size > 100 for _, _, size in wanting.told)


def test_each_is_told_once_when_its_inputs_are_there() -> None:
    wanting = Wanting()
    with Session("procs", 1, observers=[wanting]) as session:
        session.run(twice(twice(twice(twice(1.0)))))
    assert [path for path, _, _ in wanting.told] == ["twice[4]", "twice[3]", "twice[2]", "twice"]


def test_who_wants_none_pays_nothing() -> None:
    code = (
        "import sys\n"
        "from fancypipe_core import run, task\n"
        "f = task(abs)\n"
        "run([f(-1)], backend='serial')\n"
        "names = ('_engine.job_copies', '_wire.kept_job', 'plugins.jobs')\n"
        "print([name for name in names if f'fancypipe_core.{name}' in sys.modules])\n"
    )
    over = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert over.stdout == "[]\n"
