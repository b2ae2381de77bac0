"""Imports point downwards only, and each dependency has the few rooms that may use it.

The tables are the plan of the engine.  A module that is missing in them, or an
exception that is needed no more, fails a test: so they stay true.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.meta.imports import imports_of, modules_of, names_in_strings
from tests.meta.repo import CORE, ROOT, SIBLINGS, source_of

Layers = Sequence[Sequence[str]]

# From the bottom to the top.  A module imports what stands in the rows above its own in
# this list, and nothing of its own row.
LAYERS: Layers = [
    # Words and tables; each alone.
    [
        "errors",
        "_table",
        "_files",
        "_spelling",
        "_collector",
        "_entropy",
        "_globals",
        "_msgpack",
        "_progress",
        "_script",
        "_parts",
        "_settings.cores",
        "_cli.docstring",
    ],
    [
        "_ambient",
        "_backoff",
        "_declare",
        "_refusals",
        "_results",
        "_plain",
        "_cli.uses",
        "_settings.types",
    ],
    [
        "_faults",
        "_machine",
        "_interrupts",
        "_watch",
        "_interpreter",
        "_main",
        "_orphans",
        "_settings.hints",
    ],
    # The machine's records; references; names of code; frames of bytes.
    [
        "_records",
        "_ref",
        "_signature",
        "_names",
        "_channel",
        "_cli.streams",
        "_cli.options",
    ],
    # Who needs whom; the contracts; what users define; code by value, and what cannot travel.
    ["_needs", "backend", "hooks", "_task", "_brief", "_byvalue", "_culprit"],
    # The machine; what is installed; what a task may ask for; objects to payloads.
    ["_decode"],
    ["_scheduler", "_plugins", "_context", "_codec", "_wire", "_cli.load"],
    # The pool machine, and the channel to a worker, for those who write backends.
    ["toolkit.pool.states", "toolkit.connection", "toolkit.death"],
    ["toolkit.pool.workers", "toolkit"],
    ["toolkit.pool.clocks", "toolkit.pool.queue", "toolkit.pool.starts"],
    ["toolkit.pool.roster"],
    ["toolkit.pool.dealer"],
    ["toolkit.pool.machine"],
    ["toolkit.pool"],
    # Values between tasks; failures in words; settings, line by line.
    ["_live"],
    ["_environment", "_values", "_failure", "_exec", "_settings.config"],
    # Why a worker could not read a task.
    ["_unreadable"],
    # Both ends of a job; settings, line by line.
    ["_graph", "_runner", "_settings.lines"],
    # All settings.
    ["_settings"],
    # The backend of this package; jobs in somebody's pool, and at the far end of a channel;
    # what is in a pool; who watches.
    ["_inline", "toolkit.batch", "_outpost", "_observers", "toolkit.executor"],
    # Any backend behind a channel or a pool; what is told of a run; what is in force.
    ["_serve", "toolkit.futures", "_report", "_configured"],
    # Modules, in the client; the end of a run.
    ["_compose", "_ending"],
    # What events mean, and what actions do.
    ["_steps"],
    # The loop.
    ["_driver"],
    # Built on the public hooks only.
    ["plugins", "plugins._counts"],
    ["plugins.console"],
    # run() and Session.
    ["_session"],
    # The command line.
    ["_cli", "_cli.inputs", "_cli.present"],
    ["_cli.explain"],
    # What would keep a pipeline from running.
    ["_doctor", "_doctor.finding", "_doctor.records"],
    ["_doctor.child", "_doctor.clean", "_doctor.compose", "_doctor.guarded"],
    [
        "_doctor.importing",
        "_doctor.travel",
        "_doctor.probe",
        "_doctor.machine",
        "_doctor.installed",
    ],
    ["_doctor.examine"],
    # What the commands do.
    ["_cli.commands"],
    ["_cli.plugged", "_cli.doctor"],
    ["_cli.outline"],
    ["_cli.complete"],
    ["_cli.completion"],
    ["_cli.helping"],
    ["_cli.pipeline"],
    ["_cli.builtin"],
    ["cli"],
    ["__main__"],
    # The public names.
    ["__init__"],
    # What authors of backends test theirs with.
    ["testing", "testing._rules", "testing._leaks", "testing._jobs", "testing._hard"],
    ["testing._rig"],
    ["testing.pytest_plugin"],
    ["testing.conformance.conftest"],
    [
        "testing.conformance",
        "testing.conformance.test_crashes",
        "testing.conformance.test_leaks",
        "testing.conformance.test_parity",
        "testing.conformance.test_rules",
        "testing.conformance.test_values",
    ],
]

# (importer, imported): why it looks up all the same.  Never when the importer starts.
UPWARD: Mapping[tuple[str, str], str] = {
    ("backend", "_inline"): "hands authors of backends their helpers, when they ask",
    ("backend", "_serve"): "the same",
    ("backend", "_wire"): "the same",
    ("backend", "_outpost"): "the same",
    ("backend", "toolkit.futures"): "hands authors of backends their helpers, when they ask",
    ("toolkit", "toolkit.futures"): "the same",
    ("backend", "_runner"): "a backend is given a Runner: the type only",
    ("backend", "_configured"): "hands authors of backends their helpers, when they ask",
    ("backend", "cli"): "the same",
    ("_ref", "_task"): "an instance knows its definition; operators are small tasks",
    ("_ref", "_context"): "where a reference is made or awaited decides what it does",
    ("_task", "cli"): "`.cli()` is a method of what the user writes",
    ("_context", "_session"): "`.result()` in a task runs inline, in a session of its own",
}

# What is not ours: the modules that may import it.
OUTSIDE: Mapping[str, Sequence[str]] = {
    "click": ["cli", "_cli.*"],
    "cloudpickle": ["_byvalue"],
    "msgspec": ["*"],
    "numpy": ["testing._hard"],  # if it is there
    "pickle": ["_byvalue", "_codec", "_decode", "_plain", "_cli.present", "testing.*"],
    "pytest": ["testing.*"],
    "pluggy": ["_observers", "_plugins", "hooks", "plugins.*"],
    "rich": ["cli", "plugins.*"],
    "tblib": ["_codec"],
    "tomli": ["_settings.config"],
    "tomllib": ["_settings.config"],  # standard from Python 3.11 on
}
TYPES_ONLY = {"typing_extensions"}

# The machine decides and does nothing else: these modules import nothing but each other
# and what cannot do IO.
PURE = {"_scheduler", "_needs", "_records", "_table", "errors"}
HARMLESS = {
    *("__future__", "builtins", "collections", "dataclasses", "enum", "functools"),
    *("heapq", "itertools", "operator", "types", "typing"),
}

# What the other packages may know of the core.
PUBLIC = {"backend", "errors", "hooks", "toolkit"}


def wrong_directions(
    source: Path, layers: Layers, upward: Mapping[tuple[str, str], str]
) -> list[str]:
    """Return a sentence for each import that does not point downwards."""
    row = {name: number for number, names in enumerate(layers) for name in names}
    missing = sorted(set(modules_of(source)) - set(row))
    wrong = [f"{name} stands in no layer" for name in missing]
    needless = dict(upward)
    for importer, target, when, line in imports_of(source):
        package, _, name = target.partition(".")
        if package != source.name or importer in missing or name in missing:
            continue
        imported = name or "__init__"
        if row[imported] < row[importer]:
            continue
        needless.pop((importer, imported), None)
        if when == "start" or (importer, imported) not in upward:
            wrong.append(f"{importer}:{line} imports {imported}, which is not below it")
    return wrong + [f"{a} no more looks up to {b}: take it out" for a, b in needless]


def wrong_outside(source: Path, outside: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a sentence for each import from outside by a module that may not."""
    wrong = []
    for importer, target, when, line in imports_of(source):
        top = target.partition(".")[0]
        if top == source.name or (when == "types" and top in TYPES_ONLY):
            continue
        if top in outside:
            allowed = any(fnmatch(importer, pattern) for pattern in outside[top])
        else:
            allowed = top in sys.stdlib_module_names
        if not allowed:
            wrong.append(f"{importer}:{line} imports {target}")
    return wrong


