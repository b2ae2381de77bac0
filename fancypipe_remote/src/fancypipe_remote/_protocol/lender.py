"""What a worker lends to its host processes: memory and devices, to each job as a whole.

Each host process serves one client and sees that one's jobs only, so what there is once
for all of them is handed out by the worker.  A host process *claims* what a job needs
before that begins, is *granted* it, and gives it back when the job has ended.

Who comes first is served first.  For the oldest that does not fit, what becomes free is
kept; a younger one passes if it takes nothing of that.  So nobody waits for ever, and as
nobody has a part of what he needs, no two wait for each other.

What a host process has when it hangs up is free only when it is *dead*, and all that it
has started with it: a process that lives on may still use it.

It has no clock, and no sockets: each method takes what has happened, and returns what is
granted by that.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Generic, NamedTuple, TypeVar

from fancypipe_core.backend import Equipment, Needs
from fancypipe_core.toolkit.account import Account

__all__ = ["Grant", "Lender"]

Host = TypeVar("Host", bound=Hashable)


class Grant(NamedTuple, Generic[Host]):
    """A host process has what it has claimed.

    Attributes:
        host: Which.
        number: Of the claim.
        devices: The names of its devices.
    """

    host: Host
    number: int
    devices: tuple[str, ...]


class Lender(Generic[Host]):
    """One worker's.

    Args:
        there: What the worker has.  Its cores are not lent.
    """

    def __init__(self, there: Equipment) -> None:
        self._account: Account[tuple[Host, int]] = Account(there)
        self._waiting: dict[tuple[Host, int], Needs] = {}  # the oldest first

    def claim(self, host: Host, number: int, memory: int, gpu: int) -> list[Grant[Host]]:
        """A host process wants this for a job; of what is not there so much, all.

        Args:
            host: Which.
            number: By which it knows the claim, new each time.
            memory: Bytes.
            gpu: Devices.
        """
        key = host, number
        if key not in self._account.promises and key not in self._waiting:
            self._waiting[key] = self._account.within(Needs(0, memory, gpu))
        return self._grant()

    def give_back(self, host: Host, number: int) -> list[Grant[Host]]:
        """A job has ended, or is not to begin: its host process claims nothing more for it."""
        self._waiting.pop((host, number), None)
        self._account.end((host, number))
        return self._grant()

    def hung_up(self, host: Host) -> list[Grant[Host]]:
        """A host process begins nothing more; what it has it has until it is dead."""
        for key in [key for key in self._waiting if key[0] == host]:
            del self._waiting[key]
        return self._grant()

    def died(self, host: Host) -> list[Grant[Host]]:
        """Nothing lives any more that could use what a host process has."""
        for key in [key for key in self._account.promises if key[0] == host]:
            self._account.end(key)
        return self.hung_up(host)

    def has(self, host: Host) -> bool:
        """Whether anything is lent to a host process."""
        return any(key[0] == host for key in self._account.promises)

    @property
    def lent(self) -> Needs:
        """All that is lent; cores are not counted."""
        promised = [promise.needs for promise in self._account.promises.values()]
        return Needs(1, sum(one.memory for one in promised), sum(one.gpu for one in promised))

    @property
    def waiting(self) -> Iterator[tuple[Host, int]]:
        """The claims that wait, by host process and number, the oldest first."""
        return iter(tuple(self._waiting))

    def holders(self, host: Host, number: int) -> list[Host]:
        """Return those that have what a claim waits for, or something of it; each once."""
        needs = self._waiting[host, number]
        found = dict.fromkeys(
            key[0]
            for key, (theirs, _) in self._account.promises.items()
            if (needs.gpu and theirs.gpu) or (needs.memory and theirs.memory)
        )
        return list(found)

    def _grant(self) -> list[Grant[Host]]:
        account, grants = self._account, []
        account.kept = None
        for key, needs in list(self._waiting.items()):
            if account.has(needs):
                del self._waiting[key]
                grants.append(Grant(*key, account.promise(key, needs)))
            elif account.kept is None:
                account.kept = needs
        return grants

    def check(self) -> None:
        """Verify what must be true.

        Raises:
            AssertionError: Something is lent twice, or somebody waits for what is free.
        """
        account = self._account
        account.check()
        both = account.promises.keys() & self._waiting.keys()
        assert not both, f"they have what they wait for: {both}"
        oldest = next(iter(self._waiting.values()), None)
        assert account.kept == oldest, f"what is kept, {account.kept}, is not what {oldest} is"
        fits = [key for key, needs in self._waiting.items() if account.has(needs)]
        assert not fits, f"they wait for what is free: {fits}"
        if oldest is not None:
            account.kept = None
            assert not account.has(oldest), "the oldest waits for what is free"
            account.kept = oldest
