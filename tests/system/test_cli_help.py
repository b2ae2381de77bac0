"""Help, and what else the command line says of itself."""

from __future__ import annotations

import json
import re
import sys

import pytest

from tests.system.place import Place

# ---- help and what there is ---------------------------------------------------------


def test_help_of_a_pipeline(place: Place) -> None:
    place.write(
        "helped.py",
        '''\
from pathlib import Path
from fancypipe_core import module

@module
def study(image: Path, size: int = 3, quick: bool = False):
    """Find the regions.

    Args:
        image: The image, NIfTI.
        size: How large.
    """
    return 1
''',
    )
    text = place.fancypipe("helped.py --help").stdout
    assert text.startswith("Usage: fancypipe helped.py --image PATH [inputs] [options]\n")
    flat = " ".join(text.split())
    for part in (
        "Find the regions. Inputs:",
        "--image PATH The image, NIfTI. [required]",
        "--size INTEGER How large. [default: 3]",
        "--quick, --no-quick [default: false]",
        "Engine options:",
        "--workertype, --backend NAME",
        "--output FILE",
    ):
        assert part in flat
    assert flat.index("Inputs:") < flat.index("--size") < flat.index("Engine options:")
    script = place.call(sys.executable, "pipeline.py", "-h")
    assert script.stdout.startswith("Usage: pipeline.py [inputs] [options]\n")


def test_help_of_the_command(place: Place) -> None:
    over = place.fancypipe("--help")
    assert over.returncode == 0
    for part in ("FILE[:NAME]", "backends", "config", "--numworkers", "--version"):
        assert part in over.stdout
    assert "--jobmanager, --jobserver HOST[:PORT]" in over.stdout
    bare = place.fancypipe("")
    assert (bare.returncode, bare.stdout) == (2, "")
    assert len(bare.stderr.splitlines()) <= 8
    assert len(re.findall(r"^  fancypipe .*pipeline\.py", bare.stderr, re.MULTILINE)) == 3


def test_help_of_each_command_offers_what_it_takes_and_nothing_else(place: Place) -> None:
    for name in ("backends", "config", "doctor"):
        lines = place.fancypipe(f"{name} --help").stdout.splitlines()
        assert lines[0].startswith(f"Usage: fancypipe {name} [options]")
        offered = {line.split()[0].rstrip(",") for line in lines if line.startswith("  -")}
        assert "-h" in offered
        assert ("--grace" in offered) == (name != "backends")
        assert "--output" not in offered
        for line in (f"{name} --output=a.json", f"--output a.json {name}"):
            assert re.search("takes no option --output|no option --output", place.refused(line))
    assert place.refused("-numworkers=3 backends") == (
        "the command backends takes no option -numworkers"
    )
    assert "-numworkers" in place.refused("backends -numworkers=3")


def test_the_doctors_options_stand_before_or_behind_the_file(place: Place) -> None:
    for line in ("--json --limit=50 pipeline.py", "pipeline.py --json --x1 4 -limit 50"):
        over = place.fancypipe(f"doctor -workertype=S {line}")
        assert (over.returncode, over.stderr) == (0, "")
        assert json.loads(over.stdout)
    place.write(
        "own.py", "from fancypipe_core import task\n@task\ndef f(json: bool): return json\n"
    )
    assert not place.fancypipe("doctor own.py --json").stdout.startswith("{")
    assert place.fancypipe("doctor --json own.py --json").stdout.startswith("{")
    assert "--limit must be seconds" in place.refused("doctor pipeline.py --limit=soon")


def test_help_imports_nothing_that_it_does_not_need(place: Place) -> None:
    over = place.call(
        sys.executable,
        "-c",
        "import sys\nfrom fancypipe_core.cli import main\n"
        # Packages of others have to be imported: nobody else knows their commands.
        "from fancypipe_core._plugins import discovery as d\n"
        "points = d._points\n"
        "d._points = lambda group: {n: v for n, v in points(group).items() if n in d.OURS}\n"
        "try: main(['--help'])\nexcept SystemExit: print(*sys.modules, file=sys.stderr)",
    )
    modules = set(over.stderr.split())
    assert "fancypipe_core.cli" in modules
    unwanted = {
        "cloudpickle",
        "rich",
        "numpy",
        "pluggy",
        "msgspec",
        "tomllib",
        "importlib.metadata",
    }
    unwanted |= {"fancypipe_procs", "fancypipe_threads", "fancypipe_core.session"}
    assert modules & unwanted == set()


