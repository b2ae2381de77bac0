"""A stranger's backend with settings and secrets: what a user types, and what comes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.strangers import SECRET, Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# ---- options, variables, files -------------------------------------------------


def test_later_sources_beat_earlier_ones(place: Place) -> None:
    seen = []

    def look(option: str = "", **env: str) -> None:
        text = place.said(f"config --explain -workertype=far {option}", 0, **env)
        (line,) = (line for line in text.splitlines() if line.startswith("wait = "))
        seen.append(line)

    look()
    user = place.home / "config.toml"
    user.write_text("[far]\nwait = 1\n")
    look()
    project = place.folder / "pyproject.toml"
    project.write_text("[tool.fancypipe.far]\nwait = 2.5\n[tool.fancypipe.near]\nwait = 1\n")
    look()
    look(FANCYPIPE_FAR_WAIT="3")
    look("-wait=4", FANCYPIPE_FAR_WAIT="3")
    assert seen == [
        "wait = 10.0  # default: 10.0",
        f"wait = 1.0  # user file: {user}, key far.wait",
        f"wait = 2.5  # project file: {project}, key far.wait",
        "wait = 3.0  # environment: FANCYPIPE_FAR_WAIT",
        "wait = 4.0  # argument: -wait",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "-workertype=far -farhost=h:1 pipeline.py:square",
        "-farhost h:1 pipeline.py:square",
        "pipeline.py:square --farhost=h:1",
        "pipeline.py:square --farserver h:1 --x 3",
        "-wait=10 -farhost=h:1 pipeline.py:square",  # which the backend near has, too
    ],
)
def test_a_setting_is_an_option_and_may_choose_its_backend(place: Place, line: str) -> None:
    assert place.ran(line).startswith("FarSettings(farhost='h:1', wait=10.0, way='fast'")


def test_an_argument_beats_the_backend_of_a_file_but_not_another_argument(place: Place) -> None:
    (place.folder / "fancypipe.toml").write_text('backend = "threads"\n[far]\nwait = 1\n')
    assert "FarSettings" in place.ran("-farhost=h pipeline.py:square")
    assert place.ran("pipeline.py:square", FANCYPIPE_FAR_FARHOST="h") == ""
    assert "'h', wait=1.0" in place.ran("pipeline.py:square -farhost=h", FANCYPIPE_BACKEND="S")
    assert place.refused("-q -workertype=S pipeline.py:square -farhost=h") == (
        "argument -farhost belongs to the backend 'far', and the backend is 'serial' "
        "(argument: -workertype); choose the other by -workertype=far"
    )


def test_values_have_their_types(place: Place) -> None:
    (place.folder / "fancypipe.toml").write_text('[far]\nhome = "things"\neager = true\n')
    record = place.ran("-workertype=F pipeline.py:square -wait 2")
    assert f"PosixPath('{place.folder}/things')" in record
    assert "eager=True" in record
    assert "wait=2.0" in record
    assert "eager=False" in place.ran("-workertype=F pipeline.py:square --no-eager")
    assert "way='safe'" in place.ran("-workertype=F --no-eager pipeline.py:square -way=safe")


def test_what_is_wrong_names_its_source(place: Place) -> None:
    run = "-q -no-plugins -workertype=far pipeline.py:square"
    assert place.refused(f"{run} -wait=-1") == "argument -wait must be a number from 0, not '-1'"
    assert place.refused(f"{run} -wait=nan") == "argument -wait must be a number from 0, not 'nan'"
    assert place.refused(f"{run} --way=slow") == (
        "argument --way must be one of fast, safe, not 'slow'"
    )
    assert place.refused(run, FANCYPIPE_FAR_EAGER="perhaps") == (
        "environment variable FANCYPIPE_FAR_EAGER must be true or false, not 'perhaps'"
    )
    assert place.refused(f"{run} --eager -way=safe") == "the settings of 'far': eager is not safe"
    said = place.refused("-workertype=far config --wate=3")
    assert said.startswith("there is no option --wate")
    file = place.folder / "fancypipe.toml"
    file.write_text("[far]\nwait = 'long'\n")
    assert place.refused(run) == f"{file}: far.wait must be a number from 0, not 'long'"
    file.write_text("[far]\nfarhst = 'h'\n")
    assert place.refused(run) == (
        f"{file}: key 'far.farhst' is not a setting; did you mean farhost?"
    )
    file.write_text("far = 3\n")
    assert "'far' is not a setting" in place.refused(run)
    file.write_text("[faar]\nwait = 3\n")
    assert place.refused("-q -workertype=S pipeline.py:square") == (
        f"{file}: the table [faar] belongs to no backend and no plugin that is installed; "
        "did you mean far?"
    )


def test_a_setting_of_another_backend_is_said_to_be_its(place: Place) -> None:
    chosen = "default: procs if installed, else threads, else serial"
    assert place.refused("-q pipeline.py:square -farauth=x") == (
        f"argument -farauth belongs to the backend 'far', and the backend is 'procs' ({chosen}); "
        "choose the other by -workertype=far"
    )
    assert "belongs to the backend 'far'" in place.refused("config -workertype=near -way=fast")
    # A file may have the tables of all, and a key there may be that of a command.
    (place.folder / "fancypipe.toml").write_text("[far]\nwait=1\nnumworkers=2\n[remote]\nx=1\n")
    assert place.said("-q -no-plugins -workertype=near pipeline.py:square") == "9\n"
    assert "wait=1.0" in place.ran("-workertype=far pipeline.py:square")


def test_a_task_that_takes_any_option_comes_before_other_backends(place: Place) -> None:
    line = "-q -no-plugins pipeline.py:anything --way=home"
    assert place.said(f"-workertype=S {line}") == '{"way": "home"}\n'
    assert "must be one of fast, safe" in place.refused(f"-workertype=far {line}")


def test_a_variable_that_looks_like_one_is_remarked(place: Place) -> None:
    over = place.fancypipe("-workertype=far config", FANCYPIPE_FAR_FARHST="h")
    assert over.stderr == (
        "fancypipe: FANCYPIPE_FAR_FARHST in the environment is no setting; "
        "did you mean FANCYPIPE_FAR_FARHOST?\n"
    )
    assert place.fancypipe("-workertype=S config", FANCYPIPE_NEAR_WAIT="3").stderr == ""


def test_a_secret_is_not_shown(place: Place) -> None:
    lines = ["config", "config --explain", "--help", "pipeline.py:square --help"]
    lines += ["-q pipeline.py:square", "-q pipeline.py:square --x=many", "-q nosuch.py"]
    for line in lines:
        over = place.fancypipe(f"-workertype=far {line}", FANCYPIPE_FAR_FARAUTH=SECRET)
        assert SECRET not in over.stdout + over.stderr
    assert "# farauth is set; it is a secret" in place.said(
        f"config -workertype=far -farauth={SECRET}"
    )
    (place.folder / "fancypipe.toml").write_text("[far]\nfarauth = 31337\n")
    said = place.refused("-workertype=far pipeline.py:square")
    assert said.endswith("far.farauth must be a text, not what was given, which is a secret")


def test_config_can_be_used_as_a_file(place: Place) -> None:
    text = place.said("config -workertype=far -way=safe -wait=2 --notes-file=n")
    assert "[far]\nfarhost =" in text
    assert '[notes]\nfile = "n"\n' in text
    (place.folder / "fancypipe.toml").write_text(text)
    assert place.said("config") == text


def test_help_shows_the_options_of_the_backend_that_is_asked_for(place: Place) -> None:
    text = place.said("--help")
    assert "All options of a backend: fancypipe -workertype=NAME --help" in text
    assert "--wait" not in text
    for line in ("-workertype=F --help", "-farhost=h pipeline.py:square --help"):
        text = " ".join(place.said(line).split())
        assert "Options of the backend far: --farhost, --farserver HOST[:PORT]" in text
        assert "--wait FLOAT Seconds to wait for a worker. [default: 10.0]" in text
    text = place.said("-workertype=S --help")
    assert "Options of the backend serial:\n  none" in text


# ---- from Python ---------------------------------------------------------------

SCRIPT = """\
from fancypipe_core import run, errors
from pipeline import square
import pathlib
assert run(square(3), farhost="h", home=pathlib.Path("~"), no_plugins=True) == 9
assert run(square(3), backend="far", farserver="h", way="safe", notes_file="n") == 9
for wrong in ({"farhost": 3}, {"backend": "S", "wait": 1}, {"wate": 1, "backend": "far"}):
    try:
        run(square(3), **wrong)
    except errors.ConfigError as error:
        print(error)
