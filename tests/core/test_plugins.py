"""Finding backends and observers, and what a broken one may do: nothing."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from fancypipe_core import Session, errors, run, task
from fancypipe_core._plugins import discovery
from fancypipe_core.hooks import Outcome, RunInfo, TaskFailure, hookimpl
from tests.conformance import pipelines as p
from tests.meta.repo import python


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path, whose modules are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(discovery, "_complained", set())
    monkeypatch.setattr(discovery, "_looked", {})
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in (getattr(sys.modules[name], "__file__", "") or ""):
            del sys.modules[name]


def install(site: Path, group: str, **points: str) -> None:
    info = site / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    lines = "".join(f"{name} = {value}\n" for name, value in points.items())
    (info / "entry_points.txt").write_text(f"[{group}]\n{lines}")


COUNTING = """\
from fancypipe_core.hooks import hookimpl
made = []
class Counting:
    def __init__(self):
        made.append(self)
        self.over = 0
    @hookimpl
    def fancypipe_run_over(self, outcome):
        self.over += outcome.ok
single = Counting()
"""


def test_a_class_is_made_for_each_session_and_an_object_is_used_as_it_is(site: Path) -> None:
    (site / "counting.py").write_text(COUNTING)
    install(site, "fancypipe.plugins", one="counting:Counting", two="counting:single")
    for _ in range(2):
        assert run(p.square(3), backend="serial") == 9
    import counting  # type: ignore[import-not-found]  # it was written just now

    assert [one.over for one in counting.made] == [2, 1, 1]


def test_a_module_can_be_an_observer(site: Path) -> None:
    (site / "watching.py").write_text(
        "from fancypipe_core.hooks import hookimpl\n"
        "seen = []\n"
        "@hookimpl\n"
        "def fancypipe_run_started(run): seen.append(run.backend)\n"
    )
    install(site, "fancypipe.plugins", watching="watching")
    assert run(p.square(3), backend="serial") == 9
    import watching  # type: ignore[import-not-found]  # it was written just now

    assert watching.seen == ["serial"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import no_such_module", "cannot be loaded: ModuleNotFoundError"),
        ("raise SystemExit(3)", "cannot be loaded: SystemExit: 3"),
        ("this is no Python", "cannot be loaded: SyntaxError"),
        ("", "cannot be loaded: AttributeError"),
        ("class x:\n    def __init__(self): 1 / 0", "cannot be made: ZeroDivisionError"),
        (
            (
                "from fancypipe_core.hooks import hookimpl\n"
                "class x:\n    @hookimpl\n    def fancypipe_later(self): ..."
            ),
            "is left out: PluginValidationError",
        ),
        (
            (
                "from fancypipe_core.hooks import hookimpl\n"
                "class x:\n    @hookimpl\n    def fancypipe_run_over(self, nonsense): ..."
            ),
            "is left out: PluginValidationError",
        ),
    ],
)
@pytest.mark.fault(80)
def test_a_broken_observer_is_named_once_and_harmless(
    site: Path, capsys: pytest.CaptureFixture[str], text: str, reason: str
) -> None:
    (site / "broken.py").write_text(text)
    install(site, "fancypipe.plugins", bad="broken:x")
    for _ in range(2):
        assert run(p.square(3), backend="serial") == 9
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith("fancypipe: plugin 'bad' ")
    assert reason in said[0]


class Exiting:
    """Leaves at every occasion."""

    def __init__(self) -> None:
        self.calls = 0

    @hookimpl
    def fancypipe_run_started(self, run: RunInfo) -> None:
        self.calls += 1
        raise SystemExit(3)

    @hookimpl
    def fancypipe_run_over(self, run: RunInfo, outcome: Outcome) -> None:
        self.calls += 1


@pytest.mark.fault(80)
def test_an_observer_that_exits_is_not_asked_again(capsys: pytest.CaptureFixture[str]) -> None:
    exiting = Exiting()
    assert run(p.square(3), backend="serial", observers=[exiting]) == 9
    assert exiting.calls == 1
    assert "observer Exiting failed in fancypipe_run_started" in capsys.readouterr().err


def test_what_the_caller_gave_may_not_be_wrong() -> None:
    class Odd:
        @hookimpl
        def fancypipe_later(self) -> None: ...

    with pytest.raises(Exception, match="fancypipe_later"):
        run(p.square(3), backend="serial", observers=[Odd()])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import no_such_module", "ModuleNotFoundError"),
        ("raise SystemExit('no\\nway')", "SystemExit: no way"),
        ("plugin = 3", "is not a BackendPlugin"),
        (
            (
                "from fancypipe_core.backend import BackendPlugin\n"
                "plugin = BackendPlugin('bad', ('B',), '', None, api=0)"
            ),
            "is written for version 0 of the backend contract",
        ),
    ],
)
def test_a_broken_backend_is_listed_with_its_reason(site: Path, text: str, reason: str) -> None:
    (site / "broken.py").write_text(text)
    install(site, "fancypipe.backends", aaa="broken:plugin")
    entries = {entry.name: entry for entry in discovery.backends()}
    assert reason in (entries["aaa"].error or "")
    assert (entries["aaa"].dist, entries["aaa"].version) == ("stranger", "1.0")
    assert entries["serial"].error is None
    with pytest.raises(errors.PluginError, match="aaa") as caught:
        discovery.find("aaa")
    assert caught.value.plugin == "aaa"
    with pytest.raises(errors.BackendNotFound):
        discovery.find("B")
    assert discovery.find("S").name == "serial"


@pytest.mark.parametrize("name", ["dask", "D", "Dask", "Y", "slurm", "R"])
def test_a_backend_of_ours_that_is_not_there_is_to_be_installed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = {"D": "dask", "Y": "ray", "R": "remote"}.get(name, name.lower())
    monkeypatch.setattr(discovery, "_points", lambda _group: {})
    with pytest.raises(errors.BackendNotFound, match=f"pip install fancypipe-{package}$"):
        discovery.find(name)


def test_a_backend_without_all_methods_is_named(site: Path) -> None:
    (site / "half.py").write_text(
        "from fancypipe_core.backend import BackendPlugin\n"
        "from fancypipe_core.toolkit import InlineBackend\n"
        "class Half(InlineBackend): recall = None\n"
        "plugin = BackendPlugin('half', (), '', lambda options: Half(options.runner()), True)\n"
    )
    install(site, "fancypipe.backends", half="half:plugin")
    with pytest.raises(errors.PluginError, match="'half': Half has no recall;") as caught:
        run(p.square(3), backend="half")
    assert caught.value.plugin == "half"


def test_what_makes_a_backend_may_be_named_and_is_imported_for_a_session_only(site: Path) -> None:
    (site / "heavy.py").write_text(
        "from fancypipe_core.toolkit import InlineBackend\n"
        "def make(options): return InlineBackend(options.runner())\n"
    )
    (site / "light.py").write_text(
        "from fancypipe_core.backend import BackendPlugin\n"
        "plugin = BackendPlugin('light', (), '', 'heavy:make', True)\n"
        "wrong = BackendPlugin('wrong', (), '', 'heavy:mkae', True)\n"
    )
    install(site, "fancypipe.backends", light="light:plugin", wrong="light:wrong")
    entries = {entry.name: entry for entry in discovery.backends()}
    assert entries["light"].error is None
    assert "heavy" not in sys.modules
    assert run(p.square(3), backend="light") == 9
    with pytest.raises(errors.PluginError, match=r"'wrong'.*: make\(\) failed: .*mkae") as caught:
        run(p.square(3), backend="wrong")
    assert caught.value.plugin == "wrong"


def test_a_third_partys_alias_is_found_in_either_case(site: Path) -> None:
    (site / "fine.py").write_text(
        "from fancypipe_core.backend import BackendPlugin\n"
        "plugin = BackendPlugin('fine', ('Xy',), '', None)\n"
    )
    install(site, "fancypipe.backends", fine="fine:plugin")
    assert {discovery.find(name).name for name in ("fine", "Xy", "XY", "xy")} == {"fine"}


def test_a_run_without_installed_observers_does_not_read_all_metadata() -> None:
    code = (
        "import sys\n"
        "from fancypipe_core import run, task\n"
        "before = 'importlib.metadata' in sys.modules\n"
        "assert run(3, backend='serial') == 3\n"
        "assert before or 'importlib.metadata' not in sys.modules\n"
        "assert 'pluggy' not in sys.modules\n"
    )
    over = python(code)
    assert over.returncode == 0, over.stderr


def test_a_third_partys_backend_is_found_as_fast_as_ours(site: Path) -> None:
    (site / "fine.py").write_text(
        "from fancypipe_core.backend import BackendPlugin\n"
        "from fancypipe_core.toolkit import InlineBackend\n"
        "class Kept:\n"
        "    plugin = BackendPlugin('fine', (), '', lambda o: InlineBackend(o.runner()), True)\n"
    )
    info = site / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text(
        "[other.group]\nfine = nonsense\n"
        "[fancypipe.backends]\n# fine = nonsense\n\n  fine=fine:Kept.plugin [extra]\n"
    )
    over = python(
        f"import sys; sys.path.insert(0, {str(site)!r})\n"
        "from fancypipe_core import run, task\n"
        "before = 'importlib.metadata' in sys.modules\n"
        "assert run(3, backend='fine') == 3\n"
        "assert before or 'importlib.metadata' not in sys.modules\n"
    )
    assert over.returncode == 0, over.stderr


# ---- plugins that decide -----------------------------------------------------


class Policy:
    """Changes settings."""

    def __init__(self, *changes: dict[str, object]) -> None:
        self.changes = list(changes)
        self.seen: list[object] = []

    @hookimpl
    def fancypipe_configure(self, settings: Mapping[str, object]) -> dict[str, object] | None:
        self.seen.append((settings["workers"], settings["backend"]))
        return self.changes.pop(0) if self.changes else None


def test_a_plugin_may_change_the_settings_before_anything_starts() -> None:
    first = Policy({"workers": "3", "backend": "T"})
    second = Policy({"keep_going": True})
    with Session(backend="serial", workers=7, observers=[first, second]) as session:
        assert session.settings.workers == 3
        assert session.settings.keep_going is True
        assert "on threads, 3 workers" in repr(session)
    assert (first.seen, second.seen) == ([(7, "serial")], [(3, "T")])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"workers": 0}, "plugin 'Policy' returned from fancypipe_configure what cannot be set: "),
        ({"nosuch": 1}, "{'nosuch': 1} (KeyError: 'nosuch')"),
        ([3], "what cannot be set: [3] (TypeError"),
    ],
)
def test_what_cannot_be_changed_is_the_plugins_fault(changes: Any, text: str) -> None:
    with pytest.raises(errors.PluginError, match=re.escape(text)) as caught:
        run(p.square(3), backend="serial", observers=[Policy(changes)])
    assert caught.value.plugin == "Policy"


class Fails:
    """Cannot decide."""

    @hookimpl
    def fancypipe_configure(self, settings: Mapping[str, object]) -> None:
        raise SystemExit("no idea")


@pytest.mark.fault(80)
def test_a_plugin_that_fails_to_decide_ends_the_run() -> None:
    with pytest.raises(errors.PluginError) as caught:
        run(p.square(3), backend="serial", observers=[Fails()])
    assert str(caught.value) == (
        "plugin 'Fails' failed in fancypipe_configure: SystemExit: no idea; "
        "without the installed plugins: -no-plugins"
    )


class Judge:
    """Says of each failure whether it is followed by another attempt."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.asked: list[TaskFailure] = []

    @hookimpl
    def fancypipe_retry(self, failure: TaskFailure) -> object:
        self.asked.append(failure)
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer


@task
def third_time(path: str) -> int:
    """Works at the third attempt."""
    with open(path, "a+") as file:
        file.write("x")
        file.seek(0)
        count = len(file.read())
    if count < 3:
        raise OSError(f"only {count}")
    return count


@task(retries=5)
def patient_third_time(path: str) -> int:
    """As that, and it is worth trying."""
    return third_time.main(path)


@pytest.mark.parametrize("backend", ["serial", "threads", "procs"])
def test_a_plugin_decides_whether_to_try_again(tmp_path: Path, backend: str) -> None:
    judge, shy = Judge(True, True, True), Judge()
    value = run(third_time(str(tmp_path / "a")), backend=backend, observers=[shy, judge])
    assert value == 3
    assert [failure.attempt for failure in judge.asked] == [1, 2]
    first = judge.asked[0]
    assert first == ("third_time", first.path, 1, 0, "OSError", "only 1")
    assert "third_time" in first.path
    assert len(shy.asked) == 2


def test_a_plugin_may_say_that_trying_again_is_no_use(tmp_path: Path) -> None:
    judge = Judge(None, False)
    with pytest.raises(OSError, match="only 2"):
        run(patient_third_time(str(tmp_path / "a")), backend="serial", observers=[judge])
    assert [failure.retries for failure in judge.asked] == [5, 5]
    assert (
        run(patient_third_time(str(tmp_path / "b")), backend="serial", observers=[Judge(None)]) == 3
    )


