"""Lends what a worker has to its host processes, over their lifelines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from fancypipe_core.backend import Equipment, Needs
from fancypipe_remote._protocol.lender import Grant, Lender
from fancypipe_remote._protocol.supervisor import Key
from fancypipe_remote._worker.host_process import HostProcess, Remains
from fancypipe_remote._worker.lifeline import Claim, GiveBack, Granted, Waits

__all__ = ["Lending"]

_PATIENCE = 1.0  # seconds for which a job may wait before its client is told why


class Lending:
    """The shell around the machine that lends.

    Args:
        there: What the worker has.
        hosts: The host processes.
        say: Takes lines for the log.
    """

    def __init__(
        self, there: Equipment, hosts: Mapping[Key, HostProcess], say: Callable[[str], None]
    ) -> None:
        self._lender: Lender[Key] = Lender(there)
        self._hosts = hosts
        self._say = say
        self._remains: dict[Key, Remains] = {}  # of those that died while they had something
        self._since: dict[tuple[Key, int], float] = {}  # when claims that wait were first seen
        self._told: set[Key] = set()  # that they wait

    @property
    def lent(self) -> Needs:
        """All that is lent; cores are not counted."""
        return self._lender.lent

    def hear(self, host: Key, said: Claim | GiveBack) -> None:
        """A host process wants something, or needs it no longer."""
        if isinstance(said, Claim):
            self._grant(self._lender.claim(host, said.number, said.memory, said.gpu))
        else:
            self._grant(self._lender.give_back(host, said.number))

    def hung_up(self, host: Key) -> None:
        """A host process is to end."""
        self._grant(self._lender.hung_up(host))

    def ended(self, host: Key, remains: Remains) -> None:
        """A host process is dead; what it had is free when what it has left is dead as well."""
        self._told.discard(host)
        self._grant(self._lender.hung_up(host))
        if self._lender.has(host):
            self._remains[host] = remains
            self._end_remains(host)

    def _end_remains(self, host: Key) -> None:
        if self._remains[host].end():
            del self._remains[host]
            self._grant(self._lender.died(host))

    def _grant(self, grants: Iterable[Grant[Key]]) -> None:
        for host, number, devices in grants:
            if host in self._hosts:
                self._hosts[host].lifeline.say(Granted(number, devices))

    def mind(self, now: float, name: Callable[[bytes], str]) -> None:
        """Look after what the dead have left, and after who waits.

        Args:
            now: The time.
            name: Says in words who a client is.
        """
        for host in list(self._remains):
            self._end_remains(host)
        waiting = list(self._lender.waiting)
        self._since = {claim: self._since.get(claim, now) for claim in waiting}
        for host, number in waiting:
            if host not in self._told and now >= self._since[host, number] + _PATIENCE:
                self._tell(host, number, name)

    def _tell(self, host: Key, number: int, name: Callable[[bytes], str]) -> None:
        """Tell a client, once, who has what a job of it waits for."""
        holders = [one[0] for one in self._lender.holders(host, number) if one != host]
        names: Sequence[str] = list(dict.fromkeys(map(name, holders)))
        if names and host in self._hosts:
            self._told.add(host)
            self._hosts[host].lifeline.say(Waits(number, tuple(names)))
            self._say(f"{name(host[0])} waits for what is lent to {' and '.join(names)}")
