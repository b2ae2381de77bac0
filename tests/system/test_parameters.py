"""Inputs from a file: of the pipeline, and of tasks inside of it, on every way to run them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fancypipe_core import Module, Session, Task, errors, module, task
from tests.system.place import Place

PIPELINE = """\
from fancypipe_core import module, task

@task
def smooth(x: float, width: float = 1.0, names: list[str] | None = None) -> float:
    return x * width + len(names or [])

@task
def waits(x: int) -> float:
    @task
    def inner(y: int, k: int = 1) -> int:
        return y * k
    return inner(x).result() + smooth(1.0).result()

@task
def returns(x: int):
    @task
    def inner(y: int, k: int = 1) -> int:
        return y * k
    return inner(x)

@module
def compose(x: int, plus: int = 1):
    return smooth(x + plus)

@module
def study(n: int, scale: float = 2.0, tags: tuple[str, ...] = ()):
    ours = [smooth(i * scale) for i in range(n)]
    given = [smooth(1.0, 5.0), smooth(x=1.0, width=6.0)]
    return [ours, given, waits(3), returns(4), compose(5), smooth.map([1.0, 2.0]), list(tags)]
"""
CONTENT = {
    "n": 2,
    "tags": ["a", "b"],
    "tasks": {
        "smooth": {"width": 10, "names": ["q"]},
        "inner": {"k": 7},
        "compose": {"plus": 100},
    },
}
TOML = """\
n = 2
tags = ["a", "b"]

[tasks.smooth]
width = 10
names = ["q"]

[tasks.inner]
k = 7

