"""A stream over a line that loses, repeats and delays messages."""

from __future__ import annotations

from collections import deque
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fancypipe_core.errors import ProtocolError
from fancypipe_remote._protocol.stream import CHUNK, Piece, Stream

WINDOW = 64


class End:
    """A stream with somebody who writes into it and somebody who reads slowly."""

    def __init__(self, text: bytes) -> None:
        self.stream = Stream(WINDOW)
        self.left = text
        self.got = b""
        self.unread = 0
        self.line: deque[Piece] = deque()

    def write(self, most: int) -> None:
        part = self.left[: min(most, self.stream.room)]
        self.left = self.left[len(part) :]
        self.stream.write(part)
        if not self.left:
            self.stream.finish()

    def take(self, piece: Piece) -> None:
        data = self.stream.take(piece, 0.0)
        self.got += data
        self.unread += len(data)
        assert self.unread <= WINDOW

    def read(self, most: int) -> None:
        count = min(most, self.unread)
        self.unread -= count
        self.stream.consume(count)


def turn(ends: tuple[End, End], rnd: Random, loss: float) -> None:
    """Let something happen at one end; what it sends comes to the other, or not."""
    index = rnd.randrange(2)
    end, other = ends[index], ends[1 - index]
    what = rnd.random()
    if what < 0.3:
        end.write(rnd.randint(1, 20))
    elif what < 0.5:
        end.read(rnd.randint(1, 40))
    elif what < 0.8 and other.line:
        end.take(other.line.popleft())
    elif what < 0.85:
        other.line.extend(())
        end.line.extend(piece for piece in end.stream.beat(0.0) if rnd.random() >= loss)
    if rnd.random() < loss / 10:
        end.line.clear()  # a link or the manager died with all that was under way
    for piece in end.stream.pieces(0.0):
        if rnd.random() >= loss:
            end.line.extend([piece] * (2 if rnd.random() < loss else 1))


@settings(max_examples=150)
@given(
    st.binary(max_size=2000),
    st.binary(max_size=600),
    st.integers(0),
    st.sampled_from((0, 0.1, 0.4)),
)
def test_every_byte_arrives_once_and_in_order(
    there: bytes, back: bytes, seed: int, loss: float
) -> None:
    rnd = Random(seed)
    ends = (End(there), End(back))
    for _ in range(600):
        turn(ends, rnd, loss)
    # From now on nothing is lost: it must come to its end, and soon.
    rounds = 0
    while not all(end.stream.drained and end.stream.has_ended for end in ends):
        rounds += 1
        assert rounds < 500, [vars(end.stream) for end in ends]
        for end, other in (ends, ends[::-1]):
            end.write(20)
            end.read(40)
            end.line.extend(end.stream.beat(0.0))
            while end.line:
                other.take(end.line.popleft())
    assert ends[1].got == there
    assert ends[0].got == back


def test_an_undisturbed_line_carries_each_byte_once() -> None:
    ends = (End(bytes(range(200))), End(b""))
    sent: list[Piece] = []
    for _ in range(100):
        for end, other in (ends, ends[::-1]):
            end.write(10)
            end.read(10)
            pieces = end.stream.pieces(0.0)
            sent += pieces
            for piece in pieces:
                other.take(piece)
    assert ends[1].got == bytes(range(200))
    assert sum(len(piece.data) for piece in sent) == 200
    assert not any(piece.turn for piece in sent)
    # No more is said than must be: the data, and an answer for every eighth of a window.
    assert len([piece for piece in sent if not piece.data]) < 40


def test_two_that_have_ended_say_nothing_more() -> None:
    ends = (End(b"abc"), End(b"de"))
    for _ in range(20):
        for end, other in (ends, ends[::-1]):
            end.write(10)
            for piece in end.stream.beat(0.0):
                other.take(piece)
    assert [end.stream.beat(0.0) for end in ends] == [[], []]
    assert [end.stream.pieces(0.0) for end in ends] == [[], []]


def test_one_gap_is_answered_once() -> None:
    sender, receiver = Stream(WINDOW), Stream(WINDOW)
    for text in (b"one", b"two", b"three"):
        sender.write(text)
    lost, *others = sender.pieces(0.0)
    answers = []
    for piece in others:
        assert receiver.take(piece, 0.0) == b""
        answers += receiver.pieces(0.0)
    assert len(answers) == 2
    sent = []
    for answer in answers:
        sender.take(answer, 0.0)
        sent += sender.pieces(0.0)
    assert [piece.data for piece in sent] == [b"one", b"two", b"three"]
    assert {piece.turn for piece in sent} == {lost.turn + 1}


def test_what_the_last_message_lost_is_found_by_a_beat() -> None:
    sender, receiver = Stream(WINDOW), Stream(WINDOW)
    sender.write(b"lost")
    sender.pieces(0.0)
    (asking,) = sender.beat(0.0)
    assert receiver.take(asking, 0.0) == b""
    (answer,) = receiver.pieces(0.0)
    sender.take(answer, 0.0)
    (again,) = sender.pieces(0.0)
    assert receiver.take(again, 0.0) == b"lost"


def test_a_line_that_loses_long_messages_is_given_short_ones() -> None:
    sender, receiver = Stream(), Stream()
    data = bytes(range(256)) * 64
    sender.write(data)
    got = b""
    for _ in range(200):
        for piece in sender.beat(0.0):
            if len(piece.data) <= 1024:
                got += receiver.take(piece, 0.0)
        for answer in receiver.pieces(0.0):
            sender.take(answer, 0.0)
    assert got == data


def test_what_cannot_be_is_refused() -> None:
    stream = Stream(WINDOW)
    with pytest.raises(ProtocolError, match="never sent"):
        stream.take(Piece(0, 0, 5, WINDOW, -1, end=False, asks=False, data=b""), 0.0)
    with pytest.raises(ProtocolError, match="more bytes came than were asked for"):
        stream.take(
            Piece(0, 0, 0, WINDOW, -1, end=False, asks=False, data=b"x" * (WINDOW + 1)), 0.0
        )
    with pytest.raises(ValueError, match="a stream that takes"):
        Stream().write(b"x" * (CHUNK + 1))
