"""The command line, as a user types it."""

from __future__ import annotations

import json
import os
import pickle
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from fancypipe_core import errors
from fancypipe_core._model.load import choose

FANCYPIPE = (sys.executable, "-m", "fancypipe_core.cli")
SECONDS = 60.0

# The one of the README and of the design.
PIPELINE = '''\
from fancypipe_core import module, task

@task
def square(x: float) -> float:
    """Square of x."""
    return x * x

@task
def add(a: float, b: float) -> float:
    return a + b

@module
def sum_of_squares(x1: float = 3, x2: float = 4):
    """Sum of the squares of x1 and x2."""
    return add(square(x1), square(x2))      # nothing has run yet: these are references

if __name__ == "__main__":
    sum_of_squares.cli()
'''


class Place:
    """A folder to work in, with a home of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # No settings of whoever runs the tests, and output in the order that users see.
        own = ("FANCYPIPE_", "PYTHONUNBUFFERED", "PYTHONIOENCODING")
        self.env = {name: text for name, text in os.environ.items() if not name.startswith(own)}
        self.env |= {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder / "config")}
        self.env |= {"TERM": "xterm", "COLUMNS": "100", "LINES": "24"}
        self.write("pipeline.py", PIPELINE)

    def write(self, name: str, text: str) -> Path:
        file = self.folder / name
        file.write_text(text, encoding="utf-8")
        return file

    def call(self, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=SECONDS,
            check=False,
        )

    def fancypipe(self, line: str, **env: str) -> subprocess.CompletedProcess[str]:
        return self.call(*FANCYPIPE, *line.split(), **env)

    def result(self, line: str, **env: str) -> object:
        """Run a command line that is right, and return what it prints."""
        over = self.fancypipe(line, **env)
        assert over.returncode == 0, over.stderr
        return json.loads(over.stdout)

    def refused(self, line: str, code: int = 2, **env: str) -> str:
        """Run a command line that is wrong, and return the one line that it says."""
        over = self.fancypipe(line, **env)
        assert (over.returncode, over.stdout) == (code, ""), over.stderr
        (said,) = over.stderr.splitlines()
        assert said.startswith("fancypipe: ")
        return said.removeprefix("fancypipe: ")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# ---- results -------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["S", "T", "P"])
def test_the_result_and_nothing_else_is_on_standard_output(place: Place, backend: str) -> None:
    over = place.fancypipe(f"-workertype={backend} pipeline.py --x1 3 --x2 4")
    assert (over.returncode, over.stdout) == (0, "25.0\n")
    name = {"S": "serial", "T": "threads", "P": "procs"}[backend]
    assert re.fullmatch(
        rf"fancypipe: 4 tasks done in \S+ s \({name}, \d+ workers?\)\n", over.stderr
    )


@pytest.mark.parametrize("backend", ["S", "T", "P"])
def test_the_script_itself(place: Place, backend: str) -> None:
    over = place.call(
        sys.executable, "pipeline.py", "--x1", "5", f"-workertype={backend}", "-numworkers=2"
    )
    assert (over.returncode, over.stdout) == (0, "41.0\n"), over.stderr


@pytest.mark.parametrize("backend", ["S", "T", "P"])
def test_what_tasks_print_does_not_mix_with_the_result(place: Place, backend: str) -> None:
    place.write(
        "loud.py",
        "import os\n"
        "from fancypipe_core import task\n"
        "print('loaded')\n"
        "@task\n"
        "def loud():\n"
        "    print('printed')\n"
        "    os.system('echo from a program')\n"
        "    return {'b': [1, 2], 'a': float('nan')}\n",
    )
    over = place.fancypipe(f"-workertype={backend} loud.py")
    assert over.stdout == '{"b": [1, 2], "a": "NaN"}\n'
    for text in ("loaded", "printed", "from a program"):
        assert text in over.stderr


def test_what_is_printed_keeps_its_order_and_has_no_way_to_the_result(place: Place) -> None:
    place.write(
        "order.py",
        "import os, sys\nfrom fancypipe_core import task\n@task\ndef order():\n"
        "    print('1')\n    print('2', file=sys.stderr or sys.stdout)\n"
        "    os.system('echo 3')\n    print('4')\n",
    )
    over = place.fancypipe("-q -workertype=S order.py")
    assert (over.stdout, over.stderr) == ("null\n", "1\n2\n3\n4\n")
    over = place.call("sh", "-c", f"{' '.join(FANCYPIPE)} -workertype=S order.py 2>&-")
    assert (over.stdout, over.stderr) == ("null\n", "")


def test_quiet_is_quiet(place: Place) -> None:
    for line in ("-q -workertype=T pipeline.py", "-workertype=T pipeline.py --quiet"):
        over = place.fancypipe(line)
        assert (over.stdout, over.stderr) == ("25\n", "")
    assert place.fancypipe("-workertype=T pipeline.py", FANCYPIPE_PROGRESS="0").stderr == ""


@pytest.mark.parametrize("quiet", ["", "-q"])
def test_a_reader_that_leaves(place: Place, quiet: str) -> None:
    place.write("many.py", "from fancypipe_core import task\n@task\ndef many(): return [0] * 10**6")
    line = f"{' '.join(FANCYPIPE)} {quiet} -workertype=S many.py; echo $? >&2"
    over = place.call("sh", "-c", f"({line}) | head -c 5")
    *said, code = over.stderr.splitlines()
    assert (over.stdout, code) == ("[0, 0", "141")
    told = (
        "fancypipe: the reader of standard output closed it before the whole result was written; "
    )
    assert [line for line in said if line.startswith(told)] == said[1:]
    assert len(said) == (0 if quiet else 2)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_result_that_cannot_be_written_is_an_error(place: Place) -> None:
    over = place.call("sh", "-c", f"{' '.join(FANCYPIPE)} -q -workertype=S pipeline.py >/dev/full")
    assert over.returncode == 1
    assert over.stderr.startswith("fancypipe: the result could not be written to standard output")
    assert "Traceback" not in over.stderr


@pytest.mark.parametrize("closed", ["2>&-", "0<&-", ">&-", ">&- 2>&- <&-"])
def test_streams_that_are_closed(place: Place, closed: str) -> None:
    over = place.call("sh", "-c", f"{' '.join(FANCYPIPE)} -workertype=P pipeline.py {closed}")
    if closed.startswith(">"):  # the result is lost, and that is said as well as it can be
        assert (over.returncode, over.stdout) == (1, "")
        assert ("standard output: it is closed" in over.stderr) == ("2>" not in closed)
    else:
        assert (over.returncode, over.stdout) == (0, "25\n")


def test_a_console_without_unicode(place: Place) -> None:
    place.write("u.py", "from fancypipe_core import task\n@task\ndef u(): return 'é'")
    over = place.fancypipe("-q -workertype=S u.py", PYTHONIOENCODING="ascii")
    assert (over.stdout, over.stderr) == ('"\\u00e9"\n', "")


@pytest.mark.parametrize(
    ("name", "load"), [("r.json", json.loads), ("r.pickle", pickle.loads), ("r.pkl", pickle.loads)]
)
def test_output_to_a_file(place: Place, name: str, load: Callable[[bytes], object]) -> None:
    over = place.fancypipe(f"-workertype=T pipeline.py --output={name}")
    assert (over.returncode, over.stdout) == (0, "")
    assert over.stderr.endswith(f"fancypipe: the result is in {name}\n")
    assert load((place.folder / name).read_bytes()) == 25.0


def test_a_result_that_does_not_fit_the_file_is_not_lost(place: Place) -> None:
    place.write(
        "local.py",
        "from fancypipe_core import task\n@task\ndef f():\n"
        "    def inner(): return 1\n    return [1, inner]\n",
    )
    over = place.fancypipe("-q -workertype=T local.py --output r.pkl")
    assert over.returncode == 1
    assert over.stdout.startswith('[1, "<function f.<locals>.inner')
    assert "r.pkl could not be written (the result cannot be pickled" in over.stderr
    assert not (place.folder / "r.pkl").exists()


# ---- options -------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "-workertype=T -numworkers=1 pipeline.py --x1 -5",
        "--backend T pipeline.py -x1=-5 --workers 1",
        "pipeline.py --x1=-5 -workertype T -numworkers 1",
        "-q pipeline.py:sum_of_squares -x1 -5 --workertype=threads --x2 4",
    ],
)
def test_options_stand_anywhere_in_any_form(place: Place, line: str) -> None:
    assert place.result(line) == 41.0


def test_an_input_beats_an_option_of_the_same_name(place: Place) -> None:
    place.write(
        "own.py",
        "from fancypipe_core import task\n"
        "@task\n"
        "def own(workers: int = 0, grace: str = '', q: bool = False): return [workers, grace, q]\n",
    )
    assert place.result("-numworkers=1 -grace 5 -workertype=T own.py") == [0, "", False]
    assert place.result("-workertype=T own.py --workers 7 -grace x -q") == [7, "x", True]
    shown = place.fancypipe("own.py --help").stdout
    assert "--workers INTEGER" in shown
    assert "--numworkers N" in shown
    assert "--numworkers, --workers" not in shown
    assert "--grace SECONDS" not in shown


def test_kinds_of_inputs(place: Place) -> None:
    place.write(
        "kinds.py",
        """\
