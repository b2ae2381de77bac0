"""Finding backends and observers, and what a broken one may do: nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fancypipe_core import _plugins, errors, run
from fancypipe_core.hooks import Outcome, RunInfo, hookimpl
from tests.conformance import pipelines as p
from tests.meta.repo import python


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path, whose modules are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(_plugins, "_complained", set())
    monkeypatch.setattr(_plugins, "_looked", {})
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
    entries = {entry.name: entry for entry in _plugins.backends()}
    assert reason in (entries["aaa"].error or "")
    assert (entries["aaa"].dist, entries["aaa"].version) == ("stranger", "1.0")
    assert entries["serial"].error is None
    with pytest.raises(errors.PluginError, match="aaa") as caught:
        _plugins.find("aaa")
    assert caught.value.plugin == "aaa"
    with pytest.raises(errors.BackendNotFound):
        _plugins.find("B")
    assert _plugins.find("S").name == "serial"


def test_a_third_partys_alias_is_found_in_either_case(site: Path) -> None:
    (site / "fine.py").write_text(
        "from fancypipe_core.backend import BackendPlugin\n"
        "plugin = BackendPlugin('fine', ('Xy',), '', None)\n"
    )
    install(site, "fancypipe.backends", fine="fine:plugin")
    assert {_plugins.find(name).name for name in ("fine", "Xy", "XY", "xy")} == {"fine"}


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
