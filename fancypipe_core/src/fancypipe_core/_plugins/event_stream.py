"""Makes events and notes for observers: of what somebody wants, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from time import monotonic, time
from typing import Any

from fancypipe_core._codec.in_words import bytes_of, result_in_words
from fancypipe_core._plugins.attempts import Attempt, Attempts
from fancypipe_core._plugins.paths import Paths
from fancypipe_core._plugins.places import Places
from fancypipe_core._plugins.together import SHORT, Details, ShortEnds, added_together, in_a_row
from fancypipe_core._plugins.told import Listeners, TaskNode
from fancypipe_core.backend import Certificate, Done, Err, Job, JobId, Note
from fancypipe_core.hooks import ENDS, EventKind, TaskEvent, TaskNote

__all__ = ["EventStream", "TaskNode"]

_BATCH = 2000
_PAUSE = 0.1  # seconds that an event waits for company,
_REST = 0.02  # and where nothing happens meanwhile
_WITHOUT_PATH = frozenset(("added", "unfolded", "done"))
_ENDS = frozenset(ENDS)


class EventStream:
    """Makes events, and passes them on in batches.

    Args:
        observers: Who wants them.
        live: Whether values are as they are; else they are encoded.

    Attributes:
        kinds: Which kinds of events somebody wants.
        notes: Whether somebody wants notes.
    """

    def __init__(self, observers: Listeners, live: bool) -> None:
        wanted = observers.wanted()
        self.kinds = frozenset(wanted.kinds)
        self.notes = observers.want_notes
        fields = frozenset(wanted.fields)
        self._path, self._inputs = "path" in fields, "inputs" in fields
        self._where, self._needs = "where" in fields, "needs" in fields
        self._bytes = "bytes" in fields and not live
        self._traceback, self._value = "traceback" in fields, "value" in fields
        self._added, self._submitted = "added" in self.kinds, "submitted" in self.kinds
        # Of attempts is only told with these.
        self._follows = bool(self.kinds - {"added"})
        self._together = wanted.together
        self._details = Details()
        self._observers = observers
        self._live = live
        self._events: list[TaskEvent] = []
        self._notes: list[TaskNote] = []
        self._attempts = Attempts(self._bytes)
        # By task: who runs it, where backends say so.
        self._workers: dict[int, str] = {}
        # By task: that it was sent to follow another, which is told when it has run.
        self._followers: dict[int, TaskEvent] = {}
        # Tasks whose results were there from before, until it is told that they are done.
        self._cached: set[int] = set()
        self._places = Places()
        self._paths = Paths()
        self._flushed = 0.0

    # ---- what happens to tasks ----

    def added(self, nodes: Sequence[TaskNode]) -> None:
        """The graph has met tasks."""
        if self._added:
            for begin in range(0, len(nodes), _BATCH):
                self._add(nodes[begin : begin + _BATCH])

    def _add(self, nodes: Sequence[TaskNode]) -> None:
        now, clock, events = monotonic(), time(), self._events
        if self._together:
            events += added_together(nodes, self._places.of if self._where else None, now, clock)
            self._flush_if_due(now)
            return
        where, inputs, path = "", "", ""
        parent = 0
        for node in nodes:
            if self._where:
                maker = node.parent
                parent, where = 0 if maker is None else maker.id, self._places.of(node)
            if self._path:
                path, inputs = self._said(node)
            events.append(
                TaskEvent(
                    "added", node.name, node.id, path, 0, now, None, "", None, None, inputs, "",
                    clock, parent, where,
                )
            )  # fmt: skip
        self._flush_if_due(now)

    def cached(self, nodes: Sequence[TaskNode]) -> None:
        """The values of tasks are there from before."""
        self._cached.update(node.id for node in nodes)

    def submitted_plain(self, jobs: Sequence[Job], nodes: Mapping[int, TaskNode]) -> None:
        """First attempts at tasks that need no others went to the backend."""
        if not self._together:
            self.submitted(jobs, [nodes[job.id[0]] for job in jobs])
        elif self._follows:
            now = monotonic()
            tasks = [job.id[0] for job in jobs]
            self._attempts.sent_together(tasks, jobs, now)
            if self._submitted:
                one = len(tasks) == 1
                self._events.append(
                    TaskEvent(
                        "submitted", jobs[0].call.label if one else "", tasks[0] if one else 0,
                        attempt=1, at=now, clock=time(), tasks=() if one else in_a_row(tasks),
                    )
                )  # fmt: skip
            self._flush_if_due(now)

    def submitted(self, jobs: Sequence[Job], nodes: Sequence[TaskNode]) -> None:
        """Attempts went to the backend.

        What was sent to follow another may come back unseen, and go again: it is told
        as submitted at the time at which it was, but not before it has run.
        """
        if not self._follows:
            return
        now, clock = monotonic(), time()
        workers, attempts, followers = self._workers, self._attempts, self._followers
        events, told, counts = self._events, self._submitted, self._bytes
        needs: tuple[int, ...] = ()
        for job, node in zip(jobs, nodes, strict=True):
            task, attempt = job.id
            if workers:
                workers.pop(task, None)  # that was another attempt
            if self._needs:
                needs = tuple(dict.fromkeys(node.filled_by)) if node.filled_by else ()
            size = bytes_of(job.inputs) if counts else None
            if told or job.after:
                path = self._paths.of(node) if self._path else ""
                event = TaskEvent(
                    "submitted", job.call.label, task, path, attempt, now, None, "", None, None,
                    "", "", clock, 0, "", needs, None, None, 0, size,
                )  # fmt: skip
                if job.after:
                    followers[task] = event
                    continue
                events.append(event)
            if followers:
                followers.pop(task, None)
            attempts.sent(task, attempt, now, size)
        self._flush_if_due(now)

    def _has_followed(self, task: int) -> None:
        if self._followers and (event := self._followers.pop(task, None)) is not None:
            self._attempts.sent(task, event.attempt, event.at, event.bytes_in)
            if self._submitted:
                self._events.append(event)

    def map_began(self, node: TaskNode) -> None:
        """A map is under way."""
        if self._submitted:
            attempt = self._attempts.of(node.id).number
            now = monotonic()
            path, inputs = self._said(node)
            self._events.append(
                TaskEvent(
                    "submitted", node.name, node.id, path, attempt, now, None, "", None, None,
                    inputs, clock=time(), needs=self._needs_of(node),
                )
            )  # fmt: skip
            self._flush_if_due(now)

    def began(self, id: JobId) -> None:
        """An attempt began that does not go to the backend."""
        self._attempts.began(*id)

    def started(self, node: TaskNode, attempt: int, worker: str) -> None:
        """An attempt has begun in a worker."""
        self._has_followed(node.id)
        self._workers[node.id] = worker
        if "started" in self.kinds:
            now = monotonic()
            path = self._paths.of(node) if self._path else ""
            self._events.append(
                TaskEvent(
                    "started", node.name, node.id, path, attempt, now, worker=worker, clock=time()
                )
            )
            self._flush_if_due(now)

    def map_progress(self, node: TaskNode, done: float, total: float | None) -> None:
        """So many elements of a map have values."""
        self.progress(node, self._attempts.of(node.id).number, done, total)

    def progress(self, node: TaskNode, attempt: int, done: float, total: float | None) -> None:
        """A running task says how far it is."""
        self._has_followed(node.id)
        if "progress" not in self.kinds:
            return
        now = monotonic()
        path, inputs = self._said(node)
        worker = self._workers.get(node.id, "")
        self._events.append(
            TaskEvent(
                "progress", node.name, node.id, path, attempt, now, None, "", done, total, inputs,
                worker, time(),
            )
        )  # fmt: skip
        self._flush_if_due(now)

    def ran(self, node: TaskNode, attempt: int, seconds: float | None) -> None:
        """An attempt took so long; the event that tells of its end will say it."""
        self._has_followed(node.id)
        last = self._attempts.ran(node.id, attempt)
        if last.seconds is None:
            last.seconds = seconds

    def ended(self, node: TaskNode, done: Done) -> None:
        """A job has ended by itself; the event that tells of the task's end will say how."""
        task, attempt = done.id
        self._has_followed(task)
        self._attempts.ended(self._attempts.ran(task, attempt), done)

    def returned(self, events: Sequence[Done]) -> None:
        """Jobs have returned values; as `ended`."""
        if not self._follows:
            return
        if self._followers:
            for event in events:
                self._has_followed(event.id[0])
        self._attempts.returned.update({event.id[0]: event for event in events})

    def unfolded(self, node: TaskNode, needs: Sequence[int]) -> None:
        """An attempt has returned references."""
        self.event("unfolded", node, needs=tuple(needs) if self._needs else ())

    def lost(self, node: TaskNode, attempt: int, why: Certificate) -> None:
        """The worker of an attempt has died."""
        self.ran(node, attempt, None)
        self.event("lost", node, str(why), why)

    def done(self, nodes: Iterable[TaskNode]) -> None:
        """Tasks have their values."""
        tells, together, details = "done" in self.kinds, self._together, self._details
        attempts, workers = self._attempts, self._workers
        take, forget, forget_job = attempts.returned.pop, attempts.known.pop, attempts.jobs.pop
        short: ShortEnds | None = None
        for node in nodes:
            task = node.id
            done = take(task, None)
            if done is not None and together and done.seconds < SHORT and done.id[1] == 1:
                if details.left <= 0 and task not in workers:
                    forget(task, None)
                    forget_job(task, None)
                    if short is None or short.usage is not done.usage:
                        self._tell_short(short)
                        short = ShortEnds(done.usage)
                    short.tasks.append(task)
                    short.took.append(int(done.seconds * 1e6) + 1)
                    continue
                details.left -= 1
            self._tell_short(short)
            short = None
            last = attempts.end(task, done)
            worker = workers.pop(task, "") if workers else ""
            if tells:
                value = result_in_words(node.value, self._live) if self._value else ""
                cached = bool(self._cached) and task in self._cached
                self._tell("done", node, last, worker, value=value, cached=cached)
        self._tell_short(short)
        self._flush_if_due(monotonic())

    def _tell_short(self, short: ShortEnds | None) -> None:
        if short is not None and "done" in self.kinds:
            self._events.append(short.told(monotonic(), time()))

    def event(
        self,
        kind: EventKind,
        node: TaskNode,
        message: str = "",
        cause: Err | Certificate | None = None,
        needs: tuple[int, ...] = (),
    ) -> None:
        """Something else has happened to a task."""
        task = node.id
        ends = kind in _ENDS
        last = self._attempts.end(task) if ends else self._attempts.of(task)
        worker = self._workers.get(task, "")
        if ends:
            self._workers.pop(task, None)
            self._followers.pop(task, None)
        if kind not in self.kinds:
            return
        why: dict[str, Any] = {}
        if isinstance(cause, Certificate):
            why = {"error": "WorkerDied", "certificate": _certificate(cause)}
        elif cause is not None:
            worker = worker or (f"{cause.host} {cause.pid}" if cause.host else "")
            text = cause.text if self._traceback else ""
            why = {"error": cause.type_name, "traceback": text}
        self._tell(kind, node, last, worker, message=message, needs=needs, **why)

    def _tell(  # noqa: PLR0913 - what there is to say
        self,
        kind: EventKind,
        node: TaskNode,
        last: Attempt,
        worker: str,
        *,
        message: str = "",
        needs: tuple[int, ...] = (),
        error: str = "",
        traceback: str = "",
        certificate: str = "",
        value: str = "",
        cached: bool = False,
    ) -> None:
        path = inputs = ""
        if self._path or kind not in _WITHOUT_PATH:
            path, inputs = self._said(node)
        cpu, memory, bytes_out = None, 0, None
        usage, outputs = last.usage, last.outputs
        if usage is not None:
            cpu, memory, worker = usage.cpu, usage.memory, worker or usage.where
        if outputs is not None:
            bytes_out = bytes_of(outputs)
        now = monotonic()
        self._events.append(
            TaskEvent(
                kind, node.name, node.id, path, last.number, now, last.seconds, message, None,
                None, inputs, worker, time(), 0, "", needs, last.waited, cpu, memory,
                last.bytes_in, bytes_out, error, traceback, certificate, value, cached=cached,
            )
        )  # fmt: skip
        self._flush_if_due(now)

    def _said(self, node: TaskNode) -> tuple[str, str]:
        return self._paths.of(node), node.brief if self._inputs else ""

    def _needs_of(self, node: TaskNode) -> tuple[int, ...]:
        return tuple(dict.fromkeys(node.filled_by)) if self._needs else ()

    # ---- what is said ----

    def note(self, node: TaskNode | None, note: Note) -> None:
        """Something was said, by a task or about it."""
        task, attempt = note.id or (0, 0)
        name = note.name or (node.name if node is not None else "")
        now = monotonic()
        self._notes.append(TaskNote(note.stream, note.text, name, task, attempt, now, time()))
        self._flush_if_due(now)

    # ---- passing on ----

    def _flush_if_due(self, now: float) -> None:
        if len(self._events) + len(self._notes) >= _BATCH or now - self._flushed > _PAUSE:
            self.flush()

    def rest(self) -> float:
        """Nothing more may happen for long: pass on what has come together, but not too often.

        Returns:
            The seconds until it is to be called again.
        """
        left = self._flushed + _REST - monotonic() if self._events or self._notes else inf
        if left > 0:
            return left
        self.flush()
        return inf

    def flush(self) -> None:
        """Pass on what has come together."""
        self._flushed = now = monotonic()
        self._details.refill(now)
        if self._events:
            events, self._events = self._events, []
            self._observers.task_events(events)
        if self._notes:
            notes, self._notes = self._notes, []
            self._observers.notes(notes)

    def run_over(self) -> None:
        """A run has ended."""
        self.flush()
        self._flushed = 0.0  # the first of the next run is told at once
        self._attempts.clear()
        self._workers.clear()
        self._followers.clear()
        self._cached.clear()
        self._places.clear()
        self._paths.forget()


def _certificate(why: Certificate) -> str:
    return "\n".join((f"{why.reason}: {why}", *why.output))
