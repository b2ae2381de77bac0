"""Commands that a stranger's plugin brings: what a user types, and what comes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.system.strangers import PIPELINE, SECRET, Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_command_reads_its_line_as_the_engine_does(place: Place) -> None:
    assert place.said("hand") == "localhost:51423 1 None\n"
    assert place.said("hand -farhost=h:2 --numworkers 4") == "h:2 4 None\n"
    (place.folder / "fancypipe.toml").write_text("[far]\nfarserver = 'file'\nnumworkers = 3\n")
    assert place.said("hand", FANCYPIPE_FAR_NUMWORKERS="5") == "file 5 None\n"
    assert place.refused("hand -numworkers=0") == (
        "argument -numworkers must be a whole number from 1, not '0'"
    )
    assert place.refused("hand --numwokers=2").endswith("did you mean --numworkers?")
    assert place.refused("hand now") == "'now' belongs to no option"
    assert place.refused("-numworkers=3 hand") == (
        "options of the command hand stand behind it, as -numworkers should"
    )


def test_commands_have_words_help_and_exit_codes(place: Place) -> None:
    assert place.said("token new") == "made\n"
    assert place.refused("token old") == "no ['old']"
    text = place.said("token --help")
    assert text.startswith("Usage: fancypipe token [options] new|show\n")
    text = place.said("hand --help", FANCYPIPE_FAR_FARAUTH=SECRET)
    assert "--numworkers INTEGER" in text
    assert SECRET not in text


def test_commands_are_listed_without_importing_what_they_do(place: Place) -> None:
    (place.site / "far_commands.py").write_text("1 / 0")
    text = place.said("--help")
    assert re.search(r"\n  hand +Run jobs\. \(far\)\n", text)
    assert re.search(r"\n  far status +Say what is there\. \(far\)\n", text)


def test_a_backend_without_a_pipeline_says_what_is_there(place: Place) -> None:
    assert place.said("--workertype far -farhost=h:9", 3) == "status of h:9\n"
    assert place.said("-farhost=h:9", 3) == "status of h:9\n"
    assert place.refused("-workertype=near").startswith("there is no pipeline to run")
    assert place.refused("-workertype=S").startswith("there is no pipeline to run")


def test_what_is_wrong_with_a_command(place: Place) -> None:
    assert place.refused("nowhere", 1) == (
        "the command 'nowhere' of 'far' (no_such_module:main) cannot be loaded: "
        "ModuleNotFoundError: No module named 'no_such_module'"
    )
    # The engine's own comes first, and of two that clash each has a name of its own.
    assert place.said("config").startswith("backend = ")
    (row,) = (row for row in place.said("backends").splitlines() if row.startswith("far "))
    assert row.endswith("ok: far away (fancypipe has a command of its own for its config)")
    assert "Hidden by one" not in place.said("--help")
    said = place.refused("both")
    ways = "write fancypipe near both or fancypipe taken both"
    assert said == f"the command 'both' is brought by 'near' and 'taken': {ways}"
    assert re.search(r"\n  near both .*\(near\)\n", place.said("--help"))
    assert place.refused("near both", 1).startswith("the command 'both' of 'near' (x:y) cannot")
    # What is broken may be what was meant.
    said = place.refused("captain", 1)
    assert said.startswith("there is no file and no command 'captain', unless by a plugin that is")
    assert "backend 'odd'" in said


def test_all_commands_of_a_plugin_are_below_its_name(place: Place) -> None:
    assert place.said("far token new") == "made\n"
    assert place.said("far status -farhost=h:9", 3) == "status of h:9\n"
    text = place.said("far --help")
    assert text.startswith("Usage: fancypipe far COMMAND [options]\n")
    assert re.search(r"\n  status +Say what is there\.\n", text)
    assert re.search(r"\n  config +Hidden by one of the engine\.\n", text)
    there = "there are: config, hand, nowhere, status, token"
    assert place.refused("far sing") == f"far has no command 'sing'; {there}"
    assert place.refused("far") == f"far needs a command; {there}"
    assert place.said("far status --help").startswith("Usage: fancypipe far status [options]\n")


def test_what_a_command_raises_is_told_as_its_plugins(place: Place) -> None:
    (place.site / "far_commands.py").write_text("def status(settings, words):\n    1 / 0\n")
    said = place.refused("far status", 1)
    failed = "its command 'status' failed: ZeroDivisionError: division by zero (at "
    assert said.startswith(f"backend 'far' (strangers 1.0): {failed}")
    assert "far_commands.py:2)" in said


def test_an_observer_may_bring_a_command(place: Place) -> None:
    assert place.said("notes", 0, FANCYPIPE_NOTES_FILE="e") == "e\n"
    assert place.said("notes -file=n", 0, FANCYPIPE_NOTES_FILE="e") == "n\n"


def test_a_local_backend_has_its_settings_from_variables_and_files(place: Place) -> None:
    (place.folder / "worker.py").write_text(
        "from fancypipe_core.toolkit import local_backend\n"
        "print(type(local_backend('F', 2, '.')()).__name__)\n"
    )
    (place.folder / "fancypipe.toml").write_text("[far]\nwait = 2\n")
    over = place.python("worker.py", FANCYPIPE_FAR_WAY="safe")
    assert (over.returncode, over.stdout) == (0, "InlineBackend\n")
    assert "wait=2.0, way='safe'" in over.stderr


def test_a_file_beats_a_command(place: Place) -> None:
    (place.folder / "hand").write_text(PIPELINE)
    assert place.said("-q -no-plugins -workertype=S hand:square") == "9\n"


def test_a_command_as_a_program_of_its_own(place: Place) -> None:
    (place.folder / "farworker.py").write_text(
        "from far import plugin\nfrom fancypipe_core.toolkit import run_command\n"
        "run_command(plugin, 'hand')\n"
    )
    over = place.python("farworker.py", "-farserver=h", "-numworkers=2")
    assert (over.returncode, over.stdout) == (0, "h 2 None\n"), over.stderr
    over = place.python("farworker.py", "-h")
    assert over.stdout.startswith("Usage: farworker.py [options]\n")
