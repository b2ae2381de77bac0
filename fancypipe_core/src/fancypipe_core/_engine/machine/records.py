"""What the scheduler knows of each task, what it reads off that, and what must be true of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence

from fancypipe_core._engine.machine.states import SETTLED, Id, State

__all__ = [
    "PATIENT",
    "Record",
    "Records",
    "chain",
    "check_records",
    "open_needs",
    "sentence",
    "waits_for_one",
]

# An attribute of an Enum costs ten times as much.
NEW, READY, WAITING = State.NEW, State.READY, State.WAITING

PATIENT = -1
"""The root of a task that waits until all that it needs is over, and of which nothing failed."""


class Record:
    """One task.  What the engine knows of it besides is in a class with this as its base.

    Attributes:
        state: Where it is.
        wait: The number of the latest wait that wants it.
        attempt: How many attempts were made.
        retries: How many of its exceptions are still forgiven.
        losses: How many of its workers died by its fault.
        local: Whether it is computed in the client.
        hidden: Whether it only gathers what was asked for, and is nobody's task: it waits for
            nothing itself, so it is computed also while modules wait that do not need it.
        delayed: Whether an attempt after an exception waits for its time.
        needs: What it waits for, or what its attempt uses; empty once it is settled.
        priority: Among ready ones the higher goes first.
        missing: How many of its needs are not done; of a patient one, not over.
        unsent: How many of these are not with the backend either, unless it is unfolded.
        users: Who waits for it; None if nobody ever did.  Who does not any more may still
            stand here.  One that waits for many is a tuple that they share.
        held: How many pins it has, and how many unsettled tasks need it; -1 once it is released.
        root: The task that failed first, if this one failed, or will when all is over that
            it waits for; `PATIENT` if nothing has failed of that; else 0.
    """

    __slots__ = (
        "attempt", "delayed", "held", "local", "losses", "missing", "needs", "priority", "retries",
        "root", "state", "unsent", "users", "wait",
    )  # fmt: skip

    hidden = False

    def __init__(self) -> None:
        self.state = NEW
        self.wait = self.attempt = self.retries = self.losses = self.missing = 0
        self.held = self.root = self.unsent = self.priority = 0
        self.local = self.delayed = False
        self.needs: Sequence[int] = ()
        self.users: Sequence[int] | None = None


Records = dict[int, Record]


def waits_for_one(record: Record | None) -> bool:
    """Tell whether a task waits for one need only, and that is with the backend."""
    return (
        record is not None
        and record.missing == 1
        and not record.unsent
        and record.state is WAITING
        and record.root <= 0
    )


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
        if record.missing:
            text += f", sent to follow {', '.join(map(str, open_needs(records, record)[:5]))}"
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
    over = SETTLED if record.root and state not in SETTLED else {State.DONE}
    missing = [need for need in needs if records[need].state not in over]
    follows = state in (State.RUNNING, State.DELAYED) and missing
    if follows or state in (State.WAITING, State.UNFOLDED):
        assert record.missing == len(missing) > 0, f"{task}: {missing} are missing"
        assert all(task in (records[need].users or ()) for need in missing), f"{task}: not a user"
        settled = [need for need in missing if records[need].state in SETTLED]
        assert not settled, f"{task}: waits for {settled} for ever"
    else:
        assert not missing, f"{task} is {state.name} without {missing}"
    if state in SETTLED:
        assert not needs, f"{task}: settled, and needs {needs}"
        assert not record.users, f"{task}: settled, and waited for by {record.users}"
    assert state is not State.RUNNING or in_flight, f"{task}: running, but nowhere"
    assert state is not State.READY or not in_flight, f"{task}: ready and running"
