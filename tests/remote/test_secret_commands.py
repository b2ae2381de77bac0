"""`fancypipe secret`: what it writes, and that it never shows a secret."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fancypipe_core import errors
from fancypipe_remote import _secret
from fancypipe_remote._keys import WORKER, PeerKeys
from fancypipe_remote._secret_commands import secret


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (_secret.VARIABLE, _secret.FILE_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(_secret, "_from_environment", {})
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def user_file(home: Path) -> Path:
    return home / "config" / "fancypipe" / "jobauth"


def call(*words: str) -> Result:
    over = CliRunner().invoke(secret, words)
    if isinstance(over.exception, errors.FancyPipeError):
        raise over.exception  # the command line makes one line of it
    return over


def test_a_new_secret(home: Path) -> None:
    over = call("new")
    path = user_file(home)
    assert (over.exit_code, over.stdout) == (0, f"{path}\n")
    assert over.stderr == (
        "A new secret is in this file, for you only (mode 0600).  Machines with another home "
        "folder need a copy of it.\n"
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    made = _secret.find(env={"XDG_CONFIG_HOME": str(home / "config")})
    assert made.kind == "token"
    assert made.reveal() not in over.output


def test_it_replaces_only_when_told(home: Path) -> None:
    call("new")
    path = user_file(home)
    before = path.read_text()
    with pytest.raises(errors.UsageError) as caught:
        call("new")
    assert str(caught.value) == (
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
    key = _secret.find(f"@{file}", env={})
    whole = _secret.find(env={"XDG_CONFIG_HOME": str(home / "config")})
    assert PeerKeys(key, WORKER)._own.public == PeerKeys(whole, WORKER, "north")._own.public
    with pytest.raises(errors.UsageError, match="is there already, and is not overwritten"):
        call("export-worker-key", str(file))


def test_a_worker_key_of_a_named_secret(home: Path) -> None:
    named = home / "named"
    named.write_text("correct-horse 7 battery")
    named.chmod(0o600)
    assert call("export-worker-key", str(home / "key"), f"-jobauth=@{named}").exit_code == 0
    over = call("export-worker-key", str(home / "key2"), "-jobauth=correct-horse 7 battery")
    assert over.stderr.startswith("fancypipe: a secret on the command line can be read by")
    assert (home / "key").read_text() == (home / "key2").read_text()
    with pytest.raises(errors.ConfigError, match="there is no secret: "):
        call("export-worker-key", str(home / "key3"))
    assert not (home / "key3").exists()


def test_help_says_what_they_do() -> None:
    over = call("-h")
    assert over.exit_code == 0
    for name in ("new", "show-path", "export-worker-key"):
        assert name in over.stdout
        assert call(name, "--help").exit_code == 0
