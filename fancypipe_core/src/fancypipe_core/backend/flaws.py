"""What is wrong with an event: nothing checks the records when they are made, so they are quick."""

from __future__ import annotations

from fancypipe_core.backend.records import (
    Certificate,
    Cut,
    Done,
    Err,
    Lost,
    More,
    Note,
    Ok,
    Slots,
    Started,
)

__all__ = ["flaw"]


def flaw(event: object) -> str:
    """Return what is no event of the contract, or is wrong in one; empty if it is sound."""
    if not isinstance(event, (Done, Lost, Started, Note, Slots)):
        return f"{_short(event)}, which is no event"
    if isinstance(event, Slots):
        counts = (event.count, event.ahead)
        sound = all(type(one) is int and one >= 0 for one in counts)
        return "" if sound else f"{_short(event)}, whose counts are not natural numbers"
    if not (_is_id(event.id) or (isinstance(event, Note) and event.id is None)):
        return f"{_short(event)}, whose id is not (task, attempt)"
    if isinstance(event, Lost) and not _is(event.why, Certificate):
        return f"{_short(event)}, whose reason is not a Certificate"
    if isinstance(event, Done) and not _is(event.reply, Ok, More, Err, Cut):
        return f"{_short(event)}, whose reply is none of Ok, More, Err, Cut"
    return ""


def _is(value: object, *kinds: type) -> bool:
    return isinstance(value, kinds)


def _is_id(id: object) -> bool:
    return isinstance(id, tuple) and len(id) == 2 and all(type(one) is int for one in id)


def _short(event: object) -> str:
    try:
        return repr(event)[:200]
    except Exception:  # noqa: BLE001 - it may be anything
        return f"a {type(event).__name__}"
