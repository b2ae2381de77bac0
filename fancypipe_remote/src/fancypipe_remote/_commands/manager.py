"""`fancypipe manager`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fancypipe_remote._log import log

if TYPE_CHECKING:
    from fancypipe_remote._settings import ManagerSettings

__all__ = ["manager"]


def manager(settings: ManagerSettings, _words: Sequence[str]) -> int:
    """Run a manager until it is told to stop."""
    from fancypipe_remote._manager import no_pickle

    no_pickle.seal()  # before anything is imported that imports pickle
    from fancypipe_remote import _address
    from fancypipe_remote._auth import secret as _secret
    from fancypipe_remote._auth.keys import ManagerKeys
    from fancypipe_remote._manager.server import Manager
    from fancypipe_remote._transport import Listener

    address = _address.parse(settings.jobmanager, listening=True)
    secret = _secret.take(settings.jobauth, _say, create=True)
    for remark in _secret.check_listening(secret, address.host):
        _say(remark)
    listener = Listener(address, ManagerKeys(secret, settings.cluster))
    served = Manager(listener, _say)
    served.stop_on_signals()
    _say(f"listening on {listener.address}, with the secret from {secret.source}")
    served.run()
    _say("stopped")
    return 0


def _say(line: str) -> None:
    log(f"fancypipe manager: {line}")
