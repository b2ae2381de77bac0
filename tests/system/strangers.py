"""What strangers have installed: a backend with settings, secrets and commands, and others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["PIPELINE", "SECRET", "Place"]

FAR = """\
from __future__ import annotations
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from fancypipe_core.backend import BackendPlugin, Command, setting
from fancypipe_core.toolkit import InlineBackend

@dataclass(frozen=True)
class FarSettings:
    farhost: str = setting("localhost:51423", help="Where the manager is.",
                              also=("farserver",), value="HOST[:PORT]", implies=True)
    farauth: str | None = setting(None, help="What both sides know.", secret=True)
    wait: float = setting(10.0, help="Seconds to wait for a worker.", least=0)
    way: Literal["fast", "safe"] = setting("fast", help="How.")
    eager: bool = setting(False, help="Do not wait.")
    home: Path | None = setting(None, help="Where things are.")

    def __post_init__(self):
        if self.eager and self.way == "safe":
            raise ValueError("eager is not safe")

@dataclass(frozen=True)
class WorkerSettings(FarSettings):
    numworkers: int = setting(1, help="How many tasks at a time.", least=1)

def make(options):
    print(options.settings, file=sys.stderr)
    return InlineBackend(options.runner())

plugin = BackendPlugin(
    "far", ("F",), "far away", make, shares_memory=True, settings=FarSettings,
    commands={
        "status": Command("Say what is there.", "far_commands:status", FarSettings),
        "hand": Command("Run jobs.", "far_commands:hand", WorkerSettings),
        "token": Command("Make a secret.", "far_commands:token", words="new|show"),
        "nowhere": Command("Not there.", "no_such_module:main"),
        "config": Command("Hidden by one of the engine.", "far_commands:status"),
    },
)
"""
COMMANDS = """\
from fancypipe_core.errors import UsageError
def status(settings, words):
    print("status of", settings.farhost)
    return 3
def hand(settings, words):
    print(settings.farhost, settings.numworkers, settings.farauth)
def notes(settings, words):
    print(settings.file)
def token(settings, words):
    if words != ["new"]:
        raise UsageError(f"no {words}")
    print("made")
"""
NEAR = """\
from dataclasses import dataclass
from fancypipe_core.backend import BackendPlugin, Command, setting
from fancypipe_core.toolkit import InlineBackend
@dataclass(frozen=True)
class NearSettings:
    wait: int = setting(7, help="Also called so elsewhere.")
plugin = BackendPlugin("near", (), "next door", lambda o: InlineBackend(o.runner()), True,
                       settings=NearSettings, commands={"both": Command("", "x:y")})
"""
OTHER = """\
from dataclasses import dataclass
from fancypipe_core.backend import BackendPlugin, Command, setting
@dataclass(frozen=True)
class Bad:
    workers: int = setting(7, help="The engine has this.")
taken = BackendPlugin("taken", (), "", None, settings=Bad, commands={"both": Command("", "x:y")})
odd = BackendPlugin("odd", (), "", None, settings=dict)
"""
NOTES = """\
import sys
from dataclasses import dataclass
from fancypipe_core.hooks import Command, hookimpl, setting
@dataclass(frozen=True)
class NotesSettings:
    file: str = setting("notes.txt", help="Where they go.")
class Notes:
    settings = NotesSettings
    commands = {"notes": Command("Show them.", "far_commands:notes", NotesSettings)}
    def __init__(self, settings):
        self.file = settings.file
    @hookimpl
    def fancypipe_run_over(self, run, outcome):
        print("notes are in", self.file, file=sys.stderr)
"""
PIPELINE = """\
from fancypipe_core import task
@task
def square(x: float = 3) -> float:
    return x * x
@task
def anything(**more):
    return more
"""
SECRET = "xyzzy-plugh-31337"


class Place:
    """A folder with a pipeline, a home of its own, and what strangers installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site = folder / "site"
        self.home = folder / "home" / "fancypipe"
        self.home.mkdir(parents=True)
        points = (
            "[fancypipe.backends]\nfar = far:plugin\nnear = near:plugin\n"
            "taken = other:taken\nodd = other:odd\n"
            "[fancypipe.plugins]\nnotes = notes:Notes\n"
        )
        self.install(points)
        for name, text in {
            "far": FAR,
            "far_commands": COMMANDS,
            "near": NEAR,
            "other": OTHER,
            "notes": NOTES,
        }.items():
            (self.site / f"{name}.py").write_text(text)
        (folder / "pipeline.py").write_text(PIPELINE)
        own = {k: v for k, v in os.environ.items() if not k.startswith("FANCYPIPE_")}
        self.env = {**own, "PYTHONPATH": str(self.site), "XDG_CONFIG_HOME": str(folder / "home")}
        self.env["COLUMNS"] = "100"

    def install(self, points: str) -> None:
        info = self.site / "strangers-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strangers\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(points)

    def python(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words],
            cwd=self.folder,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def fancypipe(self, line: str, **env: str) -> subprocess.CompletedProcess[str]:
        return self.python("-m", "fancypipe_core.cli", *line.split(), **env)

    def ran(self, line: str, **env: str) -> str:
        """Run the pipeline, and return the record that the backend was made with."""
        over = self.fancypipe(f"-q -no-plugins {line}", **env)
        assert over.returncode == 0, over.stderr
        assert float(over.stdout) == 9.0
        return over.stderr.strip()

    def said(self, line: str, code: int = 0, /, **env: str) -> str:
        over = self.fancypipe(line, **env)
        assert over.returncode == code, over.stdout + over.stderr
        return over.stdout

    def refused(self, line: str, code: int = 2, **env: str) -> str:
        """Run what is wrong, and return the one line that it says."""
        over = self.fancypipe(line, **env)
        assert (over.returncode, over.stdout) == (code, ""), over.stderr
        (said,) = over.stderr.splitlines()
        assert said.startswith("fancypipe: ")
        return said.removeprefix("fancypipe: ")
