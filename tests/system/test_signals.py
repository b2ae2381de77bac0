"""Ctrl-C once and twice, SIGTERM, SIGHUP, readers that leave: at a terminal, on every backend."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.system import storm
from tests.system.interrupted import BACKENDS, COMMAND, PIPELINE, begin, marks, reached, said
from tests.system.terminal import Terminal
from tests.waiting import wait_until


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pipeline.py").write_text(PIPELINE, encoding="utf-8")
    return tmp_path


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
    # The first thing that a child does is to wait: until it was sent jobs, and so the run is under
    # way, since the first one is started before; and then for us.
    site = folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import os, sys, time\n"
        "if 'fancypipe_procs.child' in sys.orig_argv:\n"
        "    import socket\n"
        "    first = sys.orig_argv[sys.orig_argv.index('fancypipe_procs.child') + 1]\n"
        "    channel = socket.socket(fileno=os.dup(int(first)))\n"
        "    while b'jobs' not in channel.recv(65536, socket.MSG_PEEK): time.sleep(0.005)\n"
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
        reached(folder, "caught", terminal)
        # It goes on, as it is written to.  What it returns is not wanted any more.
        (folder / "gate").touch()
        assert terminal.end() == 130
    assert "fancypipe: interrupted (Ctrl-C): " in said(terminal)
    assert not list(folder.glob("slow-*"))


@pytest.mark.fault(26)
@pytest.mark.parametrize(
    ("backend", "name"), [*((backend, "never_ends") for backend in BACKENDS), ("S", "endless")]
)
def test_twice_ends_what_catches_every_interruption(folder: Path, backend: str, name: str) -> None:
    with begin(folder, backend, name, "-grace=300") as terminal:
        reached(folder, "never", terminal)
        terminal.press()
        reached(folder, "caught", terminal)
        terminal.press()
        assert terminal.end() == 130
    text = said(terminal)
    assert "fancypipe: interrupted (Ctrl-C) twice" in text
    assert re.search(rf"{name} \(\S+pipeline\.py:\d+\) catches each interruption", text)


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


@pytest.mark.fault(25)
def test_a_program_that_is_being_started_ends_too(folder: Path) -> None:
    with begin(folder, "S", "program", SLOW_START="1") as terminal:
        reached(folder, "start", terminal)
        terminal.press()
        (folder / "gate").touch()
        assert terminal.end() == 130


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


# ---- at any moment -------------------------------------------------------------


@pytest.mark.fault(25, 26, 79)
def test_forty_starts_and_ctrl_c_at_random_moments(tmp_path: Path) -> None:
    wrong = storm.run(tmp_path, starts=40, seed=1)
    assert not wrong, "\n".join(wrong)
