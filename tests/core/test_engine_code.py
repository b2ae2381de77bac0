"""Workers that outlive sessions run each client's own code, and what it is now."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from fancypipe_core import errors, task
from fancypipe_core.toolkit.shipping import code_files, worker_code
from fancypipe_core.toolkit.shipping.client_code import FILES
from tests.core.engines import Engine, Project, engine
from tests.waiting import wait_until

_BISECT = find_spec("_bisect")
NATIVE = Path((_BISECT and _BISECT.origin) or "built-in")

STEPS = """
from fancypipe_core import task

VALUE = {value}
LOADED = []


class Box:
    kind = {value}


@task
def value():
    return VALUE


@task
def boxed():
    return Box()


@task
def times():
    LOADED.append(1)
    return len(LOADED)
"""


@pytest.fixture
def worker() -> Iterator[Engine]:
    """A process that has not heard of any project."""
    with engine() as made:
        yield made


@pytest.fixture
def project(tmp_path: Path, worker: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    yield from _project(tmp_path / "project", monkeypatch)


def _project(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    made = Project(folder)
    before = dict(sys.modules)
    monkeypatch.syspath_prepend(str(folder))
    yield made
    for name in sys.modules.keys() - before.keys():
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def run_in(worker: Engine, made: Any, **settings: Any) -> Any:
    with worker.session(**settings) as session:
        return session.run(made)


@task
def look(names: list[str]) -> dict[str, Any]:
    """Return what the worker's process has."""
    found = {name: os.environ.get(name) for name in names}
    return {**found, "path": list(sys.path), "modules": sorted(sys.modules), "argv": sys.argv[1:]}


# ---- changed code ----------------------------------------------------------------


def test_a_changed_module_is_imported_anew(worker: Engine, project: Project) -> None:
    for value in (1, 22, 333):
        project.write("steps", STEPS.format(value=value))
        steps = project.load("steps")
        assert run_in(worker, steps.value()) == value
        assert run_in(worker, steps.boxed()).kind == value


def test_a_changed_helper_is_too(worker: Engine, project: Project) -> None:
    project.write("steps", "import helper\n" + STEPS.format(value="helper.VALUE"))
    for value in (1, 22):
        project.write("helper", f"VALUE = {value}\n")
        steps = project.load("helper", "steps")
        assert run_in(worker, steps.value()) == value


def test_one_that_is_as_it_was_stays(worker: Engine, project: Project) -> None:
    project.write("steps", STEPS.format(value=1))
    steps = project.load("steps")
    assert [run_in(worker, steps.times()) for _ in range(3)] == [1, 2, 3]


def test_what_goes_by_value_has_the_new_base(worker: Engine, project: Project) -> None:
    own: Any = None
    for value in (1, 22):
        project.write("steps", STEPS.format(value=value))
        steps = project.load("steps")
        if own is None:
            # Its own code is the same both times, and so is its token.
            class Own:
                pass

            own = Own
        own.now = steps.Box
        assert run_in(worker, kind_of(own)) == value


@task
def kind_of(own: Any) -> int:
    """Return what the class has, if that is what its module has now."""
    sys.__dict__.setdefault("held", []).append(own)  # as some library may
    assert own.now is sys.modules["steps"].Box
    kind: int = own.now.kind
    return kind


# ---- whose code ------------------------------------------------------------------


@pytest.mark.parametrize("is_loaded", [False, True])
def test_the_clients_module_goes_before_the_workers(
    is_loaded: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = Project(tmp_path / "theirs")
    theirs.write("steps", STEPS.format(value=-1))
    with monkeypatch.context() as path:
        path.syspath_prepend(str(theirs.folder))
        with engine() as worker:
            if is_loaded:
                worker.load("steps")
            path.undo()
            for project in _project(tmp_path / "ours", monkeypatch):
                project.write("steps", STEPS.format(value=1))
                assert run_in(worker, project.load("steps").value()) == 1


def test_the_next_client_finds_nothing_of_the_last(
    worker: Engine, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("steps", STEPS.format(value=1))
    monkeypatch.setattr(sys, "argv", ["run.py", "one"])
    monkeypatch.setenv("FIRST", "1")
    steps = project.load("steps")
    assert run_in(worker, steps.value()) == 1
    first = run_in(worker, look(["FIRST"]))
    assert first["FIRST"] == "1"
    assert first["argv"] == ["one"]
    assert {"steps"} <= {*first["modules"]}
    assert str(project.folder) in first["path"]
    monkeypatch.delenv("FIRST")
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one != str(project.folder)])
    monkeypatch.setattr(sys, "argv", ["run.py", "two"])
    del sys.modules["steps"]
    second = run_in(worker, look(["FIRST"]))
    assert second["FIRST"] is None
    assert second["argv"] == ["two"]
    assert "steps" not in second["modules"]
    assert str(project.folder) not in second["path"]


# ---- code that travels -----------------------------------------------------------


PACKAGE = """
import os
from fancypipe_core import task
from parts import helper


@task
def text():
    with open(os.path.join(os.path.dirname(__file__), "words.txt")) as file:
        return file.read() + helper.VALUE


@task
def home():
    return __file__
"""