"""


def test_a_setting_is_an_argument(place: Place) -> None:
    (place.folder / "script.py").write_text(SCRIPT)
    over = place.python("script.py")
    assert over.returncode == 0, over.stderr
    # Of the packages that may be installed beside these, one has a setting of that name.
    said = over.stdout.replace("'remote', 'slurm'", "'remote'").replace(" or backend=slurm", "")
    assert said.splitlines() == [
        "argument farhost must be a text, not 3",
        (
            "argument wait belongs to the backends 'far', 'near', 'remote', and the backend is "
            "'serial' (argument: backend); choose the other by backend=far or backend=near or "
            "backend=remote"
        ),
        "argument 'wate' is not a setting; did you mean wait?",
    ]
    first, second, notes = over.stderr.splitlines()
    assert f"home=PosixPath('{Path('~').expanduser()}')" in first
    assert "farhost='h'" in second
    assert notes == "notes are in n"


# ---- observers -----------------------------------------------------------------


def test_an_observer_has_options_with_its_name(place: Place) -> None:
    line = "-q -workertype=S pipeline.py:square"
    assert place.fancypipe(line).stderr == "notes are in notes.txt\n"
    assert place.fancypipe(f"{line} -notes-file=n").stderr == "notes are in n\n"
    assert place.fancypipe(line, FANCYPIPE_NOTES_FILE="e").stderr == "notes are in e\n"
    (place.folder / "fancypipe.toml").write_text('[notes]\nfile = "f"\n')
    assert place.fancypipe(line).stderr == "notes are in f\n"
    (place.folder / "fancypipe.toml").write_text("[notes]\nfile = 3\n")
    assert place.refused(line).endswith("fancypipe.toml: notes.file must be a text, not 3")


@pytest.mark.fault(80)
def test_observers_can_be_left_out(place: Place) -> None:
    (place.site / "notes.py").write_text("1 / 0")
    line = "-q -workertype=S pipeline.py:square"
    assert "plugin 'notes' (notes:Notes) cannot be loaded" in place.fancypipe(line).stderr
    assert place.fancypipe(f"{line} -no-plugins").stderr == ""
    assert place.fancypipe(line, FANCYPIPE_NO_PLUGINS="1").stderr == ""
    (place.folder / "fancypipe.toml").write_text("no-plugins = true")
    assert place.fancypipe(line).stderr == ""


def test_an_option_of_an_observer_that_is_left_out(place: Place) -> None:
    assert place.refused("-q -no-plugins pipeline.py:square -notes-file=n") == (
        "argument -notes-file belongs to the plugin 'notes'; they are off (argument: -no-plugins)"
    )


# ---- what is wrong with a plugin -------------------------------------------------


@pytest.mark.fault(80)
def test_settings_that_cannot_be_are_the_plugins_fault(place: Place) -> None:
    run = "-q -no-plugins pipeline.py:square"
    assert place.refused(f"{run} -workertype=taken", 1).startswith(
        "'taken' brings a setting 'workers', and fancypipe has one of its own"
    )
    assert place.refused(f"{run} -workertype=odd", 1) == (
        "backend 'odd': its settings must be a dataclass of which each field has a default, "
        "not <class 'dict'>"
    )
    assert place.said(f"{run} -workertype=S") == "9\n"
    (place.site / "notes.py").write_text("class Notes:\n    settings = 3\n")
    over = place.fancypipe("-q -workertype=S pipeline.py:square")
    assert (over.returncode, over.stdout) == (0, "9\n")
    assert over.stderr == (
        "fancypipe: plugin 'notes' (notes:Notes) is left out: its settings must be a dataclass "
        "of which each field has a default, not 3\n"
    )


RIVAL = """\
from dataclasses import dataclass
from fancypipe_core.backend import BackendPlugin, setting
from fancypipe_core.toolkit import InlineBackend
@dataclass(frozen=True)
class RivalSettings:
    farhost: str = setting("here", help="Also called so elsewhere.", implies=True)
    speed: int = setting(1, help="How fast.")
    notes_file: str = setting("", help="Called as what an observer has.")
