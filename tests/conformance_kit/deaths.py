"""Bugs in telling of deaths, planted between the procs backend and the kit.

They are not changes of its source, as those in `planted`: each is a liar that
passes on what procs says, and says something else when a worker dies.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, cast

from fancypipe_core._plugins import discovery
from fancypipe_core._plugins.blame import make_backend
from fancypipe_core.backend import (
    BackendOptions,
    BackendPlugin,
    Certificate,
    Done,
    Driven,
    Event,
    Job,
    JobId,
    Lost,
    Ok,
    Sink,
)

__all__ = ["BUGS", "Bug", "plugin_with"]


class Liar:
    """Procs, with a bug.

    Args:
        options: What the engine gave.
        told: What is said instead of a death.
    """

    def __init__(
        self, options: BackendOptions, told: Callable[[Liar, Lost], Iterable[Event]]
    ) -> None:
        self.inner = cast(Driven, make_backend(discovery.find("procs"), options))
        self.open: dict[JobId, Job] = {}
        self.said: list[JobId] = []  # jobs that were said to be lost and are not
        self.one_by_one = False
        self._waiting: list[Job] = []
        self._told = told
        self._sink: Sink

    def start(self, sink: Sink) -> None:
        self._sink = sink
        self.inner.start(self._hear)

    def submit(self, jobs: Sequence[Job]) -> None:
        self.open.update((job.id, job) for job in jobs)
        if self.one_by_one:
            self._waiting += jobs
            self._next()
        else:
            self.inner.submit(jobs)

    def cancel(self, ids: Sequence[JobId]) -> None:
        self.inner.cancel(ids)

    def recall(self, ids: Sequence[JobId]) -> None:
        self.inner.recall(ids)

    def stop(self, grace: float) -> None:
        self.inner.stop(grace)

    def drive(self, timeout: float | None) -> None:
        self.inner.drive(timeout)

    def wake(self) -> None:
        self.inner.wake()

    def _hear(self, events: Sequence[Event]) -> None:
        told: list[Event] = []
        for event in events:
            if isinstance(event, (Done, Lost)):
                self.open.pop(event.id, None)
                if event.id in self.said:
                    continue
            told += self._told(self, event) if isinstance(event, Lost) else [event]
        if told:
            self._sink(told)
        self._next()

    def _next(self) -> None:
        if self._waiting and len(self.open) <= len(self._waiting):
            self.inner.submit([self._waiting.pop(0)])


def _with(event: Lost, **changes: object) -> Lost:
    why = event.why
    fields = {name: getattr(why, name) for name in why.__struct_fields__} | changes
    return Lost(event.id, Certificate(**fields))


def _nothing(_: Liar, _event: Lost) -> Iterable[Event]:
    return []


def _neighbours_too(liar: Liar, event: Lost) -> Iterable[Event]:
    liar.said += liar.open
    return [event, *(Lost(id, event.why) for id in liar.open)]


def _another(liar: Liar, event: Lost) -> Iterable[Event]:
    blamed = next((id for id in liar.open if id not in liar.said), None)  # each once: rule 3
    if blamed is None:
        return [event]
    liar.said.append(blamed)
    return [_with(event, guilty=False), Lost(blamed, event.why)]


def _slower(liar: Liar, event: Lost) -> Iterable[Event]:
    liar.one_by_one = True
    return [event]


def _leaves_a_child(_: Liar, event: Lost) -> Iterable[Event]:
    os.posix_spawn("/bin/true", ["true"], {})
    return [event]


class Bug(NamedTuple):
    """A bug.

    Attributes:
        rule: The rule that it breaks.
        told: What is said instead of a death.
        tests: Which of the kit's tests are run.
    """

    rule: int
    told: Callable[[Liar, Lost], Iterable[Event]]
    tests: str = "rule_06"


BUGS = {
    "neighbours are lost with the dead": Bug(6, _neighbours_too),
    "a death is not told": Bug(6, _nothing),
    "a death is told twice": Bug(3, lambda _, event: [event, event]),
    "a lost job ends well later": Bug(3, lambda _, event: [event, Done(event.id, Ok(()), 0.0)]),
    "one worker fewer, and nothing said": Bug(6, _slower),
    "nobody is guilty": Bug(6, lambda _, event: [_with(event, guilty=False)]),
    "the wrong one is blamed": Bug(6, _another),
    "who left is guilty": Bug(6, lambda _, event: [_with(event, reason="left")]),
    "nobody had begun": Bug(6, lambda _, event: [_with(event, started=False)]),
    "the certificate does not say how": Bug(6, lambda _, event: [_with(event, detail="it died")]),
    "the certificate names no process": Bug(6, lambda _, event: [_with(event, pid=0)]),
    "a timeout is called an exit": Bug(
        10, lambda _, event: [_with(event, reason="exit")], "rule_10"
    ),
    "the dead are not buried": Bug(9, _leaves_a_child, "after_deaths"),
}


def _vaguely(_: Liar, event: Lost) -> Iterable[Event]:
    return [_with(event, detail="the worker is gone", host="", pid=0, reason="exit")]


vague = BackendPlugin(
    "vague",
    (),
    "procs, of which nobody learns what it died of",
    lambda options: Liar(options, _vaguely),
    certificates="vague",
)


def plugin_with(bug: str) -> BackendPlugin:
    """Return the backend with the bug of this name in it."""
    return BackendPlugin(
        "liar", (), "procs, with a bug", lambda options: Liar(options, BUGS[bug].told)
    )
