"""What the command line says of failures, and what it shows on a terminal."""

from __future__ import annotations

import re
import select
import signal
import subprocess
import time
from collections.abc import Callable

import pytest

from tests.system.place import FANCYPIPE, SECONDS, Place
from tests.system.terminal import Terminal

# ---- failures --------------------------------------------------------------------

FAILING = """\
from fancypipe_core import module, task

class MyError(Exception):
    pass

def helper(x):
    raise MyError(f"no {x}")

@task
def bad(x: int):
    return helper(x)

@task
def both(a, b):
    return a, b

@module
def top(x: int = 1):
    return both(bad(x), bad(x + 1))
"""


@pytest.mark.parametrize("backend", ["S", "T", "P"])
def test_a_failure_says_what_where_why_and_what_next(place: Place, backend: str) -> None:
    place.write("failing.py", FAILING)
    over = place.fancypipe(f"-workertype={backend} -numworkers 1 failing.py -x 5")
    assert (over.returncode, over.stdout) == (1, "")
    # The traceback has the user's frames and no others.
    file = str(place.folder / "failing.py")
    assert re.findall(r'File "(.*)", line (\d+), in (\w+)', over.stderr) == [
        (file, "11", "bad"),
        (file, "7", "helper"),
    ]
    lines = over.stderr.splitlines()
    at = lines.index("fancypipe: the run failed")
    what, where, why, after, other = lines[at + 1 :]
    assert re.fullmatch(r"  what:  task top/bad\S* \(x=5\), attempt 1", what)
    assert re.fullmatch(r"  where: failing.py:7 \(host \S+, pid \d+\)", where)
    assert re.fullmatch(r"  why:   \S*MyError: no [56]", why)
    if backend == "S":
        assert after == "  next:  put breakpoint() before that line and run the same command again"
    else:
        command = "fancypipe -workertype=S -numworkers 1 failing.py -x 5"
        assert after.endswith(f"run it in series, where breakpoint() works: {command}")
    again = r"  or:    run only that task again, .*: fancypipe replay \w+ '?top/bad\S* --pdb"
    assert re.fullmatch(again, other)


def test_keep_going_tells_of_all_failures(place: Place) -> None:
    place.write("failing.py", FAILING)
    over = place.fancypipe("-workertype=T failing.py --keep-going")
    assert over.returncode == 1
    assert len(re.findall(r"^  what:  task top/bad", over.stderr, re.MULTILINE)) >= 1
    assert "fancypipe: the run failed: " in over.stderr


def test_a_worker_that_dies_is_explained(place: Place) -> None:
    place.write(
        "dying.py",
        "import os, signal\nfrom fancypipe_core import task\n@task\n"
        "def die(): os.kill(os.getpid(), signal.SIGKILL)\n",
    )
    over = place.fancypipe("-workertype=P -max-losses=1 dying.py")
    assert over.returncode == 1
    assert "  what:  task die, attempt 1" in over.stderr
    assert "  why:   its worker died: SIGKILL" in over.stderr
    assert "  next:  the system kills what takes too much memory" in over.stderr


def test_debug_shows_everything(place: Place) -> None:
    place.write("failing.py", FAILING)
    over = place.fancypipe("-workertype=T failing.py --debug")
    assert over.returncode == 1
    assert "activity.py" in over.stderr


def test_an_error_of_ours_asks_for_a_report(place: Place) -> None:
    place.write(
        "broken.py",
        "from fancypipe_core import errors, session, task\n"
        "def run(*args, **kwargs): raise errors.InternalError('lost my way')\n"
        "session.Session.run = run\n"
        "@task\ndef f(): return 1\n",
    )
    over = place.fancypipe("broken.py")
    assert over.returncode == 1
    assert "InternalError: lost my way" in over.stderr
    assert "please report it" in over.stderr.splitlines()[-1]


@pytest.mark.parametrize("backend", ["S", "T", "P"])
def test_ctrl_c_ends_with_130(place: Place, backend: str) -> None:
    place.write(
        "long.py",
        "import time\nfrom fancypipe_core import task\n@task\n"
        "def long():\n"
        "    open('running', 'w').close()\n"
        "    until = time.monotonic() + 100\n"
        "    while time.monotonic() < until: time.sleep(0.01)\n",
    )
    command = (*FANCYPIPE, f"-workertype={backend}", "-grace=0", "long.py")
    with subprocess.Popen(
        command,
        cwd=place.folder,
        env=place.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            _until((place.folder / "running").exists)
            process.send_signal(signal.SIGINT)
            # A thread cannot be stopped, so there it takes the second one.
            if backend == "T":
                _again_until_it_ends(process)
            stdout, stderr = process.communicate(timeout=20)
        finally:
            process.kill()
    assert (process.returncode, stdout) == (130, "")
    assert "Traceback" not in stderr
    assert "interrupted" in stderr


def _until(reached: Callable[[], bool]) -> None:
    until = time.monotonic() + SECONDS
    while not reached():
        assert time.monotonic() < until
        select.select([], [], [], 0.01)


def _again_until_it_ends(process: subprocess.Popen[str]) -> None:
    for _ in range(50):
        try:
            process.wait(0.2)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
        else:
            return


# ---- on a terminal ---------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["S", "T", "P"])
def test_live_lines_on_a_terminal(place: Place, backend: str) -> None:
    place.write(
        "slow.py",
        "import time\nfrom fancypipe_core import module, task\n"
        "@task\ndef nap(x): time.sleep(0.3); print('awake'); return x\n"
        "@task\ndef total(xs): return sum(xs)\n"
        "@module\ndef naps(n: int = 6): return total([nap(i) for i in range(n)])\n",
    )
    words = [f"-workertype={backend}", "-numworkers=1", "slow.py"]
    with Terminal(place.folder, [*FANCYPIPE, *words], {"COLUMNS": "100"}) as terminal:
        assert terminal.end() == 0
    seen, shown = terminal.seen, terminal.text
    assert re.search(r"nap +━+  [1-5]/6", shown)
    assert "awake" in shown
    # The picture is taken away, the cursor is back, and the end is as it is elsewhere.
    assert seen.rindex(b"\x1b[?25h") > seen.rindex("━".encode())
    assert re.search(
        r"fancypipe: 8 tasks done in \S+ s \(\w+, 1 worker\)(; see \S+)?\n15\n$", shown
    )


def test_a_debugger_in_a_task_has_the_terminal(place: Place) -> None:
    place.write(
        "debugged.py",
        "import time\nfrom fancypipe_core import task\n@task\n"
        "def f(x: int = 20):\n"
        "    time.sleep(0.3)\n"
        "    y = x + 1\n"
        "    breakpoint()\n"
        "    return y\n",
    )
    with Terminal(place.folder, [*FANCYPIPE, "-workertype=S", "debugged.py"]) as terminal:
        terminal.see("(Pdb) ")
        terminal.press(b"p 'y', y\n")
        terminal.see("('y', 21)")
        terminal.press(b"c\n")
        assert terminal.end() == 0
    assert "debugged.py(" in terminal.text
    assert terminal.text.endswith("\n21\n")
