"""Who needs whom: how the scheduler's tasks move, and who still wants them.

A task is held by pins and by the unsettled tasks that need it.  When nobody
holds it, it is put aside; `sweep` then cancels it, or releases its value.
Nothing in here goes by recursion: a chain of needs may be as long as it likes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter

from fancypipe_core._engine.machine.records import PATIENT, Record, Records, waits_for_one
from fancypipe_core._engine.machine.states import SETTLED, Id, State

__all__ = ["Dependencies"]

# Global names of the members: an attribute of an Enum costs ten times as much.
NEW, GROWING, WAITING, READY, DELAYED, RUNNING, UNFOLDED, DONE, FAILED, CANCELLED = State

_ANY_WAIT = 1 << 62  # that of what may be computed whatever else waits
_PASSED = 8  # tasks that may go before others which were ready and have a lower priority


class Dependencies:
    """The tasks.

    Args:
        patient: Whether a task fails when all that it needs is over, not with the first that fails.
        make: Returns a new record for a task: NEW, or READY if it is known to need nothing.
        follow: Whether tasks may be sent to follow what they need.

    Attributes:
        records: The tasks that are known.
        new: A stack of those to grow, the next one last.
        ready: A stack of those to submit.
        has_priorities: Whether any task that was ready has one of its own.
        passed: How many were sent since the last that went before its turn.
        followers: A stack of those that wait for one need only, which is with the backend.
        modules: A stack of those to compute for each wait that wants some; those that only
            gather have one for themselves.  A task
            may stand in a stack where it is not any more: see `next`.
        idle: What nobody holds, and maybe somebody does again.
        unsettled: How many tasks are not settled.
        settled: Whose end is not reported yet.
        cancelled: Whose running attempt is not wanted any more, and not reported yet.
        because: For who waits until all is over, what it needed of that failed; until
            somebody says `forget`.
    """

    def __init__(self, patient: bool, make: Callable[[int], Record], follow: bool) -> None:
        self._root = PATIENT if patient else 0
        self.follow = follow
        self._make = make
        self.records: Records = {}
        self.new: list[int] = []
        self.ready: list[int] = []
        self.has_priorities = False
        self.passed = 0
        self.followers: list[int] = []
        self.modules: dict[int, list[int]] = {}
        self.idle: list[int] = []
        self.unsettled = 0
        self.settled: list[tuple[int, State, int]] = []
        self.cancelled: list[Id] = []
        self.because: dict[int, list[int]] = {}

    def hold(self, tasks: Sequence[int], wait: int) -> list[Record]:
        """Somebody more, who is wanted by this wait, wants these."""
        records, new, ready, make = self.records, self.new, self.ready, self._make
        held = []
        known = len(records)
        # The last demanded is grown first: so that is the first of them.
        for task in reversed(tasks):
            record = records.get(task)
            if record is None:
                record = records[task] = make(task)
                record.wait = wait
                if record.state is NEW:
                    new.append(task)
                elif record.local or record.priority:
                    self.make_ready(task, record)
                else:
                    ready.append(task)
            else:
                if record.wait < wait:
                    self._raise_wait(task, wait)
                if not record.held:
                    self._line_up_again(task, record)
            record.held += 1
            held.append(record)
        self.unsettled += len(records) - known
        return held

    def _line_up_again(self, task: int, record: Record) -> None:
        """Put a task where `take` may have passed it over while nobody held it."""
        if record.state is NEW:
            self.new.append(task)
        elif record.state is READY:
            self.make_ready(task, record)

    def leave(self, needs: Iterable[int]) -> None:
        """Somebody does not want these any more."""
        for need in needs:
            record = self.records[need]
            record.held -= 1
            if not record.held:
                self.idle.append(need)

    def take(
        self, stack: list[int], state: State, then: State, most: int
    ) -> list[tuple[int, Record]]:
        """Move tasks from a stack to another state; drop who is not in it, or not wanted."""
        records = self.records
        taken: list[tuple[int, Record]] = []
        while stack and len(taken) < most:
            task = stack.pop()
            record = records.get(task)
            if record is not None and record.state is state and record.held:
                record.state = then
                taken.append((task, record))
        return taken

    def next(self, stack: list[int], state: State) -> Record | None:
        """Return the record of whom `take` would take."""
        if not stack:
            return None
        for task, record in self.take(stack, state, state, 1):
            stack.append(task)
            return record
        return None

    def wait_for(self, task: int, record: Record, needs: Sequence[int], state: State) -> None:
        """Make a task wait for `needs`, in this state."""
        record.needs = needs
        record.missing = record.unsent = 0
        record.root = self._root
        record.state = state
        self._wait_also(task, record, needs)

    def wait_for_more(self, task: int, record: Record, needs: Sequence[int]) -> None:
        """Make an unfolded task wait for these as well, and let go of what is over."""
        over: list[int] = []
        still: list[int] = []
        for need in record.needs:
            (over if self.records[need].state in SETTLED else still).append(need)
        record.needs = [*still, *needs]
        self._wait_also(task, record, needs)
        self.leave(over)

    def _wait_also(  # noqa: C901 - no call for each need
        self, task: int, record: Record, needs: Sequence[int]
    ) -> None:
        missing = unsent = 0
        root = 0
        mine = (task,)
        for known in self.hold(needs, record.wait):
            state = known.state
            if state not in SETTLED:
                users = known.users
                if users is None:
                    known.users = mine
                elif type(users) is list:
                    users.append(task)
                else:
                    known.users = [*users, task]
                missing += 1
                if state is not RUNNING or known.local:
                    unsent += 1
            elif state is not DONE:
                root = root or known.root
        record.missing += missing
        if self.follow:
            record.unsent += unsent
        if root and self._root:
            failed = [need for need in needs if self.records[need].root > 0]
            self.because.setdefault(task, []).extend(failed)
        if root and not record.root:
            self.fail(task, root)
            return
        if root and record.root == PATIENT:
            record.root = root
        if not record.missing:
            self._go_on(task, record)
        elif self.follow and not record.unsent:
            self.may_follow(task, record)

    def _go_on(self, task: int, record: Record) -> None:
        """All is over that a task waits for."""
        if record.root > 0:
            self.fail(task, record.root)
        elif record.state is WAITING:
            self.make_ready(task, record)
        else:
            self.finish([(task, record)])

    def line_up(self, task: int, record: Record) -> None:
        """A task is to run again, as soon as all that it needs is there."""
        if not record.missing:
            self.make_ready(task, record)
            return
        record.state = WAITING
        if self.follow:
            self.may_follow(task, record)

    def is_sent(self, record: Record) -> bool:
        """Whether a task is with the backend, so that others may follow it where tasks do."""
        return record.state is RUNNING and not record.local

    def may_follow(self, task: int, record: Record) -> None:
        """Note who waits for one need only, which is with the backend.

        Several mostly run on several workers, and it would come back.
        """
        if waits_for_one(record):
            self.followers.append(task)

    def came_back(self, record: Record) -> None:
        """An attempt at a task is about to end, and the task is not."""
        if not (self.follow and self.is_sent(record)):
            return
        for user in record.users or ():
            waiting = self.records.get(user)
            if waiting is not None:
                waiting.unsent += 1

    def forget(self, task: int, record: Record) -> None:
        """A task does not wait any more for what it needed to run."""
        for need in record.needs if record.missing else ():
            users = self.records[need].users
            if users and task in users:
                self.records[need].users = [user for user in users if user != task]

    def make_ready(self, task: int, record: Record) -> None:
        """All that a task needs is there."""
        record.state = READY
        if record.local:
            wait = _ANY_WAIT if record.hidden else record.wait
            self.modules.setdefault(wait, []).append(task)
        else:
            self.ready.append(task)
            if record.priority:
                self.has_priorities = True

    def line_up_by_priority(self) -> None:
        """Let the ready tasks go by their priority, and now and then the one that has waited.

        Among equals it stays as it was.
        """
        ready, records = self.ready, self.records
        known = [(task, records[task].priority) for task in ready if task in records]
        known.sort(key=itemgetter(1))
        ready[:] = [task for task, _ in known]
        if known and known[0][1] < known[-1][1] and self.passed >= _PASSED:
            ready.append(ready.pop(0))  # so those with less are slower, and never stand still
            self.passed = 0

    def finish(self, ended: list[tuple[int, Record]]) -> None:
        """Settle tasks as done, and whatever is done by that."""
        records, follow = self.records, self.follow
        settled, idle = self.settled, self.idle
        for task, record in ended:  # grows while we go
            unsent = follow and (record.state is not RUNNING or record.local)
            # As `_settle` does: a call for each would cost as much as all this.
            record.state = DONE
            record.root = 0
            settled.append((task, DONE, 0))
            users, record.users = record.users, None
            if record.needs:
                needs, record.needs = record.needs, ()
                self.leave(needs)
            if not record.held:
                idle.append(task)
            for user in users or ():
                waiting = records.get(user)
                if waiting is None or waiting.state in SETTLED:
                    continue  # it does not wait any more
                waiting.missing -= 1
                if unsent:
                    waiting.unsent -= 1
                if waiting.missing:
                    if follow and waiting.missing == 1 and not waiting.unsent:
                        self.followers.append(user)  # whether it may is seen when it is its turn
                elif waiting.root > 0:
                    self.fail(user, waiting.root)
                elif waiting.state is WAITING:
                    self.make_ready(user, waiting)
                elif waiting.state is not UNFOLDED:
                    continue  # it was sent to follow
                else:
                    ended.append((user, waiting))
        self.unsettled -= len(ended)

    def fail(self, failed: int, root: int) -> None:
        """Settle a task as failed, and all that wait for it."""
        stack = [(failed, root)]
        while stack:
            task, root = stack.pop()
            record = self.records[task]
            if record.state is FAILED:
                continue  # by another of its needs
            if record.state is RUNNING and task != failed:
                self.cancelled.append((task, record.attempt))  # it follows what has failed
            unsent = self.follow and not self.is_sent(record)
            for user in self._settle(task, record, FAILED, root):
                waiting = self.records.get(user)
                if waiting is None or waiting.state in SETTLED:
                    continue
                if self._root:
                    self.because.setdefault(user, []).append(task)
                if not waiting.root:
                    stack.append((user, root))
                    continue
                if waiting.root == PATIENT:
                    waiting.root = root
                waiting.missing -= 1
                if unsent:
                    waiting.unsent -= 1
                if not waiting.missing:
                    stack.append((user, waiting.root))

    def cancel(self, task: int, record: Record) -> None:
        """Settle a task as cancelled."""
        if record.state is RUNNING:
            self.cancelled.append((task, record.attempt))
        self._settle(task, record, CANCELLED, task)

    def _settle(self, task: int, record: Record, state: State, root: int) -> Sequence[int]:
        """Write down a task's end; return who may have waited for it."""
        record.state = state
        record.root = root
        self.unsettled -= 1
        self.settled.append((task, state, root))
        users, record.users = record.users, None
        if record.needs:
            needs, record.needs = record.needs, ()
            self.leave(needs)
        if not record.held:
            self.idle.append(task)
        return users or ()

    def sweep(self) -> list[int]:
        """Cancel and release what nobody holds; return whose values are released."""
        released = []
        for task in self.idle:  # grows while we go
            record = self.records.get(task)
            if record is None or record.held:
                continue
            if record.state not in SETTLED:
                self.cancel(task, record)
            del self.records[task]
            record.held = -1
            released.append(task)
        self.idle.clear()
        return released

    def _raise_wait(self, first: int, wait: int) -> None:
        stack = [first]
        while stack:
            task = stack.pop()
            record = self.records[task]
            if record.wait < wait and record.state not in SETTLED:
                record.wait = wait
                if record.state is READY:
                    self.make_ready(task, record)
                stack.extend(record.needs)
