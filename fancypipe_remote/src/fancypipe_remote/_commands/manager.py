"""`fancypipe manager`."""

from __future__ import annotations

import sys
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
    secret = _secret.find(settings.jobauth, create=True)
    _secret.scrub(settings.jobauth, sys.argv)
    for remark in (*secret.remarks, *_secret.check_listening(secret, address.host)):
        log(f"fancypipe manager: {remark}")
    listener = Listener(address, ManagerKeys(secret, settings.cluster))
    served = Manager(listener, lambda line: log(f"fancypipe manager: {line}"))
    served.stop_on_signals()
    log(f"fancypipe manager: listening on {listener.address}, with the secret from {secret.source}")
    served.run()
    log("fancypipe manager: stopped")
    return 0