def impure(source: Path, pure: set[str]) -> list[str]:
    """Return a sentence for each import by a pure module of what could do more than decide."""
    wrong = []
    for importer, target, _, line in imports_of(source):
        top, _, name = target.partition(".")
        fine = name in pure if top == source.name else top in HARMLESS
        if importer in pure and not fine:
            wrong.append(f"{importer}:{line} imports {target}")
    return wrong


def not_public(source: Path, core: Path, public: set[str]) -> list[str]:
    """Return a sentence for each thing of our packages that a sibling should not know."""
    wrong = []
    for importer, target, _, line in imports_of(source, core):
        top, _, name = target.partition(".")
        known = name.partition(".")[0] in public
        fine = known if top == core.name else top == source.name
        if top.startswith("fancypipe") and not fine:
            wrong.append(f"{importer}:{line} imports {target}")
    for module, name, line in names_in_strings(source, core.name):
        if any(part.startswith("_") for part in name.split(".")):
            wrong.append(f"{module}:{line} names {name}")
    return wrong


def test_imports_point_downwards() -> None:
    wrong = wrong_directions(source_of(CORE), LAYERS, UPWARD)
    assert not wrong, "\n".join(wrong)


def test_each_layer_names_modules_that_exist() -> None:
    named = [name for names in LAYERS for name in names]
    assert len(set(named)) == len(named)
    assert set(named) <= set(modules_of(source_of(CORE)))


def test_each_dependency_has_its_rooms() -> None:
    wrong = wrong_outside(source_of(CORE), OUTSIDE)
    assert not wrong, "\n".join(wrong)


