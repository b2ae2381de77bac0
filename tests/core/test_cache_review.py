"""A table of ways in which a key could stay the same while the result does not: each must count.

What a reviewer would try who does not believe that keys are sound: an edit that is reached by
another way than a name, or a value that differs where a pickle may not.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from fancypipe_core import Session, module, run, task
from fancypipe_core._base.file_digests import FileDigests
from fancypipe_core._base.installed import installed_folders
from fancypipe_core._cache.keys import Keys
from fancypipe_core._cache.parts import KeyParts, digest_of
from tests.core.test_cache_code import HEAD, Load, load, parts
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("loaded_long_ago")

__all__ = ["load"]  # a fixture

USE = "@task\ndef first(x):\n    return deep(x)\n"


def key(target: Any) -> str:
    return digest_of(parts(target, 1))


# Each text gives something else where 29 becomes 31, by a way of its own.
WAYS = {
    "closure over a value": (
        "def make():\n    k = 29\n    return lambda x: k\ndeep = make()\n" + USE
    ),
    "closure over a list": (
        "def make():\n    k = [29]\n    def deep(x):\n        return k[0]\n    return deep\n"
        "deep = make()\n" + USE
    ),
    "a default": "def deep(x, k=29):\n    return k\n" + USE,
    "a default that is a function": (
        "def inner():\n    return 29\ndef deep(x, k=inner):\n    return k()\n" + USE
    ),
    "wraps": (
        "import functools\ndef plus(f):\n    @functools.wraps(f)\n    def w(x):\n"
        "        return f(x) + 29\n    return w\n@plus\ndef deep(x):\n    return x\n" + USE
    ),
    "below wraps and a cache": (
        "import functools\ndef plus(f):\n    @functools.wraps(f)\n    def w(x):\n"
        "        return f(x)\n    return w\n@plus\n@functools.lru_cache\ndef deep(x):\n"
        "    return 29\n" + USE
    ),
    "a decorator with an argument": (
        "def times(k):\n    def outer(f):\n        def w(x):\n            return f(x) * k\n"
        "        return w\n    return outer\n@times(29)\ndef deep(x):\n    return x\n" + USE
    ),
    "a decorator that is a class": (
        "import functools\nclass Deco:\n    def __init__(self, f):\n"
        "        functools.update_wrapper(self, f)\n        self.f = f\n"
        "    def __call__(self, x):\n        return self.f(x)\n"
        "@Deco\ndef deep(x):\n    return 29\n" + USE
    ),
    "a class attribute": "class A:\n    k = 29\ndef deep(x):\n    return A.k\n" + USE,
    "an inherited attribute": (
        "class A:\n    k = 29\nclass B(A):\n    pass\ndef deep(x):\n    return B().k\n" + USE
    ),
    "an inherited method": (
        "class A:\n    def f(self):\n        return 29\nclass B(A):\n    pass\n"
        "def deep(x):\n    return B().f()\n" + USE
    ),
    "a mixin two above": (
        "class M:\n    def f(self):\n        return 29\nclass A(M):\n    pass\nclass B(A):\n"
        "    def g(self):\n        return super().f()\ndef deep(x):\n    return B().g()\n" + USE
    ),
    "a method patched at run time": (
        "class A:\n    def f(self):\n        return 1\nA.f = lambda self: 29\n"
        "def deep(x):\n    return A().f()\n" + USE
    ),
    "a method patched on an object": (
        "class A:\n    def f(self):\n        return 1\na = A()\na.f = lambda: 29\n"
        "def deep(x):\n    return a.f()\n" + USE
    ),
    "a class method": (
        "class A:\n    @classmethod\n    def f(cls):\n        return 29\n"
        "def deep(x):\n    return A.f()\n" + USE
    ),
    "a partial method": (
        "import functools\nclass A:\n    def f(self, k):\n        return k\n"
        "    g = functools.partialmethod(f, 29)\ndef deep(x):\n    return A().g()\n" + USE
    ),
    "a descriptor": (
        "class D:\n    def __get__(self, one, cls):\n        return 29\nclass A:\n    d = D()\n"
        "def deep(x):\n    return A().d\n" + USE
    ),
    "a global array": "import numpy as np\nK = np.array([29])\ndef deep(x):\n    return K\n" + USE,
    "a global made of another": "A = 29\nB = A + 1\ndef deep(x):\n    return B\n" + USE,
    "another name of a function": "def f(x):\n    return 29\ndeep = f\n" + USE,
    "a function in a table": (
        "def f(x):\n    return 29\nT = {1: f}\ndef deep(x):\n    return T[1](x)\n" + USE
    ),
    "a second lambda on a line": "a, deep = (lambda x: 1), (lambda x: 29)\n" + USE,
    "a function made in a loop": (
        "made = []\nfor k in (1, 29):\n    def f(x, k=k):\n        return k\n    made.append(f)\n"
        "deep = made[1]\n" + USE
    ),
    "the variable of a loop": (
        "def make():\n    made = []\n    for k in (1, 29):\n        def f(x):\n"
        "            return k\n        made.append(f)\n    return made\ndeep = make()[0]\n" + USE
    ),
    "a local class": (
        "def deep(x):\n    class A:\n        def f(self):\n            return 29\n"
        "    return A().f()\n" + USE
    ),
    "a global set inside": (
        "K = 29\ndef change():\n    global K\n    K += 1\ndef deep(x):\n    change()\n"
        "    return K\n" + USE
    ),
    "through a task that it makes": (
        "@task\ndef other(x):\n    return 29\n@module\ndef first(x):\n    return other(x)\n"
    ),
    "the version of a task that it makes": (
        "@task(version='29')\ndef other(x):\n    return x\n@module\ndef first(x):\n"
        "    return other(x)\n"
    ),
    "the version of a class of tasks that it makes": (
        "class Other(Task, version='29'):\n    def main(self, x):\n        return x\n"
        "@module\ndef first(x):\n    return Other(x)\n"
    ),
    "the version of a map's task": (
        "@task(version='29')\ndef other(x):\n    return x\n@module\ndef first(x):\n"
        "    return other.map([x])\n"
    ),
}


@pytest.mark.parametrize("text", WAYS.values(), ids=WAYS)
def test_it_counts(load: Load, text: str) -> None:
    assert text.count("29") == 1
    before = key(load(study=HEAD + text).first)
    assert key(load(study=HEAD + text).first) == before
    assert key(load(study=HEAD + text.replace("29", "31")).first) != before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("@task\ndef other", "@task(cache=False)\ndef other"),
        ("def other(x)", "def other(x) -> File"),
        ("(-0.0", "(0.0"),
        ("(-0.0", "(False"),
        ("1 in", "1.0 in"),
        ("1 in", "True in"),
    ],
)
def test_an_edit_that_looks_like_nothing_counts(load: Load, old: str, new: str) -> None:
    text = "from fancypipe_core import File\n@task\ndef other(x):\n    return x, 1 in (x,)\n"
    text += "@module\ndef first(x):\n    return other(-0.0 if x else (-0.0, x))\n"
    before = key(load(study=HEAD + text).first)
    assert key(load(study=HEAD + text.replace(old, new)).first) != before


MODULES = {
    # A module of the project may be called as one of the standard library is.
    "called as an installed one": (
        "profile", "import profile\ndef deep(x):\n    return profile.f(x)\n",
    ),
    "imported late, called so": (
        "profile", "def deep(x):\n    from profile import f\n    return f(x)\n",
    ),
    "a class of such a one": (
        "profile", "from profile import A\ndef deep(x):\n    return A().f()\n",
    ),
    "under another name": ("helped", "import helped as h\ndef deep(x):\n    return h.f(x)\n"),
    "the function under another name": (
        "helped", "from helped import f as g\ndef deep(x):\n    return g(x)\n",
    ),
    "imported late": ("helped", "def deep(x):\n    import helped\n    return helped.f(x)\n"),
    "everything of it": ("helped", "from helped import *\ndef deep(x):\n    return f(x)\n"),
    "by a computed name": (
        "helped", "import helped\ndef deep(x):\n    return getattr(helped, x)(x)\n",
    ),
    "in a variable of a function": (
        "helped",
        "def make():\n    import helped\n    return lambda x: helped.f(x)\ndeep = make()\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "text"), MODULES.values(), ids=MODULES)
def test_modules_of_the_project_count(
    load: Load, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.delitem(sys.modules, name, raising=False)
    helped = "class A:\n    def f(self):\n        return 29\ndef f(x):\n    return 29\n"
    study = HEAD + text + USE
    before = key(load(study=study, **{name: helped}).first)
    assert key(load(study=study, **{name: helped}).first) == before
    assert key(load(study=study, **{name: helped.replace("29", "31")}).first) != before


PACKAGES = {
    "handed on": "from packed._inside import f\n",
    "handed on when it is asked for": (
        "def __getattr__(name):\n    from importlib import import_module\n"
        "    return getattr(import_module('packed._' + 'inside'), name)\n"
    ),
}


@pytest.mark.parametrize("text", PACKAGES.values(), ids=PACKAGES)
@pytest.mark.parametrize("how", ["packed.f(x)", "deeper(x)"])
def test_what_a_package_hands_on_counts(load: Load, tmp_path: Path, text: str, how: str) -> None:
    folder = tmp_path / "packed"
    folder.mkdir()
    (folder / "__init__.py").write_text(text)
    study = (
        HEAD
        + f"import packed\ndef deeper(x):\n    return packed.f(x)\ndef deep(x):\n    return {how}\n"
    )
    found = []
    for number in (29, 29, 31):
        (folder / "_inside.py").write_text(f"def f(x):\n    return {number}\n")
        for one in [one for one in sys.modules if one.partition(".")[0] == "packed"]:
            del sys.modules[one]
        found.append(key(load(study=study + USE).first))
    for one in [one for one in sys.modules if one.partition(".")[0] == "packed"]:
        del sys.modules[one]
    assert found[0] == found[1] != found[2]


INSTALLED = """
def kept(function):
    holder = Holder(function)
    def wrapper(x):
        return holder.function(x)
    return wrapper

