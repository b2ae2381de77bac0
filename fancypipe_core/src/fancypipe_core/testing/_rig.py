"""A backend on the test bench: made, driven and watched as the engine does it, and stopped."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fancypipe_core._codec.row import Coming
from fancypipe_core._codec.sharing import sharer_of
from fancypipe_core._codec.values import EncodedValues, LiveValues
from fancypipe_core._model.ref import Instance
from fancypipe_core._plugins.blame import make_backend
from fancypipe_core._settings.session import own_settings
from fancypipe_core._worker.runner import Runner
from fancypipe_core.backend import (
    NOT_BEGUN,
    BackendOptions,
    BackendPlugin,
    Certificate,
    Done,
    Driven,
    Err,
    Event,
    Following,
    Job,
    JobId,
    Live,
    Lost,
    Note,
    Ok,
    Scaling,
    Slots,
    Started,
)
from fancypipe_core.backend.flaws import flaw
from fancypipe_core.testing import _jobs
from fancypipe_core.testing._pace import Patience
from fancypipe_core.testing._rules import broken

if TYPE_CHECKING:
    from typing_extensions import Self

_TRIES = 6  # of a job that is lost without guilt

__all__ = ["Gate", "Recorder", "Rig", "certificate", "short"]


class Recorder:
    """A sink that keeps all events and sees at once where rule 3 is broken.

    It never raises, as a sink must not; `problems` holds what it saw.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.ends: dict[JobId, Done | Lost] = {}
        self.started: set[JobId] = set()
        self.notes: list[Note] = []
        self.slots: list[Slots] = []
        self.problems: list[str] = []
        self.submitted: set[JobId] = set()
        self.stopped = False
        self._given: list[tuple[Sequence[Event], tuple[Event, ...]]] = []
        self._looked = 0  # at so many of these

    def sink(self, events: Sequence[Event]) -> None:
        """Take events."""
        with self.changed:
            try:
                copy = tuple(events)
            except TypeError:
                self.problems.append(broken(4, f"the sink was given {events!r}: not a sequence"))
                return
            self._given.append((events, copy))
            for event in copy:
                self._take(event)
            self.changed.notify_all()

    def _take(self, event: object) -> None:
        wrong = flaw(event)
        if wrong:
            self.problems.append(broken(4, f"the sink was given {wrong}"))
            if isinstance(event, (Done, Lost)) and event.id in self.submitted:
                self.ends[event.id] = Lost(event.id, NOT_BEGUN)  # nobody is to wait for it
            return
        if self.stopped:
            self.problems.append(broken(9, f"after stop() had returned came {short(event)}"))
        if isinstance(event, Slots):
            self.slots.append(event)
        elif isinstance(event, Note):
            self.notes.append(event)
            if event.id is not None:
                self._is_open(event.id, event)
        elif isinstance(event, Started):
            if self._is_open(event.id, event) and event.id in self.started:
                self.problems.append(broken(3, f"a second Started for {event.id}"))
            self.started.add(event.id)
        elif isinstance(event, (Done, Lost)):
            if self._is_open(event.id, event):
                self.ends[event.id] = event
            if isinstance(event, Lost) and event.why.reason == "left" and event.why.guilty:
                self.problems.append(broken(6, f"who left is held to be guilty: {short(event)}"))

    def _is_open(self, id: JobId, event: object) -> bool:
        if id not in self.submitted:
            seen = f"{short(event)}, but no job with this id was submitted"
        elif id in self.ends:
            seen = f"{short(event)}, after the job had ended with {short(self.ends[id])}"
        else:
            return True
        self.problems.append(broken(3, seen))
        return False

    def warnings(self) -> list[str]:
        """Return what was said on the stream for warnings."""
        return [note.text for note in self.notes if note.stream == "warning"]

    def forget(self) -> None:
        """Let go of all events so far, and of the values in them."""
        with self.changed:
            self._look_at_sequences(0)
            self._given.clear()
            self._looked = 0
            for id, end in self.ends.items():
                if isinstance(end, Done):
                    self.ends[id] = Done(id, Ok(Live(None)), end.seconds)

    def reopen(self, id: JobId) -> None:
        """Let a job that came back not begun be submitted again."""
        with self.changed:
            del self.ends[id]

    def _look_at_sequences(self, first: int) -> None:
        self._looked = len(self._given)
        for given, copy in self._given[first:]:
            if len(given) != len(copy) or any(
                a is not b for a, b in zip(given, copy, strict=False)
            ):
                self.problems.append(
                    broken(
                        4,
                        "a sequence of events was changed after it had been given to the sink; "
                        "the engine reads it later, in its own thread: give it a new one each time",
                    )
                )
                return

    def check(self, *, last: bool = False) -> None:
        """Raise if a rule was broken so far.

        Args:
            last: Look again at all that was given, and not only at what is new: once.

        Raises:
            AssertionError: It says which, and what was seen.
        """
        __tracebackhide__ = True
        with self.changed:
            self._look_at_sequences(0 if last else self._looked)
            problems = self.problems[:3]
        assert not problems, "\n".join(problems)


