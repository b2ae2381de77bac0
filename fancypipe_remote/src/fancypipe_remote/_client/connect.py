"""Making the client's backend: the secret, the manager's address, the link."""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import monotonic, sleep

from fancypipe_core import errors
from fancypipe_core.backend import BackendOptions
from fancypipe_remote import _address
from fancypipe_remote._address import Address
from fancypipe_remote._auth import secret as _secret
from fancypipe_remote._auth.keys import CLIENT, PeerKeys
from fancypipe_remote._client.backend import RemoteBackend
from fancypipe_remote._client.network import Network
from fancypipe_remote._protocol.messages import hello
from fancypipe_remote._settings import ClientSettings
from fancypipe_remote._transport import Dialer, probe

__all__ = ["keys_of", "make", "meet"]

_BETWEEN_TRIES = 0.5  # seconds


def keys_of(jobauth: str | None, cluster: str, role: str) -> PeerKeys:
    """Return the keys of a client or worker, and say what should be said of the secret.

    Raises:
        ConfigError: There is no secret, or it cannot be read.
    """
    secret = _secret.take(jobauth, lambda text: sys.stderr.write(f"fancypipe: {text}\n"))
    return PeerKeys(secret, role, cluster)


def meet(
    address: Address,
    keys: PeerKeys,
    wait: float | None,
    over: Callable[[], bool] = lambda: False,
) -> Address:
    """Return where the manager is, in numbers; wait for it, if it is not there yet.

    Args:
        address: Where the user says it is.
        keys: Who we are.
        wait: Seconds to try again while nobody is there; None for ever.
        over: Tells whether nobody waits for it any more.

    Raises:
        ConnectionLost: Nobody was there in time.
        ProtocolError: Somebody else is there.
        AuthenticationFailed: It has another secret.
    """
    until = None if wait is None else monotonic() + wait
    told = False
    while True:
        try:
            return probe.meet(address, keys)
        except errors.ConnectionLost as error:
            if over() or (until is not None and monotonic() + _BETWEEN_TRIES > until):
                raise
            if not told:
                sys.stderr.write(f"fancypipe: {error}; trying again\n")
                told = True
        sleep(_BETWEEN_TRIES)


def make(
    options: BackendOptions, kind: Callable[..., RemoteBackend] = RemoteBackend
) -> RemoteBackend:
    """Return the backend for a session.

    Args:
        options: With the settings of a client.
        kind: `RemoteBackend`, or what makes one of a kind derived from it.

    Raises:
        UsageError: A setting is not possible.
        ConfigError: There is no secret.
    """
    settings = options.settings
    assert isinstance(settings, ClientSettings)
    address = _address.parse(settings.jobmanager)
    keys = keys_of(settings.jobauth, settings.cluster, CLIENT)

    def dial(over: Callable[[], bool]) -> Dialer:
        return Dialer(meet(address, keys, settings.wait, over), keys)

    return kind(
        options, Network(dial, hello("client"), settings.away), settings.wait, settings.away
    )
