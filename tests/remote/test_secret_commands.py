"""`fancypipe secret`: what it writes, and that it never shows a secret."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from fancypipe_remote import plugin
from fancypipe_remote._auth import secret
from fancypipe_remote._auth.keys import WORKER, PeerKeys
from fancypipe_remote._commands.secret import WORDS


class Over(NamedTuple):
    exit_code: int
    stdout: str
    stderr: str


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith("FANCYPIPE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def user_file(home: Path) -> Path:
    return home / "config" / "fancypipe" / "jobauth"


def call(*words: str) -> Over:
    """Type `fancypipe secret ...`."""
    code = "from fancypipe_core.cli import main; main()"
    command = [sys.executable, "-c", code, "secret", *words]
    over = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return Over(over.returncode, over.stdout, over.stderr)


def refusal(*words: str) -> str:
    over = call(*words)
    assert (over.exit_code, over.stdout) == (2, "")
    assert over.stderr.startswith("fancypipe: ")
    assert over.stderr.count("\n") == 1
    return over.stderr.removeprefix("fancypipe: ").rstrip("\n")


def test_a_new_secret(home: Path) -> None:
    over = call("new")
    path = user_file(home)
    assert (over.exit_code, over.stdout) == (0, f"{path}\n")
    assert over.stderr == (
        "A new secret is in this file, for you only (mode 0600).  Machines with another home "
        "folder need a copy of it.\n"
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    made = secret.find(env={"XDG_CONFIG_HOME": str(home / "config")})
    assert made.kind == "token"
    assert made.reveal() not in over.stdout + over.stderr


def test_it_replaces_only_when_told(home: Path) -> None:
    call("new")
    path = user_file(home)
    before = path.read_text()
    assert refusal("new") == (
        f"{path}: there is a secret already; -replace makes another, and managers, workers and "
        "clients with the old one cannot connect to those with the new one"
    )
    assert path.read_text() == before
    for spelled in ("-replace", "--replace"):
        assert call("new", spelled).exit_code == 0
        assert path.read_text() != before
        before = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["jobauth"]


def test_where_it_is(home: Path) -> None:
    over = call("show-path")
    assert (over.exit_code, over.stdout) == (0, f"{user_file(home)}\n")
    assert over.stderr == (
        "It is not there yet: a manager makes it when it starts, and `fancypipe secret new` makes "
        "it now.\n"
    )
    call("new")
    over = call("show-path")
    assert (over.stdout, over.stderr) == (f"{user_file(home)}\n", "")


def test_a_worker_key(home: Path) -> None:
    call("new")
    file = home / "workerkey"
    over = call("export-worker-key", str(file), "-cluster", "north")
    assert (over.exit_code, over.stdout, over.stderr) == (0, f"{file}\n", "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    key = secret.find(f"@{file}", env={})
    whole = secret.find(env={"XDG_CONFIG_HOME": str(home / "config")})
    assert PeerKeys(key, WORKER)._own.public == PeerKeys(whole, WORKER, "north")._own.public
    assert refusal("export-worker-key", str(file)) == (
        f"{file}: is there already, and is not overwritten"
    )


def test_a_worker_key_of_a_named_secret(home: Path) -> None:
    named = home / "named"
    named.write_text("correct-horse 7 battery")
    named.chmod(0o600)
    assert call("export-worker-key", str(home / "key"), f"-jobauth=@{named}").exit_code == 0
    over = call("export-worker-key", str(home / "key2"), "-jobauth=correct-horse 7 battery")
    assert over.stderr.startswith("fancypipe: a secret on the command line can be read by")
    assert (home / "key").read_text() == (home / "key2").read_text()
    assert refusal("export-worker-key", str(home / "key3")).startswith("there is no secret: ")
    assert not (home / "key3").exists()


def test_other_words(home: Path) -> None:
    for words in ([], ["old"], ["new", "more"], ["export-worker-key"]):
        assert refusal(*words) == f"fancypipe secret: write one of {WORDS}"
    assert plugin.commands["secret"].words == WORDS
    over = call("--help")
    assert over.exit_code == 0
    assert WORDS in over.stdout
