"""What of the code is in a key: all that can change what a task gives, and nothing else."""

from __future__ import annotations

import importlib
import linecache
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fancypipe_core._base.file_digests import FileDigests
from fancypipe_core._cache import sources
from fancypipe_core._cache.keys import Keys
from fancypipe_core._cache.parts import KeyParts, Uncacheable, differences, digest_of
from fancypipe_core._model.task import definition_of

Load = Callable[..., Any]

HEAD = "from fancypipe_core import Task, module, task\n"
STUDY = (
    HEAD
    + """
import helpers
import functools
from dataclasses import dataclass, field
from enum import Enum

WIDTH = 3
TABLE = {"a": [1, 2]}
unused = 1

def timed(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)
    return wrapper

@timed
def inner(x):
    return x + WIDTH

@functools.lru_cache(maxsize=None)
def cached(x):
    return x + 5

class Base:
    def scale(self):
        return 2

@dataclass
class Model(Base):
    k: int = 7
    names: list = field(default_factory=list)

    @property
    def wide(self):
        return self.k * 11

    @staticmethod
    def fit(x):
        return helpers.smooth(x)

class Mode(Enum):
    FAST = 1
    SLOW = 2

by_name = {"double": lambda x: x * 2, "inner": inner}
add_one = functools.partial(max, 1)
even, odd = lambda n: n == 0 or odd(n - 1), lambda n: n != 0 and even(n - 1)

def ask(x, y=13):
    '''A docstring.'''
    return x if x > 17 else ask(x + 1)

@task
def first(x, width=19):
    model = Model()
    late = [z for z in {"a", "b", "c"} if z in ("a", "b")]
    return inner(model.fit(x)) + TABLE["a"][0] + cached(x) + ask(x), late, Mode.FAST

@task
def second(x):
    import lately
    return by_name["double"](x) + add_one(x) + lately.half(x) + even(x)

class Third(Task):
    rate = 23
    def main(self, x):
        return self.helped(x)
    def helped(self, x):
        return x + self.rate
"""
)
HELPERS = "STEP = 29\ndef smooth(x):\n    return x * STEP\ndef rough(x):\n    return x\n"
LATELY = "'''Something.'''\nfrom helpers import rough\ndef half(x):\n    return rough(x) / 31\n"
FILES = {"study": STUDY, "helpers": HELPERS, "lately": LATELY}


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Return what writes modules and loads the first one anew."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    written: set[str] = set()

    def load(name: str = "study", **texts: str) -> Any:
        for one, text in texts.items():
            written.add(one)
            (tmp_path / f"{one}.py").write_text(text, encoding="utf-8")
        for one in written:
            sys.modules.pop(one, None)
        importlib.invalidate_caches()
        linecache.clearcache()
        return importlib.import_module(name)

    yield load
    for one in written:
        sys.modules.pop(one, None)


def parts(target: Any, *args: Any, keys: Keys | None = None, **kwargs: Any) -> KeyParts:
    made = (keys or Keys(FileDigests(None))).of_call(
        definition_of(target), args, kwargs, None, lambda _: "f" * 32
    )
    assert isinstance(made, KeyParts), made
    return made


def all_parts(study: Any) -> dict[str, KeyParts]:
    names = ("first", "second", "Third")
    return {name: parts(getattr(study, name), 1) for name in names}


def changed(load: Load, file: str, old: str, new: str) -> tuple[set[str], list[str]]:
    """Return which tasks have other keys after an edit, and how the first of them differs."""
    before = all_parts(load(**FILES))
    assert FILES[file].count(old) == 1, old
    after = all_parts(load(**{**FILES, file: FILES[file].replace(old, new)}))
    names = [name for name in before if digest_of(before[name]) != digest_of(after[name])]
    told = differences(before[names[0]], after[names[0]]) if names else []
    return set(names), told


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("study", "def inner(x):", "# why\n\n\ndef inner(x):\n    # because"),
        ("study", "'''A docstring.'''", "'''Another\n    one.'''"),
        ("study", "return x + WIDTH", "return (\n        x\n        + WIDTH)"),
        ("study", "unused = 1", "unused = 2"),
        ("study", "@task\ndef first", "@task(retries=3, timeout=5)\ndef first"),
        ("study", "class Third(Task)", "class Third(Task, retries=3)"),
        ("helpers", "STEP = 29", "STEP = 29  # of a rough kind"),
        ("lately", "rough(x) / 31", "(rough(x)  / 31)  # half"),
        ("lately", "Something", "Something else"),
    ],
)
def test_what_cannot_change_a_result_does_not_count(
    load: Load, file: str, old: str, new: str
) -> None:
    assert changed(load, file, old, new) == (set(), [])


