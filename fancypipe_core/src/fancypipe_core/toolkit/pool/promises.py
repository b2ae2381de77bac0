"""What jobs with needs are promised: cores, memory and devices, and for whom they are kept.

A job with needs begins where all of them are free, and what it was promised is its own
until it has ended.  The oldest that does not fit has what becomes free *kept* for it: else
small jobs, of which there is always one that fits, would keep it waiting for ever.
"""

from __future__ import annotations

from fancypipe_core.backend import Equipment, Job, JobId, Needs
from fancypipe_core.toolkit.account import Account, wanted
from fancypipe_core.toolkit.pool.roster import Roster
from fancypipe_core.toolkit.pool.states import UP
from fancypipe_core.toolkit.pool.workers import Worker

__all__ = ["Promises"]


class Promises:
    """What is promised.

    Workers that the pool starts share what one machine has; those that come by themselves
    have each their own.

    Args:
        roster: The workers.

    Attributes:
        is_idle: Whether nothing is promised or kept: then nobody need ask.
    """

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._shared = bool(roster.rules.workers)
        self._is_ours = roster.rules.equipment is not None
        self._accounts: dict[int | None, Account[JobId]] = {}  # by worker; at None what all share
        self._at: dict[JobId, int] = {}  # the worker that has the job
        self._keeps: Account[JobId] | None = None
        self._kept_at: Worker | None = None  # for those that have their own
        self.is_idle = True

    def lacks(self, needs: Needs) -> str:
        """Say why it can never be met; empty if it can, or others may come who can."""
        if not (self._shared and self._is_ours):
            return ""
        return self._account(None).there.lacks(needs)

    def within(self, job: Job) -> Needs:
        """Return what a job is to be given, as far as it is here at all.

        Who knows before that it is not does not submit it; others would wait for ever.
        """
        needs = wanted(job)
        if not (self._shared and self._is_ours):
            return needs
        return self._account(None).within(needs)

    def settle(self) -> None:
        """Take back what was promised to jobs that their worker does not have any more."""
        workers = self._roster.workers
        for id, number in list(self._at.items()):
            worker = workers.get(number)
            if worker is None or id not in worker.jobs:
                del self._at[id]
                account = self._accounts[None if self._shared else number]
                account.end(id)
                if worker is not None:
                    worker.extra = account.cpus - len(account.promises)
        for number in [one for one in self._accounts if one is not None and one not in workers]:
            del self._accounts[number]
        if self._keeps is not None:
            self._keeps.kept = None
            self._keeps = None
        self.is_idle = not self._at
        if self._kept_at is not None:
            self._kept_at.kept = False
            self._roster.changed(self._kept_at)
            self._kept_at = None

    def _account(self, worker: Worker | None) -> Account[JobId]:
        """Return that of a worker's machine."""
        if self._shared:
            if None not in self._accounts:
                make = self._roster.rules.equipment
                assert make is not None, "needs are not the affair of these workers"
                self._accounts[None] = Account(make())
            return self._accounts[None]
        assert worker is not None
        there = worker.equipment or Equipment(worker.slots)
        account = self._accounts.setdefault(worker.id, Account(there))
        account.there = there
        return account

    def _free_cpus(self, worker: Worker | None) -> int:
        """Return how many cores no job has; less than 0 if jobs wait for each other's."""
        account = self._account(worker)
        if worker is not None and not self._shared:
            return worker.slots - account.cpus - (len(worker.jobs) - len(account.promises))
        with_needs = set(self._at.values())
        others = [one for one in self._roster.workers.values() if one.jobs]
        plain = sum(one.id not in with_needs for one in others)
        return account.there.cpus - account.cpus - plain

    @property
    def gate(self) -> int:
        """How many idle workers of a shared machine may begin jobs that need nothing special.

        Less than 0: so many are to become idle first.
        """
        kept = self._account(None).kept
        return self._free_cpus(None) - (kept.cpus if kept else 0)

    def closes(self) -> bool:
        """Whether no idle worker may begin a job that needs nothing special."""
        return self._shared and not self.is_idle and self.gate <= 0

    def fits(self, needs: Needs, worker: Worker | None) -> bool:
        """Whether a job can begin now, and whoever is kept something for does not wait longer."""
        account = self._account(worker)
        kept = account.kept
        cpus = needs.cpus + (kept.cpus if kept else 0) <= self._free_cpus(worker)
        if worker is not None and not self._shared and not worker.jobs and worker.slots:
            cpus = kept is None  # others have the rest of its slots, and may have them for ever
        return cpus and account.has(needs)

    def limit(self, job: Job) -> bool:
        """Whether a job may have to wait for what others were promised."""
        return not self.is_idle or (job.needs is not None and self._is_ours)

    def keep(self, needs: Needs, worker: Worker | None) -> None:
        """Keep what becomes free for a job that does not fit, if nothing is kept yet.

        Cores only where it lacks nothing else: they would be idle for as long as another
        has its device.
        """
        if self._keeps is not None:
            return
        account = self._account(worker)
        if not account.has(needs):
            needs = needs._replace(cpus=0)
        account.kept, self._keeps, self._kept_at = needs, account, worker
        self.is_idle = False
        if worker is not None and needs.cpus:
            worker.kept = True
            self._roster.changed(worker)

    def promise(self, job: Job, worker: Worker) -> Job:
        """Promise a job what it needs; return it with the names of its devices."""
        if job.needs is None or not self._is_ours:
            return job
        account = self._account(worker)
        names = account.promise(job.id, self.within(job))
        self._at[job.id] = worker.id
        self.is_idle = False
        worker.extra = account.cpus - len(account.promises)
        worker.promised = self._shared
        return job.with_devices(names) if self._shared and names else job

    def is_there(self, needs: Needs) -> bool:
        """Whether a worker is up that can have this, now or when others have ended; or none is."""
        up = [worker for worker in self._roster.workers.values() if worker.state in UP]
        return not up or any(not self._account(worker).there.lacks(needs) for worker in up)

    def candidates(self, needs: Needs) -> list[Worker]:
        """Return the workers with a machine of their own that has this, the emptiest first."""
        there = [
            worker
            for worker in self._roster.workers.values()
            if worker.state in UP
            and not (worker.alone or worker.retiring or worker.asked)
            and not self._account(worker).there.lacks(needs)
        ]
        return sorted(there, key=lambda worker: (-self._free_cpus(worker), worker.id))

    def check(self) -> None:
        """Verify what must be true.

        Raises:
            AssertionError: More is promised than there is.
        """
        kept = [account for account in self._accounts.values() if account.kept is not None]
        assert self.is_idle == (not self._at and not kept), "promises are overlooked"
        promised = [id for account in self._accounts.values() for id in account.promises]
        assert sorted(promised) == sorted(self._at), "what is promised, and where, differ"
        for account in self._accounts.values():
            account.check()