class Holder:
    def __init__(self, function):
        self.lines = (one for one in ())  # what has no digest, and comes first
        self.function = function
"""


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module that looks as if it were installed."""
    made = ModuleType("installed_here")
    made.__file__ = f"{installed_folders()[0]}/installed_here.py"
    exec(compile(INSTALLED, made.__file__, "exec"), vars(made))
    monkeypatch.setitem(sys.modules, made.__name__, made)
    return made


def test_what_an_installed_decorator_wraps_counts(load: Load, installed: ModuleType) -> None:
    text = HEAD + "from installed_here import kept\n@kept\ndef deep(x):\n    return 29\n" + USE
    before = key(load(study=text).first)
    assert key(load(study=text).first) == before
    assert key(load(study=text.replace("29", "31")).first) != before


def test_what_is_put_in_the_place_of_something_installed_counts(
    load: Load, installed: ModuleType
) -> None:
    text = HEAD + "import installed_here\ndef mine(f):\n    return 29\ninstalled_here.kept = mine\n"
    text += "def deep(x):\n    return installed_here.kept(x)\n" + USE
    before = key(load(study=text).first)
    assert key(load(study=text).first) == before
    assert key(load(study=text.replace("29", "31")).first) != before


@task
def both(x: Any, /, *rest: Any, **more: Any) -> Any:
    return x, rest, more