@pytest.mark.parametrize(
    ("file", "old", "new", "tasks", "what"),
    [
        ("study", "WIDTH = 3", "WIDTH = 4", "first second", "study.WIDTH"),
        ("study", "[1, 2]}", "[1, 2.0]}", "first", "study.TABLE"),
        ("study", "return x + WIDTH", "return x - WIDTH", "first second", "study.inner"),
        ("study", "*args)\n ", "*args) + 1\n ", "first second", "study.timed.<locals>.wrapper"),
        ("study", "x + 5", "x + 6", "first", "study.cached"),
        ("study", "return 2\n", "return 4\n", "first", "study.Base.scale"),
        ("study", "k: int = 7", "k: int = 8", "first", "study.Model"),
        ("study", "default_factory=list", "default_factory=set", "first", "study.Model"),
        ("study", "self.k * 11", "self.k * 12", "first", "study.Model.wide"),
        ("study", "FAST = 1", "FAST = 3", "first", "study.Mode"),
        ("study", "x * 2,", "x * 3,", "second", "study.by_name"),
        ("study", "partial(max, 1)", "partial(max, 2)", "second", "study.add_one"),
        ("study", "== 0 or odd(n - 1)", "== 0 or odd(n - 3)", "second", "study.<lambda>"),
        ("study", "x > 17", "x > 18", "first", "study.ask"),
        ("study", "y=13", "y=14", "first", "study.ask"),
        ("study", "width=19", "width=20", "first", "study.first"),
        ("study", '("a", "b")]', '("a", "c")]', "first", "study.first"),
        ("study", "rate = 23", "rate = 24", "Third", "study.Third"),
        ("study", "self.rate", "self.rate + 1", "Third", "study.Third.helped"),
        ("helpers", "x * STEP", "x / STEP", "first second", "helpers.smooth"),
        ("helpers", "STEP = 29", "STEP = 30", "first second", "helpers.STEP"),
        ("helpers", "return x\n", "return -x\n", "second", "helpers"),
        ("lately", "/ 31", "/ 32", "second", "lately"),
    ],
)
def test_what_may_change_a_result_counts(
    load: Load, file: str, old: str, new: str, tasks: str, what: str
) -> None:
    names, said = changed(load, file, old, new)
    assert names == set(tasks.split())
    line = FILES[file].partition(old)[0].count("\n") + 1
    # And nothing that only refers to it.
    inputs = ["input `width` changed"] if old == "width=19" else []  # which is left out
    assert said == [f"code of `{what}` changed: line {line} of {file}.py", *inputs]


def test_comments_beside_a_change_are_not_told_of(load: Load) -> None:
    new = "# one\n    return x - WIDTH\n    # two"
    _, said = changed(load, "study", "return x + WIDTH", new)
    line = STUDY.partition("return x + WIDTH")[0].count("\n") + 2
    assert said == [f"code of `study.inner` changed: line {line} of study.py"]


def test_a_line_that_was_taken_out_is_told_where_it_stood(load: Load) -> None:
    taken = "    model = Model()\n"
    _, said = changed(load, "study", taken, "")
    line = STUDY.partition(taken)[0].count("\n") + 1
    assert said[-1] == f"code of `study.first` changed: line {line} of study.py"


def test_a_key_does_not_depend_on_what_was_asked_before(load: Load) -> None:
    study = load(**FILES)
    alone = all_parts(study)
    keys = Keys(FileDigests(None))
    for name in ("Third", "second", "first"):
        assert parts(getattr(study, name), 1, keys=keys) == alone[name]


def test_a_key_does_not_depend_on_what_is_loaded(load: Load) -> None:
    study = load(**FILES)
    before = parts(study.second, 1)
    study.second.main(2)
    assert "lately" in sys.modules
    assert parts(study.second, 1) == before


LOCAL = """
def main(k):
    def even(n):
        return n == 0 or odd(n - 1)

    def odd(n):
        return n != 0 and even(n - {})

    class Local:
        def __init__(self):
            super().__init__()

        def use(self):
            return Local, k

    @task
    def one(x):
        return even(x)

    @task
    def other(x):
        return odd(x), Local().use()

    return one, other
"""


