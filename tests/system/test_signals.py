"""Ctrl-C once and twice, SIGTERM, SIGHUP, readers that leave: at a terminal, on every backend."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from fancypipe_core import Session, errors, task
from fancypipe_threads._pool import ThreadsBackend
from tests.system import storm
from tests.system.terminal import Terminal, wait_until

COMMAND = (sys.executable, "-m", "fancypipe_core")
BACKENDS = ["S", "T", "P"]

# Each task says that it began; `slow` has a temporary file, and ends when the gate is opened.
PIPELINE = '''\
import os
import sys
import threading
import time
from fancypipe_core import Exec, current, module, task

IN_CHILD = "fancypipe_procs.child" in " ".join(sys.orig_argv)


def nap(mark):
    """Say that it has come so far; go on when the gate is opened."""
    open(f"{mark}.begun", "w").close()
    until = time.monotonic() + 300
    while not os.path.exists("gate") and time.monotonic() < until:
        time.sleep(0.005)


if os.environ.get("SLOW_IMPORT") == ("child" if IN_CHILD else "client"):
    nap("import")


class SlowToWrite:
    def __init__(self, where):
        self.where = where

    def __reduce__(self):
        if IN_CHILD == (self.where == "child"):
            nap("write")
        return SlowToWrite, (self.where,)


class SlowToRead:
    def __reduce__(self):
        return make_slowly, ()


def make_slowly():
    if not IN_CHILD:
        nap("read")
    return 1


@task
def slow(n):
    current().tempfile().write_text("temporary")
    nap(f"slow-{n}")
    open(f"slow-{n}.done", "w").close()
    return n


@task
def total(xs):
    return sum(xs)


@task
def take(x):
    return 1


@task
def give_slow_to_write():
    return SlowToWrite("child")


@task
def give_slow_to_read():
    return SlowToRead()


@module
def running():
    return total([slow(n) for n in range(30)])


@module
def main_computes():
    first = slow(0)
    nap("main")
    return first


@module
def result_inside():
    return slow(0).result() + 1


@module
def inputs_are_written():
    return take(SlowToWrite("client"))


@module
def results_are_written():
    return give_slow_to_write()


@module
def results_are_read():
    return give_slow_to_read()


@module
def swallows():
    while True:
        try:
            nap("swallow")
            return total([slow(n) for n in range(30)])
        except BaseException:
            pass


@task
def leaves_a_thread():
    threading.Thread(target=time.sleep, args=(300,)).start()
    nap("thread")


@task
def program():
    return Exec("sh", "-c", "touch program.begun; sleep 300")


@task
def inner(n):
    return slow(n)


@task
def nested():
    return inner(0).result()
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pipeline.py").write_text(PIPELINE, encoding="utf-8")
    return tmp_path


def begin(folder: Path, backend: str, name: str = "running", *options: str, **env: str) -> Terminal:
    words = [f"-workertype={backend}", "-numworkers=2", "-q", *options, f"pipeline.py:{name}"]
    return Terminal(folder, [*COMMAND, *words], env)


def marks(folder: Path, what: str) -> int:
    return len(list(folder.glob(f"*.{what}")))


def reached(folder: Path, mark: str, terminal: Terminal) -> None:
    file = folder / f"{mark}.begun"
    wait_until(file.exists, lambda: f"{mark} was not reached: {terminal.text}")


def said(terminal: Terminal) -> str:
    assert "Traceback" not in terminal.text, terminal.text
    return terminal.text


# ---- once ----------------------------------------------------------------------


@pytest.mark.every_python
@pytest.mark.fault(25, 73)
@pytest.mark.parametrize("backend", ["T", "P"])
def test_once_lets_finish_what_runs_and_begins_nothing_more(folder: Path, backend: str) -> None:
    with begin(folder, backend, "running", "-grace=300") as terminal:
        wait_until(lambda: marks(folder, "begun") == 2, lambda: terminal.text)
        terminal.press()
        terminal.see("Ctrl-C again to stop now")
        (folder / "gate").touch()
        assert terminal.end() == 130
    text = said(terminal)
    assert (
        "fancypipe: interrupted (Ctrl-C): waiting up to 300 s for 2 running tasks: "
        "running/slow, running/slow[2]; Ctrl-C again to stop now\n"
    ) in text
    assert text.endswith("fancypipe: interrupted (Ctrl-C): 2 tasks done, 30 not\n")
    assert (marks(folder, "begun"), marks(folder, "done")) == (2, 2)


@pytest.mark.every_python
@pytest.mark.fault(25)
def test_once_in_series_interrupts_the_task(folder: Path) -> None:
    with begin(folder, "S") as terminal:
        reached(folder, "slow-0", terminal)
        terminal.press()
        assert terminal.end() == 130
    assert said(terminal).endswith("fancypipe: interrupted (Ctrl-C): 0 tasks done, 32 not\n")
    assert (marks(folder, "begun"), marks(folder, "done")) == (1, 0)


@pytest.mark.fault(25)
def test_once_in_a_task_inside_a_task(folder: Path) -> None:
    with begin(folder, "S", "nested") as terminal:
        reached(folder, "slow-0", terminal)
        terminal.press()
        assert terminal.end() == 130
    assert "interrupted (Ctrl-C): 0 tasks done" in said(terminal)


@pytest.mark.fault(25)
@pytest.mark.parametrize("backend", ["T", "P"])
def test_once_and_the_grace_runs_out(folder: Path, backend: str) -> None:
    with begin(folder, backend, "running", "-grace=0.5") as terminal:
        wait_until(lambda: marks(folder, "begun") == 2, lambda: terminal.text)
        terminal.press()
        assert terminal.end() == 130
    text = said(terminal)
    assert "waiting up to 0." in text
    assert "interrupted (Ctrl-C): 0 tasks done, 32 not" in text
    goes_on = "2 tasks keep running, since this backend cannot stop a running task"
    assert (goes_on in text) == (backend == "T")
    assert marks(folder, "begun") == 2


# Where the client itself is busy with the user's code, there is nothing to wait for.
@pytest.mark.fault(25)
@pytest.mark.parametrize(
    ("backend", "name", "mark"),
    [
        *((backend, "main_computes", "main") for backend in BACKENDS),
        ("S", "result_inside", "slow-0"),
        ("P", "inputs_are_written", "write"),
        ("P", "results_are_read", "read"),
    ],
)
def test_once_in_code_that_runs_in_the_client(
    folder: Path, backend: str, name: str, mark: str
) -> None:
    with begin(folder, backend, name, "-grace=300") as terminal:
        reached(folder, mark, terminal)
        terminal.press()
        assert terminal.end() == 130
    assert "fancypipe: interrupted (Ctrl-C): " in said(terminal)


@pytest.mark.fault(25)
@pytest.mark.parametrize(
    ("backend", "name", "mark"),
    [
        ("T", "result_inside", "slow-0"),
        ("P", "result_inside", "slow-0"),
        ("P", "results_are_written", "write"),
    ],
)
def test_once_while_one_task_runs(folder: Path, backend: str, name: str, mark: str) -> None:
    with begin(folder, backend, name, "-grace=300") as terminal:
        reached(folder, mark, terminal)
        terminal.press()
        terminal.see("waiting up to 300 s for 1 running task: ")
        (folder / "gate").touch()
        assert terminal.end() == 130
    assert re.search(r"fancypipe: interrupted \(Ctrl-C\): [12] tasks? done", said(terminal))


@pytest.mark.fault(25)
def test_once_while_the_workers_import_the_pipeline(folder: Path) -> None:
    with begin(folder, "P", "running", "-grace=300", SLOW_IMPORT="child") as terminal:
        reached(folder, "import", terminal)
        terminal.press()
        terminal.see("Ctrl-C again to stop now")
        (folder / "gate").touch()
        assert terminal.end() == 130
    # A job's function is looked up after the job has begun.
    assert re.search(r"[12] tasks? done, 3[01] not", said(terminal))
    assert marks(folder, "done") <= 2


@pytest.mark.fault(25, 73)
@pytest.mark.parametrize("comes_up", [False, True])
def test_once_while_the_pool_starts(folder: Path, comes_up: bool) -> None:
    # The first thing that a child does is to wait.
    site = folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import os, sys, time\n"
        "if 'fancypipe_procs.child' in sys.orig_argv:\n"
        f"    open({str(folder / 'start.begun')!r}, 'w').close()\n"
        f"    while not os.path.exists({str(folder / 'up')!r}): time.sleep(0.005)\n",
        encoding="utf-8",
    )
    grace = 300 if comes_up else 0.5
    with begin(folder, "P", "running", f"-grace={grace}", PYTHONPATH=str(site)) as terminal:
        reached(folder, "start", terminal)
        terminal.press()
        terminal.see("interrupted (Ctrl-C): ")
        if comes_up:
            (folder / "up").touch()
        assert terminal.end() == 130
    assert "0 tasks done" in said(terminal)
    assert not list(folder.glob("slow-*")), "what had not begun when Ctrl-C came did begin"


@pytest.mark.fault(25)
def test_once_while_the_file_is_loaded(folder: Path) -> None:
    with begin(folder, "P", SLOW_IMPORT="client") as terminal:
        reached(folder, "import", terminal)
        terminal.press()
        assert terminal.end() == 130
    assert said(terminal).replace("^C", "").strip() == "fancypipe: interrupted (Ctrl-C)"


# ---- twice ---------------------------------------------------------------------


@pytest.mark.fault(26)
@pytest.mark.parametrize("backend", ["T", "P"])
@pytest.mark.parametrize("keys", [1, 20])
@pytest.mark.parametrize("picture", [False, True])
def test_twice_ends_at_once(folder: Path, backend: str, keys: int, picture: bool) -> None:
    show = "--progress" if picture else "-q"
    with begin(folder, backend, "running", "-grace=300", show) as terminal:
        if picture:
            terminal.see("━")
        wait_until(lambda: marks(folder, "begun") == 2, lambda: terminal.text)
        terminal.press()
        terminal.see("Ctrl-C again to stop now")
        begun = time.monotonic()
        terminal.press(b"\x03" * keys)
        code = terminal.end()
        took = time.monotonic() - begun
    text = said(terminal)
    assert code == 130, text
    assert took < 10, "it is to take less than one second"
    assert "fancypipe: interrupted (Ctrl-C): 0 tasks done, 32 not\n" in text
    goes_on = "fancypipe: 2 tasks keep running, since this backend cannot stop a running task"
    assert (goes_on in text) == (backend == "T")
    assert marks(folder, "done") == 0


@pytest.mark.fault(26)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_module_that_swallows_everything(folder: Path, backend: str) -> None:
    with begin(folder, backend, "swallows", "-grace=300") as terminal:
        reached(folder, "swallow", terminal)
        terminal.press()
        # It goes on, as it is written to.  What it returns is not wanted any more.
        (folder / "gate").touch()
        assert terminal.end() == 130
    assert "fancypipe: interrupted (Ctrl-C): " in said(terminal)
    assert not list(folder.glob("slow-*"))


@pytest.mark.every_python
@pytest.mark.fault(26)
@pytest.mark.parametrize("backend", ["S", "T"])
def test_threads_that_tasks_left_do_not_hold_up_the_end(folder: Path, backend: str) -> None:
    with begin(folder, backend, "leaves_a_thread", "-grace=0") as terminal:
        reached(folder, "thread", terminal)
        terminal.press()
        assert terminal.end() == 130
    said(terminal)


@pytest.mark.fault(26)
@pytest.mark.parametrize("backend", BACKENDS)
def test_programs_that_tasks_run_end_with_them(folder: Path, backend: str) -> None:
    with begin(folder, backend, "program", "-grace=300") as terminal:
        reached(folder, "program", terminal)
        terminal.press()
        if backend != "S":
            terminal.see("Ctrl-C again to stop now")
            terminal.press()
        assert terminal.end() == 130
    assert "keep running" not in said(terminal)


# ---- other signals -------------------------------------------------------------


@pytest.mark.fault(25, 26)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("script", [False, True])
def test_sigterm_ends_in_good_order(folder: Path, backend: str, script: bool) -> None:
    command: Sequence[str] = [*COMMAND, "pipeline.py:running"]
    if script:
        (folder / "script.py").write_text(
            "from pipeline import running\nif __name__ == '__main__':\n    running.cli()\n",
            encoding="utf-8",
        )
        command = [sys.executable, "script.py"]
    words = [f"-workertype={backend}", "-numworkers=2", "-grace=300"]
    with Terminal(folder, [*command, *words]) as terminal:
        wait_until(lambda: marks(folder, "begun") > (backend != "S"), lambda: terminal.text)
        terminal.process.send_signal(signal.SIGTERM)
        if backend != "S":
            terminal.see("; SIGTERM again to stop now")
        assert terminal.end() == 128 + signal.SIGTERM
    text = said(terminal)
    assert "fancypipe: interrupted (SIGTERM): 0 tasks done, 32 not\n" in text
    if backend != "S":
        waiting = re.search(r"waiting up to ([0-9.]+) s for 2 running tasks", text)
        assert waiting is not None, text
        assert float(waiting[1]) <= 2


@pytest.mark.fault(25, 26)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_terminal_that_is_closed(folder: Path, backend: str) -> None:
    with begin(folder, backend, "running", "-grace=300") as terminal:
        wait_until(lambda: marks(folder, "begun") > (backend != "S"), lambda: terminal.text)
        terminal.hang_up()
        assert terminal.end() == 128 + signal.SIGHUP
    assert marks(folder, "done") == 0


def test_nohup_is_respected(folder: Path) -> None:
    words = " ".join([*COMMAND, "-workertype=P", "-numworkers=2", "pipeline.py:running"])
    with Terminal(folder, ["/bin/sh", "-c", f"trap '' HUP; exec {words} >result 2>&1"]) as terminal:
        wait_until(lambda: marks(folder, "begun") == 2)
        terminal.hang_up()
        (folder / "gate").touch()
        assert terminal.end() == 0
    assert (folder / "result").read_text().splitlines()[-1] == str(sum(range(30)))


# ---- readers that leave --------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_run_goes_on_when_nobody_reads_its_messages(folder: Path, backend: str) -> None:
    (folder / "loud.py").write_text(
        "from fancypipe_core import current, module, task\n"
        "@task\ndef loud(n):\n"
        "    for _ in range(200): current().log('x' * 1000)\n"
        "    open(f'{n}.done', 'w').close()\n"
        "@module\ndef all_loud(): return [loud(n) for n in range(10)]\n",
        encoding="utf-8",
    )
    line = f"{' '.join(COMMAND)} -workertype={backend} -numworkers=2 loud.py --output r.json"
    over = subprocess.run(
        ["/bin/bash", "-c", f"set -o pipefail; {line} 2>&1 | head -n 1"],
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert over.stdout.startswith("fancypipe: "), over.stdout
    assert (over.returncode, over.stderr) == (0, "")
    assert marks(folder, "done") == 10
    assert json.loads((folder / "r.json").read_text()) == [None] * 10


def test_what_workers_print_to_nobody_does_not_hurt_the_run(folder: Path) -> None:
    (folder / "loud.py").write_text(
        "from fancypipe_core import module, task\n"
        "@task\ndef loud(n):\n"
        "    for _ in range(200): print('x' * 1000)\n"
        "    open(f'{n}.done', 'w').close()\n"
        "@module\ndef all_loud(): return [loud(n) for n in range(10)]\n",
        encoding="utf-8",
    )
    line = f"{' '.join(COMMAND)} -workertype=P -numworkers=2 loud.py"
    over = subprocess.run(
        ["/bin/bash", "-c", f"set -o pipefail; {line} 2>&1 | head -n 1"],
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    # Its result goes to the same reader, who has left.
    assert (over.returncode, over.stderr) == (141, "")
    assert marks(folder, "done") == 10


# ---- programs that run pipelines -----------------------------------------------


@task
def wait_for(gate: str, begun: str) -> int:
    Path(begun).touch()
    wait_until(Path(gate).exists)
    return 1


@pytest.mark.fault(25, 29)
@pytest.mark.parametrize("backend", ["serial", "threads", "procs"])
def test_a_run_in_another_thread_is_interrupted_by_a_call(
    tmp_path: Path, backend: str, capfd: pytest.CaptureFixture[str]
) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    ends: list[BaseException] = []

    def work() -> None:
        try:
            session.run([wait_for(str(gate), str(begun)) for _ in range(5)])
        except errors.Cancelled as error:
            ends.append(error)

    with Session(backend, 1, grace=300.0) as session:
        thread = threading.Thread(target=work)
        thread.start()
        wait_until(begun.exists)
        session.interrupt()
        told = ""

        def has_told() -> bool:
            nonlocal told
            told += capfd.readouterr().err
            return "waiting up to 300 s for 1 running task: wait_for; " in told

        if backend != "serial":
            wait_until(has_told)
        gate.touch()
        thread.join(60)
        assert not thread.is_alive()
        assert str(ends[0]) == "cancelled: 1 task done, 4 not"
        assert session.run(wait_for(str(gate), str(begun))) == 1
        session.interrupt()  # nothing is under way
        assert session.run(wait_for(str(gate), str(begun))) == 1


@pytest.mark.fault(72, 73)
@pytest.mark.parametrize("backend", ["threads", "procs"])
def test_late_results_of_an_interrupted_run_change_nothing(tmp_path: Path, backend: str) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"

    def interrupt() -> None:
        wait_until(begun.exists)
        session.interrupt()
        session.interrupt()

    with Session(backend, 2, grace=300.0) as session:
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(errors.Cancelled, match="cancelled: 0 tasks done, 6 not"):
            session.run([wait_for(str(gate), str(begun)) for _ in range(6)])
        thread.join()
        gate.touch()
        # On threads what was left behind ends during these runs.
        for _ in range(20):
            ones = [wait_for(str(gate), str(begun)) for _ in range(50)]
            assert session.run(ones) == [1] * 50


@pytest.mark.fault(25)
def test_a_backend_from_which_nothing_can_be_recalled_is_waited_for(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ThreadsBackend, "recall", lambda *_: None)
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    told = ""

    def has_told() -> bool:
        nonlocal told
        told += capfd.readouterr().err
        return told.endswith("\n")

    def interrupt() -> None:
        wait_until(begun.exists)
        session.interrupt()
        wait_until(has_told)
        gate.touch()

    with Session("threads", 1, grace=300.0) as session:
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(errors.Cancelled, match="2 tasks done, 3 not"):
            session.run([wait_for(str(gate), str(begun)) for _ in range(5)])
        thread.join()
    assert told == (
        "fancypipe: cancelled: waiting up to 300 s for 2 tasks that the backend did not return, "
        "started or not: wait_for, wait_for[2]; call interrupt() again to stop now\n"
    )


SESSION = """\
import os, sys, time
from fancypipe_core import Session, errors, task

