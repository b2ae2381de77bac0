"""The values that followers find: how long they are kept."""

from __future__ import annotations

from fancypipe_core._worker.kept_values import KeptValues
from fancypipe_core.backend import Call, Done, Job, JobId, Live, Ok

_CALL = Call("nothing", Live(None))


def _follower(number: int, *after: JobId) -> Job:
    return Job((number, 1), _CALL, Live(number), after=after)


def _end(kept: KeptValues, numbers: range) -> None:
    for number in numbers:
        kept.ended(Done((number, 1), Ok(Live(number)), 0.0))


def _is_used(kept: KeptValues) -> bool:
    return kept.is_used


def test_one_that_comes_late_finds_what_has_just_ended() -> None:
    kept = KeptValues()
    kept.expect([_follower(1000, (1, 1))])
    _end(kept, range(1, 4))
    late = _follower(1001, (3, 1))
    kept.expect([late])
    assert kept.has(late)
    assert kept.fill(late) is not None


def test_nothing_is_kept_once_nobody_follows() -> None:
    kept = KeptValues()
    assert not _is_used(kept)
    first = _follower(1000, (1, 1))
    kept.expect([first])
    _end(kept, range(1, 2))
    assert kept.fill(first) is not None
    _end(kept, range(2, 200))
    assert _is_used(kept)
    _end(kept, range(200, 400))
    assert not _is_used(kept)
    late = _follower(1001, (399, 1))
    kept.expect([late])
    assert _is_used(kept), "there is one again"
    assert not kept.has(late)
    assert kept.fill(late) is None
    kept.expect([_follower(1002, (400, 1))])
    _end(kept, range(400, 401))
    assert kept.has(_follower(1002, (400, 1)))


def test_who_waits_is_not_forgotten_however_many_end() -> None:
    kept = KeptValues()
    waits = _follower(1000, (1, 1))
    kept.expect([waits])
    _end(kept, range(2, 2000))
    assert _is_used(kept)
    _end(kept, range(1, 2))
    assert kept.has(waits)