def test_inputs_by_position_and_by_name_are_told_apart() -> None:
    keys = Keys(FileDigests(None))
    found = set()
    calls = [both(1, x=2), both(9, x=2), both(1, 2), both(1, **{"1": 2}), both(2, x=1), both(1)]
    for call in calls:
        made = keys.of(call, lambda _: None)
        assert isinstance(made, KeyParts)
        found.add(digest_of(made))
    assert len(found) == len(calls)


def test_values_that_look_alike_are_told_apart() -> None:
    keys = Keys(FileDigests(None))
    big = np.arange(6, dtype=">i4").reshape(2, 3)
    values: list[Any] = [
        *(big, big.astype("<i4"), big.T, big.astype("i8"), big.ravel(), np.asfortranarray(big)),
        *(big.view(np.recarray), np.ma.masked_array(big), big[:, ::2]),
        *({1: "a", 2: "b"}, {2: "b", 1: "a"}, {1, 2}, frozenset({1, 2}), [1, 2], (1, 2)),
        *(0.0, -0.0, 0, False, float("nan"), 1, True, 1.0, "1", Path("1"), "nan"),
    ]
    found: dict[str, Any] = {}
    for value in values:
        made = keys.of(both(value), lambda _: None)
        assert isinstance(made, KeyParts)
        other = found.setdefault(digest_of(made), value)
        assert other is value, f"{value!r} ({type(value)}) is taken for {other!r} ({type(other)})"


def test_tables_that_look_alike_are_told_apart() -> None:
    pandas = pytest.importorskip("pandas")
    keys = Keys(FileDigests(None))
    table = pandas.DataFrame({"a": [1, 2], "b": [1.5, 2.5]})
    named = table.copy()
    named.attrs["unit"] = "mm"
    tables = [
        *(table, named, table[["b", "a"]], table.rename(columns={"a": "c"}), table[::-1]),
        *(table.astype({"a": "int32"}), table.astype({"a": object}), table.set_index("a")),
        *(table.astype({"a": "category"}), table["a"], table["a"].rename("b"), table.T),
        table.set_index(pandas.Index([0, 1], name="i")),
    ]
    found: dict[str, int] = {}
    for at, value in enumerate(tables):
        made = keys.of(both(value), lambda _: None)
        assert isinstance(made, KeyParts)
        assert found.setdefault(digest_of(made), at) == at, (at, found)


@task
def summed(x: Any) -> float:
    return float(np.sum(x))


@module
def in_steps(x: Any) -> Any:
    first = summed(x).result()
    x += 1
    return [first, summed(x)]


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("backend", ["serial", "threads", "procs"])
def test_an_array_that_is_changed_between_two_tasks(
    backend: str, resume: bool, tmp_path: Path
) -> None:
    way: dict[str, Any] = {"backend": backend, "resume": resume, "cache": tmp_path, "workers": 2}
    assert run(in_steps(np.zeros(100_000)), **way) == [0.0, 100_000.0]
    if backend == "serial":
        return
    array = np.zeros(100_000)
    go = tmp_path / "go"
    with Session(**way) as session:
        waiting = session.submit(waits_for(str(go)))  # one run all the while
        try:
            assert session.submit(summed(array)).result(60) == 0.0
            array += 2
            assert session.submit(summed(array)).result(60) == 200_000.0
        finally:
            go.touch()
        assert waiting.result(60)


@task
def waits_for(path: str) -> bool:

    wait_until(Path(path).exists)
    return True
