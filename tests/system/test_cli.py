"""The command line, as a user types it: results, options, and which file is meant."""

from __future__ import annotations

import json
import os
import pickle
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from fancypipe_core import errors
from fancypipe_core._model.load import choose
from tests.system.place import FANCYPIPE, Place

# ---- results -------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["S", "T", "P"])
def test_the_result_and_nothing_else_is_on_standard_output(place: Place, backend: str) -> None:
    over = place.fancypipe(f"-workertype={backend} pipeline.py --x1 3 --x2 4")
    assert (over.returncode, over.stdout) == (0, "25.0\n")
    name = {"S": "serial", "T": "threads", "P": "procs"}[backend]
    assert re.fullmatch(
        rf"fancypipe: 4 tasks done in \S+ s \({name}, \d+ workers?\); "
        rf"see \.fancypipe/runs/\S+/index\.html\n",
        over.stderr,
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


FILED = """\
from fancypipe_core import File, current, task
@task
def upper(file: File) -> File:
    path = current().tempfile("upper.txt")
    path.write_text(file.read_text().upper())
    return File(path)
"""


def test_files_of_the_result_and_where_they_are(place: Place) -> None:
    place.write("filed.py", FILED)
    place.write("words", "words")
    line = "-workertype=S filed.py --file=words"
    over = place.fancypipe(f"{line} -tempdir=temp --no-journal")
    stays = json.loads(over.stdout)
    assert Path(stays).read_text() == "WORDS"
    said = f"fancypipe: the files of the result stay in {os.path.dirname(stays)}, until you remove"
    assert said in over.stderr
    over = place.fancypipe(f"{line} -outdir=out")
    assert json.loads(over.stdout) == str(place.folder / "out" / "upper.txt")
    assert "stay in" not in over.stderr
    assert "must be a file that exists" in place.refused("-workertype=S filed.py --file=word")
