"""What the scheduler knows of each task, what it reads off that, and what must be true of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence

from fancypipe_core._engine.machine.states import SETTLED, Id, State

__all__ = ["Record", "Records", "chain", "check_records", "open_needs", "sentence"]


class Record:
    """One task.

    Attributes:
        state: Where it is.
        wait: The number of the latest wait that wants it.
        attempt: How many attempts were made.
        retries: How many of its exceptions are still forgiven.
        losses: How many of its workers died by its fault.
        local: Whether it is computed in the client.
        delayed: Whether an attempt after an exception waits for its time.
        needs: What it waits for, or what its attempt uses; empty once it is settled.
        missing: How many of its needs are not done.
        users: Who waits for it.  Who does not any more may still stand here.
        held: How many pins it has, and how many unsettled tasks need it.
        root: The task that failed first, if this one failed.
    """

    __slots__ = (
        "attempt", "delayed", "held", "local", "losses", "missing", "needs", "retries", "root",
        "state", "users", "wait",
    )  # fmt: skip

    def __init__(self, wait: int) -> None:
        self.state = State.NEW
        self.wait = wait
        self.attempt = self.retries = self.losses = self.missing = self.held = self.root = 0
        self.local = self.delayed = False
        self.needs: Sequence[int] = ()
        self.users: list[int] = []


Records = dict[int, Record]


def open_needs(records: Records, record: Record) -> list[int]:
    """Return the needs that are not settled."""
    return [need for need in record.needs if records[need].state not in SETTLED]


def chain(records: Records, task: int) -> list[int]:
    """Follow needs that are not settled.

    Returns:
        The circle that they end in, its first task repeated at the end; if they
        end at a task that waits for none, the way to that.
    """
    place: dict[int, int] = {}
    way: list[int] = []
    while task not in place:
        place[task] = len(way)
        way.append(task)
        following = open_needs(records, records[task])
        if not following:
            return way
        task = following[0]
    return [*way[place[task] :], task]


def sentence(records: Records, task: int) -> str:
    """Say why a task is where it is, as far as its record tells."""
    record = records.get(task)
    if record is None:
        return f"task {task} is not known: never demanded, or settled and released"
    text = f"task {task} {record.state.value}"
    if record.state in (State.WAITING, State.UNFOLDED):
        needs = open_needs(records, record)
        text += ": " + ", ".join(f"{need} ({records[need].state.value})" for need in needs[:5])
        if len(needs) > 5:
            text += f" and {len(needs) - 5} more"
    elif record.state is State.RUNNING:
        text += f": attempt {record.attempt}"
    elif record.state is State.FAILED and record.root != task:
        text += f": because of task {record.root}"
    return text


def check_records(records: Records, in_flight: Container[Id], pins: dict[int, int]) -> None:
    """Verify what must be true of the records.

    Args:
        records: The tasks.
        in_flight: The attempts whose end is awaited.
        pins: How often each task is demanded.

    Raises:
        AssertionError: Something is not; the text names the task.
    """
    held = Counter(pins)
    for task, record in records.items():
        _check_one(records, task, record, (task, record.attempt) in in_flight)
        held.update(record.needs)
    for task, record in records.items():
        assert record.held == held[task], f"{task}: held {record.held}, not {held[task]}"
    unknown = set(held) - set(records)
    assert not unknown, f"{unknown}: wanted, and not known"


def _check_one(records: Records, task: int, record: Record, in_flight: bool) -> None:
    state, needs = record.state, record.needs
    missing = [need for need in needs if records[need].state is not State.DONE]
    if state in (State.WAITING, State.UNFOLDED):
        assert record.missing == len(missing) > 0, f"{task}: {missing} are missing"
        assert all(task in records[need].users for need in missing), f"{task}: not a user"
        settled = [need for need in missing if records[need].state in SETTLED]
        assert not settled, f"{task}: waits for {settled} for ever"
    else:
        assert not missing, f"{task} is {state.name} without {missing}"
    if state in SETTLED:
        assert not needs, f"{task}: settled, and needs {needs}"
        assert not record.users, f"{task}: settled, and waited for by {record.users}"
    assert state is not State.RUNNING or in_flight, f"{task}: running, but nowhere"
    assert state is not State.READY or not in_flight, f"{task}: ready and running"