def test_the_machine_does_no_io() -> None:
    wrong = impure(source_of(CORE), PURE)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", SIBLINGS)
def test_other_packages_know_the_contract_only(package: str) -> None:
    wrong = not_public(source_of(package), source_of(CORE), PUBLIC)
    assert not wrong, "\n".join(wrong)


def test_examples_use_public_names_only() -> None:
    examples = sorted(path.parent for path in (ROOT / "examples").rglob("pipeline.py"))
    assert examples
    for folder in examples:
        known = {one.target for one in imports_of(folder, source_of(CORE))}
        ours = {name for name in known if name.startswith("fancypipe")}
        assert ours <= {CORE, *(f"{CORE}.{name}" for name in PUBLIC)}


# The checks themselves, on small packages that are wrong.


def package(folder: Path, **modules: str) -> Path:
    """Write a package `lib`; `a__b` is the module `a.b`."""
    source = folder / "lib"
    for name, text in {"__init__": "", **modules}.items():
        path = source.joinpath(*name.split("__")) if name != "__init__" else source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".py").write_text(text, encoding="utf-8")
    return source


LOW_HIGH: Layers = [["low", "other"], ["high"], ["__init__"]]


@pytest.mark.parametrize(
    "text",
    [
        "import lib.high",
        "from lib import high",
        "from lib.high import x",
        "from . import high",
        "from .high import x",
        "from lib import other",  # sideways
        "from lib import some_name",  # the package itself, which is the top
        "import lib",
        "def f():\n    from lib import high",
        "class A:\n    def f(self):\n        if 1:\n            import lib.high",
        "try:\n    import lib.high\nexcept ImportError:\n    raise",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from lib.high import x",
    ],
)
def test_an_import_upwards_is_seen(tmp_path: Path, text: str) -> None:
    source = package(tmp_path, low=text, high="", other="")
    wrong = wrong_directions(source, LOW_HIGH, {})
    assert len(wrong) == 1
    assert wrong[0].startswith("low:")


def test_an_import_downwards_is_fine(tmp_path: Path) -> None:
    source = package(tmp_path, low="import os", high="from lib import low, other", other="")
    assert wrong_directions(source, LOW_HIGH, {}) == []


def test_an_exception_is_for_later_and_must_be_needed(tmp_path: Path) -> None:
    later = package(tmp_path / "1", low="def f(): from lib import high", high="", other="")
    start = package(tmp_path / "2", low="from lib import high", high="", other="")
    none = package(tmp_path / "3", low="", high="", other="")
    upward = {("low", "high"): "reason"}
    assert wrong_directions(later, LOW_HIGH, upward) == []
    assert wrong_directions(start, LOW_HIGH, upward) != []
    assert wrong_directions(none, LOW_HIGH, upward) == ["low no more looks up to high: take it out"]


def test_a_module_in_no_layer_is_seen(tmp_path: Path) -> None:
    source = package(tmp_path, low="", high="", other="", plugins__new="")
    assert wrong_directions(source, LOW_HIGH, {}) == ["plugins.new stands in no layer"]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("import cloudpickle", True),
        ("def f():\n    from cloudpickle import dumps", True),
        ("import numpy.linalg", True),
        ("from typing_extensions import Self", True),
        ("import typing\nif typing.TYPE_CHECKING:\n    from typing_extensions import Self", False),
        ("import os.path, json", False),
        ("import click.testing", False),
    ],
)
def test_an_import_from_outside_is_seen(tmp_path: Path, text: str, wrong: bool) -> None:
    outside = {"cloudpickle": ["codec"], "click": ["lo*"]}
    assert bool(wrong_outside(package(tmp_path, low=text), outside)) == wrong


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("import time", True),
        ("from lib import high", True),
        ("def f():\n    import logging", True),
        ("from collections.abc import Callable\nfrom lib.other import x", False),
    ],
)
def test_what_could_do_io_is_seen(tmp_path: Path, text: str, wrong: bool) -> None:
    source = package(tmp_path, low=text, high="import os", other="")
    assert bool(impure(source, {"low", "other"})) == wrong


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("from fancypipe_core._model.task import Task", True),
        ("from fancypipe_core import task", True),
        ("import fancypipe_core", True),
        ("import fancypipe_other.backend", True),
        ("MODULE = 'fancypipe_core.toolkit.channel_backend'", True),
        ("MODULE = 'fancypipe_core.toolkit.channel_backend:main'", True),
        ("from fancypipe_core import backend, errors", False),
        ("from fancypipe_core.hooks import hookimpl\nfrom lib._own import x", False),
        ("MODULE = 'fancypipe_core.backend'", False),
    ],
)
def test_what_a_sibling_should_not_know_is_seen(tmp_path: Path, text: str, wrong: bool) -> None:
    source = package(tmp_path, low=text, _own="")
    core = source_of(CORE)
    assert bool(not_public(source, core, PUBLIC)) == wrong
