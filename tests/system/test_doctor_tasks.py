"""`fancypipe doctor` on tasks and inputs: each finding with its sentence, and no false alarm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.examined import GUARD, HEALTHY, Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.write(HEALTHY)
    return made


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
        "    def look_up(x, more=b'2' * 1_500_000): return TABLE[x] + rows[x] + more[x]\n"
        "    return look_up\n"
        "@module\n"
        "def m(): return made()(1)\n"
    )
    assert place.found(code=0).one("warning") == (
        "the code of task look_up (pipeline.py:5) takes 6.5 MB along to each worker: TABLE 3.0 MB, "
        "rows 2.0 MB, more 1.5 MB -> pass it to the task as an input, or read it in the task"
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
        "    return count + offset + x.size, unit\n"
        "@module\n"
        "def m(): return [shift(1), grow(2), own(3)]\n"
        "if __name__ == '__main__':\n"
        "    import sys\n"
        "    offset = 2\n"
        "    scale, count = 3, 4\n"
        "    size = [unused for unused in sys.argv]\n"
        "    unit = 'mm'\n"
        "    m.cli()\n"
        "else:\n"
        "    unit = 'm'\n"
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
        "a worker does not finish reading the tasks and their inputs: it takes more "
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


# ---- inputs from a file -------------------------------------------------------------------


FROM_A_FILE = """\
from fancypipe_core import module, task

@task
def scaled(x: float, by: float = 1.0) -> float:
    return x * by

@module
def inner(x: float, count: int = 1):
    return [scaled(x) for _ in range(count)]

@module
def study(n: int):
    return [inner(i) for i in range(n)]
"""


def test_inputs_from_a_file_are_those_of_the_run(place: Place) -> None:
    place.write(FROM_A_FILE)
    place.write("n = 2\n[tasks.inner]\ncount = 3\n[tasks.scaled]\nby = 2\n", "study.toml")
    found = place.found("-configfile=study.toml pipeline.py:study", code=0)
    found.is_well()
    assert "composed 6 tasks and 3 modules" in found.of("ok")
    found = place.found("pipeline.py:study -configfile=study.toml --n=1", code=0)
    assert "composed 3 tasks and 2 modules" in found.of("ok")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("m = 2\n", "study.toml: task study has no input 'm'"),
        ("n = 1\n[tasks.scaled]\nbi = 2\n", "tasks.scaled.bi: task scaled has no input 'bi'"),
    ],
)
def test_what_a_file_cannot_give_is_refused_as_by_a_run(
    place: Place, content: str, says: str
) -> None:
    place.write(FROM_A_FILE)
    place.write(content, "study.toml")
    assert says in place.refused("-configfile=study.toml pipeline.py:study")


def test_what_a_file_does_not_give_is_told(place: Place) -> None:
    place.write(FROM_A_FILE)
    place.write("[tasks.scald]\nby = 2\n", "study.toml")
    found = place.found("-configfile=study.toml pipeline.py:study", code=0)
    assert "no task 'scald' is known yet" in found.one("warning")
    assert "task study needs -n INTEGER" in found.one("note")
