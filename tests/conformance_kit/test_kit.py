"""The conformance kit itself: sound backends pass it, and it finds what is wrong with others."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from fancypipe_core._plugins import discovery
from fancypipe_core.backend import NOT_BEGUN, BackendPlugin, Lost, Started
from fancypipe_core.testing import _pace
from fancypipe_core.testing._jobs import same
from fancypipe_core.testing._pace import slowdown
from fancypipe_core.testing._rig import Recorder, Rig
from fancypipe_core.testing._rules import rules
from tests.conformance_kit import deaths, planted
from tests.conformance_kit.backends import PLUGINS
from tests.conformance_kit.commands import LIMIT, PLUGIN, Forks, kit
from tests.meta.repo import ROOT


def pytest_knows_it() -> bool:
    return any(point.value == PLUGIN for point in metadata.entry_points(group="pytest11"))


def planted_kit(ready: Forks, folder: Path, text: str, *words: str) -> tuple[int, str]:
    """Run the kit on a backend of this source."""
    (folder / "planted_backend.py").write_text(text, encoding="utf-8")
    words = ("--backend", "planted_backend:plugin", "--limit", "4", *words)
    over = ready.kit(folder, *words, path=[ROOT])
    return over.returncode, over.stdout + over.stderr


HERE = "tests.conformance_kit.backends"
STRANGER = ROOT / "examples" / "plugins" / "pool" / "src"

# How the kit is told which, and the name that it then says.
SUBJECTS = {
    "serial": ("serial", "serial"),
    "threads": ("threads", "threads"),
    "procs": ("procs", "procs"),
    "channel-threads": (f"{HERE}:channel_threads", "channel-threads"),
    "channel-procs": (f"{HERE}:channel_procs", "channel-procs"),
    "thread-pool": (f"{HERE}:thread_pool", "thread-pool"),
    "process-pool": (f"{HERE}:process_pool", "process-pool"),
    "example": ("fancypipe_example_pool:plugin", "pool"),
}
IN_ONE_PROCESS = ["serial", "threads", "channel-threads", "thread-pool"]
# What is run in one go.  Where processes must be started for each test that takes its time;
# and of the pools of processes, the example gets all tests.
PARTS = [
    *((subject, "") for subject in IN_ONE_PROCESS),
    *(
        (subject, part)
        for subject in ("procs", "channel-procs", "example")
        for part in ("rules", "crashes", "not rules and not crashes")
    ),
    ("process-pool", "rule_06 or rule_08 or rule_09"),
]


@pytest.mark.slow
@pytest.mark.fault(2, 3, 5, 6, 8, 9, 12, 14, 21, 31)
@pytest.mark.parametrize(("subject", "part"), PARTS)
def test_sound_backends_pass(subject: str, part: str, tmp_path: Path) -> None:
    backend, name = SUBJECTS[subject]
    over = kit(tmp_path, "--backend", backend, "-k", part, path=(ROOT, STRANGER))
    assert over.returncode == 0, over.stdout + over.stderr
    assert f"fancypipe conformance: {name} " in over.stdout
    for line in over.stdout.splitlines():
        if line.startswith("SKIPPED"):
            assert f": {name} " in line, "a skip says what it is of this backend"
            optional = "driven" in line or "is not Following" in line
            assert subject in IN_ONE_PROCESS or optional, "all can be asked of processes"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("plugin", [discovery.find("threads"), discovery.find("procs"), *PLUGINS])
def test_sound_backends_do_as_many_at_once_as_they_were_asked_to(
    plugin: BackendPlugin, tmp_path: Path
) -> None:
    """The kit takes a backend at its word, also when it says that it can do less."""
    with Rig(plugin, 2, str(tmp_path / "session"), 60.0) as rig:
        rig.feed([same(number) for number in range(100)])
        assert {slots.count for slots in rig.recorder.slots} == {2}


def test_the_command_is_as_documented(tmp_path: Path) -> None:
    over = kit(tmp_path, "--backend", "threads", "-k", "rule_01", by_name=True)
    assert over.returncode == 0, over.stdout + over.stderr
    assert "2 passed" in over.stdout


def test_mistakes_are_told(ready: Forks, tmp_path: Path) -> None:
    for words, message in (
        ((), "say which backend is to be tested"),
        (("--backend", "nosuch"), "there is no backend 'nosuch'"),
        (("--backend", "os:path"), "os:path is not a BackendPlugin"),
        (("--backend", "os:nosuch"), "AttributeError: module 'os' has no attribute 'nosuch'"),
        (("--backend", "no_such:plugin"), "'no_such'; a module in the current folder is found wi"),
        (("--backend", "serial", "--workers", "0"), "at least 1"),
    ):
        over = ready.kit(tmp_path, *words)
        assert over.returncode == 4, over.stdout + over.stderr
        assert message in over.stderr


def test_other_runs_of_pytest_may_have_such_options(tmp_path: Path) -> None:
    """The plugin is loaded everywhere; it must be in nobody's way."""
    (tmp_path / "conftest.py").write_text(
        "def pytest_addoption(parser):\n    parser.addoption('--backend')\n", encoding="utf-8"
    )
    (tmp_path / "test_it.py").write_text(
        "def test_it(pytestconfig):\n    assert pytestconfig.getoption('backend') == 'x'\n",
        encoding="utf-8",
    )
    load = () if pytest_knows_it() else ("-p", PLUGIN)
    over = subprocess.run(
        [sys.executable, "-m", "pytest", *load, "--backend", "x"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert over.returncode == 0, over.stdout + over.stderr


def test_each_rule_has_its_text_and_its_tests(ready: Forks, tmp_path: Path) -> None:
    assert sorted(rules()) == list(range(1, 13))
    assert rules()[10].endswith("names what runs on in a note.")
    listed = ready.kit(tmp_path, "--backend", "serial", "--collect-only", "-q").stdout
    for number in rules():
        assert f"test_rule_{number:02}_" in listed


def test_a_sound_copy_passes(ready: Forks, tmp_path: Path) -> None:
    code, text = planted_kit(ready, tmp_path, planted.source(None), "-k", "rule")
    assert code == 0, text


def is_told(rule: int, code: int, text: str) -> None:
    """The report has the rule by its number and in its words, and what was seen."""
    assert code == 1, f"not found\n{text}"
    assert f"rule {rule} is broken.\n" in text, text
    assert "  Seen: " in text, text
    assert f"Rule {rule}: {rules()[rule]}" in text, text


@pytest.mark.parametrize("name", planted.BUGS)
def test_a_planted_bug_is_found(ready: Forks, name: str, tmp_path: Path) -> None:
    bug = planted.BUGS[name]
    found = planted_kit(
        ready, tmp_path, planted.source(bug), "-x", "-k", f"rule_{bug.tests or bug.rule:02}"
    )
    is_told(bug.rule, *found)


def test_what_a_vague_backend_knows_is_enough(ready: Forks, tmp_path: Path) -> None:
    """Of whom it is not known what they died of: whose fault it was is known all the same."""
    text = "from tests.conformance_kit.deaths import vague as plugin\n"
    code, said = planted_kit(ready, tmp_path, text, "-k", "rule_06 or certified or user_is_told")
    assert code == 0, said


@pytest.mark.parametrize("number", [200])
def test_the_kit_is_linear_in_the_number_of_events(number: int) -> None:
    def calls(count: int) -> int:
        made = 0

        def look(_frame: object, _event: str, _argument: object) -> None:
            nonlocal made
            made += 1

        recorder = Recorder()
        recorder.submitted.update((n, 1) for n in range(count))
        sys.setprofile(look)
        try:
            for n in range(count):
                recorder.sink([Started((n, 1), "here")])
                recorder.sink([Lost((n, 1), NOT_BEGUN)])
                recorder.check()
            recorder.check(last=True)
        finally:
            sys.setprofile(None)
        return made

    assert calls(4 * number) < 5 * calls(number)


def test_limits_are_longer_where_the_machine_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert slowdown() >= 1.0
    now, load = [0.0], [8.0]
    monkeypatch.setattr(_pace, "slowdown", lambda: load[0])
    monkeypatch.setattr(_pace, "monotonic", lambda: now[0])
    patience = _pace.Patience(10.0)
    over = []
    for second in range(1, 200):
        now[0] = float(second)
        load[0] = 1.0 if second in (15, 25) else 8.0  # idle for a moment
        if patience.is_over():
            over.append(second)
    assert over[0] == 66, "two seconds, and 64 of which each is an eighth"
    for seconds in (0.05, 0.3):
        patience = _pace.Patience(seconds)
        for _ in range(100):
            now[0] += 0.1
            patience.is_over()
        assert patience.is_over(), "it comes to an end"


@pytest.mark.parametrize("name", deaths.BUGS)
def test_a_bug_in_telling_of_deaths_is_found(ready: Forks, name: str, tmp_path: Path) -> None:
    bug = deaths.BUGS[name]
    text = f"from tests.conformance_kit.deaths import plugin_with\nplugin = plugin_with({name!r})\n"
    is_told(bug.rule, *planted_kit(ready, tmp_path, text, "-x", "-k", bug.tests))
