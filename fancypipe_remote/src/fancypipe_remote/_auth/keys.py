"""From a secret to keys.  Only this module touches them.

All parties derive the same from the same secret (and cluster name): a key pair for
the manager, one for clients and one for workers.  Who connects must know the
manager's public key and have a pair that the manager knows; so both sides are
authenticated, and what a key pair may do is told by which pair it is.

A worker key is what a worker needs and no more: the manager's public key and the
workers' pair.  Neither the secret nor the other pairs can be had from it.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, NoReturn

import zmq
from zmq.utils import z85

from fancypipe_core import errors
from fancypipe_remote._auth import secret_file, token
from fancypipe_remote._auth.secret import Secret

if TYPE_CHECKING:
    from typing import Any

    _Socket = zmq.Socket[Any]

__all__ = ["CLIENT", "WORKER", "ManagerKeys", "PeerKeys", "export_worker_key"]

CLIENT = "client"
WORKER = "worker"

# A change of anything here changes all keys: then it is another version.
_VERSION = b"fancypipe 1"
_SCRYPT = {"n": 2**17, "r": 8, "p": 1, "maxmem": 160 * 2**20, "dklen": 32}


class _Unseen:
    """Has keys: it neither shows them nor travels."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("keys are not pickled")


class _Pair(_Unseen):
    """A CURVE key pair, in binary, 32 bytes each."""

    __slots__ = ("public", "secret")

    def __init__(self, secret: bytes) -> None:
        self.secret = secret
        self.public = z85.decode(zmq.curve_public(z85.encode(secret)))


class ManagerKeys(_Unseen):
    """What a manager needs: its own pair, and the public keys of those it admits.

    Args:
        secret: The secret; not a worker key.
        cluster: The name of the cluster; who has another cannot connect.

    Raises:
        UsageError: It is a worker key.
        ConfigError: This Python cannot derive keys from a typed secret.
    """

    def __init__(self, secret: Secret, cluster: str = "") -> None:
        if secret.kind == "worker key":
            raise errors.UsageError(_only_workers(secret, "a manager"))
        master = _master(secret, cluster)
        self._own = _pair(master, "manager")
        self._admitted = [(role, _pair(master, role).public) for role in (CLIENT, WORKER)]

    def arm(self, socket: _Socket) -> None:
        """Make a socket that is not bound yet a server with these keys."""
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self._own.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self._own.secret)

    def role_of(self, public: bytes) -> str | None:
        """Return who has this public key; None for a stranger.  It takes as long for all."""
        found = None
        for role, admitted in self._admitted:
            if hmac.compare_digest(public, admitted):
                found = role
        return found


class PeerKeys(_Unseen):
    """What a client or a worker needs: its pair, and the manager's public key.

    Args:
        secret: The secret; for a worker also a worker key.
        role: `CLIENT` or `WORKER`.
        cluster: The name of the cluster; nothing with a worker key, which knows it.

    Raises:
        UsageError: It is a worker key, and the role is not a worker's.
        ConfigError: This Python cannot derive keys from a typed secret.
    """

    def __init__(self, secret: Secret, role: str, cluster: str = "") -> None:
        self.role = role
        if secret.kind == "worker key":
            if role != WORKER:
                raise errors.UsageError(_only_workers(secret, f"a {role}"))
            data = token.unpack(secret.reveal(), secret.source)[1]
            self._manager, self._own = data[:32], _Pair(data[32:])
        else:
            master = _master(secret, cluster)
            self._manager, self._own = _pair(master, "manager").public, _pair(master, role)

    def worker_key(self) -> str:
        """Return a worker's keys as a worker key, for a process of its own.

        Raises:
            UsageError: They are not a worker's.
        """
        if self.role != WORKER:
            raise errors.UsageError(f"the keys of a {self.role} are not for workers")
        return token.pack(token.WORKER_KEY, self._manager + self._own.secret)

    def arm(self, socket: _Socket) -> None:
        """Give these keys to a socket that is not connected yet."""
        socket.setsockopt(zmq.CURVE_SERVERKEY, self._manager)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self._own.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self._own.secret)


def export_worker_key(secret: Secret, path: str, cluster: str = "") -> None:
    """Write the worker key of a secret into a new file of mode 0600.

    Raises:
        UsageError: The secret is a worker key itself, or the file is there already.
        ConfigError: The file cannot be written.
    """
    if secret.kind == "worker key":
        raise errors.UsageError(f"the secret from {secret.source} is a worker key already")
    master = _master(secret, cluster)
    data = _pair(master, "manager").public + _pair(master, WORKER).secret
    if not secret_file.write(path, token.pack(token.WORKER_KEY, data)):
        raise errors.UsageError(f"{path}: is there already, and is not overwritten")


def _only_workers(secret: Secret, who: str) -> str:
    return (
        f"the secret from {secret.source} is a worker key: it is good for `fancypipe worker` "
        f"only, and {who} needs the secret itself"
    )


def _master(secret: Secret, cluster: str) -> bytes:
    text = secret.reveal().encode()
    salt = _VERSION + b"\0" + cluster.encode()
    if secret.kind == "token":
        return hmac.digest(text, salt, "sha256")
    # A typed secret can be guessed: each guess shall cost a third of a second and 128 MiB.
    try:
        return hashlib.scrypt(text, salt=salt, **_SCRYPT)
    except (AttributeError, ValueError) as error:
        raise errors.ConfigError(
            f"this Python cannot derive keys from a typed secret, its OpenSSL has no scrypt "
            f"({error}): use a generated secret, which needs none (`fancypipe secret new`)"
        ) from None


def _pair(master: bytes, role: str) -> _Pair:
    return _Pair(hmac.digest(master, b"curve " + role.encode(), "sha256"))