def test_a_short_run_that_is_not_watched_does_not_pay_for_the_display(place: Place) -> None:
    place.write(
        "spy.py",
        "import atexit, sys\nfrom fancypipe_core import task\n@task\ndef f(): return 1\n"
        "atexit.register(lambda: print('rich' in sys.modules, file=sys.stderr))\n",
    )
    assert place.fancypipe("-workertype=T spy.py").stderr.splitlines()[-1] == "False"


def test_backends(place: Place) -> None:
    heading, *lines = place.fancypipe("backends").stdout.splitlines()
    assert heading.split() == ["NAME", "ALIASES", "DISTRIBUTION", "VERSION", "API", "CAN", "STATE"]
    rows = {line.split()[0]: re.split(r"  +", line) for line in lines}
    version = rows["serial"][3]
    assert rows["procs"][1:6] == ["P", "fancypipe-procs", version, "1", "kill, time limits"]
    assert rows["threads"][1:6] == ["T", "fancypipe-threads", version, "1", "share memory"]
    assert rows["serial"][1:6] == ["S, inline", "fancypipe-core", version, "1", "share memory"]
    assert {row[6].partition(":")[0] for row in rows.values()} == {"ok"}


def test_a_broken_backend_is_named_and_harmless(place: Place) -> None:
    info = place.folder / "site" / "odd-0.9.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 0.9\n")
    (info / "entry_points.txt").write_text("[fancypipe.backends]\nodd = nosuchmodule:plugin\n")
    path = str(place.folder / "site")
    over = place.fancypipe("backends", PYTHONPATH=path)
    (row,) = [line for line in over.stdout.splitlines() if line.startswith("odd")]
    assert re.search(r"odd +0\.9 +broken: .*No module named 'nosuchmodule'", row)
    assert place.result("-workertype=T pipeline.py", PYTHONPATH=path) == 25.0


def test_config_is_a_configuration_file(place: Place) -> None:
    first = place.fancypipe("config -numworkers=3 -grace 2.5", FANCYPIPE_BACKEND="T").stdout
    assert {'backend = "T"', "workers = 3", "grace = 2.5"} <= set(first.splitlines())
    place.write("fancypipe.toml", first)
    assert place.fancypipe("config").stdout == first
    explained = place.fancypipe("-max-losses 9 config --explain").stdout
    assert (
        f"workers = 3  # project file: {place.folder / 'fancypipe.toml'}, key workers" in explained
    )
    assert "max_losses = 9  # argument: -max-losses" in explained
    assert "FANCYPIPE_GRACE" in explained
    place.write("fancypipe.toml", explained)
    assert "max_losses = 9" in place.fancypipe("config").stdout


def test_version(place: Place) -> None:
    assert re.fullmatch(r"fancypipe \d+\.\d+\.\d+\S*\n", place.fancypipe("--version").stdout)


@pytest.mark.slow
def test_each_default_is_said_once_and_in_words(place: Place) -> None:
    backends = [line.split()[0] for line in place.fancypipe("backends").stdout.splitlines()[1:]]
    listed = place.fancypipe("--help").stdout.partition("\nOptions:")[0]
    commands = re.findall(r"^  (\w+)  ", listed, re.MULTILINE)
    assert {"serial", "procs", "remote"} <= set(backends)
    assert {"runs", "manager", "worker", "secret"} <= set(commands)
    words = ["--help"]
    words += [f"{command} --help" for command in commands]
    words += [f"-workertype={backend} --help" for backend in backends]
    for line in words:
        text = place.fancypipe(line).stdout
        flat = " ".join(text.split())
        for unsaid in ('[default: ""]', "[default: []]", "[default: not set]", "y default"):
            assert unsaid not in flat, f"{line}: {text}"
        assert not re.search(r"\w\.\.\.$", text, re.MULTILINE), f"cut short: {text}"
        # A figure has its unit in the place of its kind: --wait SECONDS, not --wait FLOAT.
        bare = re.search(r"^  --\S+(, --\S+)* (FLOAT|INTEGER|DIR)\b", text, re.MULTILINE)
        assert not bare, f"{line}: {text}"


@pytest.mark.fault(5)
@pytest.mark.parametrize("backend", ["S", "T"])
def test_a_result_that_cannot_be_sent_is_told_without_our_own_frames(
    place: Place, backend: str
) -> None:
    place.write(
        "gives.py",
        "from fancypipe_core import task\n@task\ndef gives():\n    return (i for i in range(3))\n",
    )
    over = place.fancypipe(f"-q --no-journal -workertype={backend} gives.py")
    assert over.returncode == 1
    assert "it is a generator" in over.stderr
    assert "make a list of it" in over.stderr
    assert "Traceback" not in over.stderr
    assert "use threads" not in over.stderr, "it is refused there as well"
