"""From a secret to keys, and who may do what with them."""

from __future__ import annotations

import hashlib
import os
import pickle
import stat
import time
from pathlib import Path

import pytest

from fancypipe_core import errors
from fancypipe_remote._auth import secret as _secret
from fancypipe_remote._auth import token
from fancypipe_remote._auth.keys import CLIENT, WORKER, ManagerKeys, PeerKeys, export_worker_key
from fancypipe_remote._auth.secret import Secret
from tests.remote.echo import Echo, ask, dialer, secret

TOKEN = token.pack(token.TOKEN, bytes(range(20)))


def public(keys: PeerKeys) -> bytes:
    return keys._own.public


def test_the_same_secret_gives_the_same_keys() -> None:
    """If this fails, parties of two versions cannot connect: it takes another version of keys."""
    assert TOKEN == "fp1-aaaqeayeaudaocajbifqydiob4ibceqtvphb"
    client, worker = (PeerKeys(Secret(TOKEN, "x"), role) for role in (CLIENT, WORKER))
    assert public(client).hex()[:16] == "e8618ae079c65b4f"
    assert public(worker).hex()[:16] == "86e751419f8ad599"
    typed = PeerKeys(Secret("correct-horse 7 battery", "x"), CLIENT)
    assert public(typed).hex()[:16] == "7c3f90faa2d5c978"
    named = PeerKeys(Secret(TOKEN, "x"), CLIENT, "north")
    assert public(named).hex()[:16] == "5f820d4596bca7c8"


def test_the_manager_knows_its_own() -> None:
    manager = ManagerKeys(Secret(TOKEN, "x"))
    assert manager.role_of(public(PeerKeys(Secret(TOKEN, "x"), CLIENT))) == CLIENT
    assert manager.role_of(public(PeerKeys(Secret(TOKEN, "x"), WORKER))) == WORKER
    assert manager.role_of(public(PeerKeys(Secret(TOKEN, "x"), WORKER, "north"))) is None
    assert manager.role_of(public(PeerKeys(secret(), WORKER))) is None
    for odd in (b"", b"x", bytes(32), bytes(100)):
        assert manager.role_of(odd) is None


def test_typed_secrets_are_slow_to_guess_and_generated_ones_quick_to_use() -> None:
    def seconds(text: str) -> float:
        began = time.process_time()
        PeerKeys(Secret(text, "x"), CLIENT)
        return time.process_time() - began

    assert min(seconds("correct-horse 7 battery") for _ in range(2)) > 0.05
    assert min(seconds(TOKEN) for _ in range(5)) < 0.02


@pytest.mark.parametrize("error", [AttributeError, ValueError])
def test_a_python_without_scrypt(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def scrypt(*_: object, **__: object) -> bytes:
        raise error("disabled for fips")

    monkeypatch.setattr(hashlib, "scrypt", scrypt)
    with pytest.raises(errors.ConfigError) as caught:
        ManagerKeys(Secret("a typed secret", "x"))
    assert str(caught.value) == (
        "this Python cannot derive keys from a typed secret, its OpenSSL has no scrypt (disabled "
        "for fips): use a generated secret, which needs none (`fancypipe secret new`)"
    )
    ManagerKeys(Secret(TOKEN, "x"))


def test_keys_do_not_show() -> None:
    manager, client = ManagerKeys(Secret(TOKEN, "x")), PeerKeys(Secret(TOKEN, "x"), CLIENT)
    assert f"{manager} {client} {client._own}" == "<ManagerKeys> <PeerKeys> <_Pair>"
    for keys in (manager, client, client._own):
        with pytest.raises(TypeError, match="keys are not pickled"):
            pickle.dumps(keys)


# ---- worker keys ---------------------------------------------------------------


@pytest.fixture
def worker_key(tmp_path: Path) -> Secret:
    path = tmp_path / "workerkey"
    export_worker_key(Secret(TOKEN, "x"), str(path), "north")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["workerkey"]
    found = _secret.find(f"@{path}", env={})
    assert found.kind == "worker key"
    return found


def test_a_worker_key_is_what_a_worker_needs(worker_key: Secret) -> None:
    real = PeerKeys(Secret(TOKEN, "x"), WORKER, "north")
    copy = PeerKeys(worker_key, WORKER)
    assert public(copy) == public(real)
    assert copy._manager == real._manager


def test_a_worker_key_is_of_no_use_to_others(worker_key: Secret) -> None:
    with pytest.raises(errors.UsageError) as caught:
        PeerKeys(worker_key, CLIENT)
    assert str(caught.value) == (
        f"the secret from {worker_key.source} is a worker key: it is good for `fancypipe worker` "
        "only, and a client needs the secret itself"
    )
    with pytest.raises(errors.UsageError, match="and a manager needs the secret itself"):
        ManagerKeys(worker_key)
    with pytest.raises(errors.UsageError, match="is a worker key already"):
        export_worker_key(worker_key, "nowhere")


def test_neither_the_secret_nor_other_keys_are_in_it(worker_key: Secret) -> None:
    _, data = token.unpack(worker_key.reveal(), "x")
    master = bytes(range(20))
    client = PeerKeys(Secret(TOKEN, "x"), CLIENT, "north")
    manager = ManagerKeys(Secret(TOKEN, "x"), "north")
    for hidden in (master, client._own.secret, client._own.public, manager._own.secret):
        assert hidden not in data
    assert data[:32] == manager._own.public


def test_a_worker_with_it_is_admitted_and_is_a_worker(tmp_path: Path) -> None:
    of = secret()
    export_worker_key(of, str(tmp_path / "key"))
    key = _secret.find(f"@{tmp_path}/key", env={})
    forged = PeerKeys(key, WORKER)
    forged.role = CLIENT  # what it says of itself is nothing to the manager
    with Echo(of) as echo, dialer(echo.address, forged) as link:
        assert ask(link, b"hello") == [b"worker", b"hello"]
    assert [role for _, role, _ in echo.seen] == ["worker"]


def test_a_worker_key_is_not_written_over(tmp_path: Path) -> None:
    path = str(tmp_path / "key")
    export_worker_key(secret(), path)
    before = Path(path).read_text()
    with pytest.raises(errors.UsageError, match="key: is there already, and is not overwritten"):
        export_worker_key(secret(), path)
    assert Path(path).read_text() == before
