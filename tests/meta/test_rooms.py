"""Rooms look down only, and each dependency has the few rooms that may use it.

Which room stands on which is in pyproject.toml, for import-linter.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.meta.imports import imports_of, names_in_strings
from tests.meta.repo import CORE, ENGINES, ROOT, SIBLINGS, call, source_of

# What is not ours: the modules that may import it.
OUTSIDE: Mapping[str, Sequence[str]] = {
    "IPython": ["plugins.notebook"],  # it is there, where this is used
    "click": ["_cli.*"],
    "dask": ["adapters.dask"],
    "joblib": ["adapters.joblib"],
    "cloudpickle": ["_codec.by_value"],
    "docstring_parser": ["_cli.docstring"],
    "msgspec": [
        *("_base.msgpack", "_cache.*", "_cli.present", "_doctor.*", "_engine.*", "_wire.*"),
        *(
            "_codec.stored",
            "backend.*",
            "hooks",
            "plugins.cache",
            "plugins.journal",
            "toolkit.*",
            "plugins.figures.facts",
        ),
    ],
    "numpy": ["testing._hard_values"],  # if it is there
    "pickle": ["_cache.values", "_codec.*", "_cli.present", "testing.*"],
    "opentelemetry": ["plugins.otel"],  # an extra
    "prometheus_client": ["plugins.prometheus"],  # an extra
    "pytest": ["testing.*"],
    "pluggy": ["_plugins.*", "hooks", "plugins.*"],
    "rich": ["_cli.main", "plugins.*"],
    "tblib": ["_codec.pickler"],
    "tomli": ["_settings.config"],
    "tomllib": ["_settings.config"],  # standard from Python 3.11 on
    "yaml": ["_settings.parameters"],  # if it is there
}
TYPES_ONLY = {"typing_extensions"}

# The machines decide and do nothing else: their modules import each other, the contract's
# records, and what cannot do IO.
PURE: Mapping[str, Sequence[str]] = {
    "fancypipe_core": [
        "errors",
        "_engine.machine",
        "_engine.machine.*",
        "_codec.travel_time",
        "toolkit.pool.*",
        "toolkit.account",
        "toolkit.clock",
        "toolkit.times",
    ],
    "fancypipe_remote": [
        "_protocol.stream",
        "_protocol.pace",
        "_protocol.fair_share",
        "_protocol.lender",
    ],
}
HARMLESS = {
    *("__future__", "bisect", "builtins", "collections", "dataclasses", "enum", "functools"),
    *("hashlib", "heapq", "itertools", "math", "msgspec", "operator", "types", "typing"),
    *("fancypipe_core.backend", "fancypipe_core.errors", "fancypipe_core.toolkit.account"),
}

LINT_IMPORTS = (
    sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()",
    "--no-cache",
)  # fmt: skip

# What the other packages may know of the core.
PUBLIC = {"backend", "errors", "hooks", "toolkit"}


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


def impure(source: Path, pure: Sequence[str], *others: Path) -> list[str]:
    """Return a sentence for each import by a pure module of what could do more than decide."""

    def is_pure(module: str) -> bool:
        return any(fnmatch(module, pattern) for pattern in pure)

    wrong = []
    for importer, target, _, line in imports_of(source, *others):
        top, _, name = target.partition(".")
        ours = top == source.name
        fine = target in HARMLESS or (is_pure(name) if ours else top in HARMLESS)
        if is_pure(importer) and not fine:
            wrong.append(f"{importer}:{line} imports {target}")
    return wrong


def test_rooms_look_down_only() -> None:
    # It imports none of them, but must find those too whose engine is not installed.
    sources = (str(source_of(package).parent) for package in (CORE, *SIBLINGS, *ENGINES))
    over = call(*LINT_IMPORTS, env={**os.environ, "PYTHONPATH": os.pathsep.join(sources)})
    assert over.returncode == 0, over.stdout


def test_an_import_up_is_seen(tmp_path: Path) -> None:
    for package in (CORE, *SIBLINGS, *ENGINES):
        shutil.copytree(source_of(package), tmp_path / package)
    with (tmp_path / CORE / "_base" / "backoff.py").open("a", encoding="utf-8") as file:
        file.write("\n\ndef _later() -> None:\n    from fancypipe_core import session  # noqa\n")
    config = str(ROOT / "pyproject.toml")
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    over = call(*LINT_IMPORTS, "--config", config, cwd=tmp_path, env=env)
    assert over.returncode == 1, over.stdout + over.stderr
    assert "fancypipe_core._base is not allowed to import fancypipe_core.session" in over.stdout


def test_each_dependency_has_its_rooms() -> None:
    wrong = wrong_outside(source_of(CORE), OUTSIDE)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", PURE)
def test_machines_do_no_io(package: str) -> None:
    wrong = impure(source_of(package), PURE[package], source_of(CORE))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", [*SIBLINGS, *ENGINES])
def test_other_packages_name_nothing_private(package: str) -> None:
    """As text, such as the name of a module to run; imports are import-linter's."""
    for module, name, line in names_in_strings(source_of(package), CORE):
        assert not any(part.startswith("_") for part in name.split(".")), f"{module}:{line} {name}"


def test_examples_use_public_names_only() -> None:
    examples = sorted(path.parent for path in (ROOT / "examples").rglob("pipeline.py"))
    assert examples
    for folder in examples:
        known = {one.target for one in imports_of(folder, source_of(CORE))}
        ours = {name for name in known if name.startswith("fancypipe")}
        assert ours <= {CORE, *(f"{CORE}.{name}" for name in PUBLIC)}


# The checks themselves, on small packages that are wrong.


def package(folder: Path, **modules: str) -> Path:
    """Write a package `lib`."""
    source = folder / "lib"
    source.mkdir(parents=True)
    for name, text in {"__init__": "", **modules}.items():
        (source / f"{name}.py").write_text(text, encoding="utf-8")
    return source


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
    assert bool(impure(source, ["low", "other"])) == wrong
