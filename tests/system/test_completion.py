"""The tab key in bash, zsh and fish: the shells themselves, and what they are told."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from fancypipe_core._cli import main as cli
from fancypipe_core._cli.complete import complete
from fancypipe_core._cli.completion import SHELLS, source

ENGINES = {"dask", "ray", "slurm", "SLURM"}  # packages that may be installed beside these

PIPELINE = """\
from __future__ import annotations
import enum
from pathlib import Path
from typing import Literal
import fancypipe_core as fp
from fancypipe_core import Task, module as compose, task
import not_installed_at_all

raise SystemExit("it was run")

class Color(enum.Enum):
    RED = 1
    GREEN = 2

@task
def square(x: float) -> float:
    return x

@fp.task(retries=2)
def words(*names: str) -> int: return 1

@task
def _hidden(): ...

class Smooth(Task, retries=1):
    def main(self, width: int = 3): return width

if True:
    @compose
    def inner(n): return square(n)

@compose
def study(
    image: Path, size: int = 3, quick: bool = False, mode: Literal["fast", "slow"] = "fast",
    *, color: Color = Color.RED, verbose=True, my_path: "Path | None" = None,
): return inner(size)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pipeline.py").write_text(PIPELINE, encoding="utf-8")
    (tmp_path / "broken.py").write_text(
        "from fancypipe_core import task\n@task\ndef f(x: ", "utf-8"
    )
    (tmp_path / "sub").mkdir()
    for name in ("data.nii", "a b.nii", "sub/inner.py", ".hidden.py", "other.txt"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def candidates(line: str) -> list[str]:
    *before, word = line.split(" ")[1:]
    return [one.text for one in complete(cli._group().commands, before, word)]


@pytest.mark.parametrize(
    ("line", "there"),
    [
        ("fancypipe pi", "pipeline.py"),
        ("fancypipe ./pi", "./pipeline.py"),
        ("fancypipe sub/", "sub/inner.py"),
        ("fancypipe .", ".hidden.py"),
        ("fancypipe conf", "config"),
        ("fancypipe work", "worker"),
        ("fancypipe pipeline.py:s", "pipeline.py:square pipeline.py:study"),
        ("fancypipe pipeline.py:_", ""),
        ("fancypipe pipeline.py:st", "pipeline.py:study"),
        ("fancypipe broken.py:", ""),
        ("fancypipe broken.py --x", ""),
        ("fancypipe nowhere/", ""),
        ("fancypipe nowhere.py --im", ""),
        # Options in the form that was begun.
        ("fancypipe -workert", "-workertype"),
        ("fancypipe --workert", "--workertype"),
        ("fancypipe --job_m", ""),
        ("fancypipe --max-l", "--max-losses"),
        ("fancypipe --max_l", "--max-losses"),
        ("fancypipe -workertype ", "P R S T procs remote serial threads"),
        ("fancypipe -workertype=th", "-workertype=threads"),
        ("fancypipe --backend S pip", "pipeline.py"),
        ("fancypipe --output da", "data.nii"),
        ("fancypipe --tempdir ", "sub/"),
        ("fancypipe --numworkers ", ""),
        ("fancypipe --quiet pi", "pipeline.py"),
        ("fancypipe --vers", "--version"),
        ("fancypipe -jobm", "-jobmanager"),
        ("fancypipe -workertype=remote --awa", "--away"),
        ("fancypipe -workertype=nonsense --awa", ""),
        # Inputs of the module that no other uses, or of the task that is named.
        ("fancypipe pipeline.py ", "--color --image --mode --my-path --quick --size --verbose"),
        (
            "fancypipe pipeline.py --image x --m",
            "--max-losses --max-temp --metrics-file --mode --my-path",
        ),
        ("fancypipe pipeline.py:square ", "-x"),
        ("fancypipe pipeline.py:Smooth --w", "--width --workdir --workers --workertype"),
        ("fancypipe pipeline.py:words ", "a b.nii broken.py data.nii other.txt pipeline.py sub/"),
        ("fancypipe pipeline.py --no-q", "--no-quick"),
        ("fancypipe pipeline.py --image da", "data.nii"),
        ("fancypipe pipeline.py --image=da", "--image=data.nii"),
        ("fancypipe pipeline.py --my-path=da", "--my-path=data.nii"),
        ("fancypipe pipeline.py --mode ", "fast slow"),
        ("fancypipe pipeline.py --color=G", "--color=GREEN"),
        ("fancypipe pipeline.py --quick --si", "--size"),
        ("fancypipe pipeline.py --size -1 --mo", "--mode"),
        ("fancypipe pipeline.py --size ", ""),
        # Commands.
        ("fancypipe config --ex", "--explain"),
        ("fancypipe config --numw", "--numworkers"),
        ("fancypipe config --outp", ""),
        ("fancypipe backends --", "--help"),
        ("fancypipe completion ", "bash fish zsh"),
        ("fancypipe report su", "sub/"),
        ("fancypipe report --o", "--open"),
        ("fancypipe doctor pi", "pipeline.py"),
        ("fancypipe doctor --js", "--json"),
        ("fancypipe doctor --limit 3 pi", "pipeline.py"),
        ("fancypipe doctor pipeline.py --im", "--image"),
        ("fancypipe doctor pipeline.py --js", "--json"),
        ("fancypipe graph --ea", "--each"),
        ("fancypipe graph pi", "pipeline.py"),
        ("fancypipe graph --each pipeline.py --im", "--image"),
        ("fancypipe worker --numw", "--numworkers"),
        ("fancypipe worker --workertype ", "P R S T procs remote serial threads"),
        ("fancypipe nothing ", ""),
    ],
)  # fmt: skip
def test_what_may_stand_there(place: Path, line: str, there: str) -> None:
    expected = there.replace("a b", "a\0b").split()
    found = [one for one in candidates(line) if one not in ENGINES]
    assert sorted(found) == sorted(one.replace("\0", " ") for one in expected)


def test_it_is_asked_for_as_of_other_programs(place: Path) -> None:
    def ask(**env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "fancypipe_core", *([] if env else ["completion", "bash"])],
            capture_output=True,
            text=True,
            env={**os.environ, **env},
            check=False,
            timeout=60,
        )

    assert (
        ask(_FANCYPIPE_COMPLETE="bash_source").stdout == ask().stdout == source("bash", "fancypipe")
    )
    refused = ask(_FANCYPIPE_COMPLETE="tcsh_source")
    assert refused.returncode == 2
    assert "completion is there for bash, fish, zsh" in refused.stderr
    # What is not known, or goes wrong, gives nothing, and says nothing.
    for line in ("", "fancypipe", "fancypipe \"a' ", "other", "fancypipe doctor nowhere.py:x --"):
        over = ask(_FANCYPIPE_COMPLETE="zsh_complete", _FANCYPIPE_LINE=line)
        assert "Traceback" not in over.stdout + over.stderr
        assert "mistake in fancypipe" not in over.stderr