def test_local_functions_that_know_each_other_count_whichever_was_asked_first(load: Load) -> None:
    study = load(study=HEAD + LOCAL.format(1))
    one, other = study.main(5)
    keys = Keys(FileDigests(None))
    forth = [parts(target, 1, keys=keys) for target in (one, other)]
    keys = Keys(FileDigests(None))
    back = [parts(target, 1, keys=keys) for target in (other, one)]
    assert forth == back[::-1]
    assert parts(study.main(5)[0], 1) == forth[0]
    assert digest_of(parts(study.main(6)[0], 1)) == digest_of(forth[0])
    assert digest_of(parts(study.main(6)[1], 1)) != digest_of(forth[1])
    edited = load(study=HEAD + LOCAL.format(2)).main(5)
    for target, before in zip(edited, forth, strict=True):
        assert digest_of(parts(target, 1)) != digest_of(before)


@st.composite
def graphs(draw: st.DrawFn) -> list[list[int]]:
    """Which of a few local functions refers to which."""
    count = draw(st.integers(1, 5))
    return [draw(st.lists(st.integers(0, count - 1), max_size=3)) for _ in range(count)]


def local_functions(graph: list[list[int]], marked: int = -1) -> list[Any]:
    """Return tasks that refer to each other so; one may give something else."""
    lines = ["def main():"]
    for at, others in enumerate(graph):
        calls = ", ".join(f"f{other}.main" for other in others)
        lines += [
            "    @task",
            f"    def f{at}(x):",
            f"        return {int(at == marked)}, [{calls}]",
        ]
    lines.append(f"    return [{', '.join(f'f{at}' for at in range(len(graph)))}]")
    space: dict[str, Any] = {"__name__": "made_here"}
    exec(HEAD + "\n".join(lines), space)
    made: list[Any] = space["main"]()
    return made


@given(graphs(), st.data())
def test_digests_do_not_depend_on_the_order_and_tell_what_is_reached(
    graph: list[list[int]], data: st.DataObject
) -> None:
    tasks = local_functions(graph)
    alone = [parts(one, 1) for one in tasks]
    keys = Keys(FileDigests(None))
    for at in data.draw(st.permutations(range(len(graph)))):
        assert parts(tasks[at], 1, keys=keys) == alone[at]
    marked = data.draw(st.sampled_from(range(len(graph))))
    reached = {marked}
    while True:
        more = {at for at, others in enumerate(graph) if reached & {*others}} | reached
        if more == reached:
            break
        reached = more
    changed = local_functions(graph, marked)
    for at, one in enumerate(changed):
        assert (digest_of(parts(one, 1)) != digest_of(alone[at])) == (at in reached)


DECORATED = """
def timed(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)
    return wrapper

@timed
def one(x):
    return x + 1

@timed
def two(x):
    return x - 1

up, down = one, two
"""


@pytest.mark.parametrize(
    "text",
    ["up, down = lambda x: x + 1, lambda x: x - 1\n", f"import functools\n{DECORATED}"],
    ids=["lambdas", "decorated"],
)
def test_two_functions_that_change_places_count(load: Load, text: str) -> None:
    text = HEAD + text
    text += "@task\ndef first(x):\n    return up(x), down(x)\n"
    before = parts(load(study=text).first, 1)
    after = parts(load(study=text.replace("up, down =", "down, up =")).first, 1)
    assert digest_of(before) != digest_of(after)


def test_code_that_comes_as_an_input_counts(load: Load) -> None:
    text = HEAD + "import helpers\n@task\ndef apply(f, x):\n    return f(x)\n"
    text += "def chosen(x):\n    return helpers.smooth(x)\nnameless = lambda x: chosen(x)\n"
    study = load(study=text, helpers=HELPERS)

    def seen() -> list[str]:
        given = (study.chosen, [study.chosen], {"f": study.chosen}, study.nameless)
        return [digest_of(parts(study.apply, one, 1)) for one in given]

    before = seen()
    study = load(helpers=HELPERS.replace("29", "28"))
    assert not set(before) & set(seen())