@task
def slow():
    open("slow-0.begun", "w").close()
    while not os.path.exists("gate"): time.sleep(0.005)
    return 7

if __name__ == "__main__":
    with Session(backend=sys.argv[1], workers=2, grace=300.0) as session:
        try:
            session.run([slow() for _ in range(9)])
        except KeyboardInterrupt as error:
            print("caught:", type(error).__name__, error)
            os.rename("slow-0.begun", "again")
        value = session.run(slow())
        try:
            print("and again:", value)
            time.sleep(300)
        except KeyboardInterrupt:
            print("the program's own")
"""


@pytest.mark.every_python
@pytest.mark.fault(25)
@pytest.mark.parametrize("backend", ["threads", "procs"])
def test_a_session_goes_on_after_ctrl_c(folder: Path, backend: str) -> None:
    (folder / "session.py").write_text(SESSION, encoding="utf-8")
    with Terminal(folder, [sys.executable, "session.py", backend]) as terminal:
        reached(folder, "slow-0", terminal)
        terminal.press()
        terminal.see("Ctrl-C again to stop now")
        (folder / "gate").touch()
        terminal.see("and again: 7")
        terminal.press()
        terminal.see("the program's own")
        assert terminal.end() == 0
    assert re.search(
        r"caught: KeyboardInterrupt interrupted \(Ctrl-C\): [12] tasks? done, [78] not",
        said(terminal),
    )


# Ends as a program does that has never heard of us.
PLAIN = """\
import os, sys, time
from fancypipe_core import run, task