from __future__ import annotations
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Literal, Optional
from fancypipe_core import Task

class Color(Enum):
    RED = 1
    BLUE = 2

@dataclass
class Box:
    width: float
    inner: Optional[Box] = None

class Everything(Task):
    def main(self, image: Path, mode: Literal["fast", "slow"], color: Color = Color.RED,
             sizes: list[int] = (), box: Box | None = None, quick: bool = False, *more, **others):
        return [str(image), mode, color, sizes, box, quick, more, others]
""",
    )
    line = "-workertype=P kinds.py --image pipeline.py --mode=slow"
    assert place.result(line) == ["pipeline.py", "slow", "RED", [], None, False, [], {}]
    line += ' -color BLUE --sizes 1 --sizes [2,3] --box={"width":1,"inner":{"width":2}}'
    line += " --quick one 2 --new=5"
    box = {"width": 1.0, "inner": {"width": 2.0, "inner": None}}
    assert place.result(line) == [
        "pipeline.py", "slow", "BLUE", [1, 2, 3], box, True, ["one", 2], {"new": 5},
    ]  # fmt: skip
    assert "input image must be a file or folder that exists, not 'no.png'" in place.refused(
        "kinds.py --image no.png --mode slow"
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("pipeline.py --x1 abc", "input x1 must be a number, not 'abc'"),
        ("pipeline.py --x1", "option --x1 needs a value"),
        ("pipeline.py --y1 3", "there is no option --y1; sum_of_squares has these inputs: --x1,"),
        ("pipeline.py 3", "'3' belongs to no option; sum_of_squares has these inputs: --x1, --x2"),
        ("pipeline.py:add --a 1", "task add needs -b FLOAT"),
        ("pipeline.py:ad", "pipeline.py has no task or module 'ad'; did you mean add?"),
        ("pipeline.py:task", "task in pipeline.py is no task or module, but of type function"),
        ("nosuch.py", "there is no file nosuch.py"),
        ("pipelin.py", "there is no file pipelin.py; did you mean pipeline.py?"),
        ("backend", "there is no file and no command 'backend'; did you mean backends?"),
        (".", ". is a folder, not the file of a pipeline"),
        ("-x1 3 pipeline.py", "there is no option -x1; a pipeline's inputs stand behind its file"),
        ("-workertype=T", "there is no pipeline to run; write: fancypipe [options] FILE[:NAME]"),
        ("-workertype=Q pipeline.py", "there is no backend 'Q'"),
        ("-numworkers=0 pipeline.py", "argument -numworkers must be a whole number from 1"),
        ("pipeline.py --output r.txt", "--output must be a file that ends in .json"),
        ("pipeline.py --output no/r.json", "--output no/r.json: there is no folder"),
    ],
)  # fmt: skip
def test_one_line_says_what_is_wrong(place: Place, line: str, said: str) -> None:
    assert place.refused(line).startswith(said)


def test_settings_from_a_file_and_from_the_environment(place: Place) -> None:
    place.write("fancypipe.toml", 'workertype = "S"\n')
    assert "(serial," in place.fancypipe("pipeline.py").stderr
    assert "(threads," in place.fancypipe("pipeline.py", FANCYPIPE_BACKEND="T").stderr
    place.write("fancypipe.toml", "wokers = 3\n")
    file = place.folder / "fancypipe.toml"
    assert place.refused("pipeline.py") == (
        f"{file}: key 'wokers' is not a setting; did you mean workers?"
    )


# ---- the file --------------------------------------------------------------------


def test_which_task_is_meant(place: Place) -> None:
    place.write(
        "lib.py", "from fancypipe_core import task, module\n@module\ndef other(): return 1\n"
    )
    start = "from fancypipe_core import task, module\nfrom lib import other\n"
    one_task = "@task\ndef one(): return 'one'\n"
    place.write("one.py", start + one_task + "again = one\n_hidden = task(len)\n")
    assert place.result("-workertype=T one.py") == "one"
    place.write("imported.py", start)
    assert place.result("-workertype=T imported.py") == 1
    place.write("two.py", start + one_task + "@task\ndef two(): return 2\n")
    assert place.refused("two.py") == (
        "two.py has several tasks, say which is meant: two.py:one, two.py:two"
    )
    assert place.result("-workertype=T two.py:two") == 2
    assert place.result("-workertype=T two.py:other") == 1
    place.write("none.py", "from fancypipe_core import task\n")
    assert place.refused("none.py").startswith("none.py defines no task or module")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("@module\ndef inner(x): return x\n@module\ndef whole(): return inner(1)\n", "whole"),
        ("@module\ndef whole(): return inner(1)\n@module\ndef inner(x): return x\n", "whole"),
        ("@task\ndef inner(x): return x\n@task\ndef whole(): return inner(1)\n", "whole"),
        # By a task between them, by a function, by a class, out of a table, from a nested function.
        (
            (
                "@module\ndef inner(x): return x\n@task\ndef between(): return inner(1)\n"
                "@module\ndef whole(): return between()\n"
            ),
            "whole",
        ),
        (
            (
                "@module\ndef inner(x): return x\ndef helper(): return inner(1)\n"
                "@module\ndef whole(): return helper()\n"
            ),
            "whole",
        ),
        (
            (
                "class Inner(Module):\n  def main(self, x): return x\n"
                "class Whole(Module):\n  def main(self): return Inner(1)\n"
            ),
            "Whole",
        ),
        (
            (
                "@module\ndef inner(x): return x\n@module\ndef other(x): return x\n"
                "steps = {'a': inner, 'b': other}\n"
                "@module\ndef whole(): return [steps[name](1) for name in steps]\n"
            ),
            "whole",
        ),
        # Recursion, alone and in turns; and what only the part below the guard uses.
        ("@module\ndef whole(n=1): return whole(n - 1) if n else n\n", "whole"),
        (
            (
                "@module\ndef odd(n): return even(n - 1)\n"
                "@module\ndef even(n): return odd(n - 1)\n@module\ndef whole(): return even(2)\n"
            ),
            "whole",
        ),
        (
            (
                "@module\ndef inner(x): return x\n@module\ndef whole(): return inner(1)\n"
                "def main(): print(whole())\nif __name__ == '__main__': main()\n"
            ),
            "whole",
        ),
        ("@module\ndef one(n): return two(n)\n@module\ndef two(n): return one(n)\n", ""),
        ("@module\ndef one(): return 1\n@module\ndef two(): return 2\n", ""),
    ],
)
def test_a_module_that_no_other_uses_is_the_default(text: str, meant: str) -> None:
    module = ModuleType("whole_module")
    exec("from fancypipe_core import *\n" + text, module.__dict__)
    if meant:
        assert choose(module, "file.py").name == meant
    else:
        with pytest.raises(errors.UsageError, match="several modules, say which is meant"):
            choose(module, "file.py")


def test_a_file_that_fails_shows_its_own_lines_only(place: Place) -> None:
    place.write("bad.py", "def f():\n    return 1 / 0\n\nf()\n")
    over = place.fancypipe("bad.py")
    assert (over.returncode, over.stdout) == (1, "")
    assert re.findall(r'File "(.*)", line (\d+)', over.stderr) == [
        (str(place.folder / "bad.py"), "4"),
        (str(place.folder / "bad.py"), "2"),
    ]
    assert over.stderr.endswith("fancypipe: bad.py could not be loaded: division by zero\n")


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("def f(:\n", 1, 'bad.py", line 1'),
        ("import nosuchmodule\n", 1, "next:  install nosuchmodule for"),
        (
            "import sys\nsys.exit(0)\n",
            1,
            "bad.py:2: the file ended the program while",
        ),
        (
            "from fancypipe_core import task\n@task\ndef f(): return 1\nf.cli()\n",
            2,
            "bad.py:4: f.cli() is called while the file is loaded; put that line below `if",
        ),
        (
            "from fancypipe_core import task\n@task\nclass A: pass\n",
            2,
            ": A is a class: derive it from",
        ),
    ],
)
def test_files_that_cannot_be_loaded(place: Place, text: str, code: int, said: str) -> None:
    place.write("bad.py", text)
    over = place.fancypipe("bad.py")
    assert (over.returncode, over.stdout) == (code, "")
    assert said in over.stderr
    assert "load.py" not in over.stderr


def test_a_script_leaves_no_cache_and_finds_its_neighbours(place: Place) -> None:
    (place.folder / "sub").mkdir()
    place.write("sub/near.py", "VALUE = 7\n")
    place.write(
        "sub/main.py",
        "from fancypipe_core import task\nfrom near import VALUE\n@task\ndef f(): return VALUE\n",
    )
    assert place.result("-workertype=P sub/main.py") == 7
    assert not list((place.folder / "sub").rglob("main.*.pyc"))


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
    what, where, why, after = lines[at + 1 :]
    assert re.fullmatch(r"  what:  task top/bad\S* \(x=5\), attempt 1", what)
    assert re.fullmatch(r"  where: failing.py:7 \(host \S+, pid \d+\)", where)
    assert re.fullmatch(r"  why:   \S*MyError: no [56]", why)
    if backend == "S":
        assert after == "  next:  put breakpoint() before that line and run the same command again"
    else:
        command = "fancypipe -workertype=S -numworkers 1 failing.py -x 5"
        assert after.endswith(f"run it in series, where breakpoint() works: {command}")


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
    assert "driver.py" in over.stderr


def test_an_error_of_ours_asks_for_a_report(place: Place) -> None:
    place.write(
        "broken.py",
        "from fancypipe_core import errors, session, task\n"
        "def run(*args, **kwargs): raise errors.InternalError('lost my way')\n"
        "_session.Session.run = run\n"
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


def test_ctrl_c_while_the_file_is_loaded(place: Place) -> None:
    # Many short naps: a signal that comes just before a long one would not wake it.
    place.write(
        "long.py",
        "import time\nopen('running', 'w').close()\nfor _ in range(9999): time.sleep(0.01)\n",
    )
    with subprocess.Popen(
        (*FANCYPIPE, "long.py"), cwd=place.folder, env=place.env, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            _until((place.folder / "running").exists)
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=20)
        finally:
            process.kill()
    assert (process.returncode, stderr.strip()) == (130, "fancypipe: interrupted (Ctrl-C)")


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


# ---- help and what there is ---------------------------------------------------------


def test_help_of_a_pipeline(place: Place) -> None:
    place.write(
        "helped.py",
        '''\
from pathlib import Path
from fancypipe_core import module

@module
def study(image: Path, size: int = 3, quick: bool = False):
    """Find the regions.

    Args:
        image: The image, NIfTI.
        size: How large.
    """
    return 1
''',
    )
    text = place.fancypipe("helped.py --help").stdout
    assert text.startswith("Usage: fancypipe helped.py --image PATH [inputs] [options]\n")
    flat = " ".join(text.split())
    for part in (
        "Find the regions. Inputs:",
        "--image PATH The image, NIfTI. [required]",
        "--size INTEGER How large. [default: 3]",
        "--quick, --no-quick [default: false]",
        "Engine options:",
        "--workertype, --backend NAME",
        "--output FILE",
    ):
        assert part in flat
    assert flat.index("Inputs:") < flat.index("--size") < flat.index("Engine options:")
    script = place.call(sys.executable, "pipeline.py", "-h")
    assert script.stdout.startswith("Usage: pipeline.py [inputs] [options]\n")


def test_help_of_the_command(place: Place) -> None:
    over = place.fancypipe("--help")
    assert over.returncode == 0
    for part in ("FILE[:NAME]", "backends", "config", "--numworkers", "--version"):
        assert part in over.stdout
    assert "--jobmanager, --jobserver HOST[:PORT]" in over.stdout
    bare = place.fancypipe("")
    assert (bare.returncode, bare.stdout) == (2, "")
    assert len(bare.stderr.splitlines()) <= 8
    assert len(re.findall(r"^  fancypipe .*pipeline\.py", bare.stderr, re.MULTILINE)) == 3


def test_help_of_each_command_offers_what_it_takes_and_nothing_else(place: Place) -> None:
    for name in ("backends", "config", "doctor"):
        lines = place.fancypipe(f"{name} --help").stdout.splitlines()
        assert lines[0].startswith(f"Usage: fancypipe {name} [options]")
        offered = {line.split()[0].rstrip(",") for line in lines if line.startswith("  -")}
        assert "-h" in offered
        assert ("--grace" in offered) == (name != "backends")
        assert "--output" not in offered
        for line in (f"{name} --output=a.json", f"--output a.json {name}"):
            assert re.search("takes no option --output|no option --output", place.refused(line))
    assert place.refused("-numworkers=3 backends") == (
        "the command backends takes no option -numworkers"
    )
    assert "-numworkers" in place.refused("backends -numworkers=3")


def test_the_doctors_options_stand_before_or_behind_the_file(place: Place) -> None:
    for line in ("--json --limit=50 pipeline.py", "pipeline.py --json --x1 4 -limit 50"):
        over = place.fancypipe(f"doctor -workertype=S {line}")
        assert (over.returncode, over.stderr) == (0, "")
        assert json.loads(over.stdout)
    place.write(
        "own.py", "from fancypipe_core import task\n@task\ndef f(json: bool): return json\n"
    )
    assert not place.fancypipe("doctor own.py --json").stdout.startswith("{")
    assert place.fancypipe("doctor --json own.py --json").stdout.startswith("{")
    assert "--limit must be seconds" in place.refused("doctor pipeline.py --limit=soon")


def test_help_imports_nothing_that_it_does_not_need(place: Place) -> None:
    over = place.call(
        sys.executable,
        "-c",
        "import sys\nfrom fancypipe_core.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: print(*sys.modules, file=sys.stderr)",
    )
    modules = set(over.stderr.split())
    assert "fancypipe_core.cli" in modules
    unwanted = {
        "cloudpickle",
        "rich",
        "numpy",
        "pluggy",
        "msgspec",
        "tomllib",
        "importlib.metadata",
    }
    unwanted |= {"fancypipe_procs", "fancypipe_threads", "fancypipe_core.session"}
    assert modules & unwanted == set()


def test_a_short_run_that_is_not_watched_does_not_pay_for_the_display(place: Place) -> None:
    place.write(
        "spy.py",
        "import atexit, sys\nfrom fancypipe_core import task\n@task\ndef f(): return 1\n"
        "atexit.register(lambda: print('rich' in sys.modules, file=sys.stderr))\n",
    )
    assert place.fancypipe("-workertype=T spy.py").stderr.splitlines()[-1] == "False"


def test_backends(place: Place) -> None:
    heading, *lines = place.fancypipe("backends").stdout.splitlines()
    assert heading.split() == ["NAME", "ALIASES", "DISTRIBUTION", "VERSION", "API", "CAN", "STATE"]
    rows = {line.split()[0]: re.split(r"  +", line) for line in lines}
    version = rows["serial"][3]
    assert rows["procs"][1:6] == ["P", "fancypipe-procs", version, "1", "kill, time limits"]
    assert rows["threads"][1:6] == ["T", "fancypipe-threads", version, "1", "share memory"]
    assert rows["serial"][1:6] == ["S, inline", "fancypipe-core", version, "1", "share memory"]
    assert {row[6].partition(":")[0] for row in rows.values()} == {"ok"}


def test_a_broken_backend_is_named_and_harmless(place: Place) -> None:
    info = place.folder / "site" / "odd-0.9.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 0.9\n")
    (info / "entry_points.txt").write_text("[fancypipe.backends]\nodd = nosuchmodule:plugin\n")
    path = str(place.folder / "site")
    over = place.fancypipe("backends", PYTHONPATH=path)
    (row,) = [line for line in over.stdout.splitlines() if line.startswith("odd")]
    assert re.search(r"odd +0\.9 +broken: .*No module named 'nosuchmodule'", row)
    assert place.result("-workertype=T pipeline.py", PYTHONPATH=path) == 25.0


def test_config_is_a_configuration_file(place: Place) -> None:
    first = place.fancypipe("config -numworkers=3 -grace 2.5", FANCYPIPE_BACKEND="T").stdout
    assert {'backend = "T"', "workers = 3", "grace = 2.5"} <= set(first.splitlines())
    place.write("fancypipe.toml", first)
    assert place.fancypipe("config").stdout == first
    explained = place.fancypipe("-max-losses 9 config --explain").stdout
    assert (
        f"workers = 3  # project file: {place.folder / 'fancypipe.toml'}, key workers" in explained
    )
    assert "max_losses = 9  # argument: -max-losses" in explained
    assert "FANCYPIPE_GRACE" in explained
    place.write("fancypipe.toml", explained)
    assert "max_losses = 9" in place.fancypipe("config").stdout


def test_version(place: Place) -> None:
    assert re.fullmatch(r"fancypipe \d+\.\d+\.\d+\S*\n", place.fancypipe("--version").stdout)


# ---- on a terminal ---------------------------------------------------------------------


# A process gets its terminal as its own, with Ctrl-C and all, when it opens one as the
# leader of a new session.
_TAKE_TERMINAL = (
    "import os, sys\n"
    "os.close(os.open(os.ttyname(0), os.O_RDWR))\n"
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])\n"
)


def on_a_terminal(
    place: Place, arguments: Sequence[str], answers: Sequence[tuple[bytes, bytes]] = ()
) -> tuple[int, bytes]:
    """Run `fancypipe` on a terminal; give each answer when its question has come."""
    ours, theirs = pty.openpty()
    command = (sys.executable, "-c", _TAKE_TERMINAL, *FANCYPIPE[1:], *arguments)
    process = subprocess.Popen(
        command,
        cwd=place.folder,
        env=place.env,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    seen, asked, left = b"", 0, list(answers)
    until = time.monotonic() + SECONDS
    try:
        while time.monotonic() < until:
            if not select.select([ours], [], [], 1)[0]:
                continue
            try:
                data = os.read(ours, 65536)
            except OSError:  # how a terminal says that its other end is closed
                data = b""
            if not data:
                return process.wait(SECONDS), seen
            seen += data
            if left and left[0][0] in seen[asked:]:
                asked = len(seen)
                os.write(ours, left.pop(0)[1])
        raise AssertionError(f"it did not end: {seen[-2000:]!r}")
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.mark.parametrize("backend", ["S", "T", "P"])
def test_live_lines_on_a_terminal(place: Place, backend: str) -> None:
    place.write(
        "slow.py",
        "import time\nfrom fancypipe_core import module, task\n"
        "@task\ndef nap(x): time.sleep(0.3); print('awake'); return x\n"
        "@task\ndef total(xs): return sum(xs)\n"
        "@module\ndef naps(n: int = 6): return total([nap(i) for i in range(n)])\n",
    )
    code, seen = on_a_terminal(place, [f"-workertype={backend}", "-numworkers=1", "slow.py"])
    assert code == 0
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    assert re.search(r"nap +━+  [1-5]/6", shown)
    assert "awake" in shown
    # The picture is taken away, the cursor is back, and the end is as it is elsewhere.
    assert seen.rindex(b"\x1b[?25h") > seen.rindex("━".encode())
    assert re.search(r"fancypipe: 8 tasks done in \S+ s \(\w+, 1 worker\)\r\n15\r\n$", shown)


def test_a_debugger_in_a_task_has_the_terminal(place: Place) -> None:
    place.write(
        "debugged.py",
        "import time\nfrom fancypipe_core import task\n@task\n"
        "def f(x: int = 20):\n"
        "    time.sleep(1)\n"
        "    y = x + 1\n"
        "    breakpoint()\n"
        "    return y\n",
    )
    code, seen = on_a_terminal(
        place,
        ["-workertype=S", "debugged.py"],
        [(b"(Pdb) ", b"p 'y', y\n"), (b"(Pdb) ", b"c\n")],
    )
    assert code == 0
    assert b"('y', 21)" in seen
    assert b"debugged.py(" in seen
    assert seen.endswith(b"\r\n21\r\n")


def test_ctrl_c_on_a_terminal(place: Place) -> None:
    place.write(
        "long.py",
        "import time\nfrom fancypipe_core import task\n@task\n"
        "def long():\n    print('running', flush=True)\n"
        "    for _ in range(9999): time.sleep(0.01)\n",
    )
    code, seen = on_a_terminal(place, ["-workertype=S", "long.py"], [(b"running", b"\x03")])
    assert code == 130
    assert b"Traceback" not in seen
    assert b"interrupted" in seen
