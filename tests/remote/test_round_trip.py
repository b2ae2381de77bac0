"""How long the way there and back takes."""

from __future__ import annotations

from fancypipe_remote._protocol.round_trip import RoundTrip
from fancypipe_remote._protocol.stream import Piece


def piece(offset: int, data: bytes = b"data", turn: int = 0) -> Piece:
    return Piece(turn, offset, 0, 0, -1, end=False, asks=False, data=data)


def asked(trip: RoundTrip, sent: Piece, now: float) -> bool:
    pieces = [sent]
    trip.ask(pieces, now)
    return pieces[0].asks


def test_a_piece_with_bytes_asks_and_its_answer_is_timed() -> None:
    trip = RoundTrip()
    assert not asked(trip, piece(0, b""), 0.0)
    assert asked(trip, piece(0), 10.0)
    assert not asked(trip, piece(4), 10.01), "one at a time"
    trip.take(3, 0, 10.02)
    told = [trip.seconds]  # that was said before it came
    trip.take(8, 0, 10.25)
    assert [*told, trip.seconds] == [None, 0.25]
    assert not asked(trip, piece(8), 10.3), "now and then"
    assert asked(trip, piece(12), 11.3)


def test_what_was_sent_again_measures_nothing() -> None:
    trip = RoundTrip()
    assert asked(trip, piece(0), 0.0)
    assert asked(trip, piece(0, turn=1), 5.0)
    trip.take(4, 0, 5.1)
    assert trip.seconds is not None
    assert round(trip.seconds, 6) == 0.1


def test_the_quick_show_the_way_and_small_changes_are_no_news() -> None:
    trip = RoundTrip()
    told = []
    for number, seconds in enumerate((0.4, 0.1, 0.11, 0.9, 0.1)):
        start = 10.0 * number
        assert asked(trip, piece(4 * number), start)
        trip.take(4 * number + 4, 0, start + seconds)
        assert trip.seconds is not None
        told.append(round(trip.seconds, 3))
    assert told == [0.4, 0.1, 0.1, 0.302, 0.1]


def test_large_values_on_the_way_measure_nothing() -> None:
    """Else the longer they take, the more work would be sent, and take longer still."""
    trip = RoundTrip()
    assert not asked(trip, piece(1_000_000), 0.0), "behind a million bytes"
    trip.take(1_000_000, 0, 1.0)
    assert asked(trip, piece(1_000_000), 2.0)
    trip.take(1_000_004, 8_000_000, 3.0)
    told = [trip.seconds]  # the answer came behind a large result
    assert asked(trip, piece(1_000_004), 5.0)
    trip.take(1_000_008, 8_000_100, 5.25)
    assert [*told, trip.seconds] == [None, 0.25]
