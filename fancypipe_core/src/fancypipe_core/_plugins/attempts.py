"""What is known of the latest attempts at tasks, until their ends are told."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from fancypipe_core._codec.in_words import bytes_of
from fancypipe_core.backend import Done, Encoded, Job, Live, Ok, Usage

__all__ = ["Attempt", "Attempts"]


class Attempt:
    """An attempt at a task, and how it ended, once it has.

    Args:
        number: Which one it is, from 1; 0 before the first.
        sent: When it was sent, by `time.monotonic()`; None if it was not.
        bytes_in: Of its inputs; None if nobody has counted.

    Attributes:
        seconds: How long it ran.
        waited: The seconds between its submission and its beginning.
        outputs: Its value, if somebody wants to know the size.
        usage: What it has used.
    """

    __slots__ = ("bytes_in", "number", "outputs", "seconds", "sent", "usage", "waited")

    def __init__(
        self, number: int = 0, sent: float | None = None, bytes_in: int | None = None
    ) -> None:
        self.number = number
        self.sent = sent
        self.bytes_in = bytes_in
        self.outputs: Encoded | Live | None = None
        self.usage: Usage | None = None
        self.seconds: float | None = None
        self.waited: float | None = None


class Attempts:
    """The latest attempt at each task that is under way.

    Args:
        counts: Whether the bytes of inputs and outputs are counted.

    Attributes:
        known: The attempts, by task; of those that were sent together only the time, by
            `time.monotonic()`: most of them are told of no more.
        jobs: Of these, what was sent, if bytes are counted.
        returned: How attempts ended that returned a value, until that is told.
    """

    def __init__(self, counts: bool) -> None:
        self._counts = counts
        self.known: dict[int, Attempt | float] = {}
        self.jobs: dict[int, Job] = {}
        self.returned: dict[int, Done] = {}

    def sent(self, task: int, number: int, at: float, bytes_in: int | None) -> None:
        """An attempt was sent."""
        self.known[task] = Attempt(number, at, bytes_in)

    def sent_together(self, tasks: Sequence[int], jobs: Sequence[Job], at: float) -> None:
        """The first attempts at these tasks were sent."""
        self.known.update(dict.fromkeys(tasks, at))
        if self._counts:
            self.jobs.update(zip(tasks, jobs, strict=True))

    def began(self, task: int, number: int) -> None:
        """An attempt began that was sent nowhere."""
        self.known[task] = Attempt(number)

    def ran(self, task: int, number: int) -> Attempt:
        """Return the attempt of which something is to be remembered."""
        last = self.of(task)
        if last.number != number:
            last = Attempt(number)
        self.known[task] = last
        return last

    def of(self, task: int) -> Attempt:
        """Return what is known of the latest attempt; an empty one for nothing."""
        known = self.known.get(task)
        if isinstance(known, float):
            job = self.jobs.get(task)
            return Attempt(1, known, None if job is None else bytes_of(job.inputs))
        return known or Attempt()

    def end(self, task: int, done: Done | None = None) -> Attempt:
        """As `of`, and forget it; `done`: how it ended, if that was not told yet."""
        last = self.of(task)
        for one in (self.known, self.jobs, self.returned):
            one.pop(task, None)
        if done is not None:
            if last.number != done.id[1]:
                last = Attempt(done.id[1])
            self.ended(last, done)
        return last

    def ended(self, last: Attempt, done: Done) -> None:
        """Write down how an attempt ended."""
        last.seconds = done.seconds
        if last.sent is not None:
            last.waited = max(monotonic() - last.sent - done.seconds, 0.0)
        last.usage = done.usage
        if self._counts and type(done.reply) is Ok:
            last.outputs = done.reply.outputs

    def clear(self) -> None:
        """Forget all."""
        for one in (self.known, self.jobs, self.returned):
            one.clear()