# The command of this name says what it was called with, unless a shell asks it for candidates.
POSIX = """\
fancypipe() {
    if [ -n "$_FANCYPIPE_COMPLETE" ]; then command fancypipe "$@"; return; fi
    printf '<%s>' "$@"; printf ':over:\\n'
}
"""
FISH = "function fancypipe; printf '<%s>' $argv; printf ':over:\\n'; end\n"
EVAL = 'eval "$(command fancypipe completion '
STARTS = {
    "bash": (
        ["bash", "--norc", "--noprofile", "-i"],
        f"PS1='$ '\n{POSIX}{EVAL}bash)\"\n",
    ),
    "zsh": (
        ["zsh", "-f", "-i"],
        f"PS1='$ '\nautoload -Uz compinit; compinit -u -D\n{POSIX}{EVAL}zsh)\"\n",
    ),
    "fish": (
        ["fish", "--no-config", "-i"],
        f"{FISH}command fancypipe completion fish | source\n",
    ),
}


@pytest.fixture(params=list(SHELLS))
def shell(request: pytest.FixtureRequest, place: Path) -> Iterator[pexpect.spawn[str]]:
    name = request.param
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    command, start = STARTS[name]
    (place / "start").write_text(start, encoding="utf-8")
    # The command that is installed for this Python comes first.
    env = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(place / "home"),
        "TERM": "xterm",
        "LC_ALL": "C.UTF-8",
        "INPUTRC": os.devnull,
    }
    process = pexpect.spawn(
        command[0], command[1:], env=env, cwd=str(place), encoding="utf-8", timeout=60,
        dimensions=(40, 200),
    )  # fmt: skip
    try:
        process.sendline("source ./start; fancypipe is there")
        process.expect_exact("<is><there>:over:")
        yield process
    finally:
        process.close(force=True)


def test_the_tab_key(shell: pexpect.spawn[str]) -> None:
    for typed, called in (
        ("pi\t", ["pipeline.py"]),
        ("conf\t--exp\t", ["config", "--explain"]),
        ("sub/in\t", ["sub/inner.py"]),
        ("su\tin\t", ["sub/inner.py"]),
        ("pipeline.py:sq\t", ["pipeline.py:square"]),
        ("-workert\tthr\t pipel\t", ["-workertype", "threads", "pipeline.py"]),
        ("--workertype=thr\tpipel\t", ["--workertype=threads", "pipeline.py"]),
        ("pipeline.py --ima\tda\t", ["pipeline.py", "--image", "data.nii"]),
        ("pipeline.py --image=da\t", ["pipeline.py", "--image=data.nii"]),
        ("pipeline.py --image a\t", ["pipeline.py", "--image", "a b.nii"]),
        ("pipeline.py --mo\tsl\t", ["pipeline.py", "--mode", "slow"]),
        ("nothing-like-it\t", ["nothing-like-it"]),
    ):
        shell.send(f"fancypipe {typed}\n")
        shell.expect(r"(<[^\r\n]*>):over:")
        assert re.findall("<(.*?)>", shell.match.group(1)) == called, typed