def test_a_plugin_cannot_have_a_task_tried_for_ever() -> None:
    class Stubborn:
        @hookimpl
        def fancypipe_retry(self, failure: TaskFailure) -> bool:
            return True

    with pytest.raises(ValueError, match="always") as caught:
        run(fails(), backend="serial", observers=[Stubborn()])
    assert "on attempt 1000" in str(caught.value)


@task
def fails() -> None:
    """Raises."""
    raise ValueError("always")


@pytest.mark.fault(80)
@pytest.mark.parametrize("backend", ["serial", "threads", "procs"])
def test_a_plugin_that_fails_to_decide_on_a_retry_ends_the_run(backend: str) -> None:
    judge = Judge(KeyError("lost"))
    with Session(backend=backend, observers=[judge], grace=100) as session:
        begin = monotonic()
        with pytest.raises(errors.PluginError, match=r"'Judge' failed in fancypipe_retry: KeyErr"):
            session.run([fails(), p.square(2)])
        # The attempt is over, and nobody waits for it.
        assert monotonic() - begin < 50
        # The session is as good as before.
        assert session.run(p.square(3)) == 9


class Raises:
    """Raises in one hook."""

    def __init__(self, hook: str) -> None:
        self.hook = hook
        self.calls: list[str] = []

    def _called(self, hook: str) -> None:
        self.calls.append(hook)
        if hook == self.hook:
            raise RuntimeError("a mistake")

    @hookimpl
    def fancypipe_run_started(self) -> None:
        self._called("fancypipe_run_started")

    @hookimpl
    def fancypipe_task_events(self) -> None:
        self._called("fancypipe_task_events")

    @hookimpl
    def fancypipe_run_over(self) -> None:
        self._called("fancypipe_run_over")


@pytest.mark.fault(80)
@pytest.mark.parametrize("backend", ["serial", "threads", "procs"])
@pytest.mark.parametrize(
    "hook", ["fancypipe_run_started", "fancypipe_task_events", "fancypipe_run_over"]
)
def test_an_exception_in_an_observer_is_said_once_and_the_engine_goes_on(
    backend: str, hook: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, good = Raises(hook), Raises("")
    with Session(backend=backend, workers=1, observers=[bad, good]) as session:
        for _ in range(2):
            assert session.run([p.square(x) for x in range(20)]) == [x * x for x in range(20)]
    said = capsys.readouterr().err
    assert said.count(f"observer Raises failed in {hook} and is not called again") == 1
    assert said.count("RuntimeError: a mistake") == 1
    assert bad.calls.count(hook) == 1
    assert good.calls.count("fancypipe_run_over") == 2