class Rig:
    """One session of a backend, as the engine would hold it.

    Args:
        plugin: The backend.
        workers: How many jobs may run at the same time.
        directory: The session's folder for temporary files.
        limit: Seconds that one wait may take.
    """

    def __init__(self, plugin: BackendPlugin, workers: int, directory: str, limit: float) -> None:
        self.plugin = plugin
        self.workers = workers
        self.limit = limit
        self.directory = directory
        live = plugin.shares_memory
        self.recorder = Recorder()
        options = BackendOptions(
            workers,
            directory,
            lambda: Runner(directory, live=live),
            own_settings(plugin),
            name=plugin.name,
            session=os.urandom(6).hex(),
        )
        self.backend = make_backend(plugin, options)
        sharer = sharer_of(plugin, self.backend)
        self.values = LiveValues(sharer) if live else EncodedValues(sharer)
        self.drive = self.backend.drive if isinstance(self.backend, Driven) else None
        self._next = 0
        self._open = False

    def start(self) -> Self:
        """Start the backend and wait for its slots."""
        self._open = True
        try:
            self.backend.start(self.recorder.sink)
            self.wait(lambda: bool(self.recorder.slots), 1, "no Slots event")
            if isinstance(self.backend, Scaling):
                self.backend.backlog(self.workers)
            self.wait(lambda: self.slots.count > 0, 1, "work waits, and there was no worker")
        except BaseException:
            self.stop(0.0)
            raise
        return self

    @property
    def slots(self) -> Slots:
        """The capacity that was reported last."""
        return self.recorder.slots[-1]

    def job(self, instance: Instance[Any], time_limit: float | None = None) -> Job:
        """Return a first attempt at a task instance, whose inputs hold no references."""
        self._next += 1
        packed = self.values.pack_inputs(instance)
        call = self.values.call(instance._definition)
        return Job((self._next, 1), call, packed.body, time_limit)

    @property
    def follows(self) -> bool:
        """Whether the backend takes followers."""
        return isinstance(self.backend, Following) and self.backend.follows

    def follower(self, instance: Instance[Any], *needs: tuple[Instance[Any], Job]) -> Job:
        """Return a job whose inputs hold references to these instances, made by these jobs."""
        self._next += 1
        packed = self.values.pack_inputs(instance)
        places = {id(need): Coming(at) for at, (need, _) in enumerate(needs)}
        inputs = self.values.fill(packed, [places[id(one)] for one in packed.wants], len(needs))
        call = self.values.call(instance._definition)
        body = Live(inputs) if self.plugin.shares_memory else inputs
        return Job((self._next, 1), call, body, after=tuple(job.id for _, job in needs))

    def submit(self, *jobs: Job | Instance[Any]) -> list[JobId]:
        """Submit jobs together; return their ids."""
        made = [job if isinstance(job, Job) else self.job(job) for job in jobs]
        ids = [job.id for job in made]
        with self.recorder.changed:
            self.recorder.submitted.update(ids)
        try:
            self.backend.submit(made)
        except Exception as error:
            raise AssertionError(
                broken(2, f"submit() raised {type(error).__name__}: {error}")
            ) from error
        return ids

    def cancel(self, ids: Sequence[JobId]) -> None:
        """Cancel jobs."""
        try:
            self.backend.cancel(ids)
        except Exception as error:
            raise AssertionError(
                broken(5, f"cancel({list(ids)[:5]}) raised {type(error).__name__}: {error}")
            ) from error

    def wait(self, true: Callable[[], bool], rule: int, missing: str) -> None:
        """Wait until something is true, driving the backend if it wants to be driven.

        Args:
            true: What to wait for.
            rule: Which rule promises it.
            missing: What to say when it did not come.

        Raises:
            AssertionError: It did not come within the limit, or a rule was broken meanwhile.
        """
        __tracebackhide__ = True
        patience = Patience(self.limit)
        while not true():
            self.recorder.check()
            if patience.is_over():
                raise AssertionError(broken(rule, f"{missing} within {self.limit:g} s"))
            if self.drive is not None:
                self.drive(0.02)
            else:
                with self.recorder.changed:
                    if not true():
                        self.recorder.changed.wait(0.02)
        self.recorder.check()

    def end(self, *ids: JobId, rule: int = 3) -> list[Done | Lost]:
        """Wait until these jobs have ended, as a rule promises; return how."""
        __tracebackhide__ = True
        ends = self.recorder.ends
        rest = iter(ids)
        now = next(rest, None)

        def over() -> bool:
            nonlocal now
            while now is not None and now in ends:  # each is looked at once
                now = next(rest, None)
            return now is None

        try:
            self.wait(over, rule, "no Done or Lost")
        except AssertionError as error:
            missing = [id for id in ids if id not in ends]
            if not missing or self.recorder.problems:
                raise
            raise AssertionError(
                f"{error}\n  Still missing are {len(missing)} of {len(ids)} jobs: "
                f"{', '.join(map(str, missing[:8]))}"
            ) from None
        return [ends[id] for id in ids]

    def run(self, *instances: Instance[Any] | Job) -> list[Any]:
        """Submit, wait, and return the results."""
        __tracebackhide__ = True
        return [self.value(end) for end in self.end(*self.submit(*instances))]

    def settle(self, *instances: Instance[Any] | Job, losses: int = 0) -> list[Done | Lost]:
        """Run jobs as the engine does: what was lost without guilt is tried again.

        A pool that breaks as a whole loses the jobs of all its workers, and may
        not know which one did it; then it blames none, and finds out by and by.

        Args:
            instances: The jobs.
            losses: How often a job may be lost with guilt and is tried again.
        """
        __tracebackhide__ = True
        jobs = [one if isinstance(one, Job) else self.job(one) for one in instances]
        return self.settled(jobs, self.submit(*jobs), losses)

    def settled(
        self, jobs: Sequence[Job], ids: Sequence[JobId], losses: int = 0
    ) -> list[Done | Lost]:
        """As `settle`, for jobs that were submitted by these ids."""
        __tracebackhide__ = True
        now = list(ids)
        lost = [0] * len(now)
        for _ in range(_TRIES):
            ends = self.end(*now, rule=6)
            again: dict[int, Job] = {}
            for place, end in enumerate(ends):
                if not isinstance(end, Lost) or end.why.reason in ("cancelled", "timeout"):
                    continue
                lost[place] += end.why.guilty
                if lost[place] > losses and end.why.guilty:
                    continue
                old = jobs[place]
                task, attempt = now[place]
                again[place] = Job((task, attempt + 1), old.call, old.inputs, old.time_limit)
            if not again:
                return ends
            for place, id in zip(again, self.submit(*again.values()), strict=True):
                now[place] = id
        return self.end(*now, rule=6)

    def value(self, end: Done | Lost) -> Any:
        """Return the result of a job that has ended well."""
        __tracebackhide__ = True
        assert isinstance(end, Done), broken(6, f"a job that does no harm ended with {short(end)}")
        reply = end.reply
        assert isinstance(reply, Ok), broken(3, f"a job that should succeed: {short(end)}")
        outputs = reply.outputs
        return self.values.open(outputs.value if isinstance(outputs, Live) else outputs)

    def feed(self, instances: Sequence[Instance[Any]]) -> list[Any]:
        """Run many jobs as the engine does: never more at the backend than it has asked for."""
        ids: list[JobId] = []
        ends = self.recorder.ends
        open_ids: set[JobId] = set()
        rest = list(reversed(instances))

        def room() -> bool:
            nonlocal open_ids
            open_ids = {id for id in open_ids if id not in ends}
            return len(open_ids) < max(1, self.slots.count + self.slots.ahead)

        while rest:
            self.wait(room, 7, "with count + ahead jobs submitted none of them ended")
            most = max(1, self.slots.count + self.slots.ahead) - len(open_ids)
            batch = [rest.pop() for _ in range(min(most, len(rest)))]
            new = self.submit(*batch)
            open_ids.update(new)
            ids += new
        return [self.value(end) for end in self.end(*ids)]

    def stop(self, grace: float = 5.0) -> None:
        """Stop the backend; may be called twice."""
        if self._open:
            self._open = False
            self.backend.stop(grace)
            with self.recorder.changed:
                self.recorder.stopped = True

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stop(5.0 if kind is None else 0.0)
        if kind is None:
            self.recorder.check(last=True)

    @property
    def left_files(self) -> list[str]:
        """What is in the session's folder."""
        return sorted(os.listdir(self.directory)) if os.path.isdir(self.directory) else []


class Gate:
    """Keeps workers busy until it is opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "gate"
        self.marks: list[Path] = []

    def job(self, limit: float) -> Any:
        """Return a task instance that waits for the gate, but not longer than `limit` seconds."""
        self.marks.append(self.folder / f"begun-{len(self.marks)}")
        return _jobs.gate(str(self.path), str(self.marks[-1]), limit)

    def reached(self) -> bool:
        """Tell whether all its jobs have begun."""
        return all(mark.exists() for mark in self.marks)

    def open(self) -> None:
        """Let them go on."""
        self.path.touch()


def certificate(end: Done | Lost) -> Certificate:
    """Return the certificate of a job that must have been lost."""
    assert isinstance(end, Lost), broken(6, f"a job killed its worker, and ended with {short(end)}")
    return end.why


def short(event: object) -> str:
    """Return an event in one line."""
    if isinstance(event, Done):
        reply = event.reply
        what = f"{reply.type_name}: {reply.message}" if isinstance(reply, Err) else ""
        return f"Done({event.id}, {type(reply).__name__}({what[:200]}))"
    if isinstance(event, Lost) and not flaw(event):
        why = event.why
        return f"Lost({event.id}, {why.reason}: {why}, guilty={why.guilty})"
    return repr(event)[:300]