def packed(project: Project, words: str = "some words") -> Any:
    """Write and load a package with data."""
    folder = project.folder / "parts"
    folder.mkdir(exist_ok=True)
    (folder / "__init__.py").write_text("", "utf-8")
    (folder / "helper.py").write_text("VALUE = '!'\n", "utf-8")
    (folder / "steps.py").write_text(PACKAGE, "utf-8")
    (folder / "words.txt").write_text(words, "utf-8")
    return project.load("parts", "parts.helper", "parts.steps")


def test_what_a_worker_does_not_see_is_sent(worker: Engine, project: Project) -> None:
    worker.hide(project.folder)
    for words in ("some words", "others"):
        steps = packed(project, words)
        with worker.session() as session:
            assert session.run([steps.text() for _ in range(20)]) == [f"{words}!"] * 20
            home = session.run(steps.home())
    assert home.endswith(f"{project.folder}/parts/steps.py")
    assert not home.startswith(str(project.folder))
    assert os.path.isfile(home)
    folder = Path(home.removesuffix(f"{project.folder}/parts/steps.py")).parent
    assert folder.stat().st_mode & 0o077 == 0, "others may not look into it"
    for child in multiprocessing.active_children():
        child.kill()
    wait_until(lambda: not folder.exists())


def test_what_is_seen_is_not_sent(worker: Engine, project: Project) -> None:
    steps = packed(project)
    assert run_in(worker, steps.home()) == f"{project.folder}/parts/steps.py"


def test_what_has_changed_since_the_session_began_is_sent_as_it_was(
    worker: Engine, project: Project
) -> None:
    steps = packed(project)
    with worker.session(max_losses=1) as session:
        assert session.run(steps.text()) == "some words!"
        (project.folder / "parts" / "words.txt").write_text("others", "utf-8")
        assert session.run(steps.text()) == "others!", "it has what is there"
        worker.restart()
        assert session.run(steps.text()) == "some words!"


@pytest.mark.skipif(not NATIVE.suffix, reason="this Python has no module of machine code in a file")
def test_changed_machine_code_is_loaded_from_another_place(
    worker: Engine, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as a process lives, a path means what it has loaded from there first."""
    homes: list[str] = []
    for more in (b"", b"", b" "):
        native = project.folder / "parts" / NATIVE.name
        steps = packed(project)
        native.unlink(missing_ok=True)
        native.write_bytes(NATIVE.read_bytes() + more)
        monkeypatch.setattr(sys, "argv", [*sys.argv, str(len(homes))])  # another client
        homes.append(run_in(worker, loads(steps.home(), f"parts.{NATIVE.name.partition('.')[0]}")))
    same, again, other = homes
    assert same == again == str(native)
    assert other.endswith(str(native))
    assert other != same


@task
def loads(_home: str, name: str) -> str:
    """Import a module of the client's; return where it is from."""
    return str(importlib.import_module(name).__file__)


def test_a_large_file_is_not_sent_and_said(
    worker: Engine,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    worker.hide(project.folder)
    monkeypatch.setattr(code_files, "_MOST_BYTES", 32 * 2**20)
    steps = packed(project, "x" * 33 * 2**20)
    with pytest.raises(errors.TaskError, match=r"words\.txt"):
        run_in(worker, steps.text())
    said = capfd.readouterr().err
    assert said.count("lacks") == 1
    assert f"{project.folder}/parts/words.txt (33 MiB): that is too large" in said


def test_where_it_cannot_be_unpacked_the_run_ends_and_says_why(
    worker: Engine, project: Project
) -> None:
    worker.hide(project.folder)
    worker.submit(_without_temporary_files).result(60)
    with pytest.raises(errors.TaskLost, match=r"cannot be unpacked on .* in /nowhere"):
        run_in(worker, packed(project).text())


def _without_temporary_files() -> None:
    tempfile.tempdir = "/nowhere"


def test_a_worker_that_asks_for_ever_ends_the_run(worker: Engine, project: Project) -> None:
    worker.submit(_forget_all).result(60)
    with pytest.raises(errors.TaskLost, match="asked for the pipeline's code again"):
        run_in(worker, packed(project).text())


def test_jobs_that_wait_for_those_of_others_can_be_given_up(
    worker: Engine, project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    worker.submit(_be_busy).result(60)
    with worker.session() as session:
        future = session.submit(packed(project).text())
        said = ""

        def is_said() -> bool:
            nonlocal said
            said += capfd.readouterr().err
            return "jobs of another client" in said

        wait_until(is_said)
        future.cancel()
        other = session.submit(packed(project).home())
        worker.submit(_be_free).result(60)
        assert other.result(60)
        assert future.cancelled()


def _be_busy() -> None:
    worker_code.here()._running, worker_code.here()._digest = 1, b"another"


def _be_free() -> None:
    worker_code.here().leave()


def _forget_all() -> None:
    worker_code.WorkerCode.enter = lambda *_: (FILES, "")  # type: ignore[method-assign]