[tasks.compose]
plus = 100
"""
RESULT = [[1.0, 21.0], [6.0, 7.0], 32.0, 28, 1051.0, [11.0, 21.0], ["a", "b"]]


@pytest.fixture
def study(place: Place) -> Place:
    place.write("study.py", PIPELINE)
    place.write("study.toml", TOML)
    return place


@pytest.mark.parametrize("backend", ["S", "T", "P"])
def test_they_take_the_place_of_defaults(study: Place, backend: str) -> None:
    line = f"-q -workertype={backend} -numworkers=2 -configfile=study.toml study.py:study"
    over = study.fancypipe(line)
    assert json.loads(over.stdout) == RESULT, over.stderr


@pytest.mark.parametrize("kind", ["json", "yaml", "yml"])
def test_other_formats_say_the_same(study: Place, kind: str) -> None:
    import yaml

    written = yaml.safe_dump(CONTENT) if kind != "json" else json.dumps(CONTENT)
    study.write(f"study.{kind}", written)
    over = study.fancypipe(f"-q -workertype=S -configfile=study.{kind} study.py:study")
    assert json.loads(over.stdout) == RESULT, over.stderr


def test_the_command_line_counts_more(study: Place) -> None:
    over = study.fancypipe("-q -workertype=S -configfile study.toml study.py:study --n=1 --tags z")
    assert json.loads(over.stdout)[0] == [1.0]
    assert json.loads(over.stdout)[-1] == ["z"]


def test_words_may_come_from_the_file(place: Place) -> None:
    text = "from fancypipe_core import task\n@task\ndef total(a: int, *more: int, b: int = 0):\n"
    place.write("words.py", f"{text}    return [a, list(more), b]\n")
    place.write("words.json", '{"a": 1, "more": [2, 3], "b": 4}')
    over = place.fancypipe("-q -workertype=S -configfile=words.json words.py")
    assert json.loads(over.stdout) == [1, [2, 3], 4], over.stderr
    over = place.fancypipe("-q -workertype=S -configfile=words.json words.py 9")
    assert json.loads(over.stdout) == [1, [9], 4], over.stderr


def test_it_is_a_setting_like_others(study: Place) -> None:
    study.write("fancypipe.toml", 'configfile = "study.toml"\nbackend = "serial"\n')
    over = study.fancypipe("-q study.py:study")
    assert json.loads(over.stdout) == RESULT, over.stderr
    said = study.fancypipe("config --explain").stdout
    assert "# input tasks.smooth.width = 10  # input file: " in said
    assert "study.toml" in said


def test_what_is_in_force_is_shown_with_where_it_comes_from(study: Place) -> None:
    line = "config -configfile=study.toml study.py:study --n 3 -numworkers=5"
    lines = study.fancypipe(line).stdout.splitlines()
    assert "workers = 5" in lines
    assert [line for line in lines if line.startswith("# input ")] == [
        "# input n = 3  # argument: -n",
        "# input scale = 2.0  # default",
        '# input tags = ["a", "b"]  # input file: study.toml',
        "# input tasks.smooth.width = 10  # input file: study.toml",
        '# input tasks.smooth.names = ["q"]  # input file: study.toml',
        "# input tasks.inner.k = 7  # input file: study.toml",
        "# input tasks.compose.plus = 100  # input file: study.toml",
    ]
    assert "# input n is not given\n" in study.fancypipe("config study.py:study").stdout
    assert "must be a whole number" in study.refused("config study.py:study --n x")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("m = 2\n", "task study has no input 'm'; it has: n, scale, tags"),
        ("scael = 2\n", "task study has no input 'scael'; did you mean scale?"),
        ("n = 'two'\n", 'study.toml: n must be a whole number, not "two"'),
        ("tags = [1, {}]\n", "study.toml: tags"),
        ("n = 1\n[tasks.smooth]\nwidht = 2\n", "'widht'; did you mean width?"),
        ("n = 1\n[tasks.smooth]\nwidth = []\n", "tasks.smooth.width must be a number, not []"),
        ("n = 1\n[tasks.smooth]\nx = 2\n", "the input x of task smooth has no default"),
        ("n = 1\ntasks = 3\n", "tasks must have a table for each task"),
        ("n = 1\n[tasks]\nsmooth = 3\n", "tasks must have a table for each task"),
        ("n = \n", "is not a TOML file"),
    ],
)
def test_what_is_wrong_is_told_before_anything_runs(study: Place, content: str, says: str) -> None:
    study.write("study.toml", content)
    over = study.fancypipe("-workertype=S -configfile=study.toml study.py:study")
    assert over.returncode == 2, over.stderr
    assert says in over.stderr
    assert len(over.stderr.splitlines()) == 1


def test_a_task_of_the_same_name_elsewhere_is_no_fault(study: Place) -> None:
    study.write("library.py", "from fancypipe_core import task\n@task\ndef smooth(a): return a\n")
    study.write("study.py", f"import library\n{PIPELINE}")
    over = study.fancypipe("-q -workertype=S -configfile=study.toml study.py:study")
    assert json.loads(over.stdout) == RESULT, over.stderr


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.toml", None, "must be a file that exists"),
        ("a.ini", "x", "whose name ends in .toml, .json, .yaml, .yml"),
        ("a.json", "{", "is not JSON"),
        ("a.json", "[]", "must be a table of inputs"),
        ("a.yaml", "a: [", "is not YAML"),
        ("a.yaml", "1: 2", "must be a table of inputs"),
    ],
)
def test_files_that_cannot_be_read(study: Place, name: str, content: str | None, says: str) -> None:
    if content is not None:
        study.write(name, content)
    over = study.fancypipe(f"-workertype=S -configfile={name} study.py:study")
    assert (over.returncode, says in over.stderr) == (2, True), over.stderr
    assert len(over.stderr.splitlines()) == 1


def test_yaml_without_its_package_says_what_to_install(study: Place) -> None:
    study.write("yaml.py", "raise ImportError\n")
    study.write("study.yaml", "n: 1\n")
    said = study.refused("-workertype=S -configfile=study.yaml study.py:study")
    assert "pip install 'fancypipe-core[yaml]'" in said


def test_a_task_that_is_not_known_yet_is_told(study: Place) -> None:
    study.write("study.toml", "n = 1\n[tasks.smoth]\nwidth = 2\n")
    over = study.fancypipe("-workertype=S -configfile=study.toml study.py:study")
    assert over.returncode == 0
    assert "no task 'smoth' is known yet" in over.stderr
    assert "did you mean smooth?" in over.stderr


def test_a_task_that_is_made_while_it_runs_fails_by_what_it_cannot_have(study: Place) -> None:
    study.write("study.toml", "n = 1\n[tasks.inner]\nkay = 2\n")
    over = study.fancypipe("-workertype=P -configfile=study.toml study.py:study")
    assert over.returncode == 1
    assert "tasks.inner.kay: task inner has no input 'kay'; it has: y, k" in over.stderr


# ---- in Python -------------------------------------------------------------------


@task
def listed(x: int, to: list[int] | None = None) -> list[int]:
    to = [] if to is None else to
    to.append(x)
    return to


class Scaled(Task):
    def main(self, x: float, *, by: float = 1.0) -> float:
        return x * by


class Both(Module):
    def main(self, x: float, more: float = 0.0) -> Any:
        return [Scaled(x), Scaled(x, by=2.0), more]


@module
def many(n: int = 1) -> Any:
    return [listed(i) for i in range(n)]


@pytest.mark.parametrize("backend", ["serial", "threads", "procs"])
def test_a_session_gives_them(tmp_path: Path, backend: str) -> None:
    file = tmp_path / "inputs.toml"
    file.write_text("[tasks.Scaled]\nby = 3\n[tasks.Both]\nmore = 1\n[tasks.many]\nn = 3\n")
    with Session(backend, 2, configfile=str(file)) as session:
        assert session.run(Both(2.0)) == [6.0, 4.0, 1.0]
        assert session.run(many()) == [[0], [1], [2]]
        assert session.run(many(1)) == [[0]]
        assert list(session.map(Scaled, [1.0, 2.0])) == [3.0, 6.0]
        assert session.submit(Scaled(5.0)).result() == 15.0
    with Session(backend, 2) as session:
        assert session.run(Both(2.0)) == [2.0, 4.0, 0.0]


@pytest.mark.parametrize("backend", ["serial", "threads", "procs"])
def test_no_task_sees_what_another_did_to_them(tmp_path: Path, backend: str) -> None:
    file = tmp_path / "inputs.json"
    file.write_text('{"tasks": {"listed": {"to": [7]}}}')
    with Session(backend, 1, configfile=str(file)) as session:
        assert session.run([listed(1), listed(2)]) == [[7, 1], [7, 2]]
        assert session.run(listed(3)) == [7, 3]


def test_inputs_of_the_pipeline_are_for_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "inputs.json"
    file.write_text('{"n": 1}')
    with pytest.raises(errors.BadInput, match=r"n: what stands outside of \[tasks\]"):
        Session("serial", configfile=str(file))


def test_a_session_says_which_task_it_does_not_know(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "inputs.json"
    file.write_text('{"tasks": {"Scaled": {"by": 1}, "Skaled": {"by": 2}}}')
    with Session("serial", configfile=str(file)):
        said = capsys.readouterr().err
    assert "no task 'Skaled' is known yet" in said
    assert "'Scaled'" not in said