def test_the_main_script_counts_as_if_it_were_imported(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = load(**FILES)
    before = parts(study.first, 1)
    text = Path("study.py").read_text(encoding="utf-8")
    main = type(sys)("__main__")
    main.__file__ = str(Path("study.py").absolute())
    monkeypatch.setitem(sys.modules, "__main__", main)
    exec(compile(text, main.__file__, "exec", dont_inherit=True), main.__dict__)
    assert parts(main.first, 1) == before


def test_what_is_installed_counts_by_name_and_named_packages_by_version(load: Load) -> None:
    text = HEAD + "import json\n@task\ndef first(x):\n    return json.dumps(x)\n"
    found = parts(load(study=text).first, 1, keys=Keys(FileDigests(None), packages=["msgspec"]))
    assert set(found.code) == {"study.first"}
    assert set(found.versions) == {"python", "msgspec"}


@pytest.mark.parametrize(
    "text",
    [
        "import threading\nthing = threading.Thread()\n",
        "thing = (i for i in [1])\n",
        "import contextvars\nthing = contextvars.ContextVar('a', default=1)\n",
        "class Odd:\n    def __reduce__(self):\n        raise TypeError('no')\nthing = Odd()\n",
    ],
)
def test_what_has_no_digest_is_named(load: Load, text: str) -> None:
    study = load(study=HEAD + text + "@task\ndef first(x):\n    return thing\n")
    made = Keys(FileDigests(None)).of(study.first(1), lambda _: None)
    assert isinstance(made, Uncacheable)
    assert made.why.startswith("first has no key: its code uses `study.thing`: it is a ")


def test_machine_code_of_the_project_counts_by_its_file(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = type(sys)("made")
    made.__file__ = str(tmp_path / "made.abi3.so")
    kind: Any = type("Made", (), {"__module__": "made", "odd": (i for i in [1])})
    vars(made)["Made"] = kind
    monkeypatch.setitem(sys.modules, "made", made)
    study = load(study=HEAD + "import made\n@task\ndef first(x):\n    return made.Made(x)\n")
    Path(made.__file__).write_bytes(b"one")
    before = parts(study.first, 1)
    assert set(before.code) == {"study.first", "made"}
    assert parts(study.first, 1) == before
    Path(made.__file__).write_bytes(b"two")
    assert digest_of(parts(study.first, 1)) != digest_of(before)


def test_locks_and_loggers_do_not_count(load: Load) -> None:
    text = "import logging, threading\nlock = threading.Lock()\nlog = logging.getLogger('a')\n"
    study = load(study=HEAD + text + "@task\ndef first(x):\n    return lock, log\n")
    assert set(parts(study.first, 1).code) == {"study.first", "study.lock", "study.log"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return x + WIDTH", "return x - WIDTH"),
        ("WIDTH = 3", "WIDTH = 4"),
        ("x > 17", "x > 18"),
        ("width=19):\n", "width=19):\n    x += 1\n"),
    ],
)
def test_a_file_that_was_edited_after_it_was_loaded_is_seen(
    load: Load, tmp_path: Path, old: str, new: str
) -> None:
    study = load(**FILES)
    keys = Keys(FileDigests(None))
    before = parts(study.first, 1, keys=keys)
    third = parts(study.Third, 1, keys=keys)
    first, other = definition_of(study.first), definition_of(study.Third)
    assert keys.outdated(first) == ""
    # What says the same as before, in other words, does not matter.
    path = tmp_path / "study.py"
    path.write_text("# why\n\n" + STUDY.replace("A docstring", "Another"))
    assert keys.outdated(first) == ""
    path.write_text(STUDY.replace(old, new))
    assert "was changed after it was loaded" in keys.outdated(first)
    assert keys.outdated(other) == ""
    # A key that is known stays, for what this process runs is what it was; in the next run none
    # is made, as it cannot be told which of both its workers have.
    assert parts(study.first, 1, keys=keys) == before
    keys.forget()
    made = keys.of(study.first(1), lambda _: None)
    assert isinstance(made, Uncacheable)
    assert "was changed after it was loaded; begin anew" in made.why
    assert parts(study.Third, 1, keys=keys).code == third.code
    path.write_text(STUDY)
    keys.forget()
    assert parts(study.first, 1, keys=keys) == before


def test_a_module_that_is_imported_late_and_was_edited_is_seen(load: Load, tmp_path: Path) -> None:
    study = load(**FILES)
    keys = Keys(FileDigests(None))
    before = parts(study.second, 1, keys=keys)
    second = definition_of(study.second)
    (tmp_path / "lately.py").write_text(LATELY + "# why\n")
    assert keys.outdated(second) == ""
    (tmp_path / "lately.py").write_text(LATELY.replace("31", "32"))
    assert keys.outdated(second).startswith("`lately` was changed")
    assert keys.outdated(definition_of(study.first)) == ""
    keys.forget()
    after = parts(study.second, 1, keys=keys)
    assert digest_of(after) != digest_of(before)
    assert keys.outdated(second) == ""


def test_files_that_did_not_change_are_not_compared_for_each_result(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = load(**FILES)
    keys = Keys(FileDigests(None))
    parts(study.first, 1, keys=keys)
    first = definition_of(study.first)
    assert keys.outdated(first) == ""
    monkeypatch.setattr(sources, "_shape", lambda _: pytest.fail("it was compared"))
    assert keys.outdated(first) == ""


def test_a_file_that_is_older_than_the_process_is_not_compared(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_began", lambda: time.time() + 60)
    monkeypatch.setattr(sources, "_read", lambda *_: pytest.fail("it was compared"))
    assert "study.first" in parts(load(**FILES).first, 1).code


def test_when_this_process_began_is_known() -> None:
    code = "from fancypipe_core._cache import sources; print(sources._began())"
    before = time.time()
    over = subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True)
    assert before - 2 < float(over.stdout) < time.time() + 2


@pytest.mark.parametrize(
    "text",
    [
        (
            "from functools import singledispatch\n@singledispatch\ndef deep(x):\n    return 1\n"
            "@deep.register\ndef _(x: int):\n    return 29\n"
        ),
        "import numpy as np\ndeep = np.frompyfunc(lambda x: 29, 1, 1)\n",
        "import numpy as np\ndeep = np.vectorize(lambda x: 29)\n",
        "class Deep:\n    def __call__(self, x):\n        return 29\ndeep = Deep()\n",
        "class Deep:\n    def run(self, x):\n        return 29\ndeep = Deep().run\n",
        "import contextlib\n@contextlib.contextmanager\ndef deep(x):\n    yield 29\n",
        "def make(k):\n    def inner(x):\n        return k\n    return inner\ndeep = make(29)\n",
        "import operator\ndeep = operator.itemgetter(29)\n",
        "from typing import NamedTuple\nclass deep(NamedTuple):\n    x: int\n    y: int = 29\n",
        (
            "class Meta(type):\n    def __call__(cls, x):\n        return 29\n"
            "class deep(metaclass=Meta):\n    pass\n"
        ),
        "class deep:\n    __slots__ = ('x',)\n    def __init__(self, x):\n        self.x = 29\n",
        "def deep(x):\n    class Local:\n        rate = 29\n    return Local.rate\n",
        "import msgspec\nclass deep(msgspec.Struct):\n    x: int\n    y: int = 29\n",
        (
            "import msgspec, typing\nclass deep(msgspec.Struct):\n"
            "    x: typing.Annotated[int, msgspec.Meta(gt=29)]\n"
        ),
        "import enum\nclass deep(enum.IntFlag):\n    A = 29\n",
        (
            "import functools\nclass deep:\n    @functools.cached_property\n"
            "    def f(self):\n        return 29\n"
        ),
        "class deep:\n    class Inner:\n        rate = 29\n",
        "import numpy as np\nR = np.random.default_rng(29)\ndef deep(x):\n    return R\n",
        "def deep(x, *, k=29):\n    return k\n",
        "import functools\n@functools.lru_cache(maxsize=None)\ndef deep(x):\n    return 29\n",
        "import functools\ndeep = {'a': [functools.partial(lambda x: 29)]}\n",
        "@task\ndef deep(x):\n    return 29\n",
        "@module\ndef deep(x):\n    return 29\n",
        "def deep(x):\n    return x\ndeep.rate = 29\n",
    ],
)
def test_whatever_is_called_counts(load: Load, text: str) -> None:
    use = "@task\ndef first(x):\n    return deep(x)\n"
    before = parts(load(study=HEAD + text + use).first, 1)
    assert parts(load(study=HEAD + text + use).first, 1) == before
    after = parts(load(study=HEAD + text.replace("29", "31") + use).first, 1)
    assert digest_of(after) != digest_of(before)
    assert "study.py" in "".join(differences(before, after))