@task
def slow():
    open("slow-0.begun", "w").close()
    while not os.path.exists("gate"): time.sleep(0.005)

if __name__ == "__main__":
    run([slow() for _ in range(9)], backend=os.environ["WHERE"], workers=2, grace=0.0)
"""
LINE = "fancypipe: interrupted (Ctrl-C): 0 tasks done, 9 not"


@pytest.mark.every_python
@pytest.mark.fault(25)
@pytest.mark.parametrize(
    ("how", "backend"),
    [
        *((["plain.py"], backend) for backend in ("serial", "threads", "procs")),
        (["-m", "plain"], "procs"),
        (["-c", "import runpy; runpy.run_path('plain.py', run_name='__main__')"], "serial"),
    ],
)
def test_a_script_ends_as_the_command_does(folder: Path, how: list[str], backend: str) -> None:
    (folder / "plain.py").write_text(PLAIN, encoding="utf-8")
    with Terminal(folder, [sys.executable, *how], {"WHERE": backend}) as terminal:
        reached(folder, "slow-0", terminal)
        terminal.press()
        assert terminal.end() == 130
    shown = [line for line in said(terminal).replace("^C", "").splitlines() if line]
    goes_on = [line for line in shown if "keep running, since this backend" in line]
    assert (len(goes_on) == 1) == (backend == "threads")
    assert [line for line in shown if line not in goes_on] == [LINE]


@pytest.mark.fault(25)
def test_a_program_with_a_hook_of_its_own_keeps_it(folder: Path) -> None:
    hook = "def hook(kind, error, traceback): print('mine:', kind.__name__, error)\n"
    start = f"{hook}import sys; sys.excepthook = hook\n"
    (folder / "plain.py").write_text(start + PLAIN, encoding="utf-8")
    with Terminal(folder, [sys.executable, "plain.py"], {"WHERE": "serial"}) as terminal:
        reached(folder, "slow-0", terminal)
        terminal.press()
        # As Python ends after any `KeyboardInterrupt`, which a shell shows as 130.
        assert terminal.end() == -signal.SIGINT
    assert f"mine: KeyboardInterrupt {LINE.removeprefix('fancypipe: ')}" in said(terminal)


@pytest.mark.every_python
@pytest.mark.fault(25)
def test_an_interactive_python_goes_on(folder: Path) -> None:
    (folder / "plain.py").write_text(PLAIN, encoding="utf-8")
    with Terminal(folder, [sys.executable, "-i", "plain.py"], {"WHERE": "serial"}) as terminal:
        reached(folder, "slow-0", terminal)
        terminal.press()
        terminal.see(">>> ")
        terminal.press(b"print('still ' + 'here'); os._exit(5)\n")
        terminal.see("still here")
        assert terminal.end() == 5
    assert LINE in said(terminal)


AWAITED = """\
import asyncio, os, sys, time
from fancypipe_core import Session, errors, task

