"""`fancypipe status`: who is at a manager, and who sees a folder."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from time import monotonic

from fancypipe_core import errors
from fancypipe_core.backend import Needs
from fancypipe_core.toolkit import owned_prefix, several
from fancypipe_remote import _address
from fancypipe_remote._auth.keys import CLIENT
from fancypipe_remote._client.connect import keys_of, meet
from fancypipe_remote._client.network import Network, News
from fancypipe_remote._protocol.greeting import prove
from fancypipe_remote._protocol.messages import Worker, hello
from fancypipe_remote._settings import StatusSettings
from fancypipe_remote._transport import Dialer

__all__ = ["status"]

_ANSWER = 5.0  # seconds that a manager that was reached has to say who is there
_LOOK = 10.0  # seconds that workers have to look at the folder


def status(settings: StatusSettings, _words: Sequence[str]) -> int:
    """Say who is there."""
    address = _address.parse(settings.jobmanager)
    base = os.path.abspath(settings.tempdir or tempfile.gettempdir())
    keys = keys_of(settings.jobauth, settings.cluster, CLIENT)
    found = meet(address, keys, settings.wait)
    network = Network(lambda _over: Dialer(found, keys), hello("client"), _ANSWER)
    network.start()
    try:
        news = _news(network, str(address))
        sees = _who_sees(network, news, base)
    finally:
        network.stop()
    sys.stdout.write(_text(news, str(address), base, sees))
    return 0


def _news(network: Network, address: str) -> News:
    """Wait until the manager has told who is there."""
    until = monotonic() + _ANSWER
    while monotonic() < until:
        network.turn(max(0.0, until - monotonic()))
        news = network.news()
        if news is None:
            continue
        if news.failed is not None:
            raise errors.InternalError(f"the network's thread failed: {news.failed!r}")
        if news.refused and news.over:
            raise errors.VersionMismatch(news.over)
        if news.manager is not None and news.listed:
            return news
    raise errors.ConnectionLost(
        f"the manager at {address} accepted the connection, but did not say within "
        f"{_ANSWER:g} s who is there"
    )


def _who_sees(network: Network, news: News, base: str) -> Mapping[bytes, bool]:
    """Ask each worker whether it sees a folder that is made for it."""
    try:
        folder = tempfile.mkdtemp(prefix=owned_prefix("status"), dir=base)
    except OSError as error:
        raise errors.UsageError(f"-tempdir={base}: {error.strerror}") from None
    try:
        proof = secrets.token_hex(16)
        prove(folder, proof)
        for address in news.workers:
            network.look(address, folder, proof)
        seen: Mapping[bytes, bool] = {}
        until = monotonic() + _LOOK
        while not seen.keys() >= news.workers.keys() and (left := until - monotonic()) > 0:
            network.turn(left)
            newest = network.news()
            seen = newest.seen if newest is not None else seen
        return seen
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _has(info: Worker) -> str:
    """Return what a worker has besides slots, as far as it says so."""
    there = Needs(1, info.memory, info.devices)
    lent = Needs(1, info.lent_memory, info.lent_devices)
    beside = f" ({lent} lent)" if lent.names else ""
    return f"{there}{beside}, " if there.names else ""


def _text(news: News, address: str, base: str, sees: Mapping[bytes, bool]) -> str:
    manager = news.manager
    assert manager is not None
    where = f"{manager.host} (pid {manager.pid})"
    lines = [f"manager at {address}: fancypipe-remote {manager.fancypipe} on {where}"]
    workers = list(news.workers.values())
    slots = sum(info.slots for info in workers)
    lines.append(
        f"{several(len(workers), 'worker')} with {several(slots, 'slot')}, "
        f"{several(news.clients - 1, 'other client')}"
    )
    for info in workers:
        found = sees.get(info.address)
        if found is None:
            how = f"no answer within {_LOOK:g} s"
        else:
            how = f"sees {base}" if found else f"does not see {base}"
        lines.append(
            f"  {info.host} (pid {info.pid}): {several(info.slots, 'slot')}, {_has(info)}"
            f"Python {info.python}, fancypipe-remote {info.fancypipe}, load {info.load:.1f}, {how}"
        )
    if not workers:
        lines.append(f"  start some with: fancypipe worker -jobmanager={address}")
    return "\n".join(lines) + "\n"
