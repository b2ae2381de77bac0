"""Who needs whom: how the scheduler's tasks move, and who still wants them.

A task is held by pins and by the unsettled tasks that need it.  When nobody
holds it, it is put aside; `sweep` then cancels it, or releases its value.
Nothing in here goes by recursion: a chain of needs may be as long as it likes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from fancypipe_core._engine.machine.records import Record, Records
from fancypipe_core._engine.machine.states import SETTLED, Id, SettledTask, State

__all__ = ["Dependencies"]

# Global names of the members: an attribute of an Enum costs ten times as much.
NEW, GROWING, WAITING, READY, DELAYED, RUNNING, UNFOLDED, DONE, FAILED, CANCELLED = State

# As SettledTask itself, in half the time.
_settled_task = partial(tuple.__new__, SettledTask)


class Dependencies:
    """The tasks.

    Args:
        keep_going: Whether what nobody holds is not cancelled.

    Attributes:
        records: The tasks that are known.
        new: A stack of those to grow, the next one last.
        ready: A stack of those to submit.
        modules: A stack of those to compute for each wait that wants some.  A task
            may stand in a stack where it is not any more: see `next`.
        idle: What nobody holds, and maybe somebody does again.
        unsettled: How many tasks are not settled.
        settled: Whose end is not reported yet.
        cancelled: Whose running attempt is not wanted any more, and not reported yet.
    """

    def __init__(self, keep_going: bool) -> None:
        self.keep_going = keep_going
        self.records: Records = {}
        self.new: list[int] = []
        self.ready: list[int] = []
        self.modules: dict[int, list[int]] = {}
        self.idle: list[int] = []
        self.unsettled = 0
        self.settled: list[SettledTask] = []
        self.cancelled: list[Id] = []

    def hold(self, tasks: Sequence[int], wait: int) -> list[Record]:
        """Somebody more, who is wanted by this wait, wants these."""
        records, new = self.records, self.new
        held = []
        # The last demanded is grown first: so that is the first of them.
        for task in reversed(tasks):
            record = records.get(task)
            if record is None:
                record = records[task] = Record(wait)
                self.unsettled += 1
                new.append(task)
            else:
                if record.wait < wait:
                    self._raise_wait(task, wait)
                if not record.held:
                    self._line_up_again(task, record)
            record.held += 1
            held.append(record)
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
        records, keep_going = self.records, self.keep_going
        taken: list[tuple[int, Record]] = []
        while stack and len(taken) < most:
            task = stack.pop()
            record = records.get(task)
            if record is not None and record.state is state and (record.held or keep_going):
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
        missing = 0
        root = 0
        for known in self.hold(needs, record.wait):
            if known.state not in SETTLED:
                known.users.append(task)
                missing += 1
            elif known.state is not DONE:
                root = root or known.root
        record.needs = needs
        record.missing = missing
        record.state = state
        if root:
            self.fail(task, root)
        elif not missing:
            if state is WAITING:
                self.make_ready(task, record)
            else:
                self.finish([(task, record)])

    def make_ready(self, task: int, record: Record) -> None:
        """All that a task needs is there."""
        record.state = READY
        if record.local:
            self.modules.setdefault(record.wait, []).append(task)
        else:
            self.ready.append(task)

    def finish(self, ended: list[tuple[int, Record]]) -> None:
        """Settle tasks as done, and whatever is done by that."""
        records = self.records
        for task, record in ended:  # grows while we go
            for user in self._settle(task, record, DONE, 0):
                waiting = records.get(user)
                if waiting is None or (
                    waiting.state is not WAITING and waiting.state is not UNFOLDED
                ):
                    continue  # it does not wait any more
                waiting.missing -= 1
                if waiting.missing:
                    continue
                if waiting.state is WAITING:
                    self.make_ready(user, waiting)
                else:
                    ended.append((user, waiting))

    def fail(self, failed: int, root: int) -> None:
        """Settle a task as failed, and all that wait for it."""
        stack = [failed]
        while stack:
            task = stack.pop()
            record = self.records[task]
            if record.state is FAILED:
                continue  # by another of its needs
            for user in self._settle(task, record, FAILED, root):
                waiting = self.records.get(user)
                if waiting is not None and (waiting.state is WAITING or waiting.state is UNFOLDED):
                    stack.append(user)

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
        self.settled.append(_settled_task((task, state, root)))
        users, record.users = record.users, []
        if record.needs:
            needs, record.needs = record.needs, ()
            self.leave(needs)
        if not record.held:
            self.idle.append(task)
        return users

    def sweep(self) -> list[int]:
        """Cancel and release what nobody holds; return whose values are released."""
        released = []
        for task in self.idle:  # grows while we go
            record = self.records.get(task)
            if record is None or record.held:
                continue
            if record.state not in SETTLED:
                if self.keep_going:
                    continue
                self.cancel(task, record)
            del self.records[task]
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