@task
def slow(gate):
    open("slow-0.begun", "w").close()
    while not os.path.exists(gate): time.sleep(0.005)
    return 7

async def other(session):
    while not os.path.exists("slow-0.begun"): await asyncio.sleep(0.005)
    session.interrupt()
    return "others go on"

async def main(session):
    mine = asyncio.to_thread(session.run, [slow("never") for _ in range(3)])
    print(await asyncio.gather(mine, other(session), return_exceptions=True))
    open("gate", "w").close()
    print(await asyncio.to_thread(session.run, slow("gate")))

if __name__ == "__main__":
    with Session(backend=sys.argv[1], workers=1, grace=0.0) as session:
        asyncio.run(main(session))
"""


@pytest.mark.every_python
@pytest.mark.fault(25)
@pytest.mark.parametrize("backend", ["procs"])
def test_a_loop_of_asyncio_goes_on(folder: Path, backend: str) -> None:
    (folder / "awaited.py").write_text(AWAITED, encoding="utf-8")
    with Terminal(folder, [sys.executable, "awaited.py", backend]) as terminal:
        assert terminal.end() == 0
    assert "[Cancelled('cancelled: 0 tasks done, 3 not'), 'others go on']\n7\n" in said(terminal)


@pytest.mark.fault(25)
@pytest.mark.parametrize("backend", ["serial", "threads", "procs"])
def test_the_main_thread_may_be_cancelled_by_another(tmp_path: Path, backend: str) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"

    def interrupt() -> None:
        wait_until(begun.exists)
        session.interrupt()
        gate.touch()

    with Session(backend, 1, grace=300.0) as session:
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(errors.Cancelled, match=r"cancelled: \d+ tasks? done") as caught:
            session.run([wait_for(str(gate), str(begun)) for _ in range(2000)])
        thread.join()
        assert not isinstance(caught.value, KeyboardInterrupt)
        assert session.run(wait_for(str(gate), str(begun))) == 1


@pytest.mark.fault(29)
def test_sigterm_is_the_programs_own_and_its_children_go_with_it(folder: Path) -> None:
    (folder / "session.py").write_text(SESSION, encoding="utf-8")
    with Terminal(folder, [sys.executable, "session.py", "procs"]) as terminal:
        reached(folder, "slow-0", terminal)
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.end() == -signal.SIGTERM


# ---- at any moment -------------------------------------------------------------


@pytest.mark.fault(25, 26, 79)
def test_forty_starts_and_ctrl_c_at_random_moments(tmp_path: Path) -> None:
    wrong = storm.run(tmp_path, starts=40, seed=1)
    assert not wrong, "\n".join(wrong)
