"""The serial backend: how much work it wants to have waiting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import Token
from typing import Any

from fancypipe_core._plugins.blame import make_backend
from fancypipe_core._worker.inline import InlineBackend, plugin
from fancypipe_core.backend import (
    BackendOptions,
    Call,
    Done,
    Event,
    Job,
    JobRunner,
    Live,
    Note,
    Ok,
    Sink,
    Slots,
)

_CALL = Call("nothing", Live(None))


class _Runner:
    """Says how long jobs have taken, in no time."""

    seconds = 0.0

    def connect(self, sink: Sink) -> None:
        pass

    def enter(self) -> Any:
        pass

    def leave(self, token: Token[Any]) -> None:
        pass

    def between(self) -> None:
        pass

    out_of_memory = False

    def tell(self, notes: Sequence[Note]) -> None:
        pass

    def run(self, job: Job) -> Done:
        return Done(job.id, Ok(Live(None)), self.seconds)


def _ahead_after(make: Callable[[JobRunner], InlineBackend], *lengths: float) -> list[int]:
    """Return what it wants after many jobs of each of these lengths."""
    runner, events, wanted = _Runner(), list[Event](), list[int]()
    backend = make(runner)
    backend.start(events.extend)
    for done, runner.seconds in enumerate(lengths):
        backend.submit([Job((n, done + 1), _CALL, Live(None)) for n in range(100)])
        while sum(type(event) is Done for event in events) < 100 * (done + 1):
            backend.drive(0.0)
        wanted.append([event.ahead for event in events if type(event) is Slots][-1])
    return wanted


def test_serial_wants_many_short_jobs_and_few_long_ones() -> None:
    def make(runner: JobRunner) -> InlineBackend:
        made = make_backend(plugin, BackendOptions(1, "", lambda: runner, None))
        assert isinstance(made, InlineBackend)
        return made

    assert _ahead_after(make, 0.000008, 0.5, 0.000008) == [123, 31, 123]
    assert _ahead_after(make, 0.0) == [255]


def test_what_runs_in_a_worker_says_it_once() -> None:
    assert _ahead_after(InlineBackend, 0.0, 0.5) == [31, 31]