plugin = BackendPlugin("rival", ("Far", "T", "F", "R2"), "as far as that",
                       lambda o: InlineBackend(o.runner()), True, settings=RivalSettings)
"""


def test_what_two_plugins_bring_names_both(place: Place) -> None:
    """Options, and aliases, of which the later one loses those that are taken."""
    (place.site / "rival.py").write_text(RIVAL)
    info = place.site / "rival-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rival\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text("[fancypipe.backends]\nrival = rival:plugin\n")
    both = "is brought by the backends 'far' and 'rival'; say which: "
    assert place.refused("pipeline.py:square -farhost=h") == (
        f"argument -farhost {both}-workertype=far or -workertype=rival"
    )
    assert "FarSettings" in place.ran("pipeline.py:square -farhost=h -way=safe"), (
        "only one has these"
    )
    assert place.ran("pipeline.py:square -farhost=h -speed=2") == "", "and only the other these"
    assert place.ran("-workertype=R2 pipeline.py:square -farhost=h") == ""
    assert place.refused("-workertype=S pipeline.py:square -farhost=h").startswith(
        "argument -farhost belongs to the backends 'far', 'rival', and the backend is 'serial' "
    )
    assert place.refused("-workertype=rival pipeline.py:square -notes-file=x") == (
        "argument -notes-file is brought by the plugins 'rival' and 'notes', and both are in "
        "force: set it by their variables or in a file, where each has its own"
    )
    (row,) = (row for row in place.said("backends").splitlines() if row.startswith("rival "))
    assert row.split()[1] == "R2"
    for alias, owner in (("Far", "far"), ("T", "threads"), ("F", "far")):
        assert f" (its alias {alias} is that of {owner})" in row
    assert "FarSettings" in place.ran("-workertype=F pipeline.py:square")
    assert "FarSettings" in place.ran("-workertype=Far pipeline.py:square")
