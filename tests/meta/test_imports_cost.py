"""Starting is cheap: what was not asked for is not imported."""

from __future__ import annotations

import json
from importlib.metadata import version

import pytest

from fancypipe_remote._release import release
from tests.meta.repo import python

ENGINE_ONLY = ["asyncio", "click", "cloudpickle", "msgspec", "numpy", "pluggy", "rich", "tblib"]

# What a run does not need until something is wrong, large or asked for.
NOT_AT_START = {
    *("bz2", "email", "hashlib", "importlib.metadata", "ipaddress", "json", "logging", "lzma"),
    *("multiprocessing", "pathlib", "shutil", "tempfile", "tomllib", "urllib.parse"),
}
FOR_NEEDS = {"fancypipe_core._base.equipment", "fancypipe_core._base.grants"}
NOT_IN_SERIAL = {"selectors", "socket", "subprocess", "fancypipe_procs", "fancypipe_threads"}

# The modules that were imported before, by the interpreter and by what starts with it.
CODE = """\
import sys
before = set(sys.modules)
{code}
imported = sorted(set(sys.modules) - before)
import json
print(json.dumps(imported), file=sys.stderr)
"""

HELP = """\
from fancypipe_core.cli import main
sys.argv = ["fancypipe", "--help"]
try:
    main()
except SystemExit as over:
    assert not over.code, over.code
"""

SERIAL = """\
from fancypipe_core import run, task

@task
def nothing() -> None:
    pass

run(nothing(), backend="serial")
"""

REMOTE_HOST = """\
import fancypipe_remote.host
from fancypipe_remote._protocol.messages import hello
hello("worker")
"""


def imported_by(code: str) -> set[str]:
    """Return the modules that a fresh interpreter imports when it runs this code."""
    over = python(CODE.format(code=code))
    assert over.returncode == 0, over.stderr
    return set(json.loads(over.stderr.splitlines()[-1]))


def test_the_measure_sees_an_import() -> None:
    assert "msgspec" in imported_by("import msgspec")


@pytest.mark.parametrize(
    "code",
    ["import fancypipe_core", "from fancypipe_core import Module, Task, module, task, errors"],
)
def test_importing_the_core_imports_none_of(code: str) -> None:
    imported = imported_by(code)
    assert "fancypipe_core" in imported
    assert not imported & set(ENGINE_ONLY)


def test_help_imports_no_backend_and_no_engine() -> None:
    imported = imported_by(HELP)
    backends = {"fancypipe_core._worker.inline", "fancypipe_threads", "fancypipe_procs"}
    assert "fancypipe_core.cli" in imported
    assert not imported & (backends | {"cloudpickle", "tblib", "numpy", "asyncio"})


def test_a_serial_run_imports_only_what_it_needs() -> None:
    imported = imported_by(SERIAL)
    assert "fancypipe_core._worker.inline" in imported
    others = {name for name in ENGINE_ONLY if name != "msgspec"}
    assert imported & (NOT_AT_START | NOT_IN_SERIAL | FOR_NEEDS | others) == set()


def test_a_worker_process_imports_only_what_it_needs() -> None:
    imported = imported_by("import fancypipe_procs._worker")
    assert "fancypipe_procs._isolation.state" in imported
    of_the_client = {"fancypipe_core.session", "fancypipe_core._engine.driver", "subprocess"}
    assert imported & (NOT_AT_START | of_the_client | {"cloudpickle", "tblib"}) == set()


def test_a_worker_that_imports_the_main_script_imports_no_engine() -> None:
    """The script names what starts a run, and starts none."""
    imported = imported_by("from fancypipe_core import Session, module, run, task")
    assert "fancypipe_core.session" in imported
    engine = {"_engine", "_engine.driver", "_settings.session", "_plugins.discovery"}
    assert imported & {f"fancypipe_core.{name}" for name in engine} == set()


def test_the_client_does_not_import_what_its_workers_do() -> None:
    imported = imported_by("import fancypipe_procs._pool")
    of_the_worker = {"fancypipe_procs._worker", "fancypipe_procs._isolation"}
    assert imported & (NOT_AT_START | of_the_worker) == set()


@pytest.mark.parametrize("code", ["import fancypipe_remote._client.connect", REMOTE_HOST])
def test_remote_imports_no_event_loop_of_others(code: str) -> None:
    imported = imported_by(code)
    assert "zmq" in imported
    unneeded = {"asyncio", "ssl", "logging", "importlib.metadata", "email", "multiprocessing"}
    assert imported & unneeded == set()


def test_the_release_is_found_without_reading_metadata() -> None:
    code = "from fancypipe_remote._release import release; told = release()"
    imported = imported_by(f"{code}; import fancypipe_remote._release as r; assert told")
    assert "importlib.metadata" not in imported
    assert release() == version("fancypipe-remote")
