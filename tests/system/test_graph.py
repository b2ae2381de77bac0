"""The picture of a pipeline, which is made without running its tasks."""

from __future__ import annotations

import shutil
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.system.place import Place

PIPELINE = """\
from pathlib import Path
from fancypipe_core import module, task

@task
def load(i):
    Path("ran").touch()
    return i

@task
def smooth(x, width=1):
    return x

@task
def mean(xs):
    return xs

@module
def per_subject(i):
    image = load(i)
    return {"raw": image, "smooth": smooth(image)}

@module
def later(m):
    return smooth(m)

@module
def study(n: int = 12):
    subjects = [per_subject(i) for i in range(n)]
    m = mean([one["smooth"] for one in subjects])
    return m, later(m), smooth.map([one["raw"] for one in subjects])
"""
FOLDED = """\
flowchart LR
    subgraph n0["study"]
        n1{{"later"}}
        n2["mean"]
        subgraph n3["per_subject (12)"]
            n4["load (12)"]
            n5["smooth (12)"]
        end
        n6{{"smooth.map"}}
    end
    n5 -->|12| n2
    n4 -->|12| n5
    n2 --> n1
    n4 -->|12| n6
"""
EACH = """\
flowchart LR
    subgraph n0["study"]
        n1{{"later"}}
        n2["mean"]
        subgraph n3["per_subject"]
            n4["load"]
            n5["smooth"]
        end
        subgraph n6["per_subject 2"]
            n7["load"]
            n8["smooth"]
        end
        n9{{"smooth.map"}}
    end
    n5 --> n2
    n8 --> n2
    n4 --> n5
    n7 --> n8
    n2 --> n1
    n4 --> n9
    n7 --> n9
"""


@pytest.fixture
def study(place: Place) -> Place:
    place.write("study.py", PIPELINE)
    return place


def test_tasks_of_a_name_are_one_box_and_nothing_runs(study: Place) -> None:
    over = study.fancypipe("graph study.py")
    assert (over.returncode, over.stdout, over.stderr) == (0, FOLDED, "")
    assert not (study.folder / "ran").exists()


def test_each_may_have_its_own(study: Place) -> None:
    assert study.fancypipe("graph --each study.py:study --n 2").stdout == EACH


def test_inputs_may_come_from_a_file(study: Place) -> None:
    study.write("study.toml", "n = 2\n")
    assert study.fancypipe("graph --each -configfile=study.toml study.py").stdout == EACH


def test_modules_inside_have_theirs_from_it_too(place: Place) -> None:
    place.write(
        "inner.py",
        "from fancypipe_core import module, task\n"
        "@task\n"
        "def one(x): return x\n"
        "@module\n"
        "def inner(n: int = 1): return [one(i) for i in range(n)]\n"
        "@module\n"
        "def outer(): return inner()\n",
    )
    place.write("inner.toml", "[tasks.inner]\nn = 3\n")
    assert '"one (3)"' in place.fancypipe("graph -configfile=inner.toml inner.py").stdout


def test_an_item_of_a_modules_result_is_followed(study: Place) -> None:
    """Only `smooth` feeds `mean`, though the module gives `load` as well."""
    said = study.fancypipe("graph --format=dot study.py --n 1").stdout
    assert "n5 -> n2;" in said
    assert "n4 -> n2" not in said


@pytest.mark.parametrize(("name", "begins"), [("a.mmd", "flowchart"), ("a.dot", "digraph")])
def test_the_ending_tells_the_format(study: Place, name: str, begins: str) -> None:
    over = study.fancypipe(f"graph --file {name} study.py")
    assert (over.returncode, over.stdout) == (0, "")
    assert (study.folder / name).read_text().startswith(begins)


def test_some_of_a_name_may_be_open_and_others_not(place: Place) -> None:
    place.write(
        "mixed.py",
        "from fancypipe_core import module, task\n"
        "@task\n"
        "def one(x): return x\n"
        "@module\n"
        "def inner(x): return one(x)\n"
        "@module\n"
        "def outer(): return inner(one(inner(1)))\n",
    )
    said = place.fancypipe("graph mixed.py").stdout
    assert said == (
        "flowchart LR\n"
        '    subgraph n0["outer"]\n'
        '        subgraph n1["inner"]\n'
        '            n2{{"known when it runs"}}\n'
        '            n3["one"]\n'
        "        end\n"
        '        n4["one"]\n'
        "    end\n"
        "    n4 --> n2\n"
        "    n3 --> n4\n"
    )


def test_a_module_that_raises_is_named(place: Place) -> None:
    place.write(
        "bad.py",
        "from fancypipe_core import module\n"
        "@module\n"
        "def inner(): raise ValueError('no such scan')\n"
        "@module\n"
        "def outer(): return inner()\n",
    )
    over = place.fancypipe("graph bad.py")
    assert over.returncode == 0
    assert "module inner could not be looked into: ValueError: no such scan" in over.stderr
    assert "inner" in over.stdout


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("graph", "there is no pipeline to draw"),
        ("graph none.py", "there is no file none.py"),
        ("graph --format png study.py", "must be mermaid, dot, svg, not 'png'"),
        ("graph --file a.png study.py", "end it in .mmd, .dot, .gv, .svg"),
        ("graph --file none/a.dot study.py", "none/a.dot cannot be written"),
        ("graph study.py --m 3", "--m"),
    ],
)
def test_what_is_wrong_is_one_sentence(study: Place, line: str, says: str) -> None:
    assert says in study.refused(line)


def test_svg_without_graphviz_says_what_to_do(study: Place, tmp_path: Path) -> None:
    said = study.refused("graph --format svg study.py", PATH=str(tmp_path))
    assert "install Graphviz" in said


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_svg_is_drawn(study: Place) -> None:
    over = study.fancypipe("graph --file=a.svg study.py")
    assert over.returncode == 0, over.stderr
    root = ET.fromstring((study.folder / "a.svg").read_text())
    shown = {"".join(one.itertext()).strip() for one in root.iter() if one.tag.endswith("text")}
    assert {"study", "per_subject (12)", "load (12)", "mean"} <= shown
