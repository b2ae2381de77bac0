"""The report of a run: what observers and the user hear while it goes on."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, TextIO

from fancypipe_core._engine.failures import Failures
from fancypipe_core._engine.machine.states import State
from fancypipe_core._engine.node import Node, Pieces
from fancypipe_core._engine.parts import Elements, Feeder
from fancypipe_core._model import progress as _progress
from fancypipe_core.backend import Certificate, Err, Job, Note

if TYPE_CHECKING:
    from fancypipe_core._plugins.observers import Observers
    from fancypipe_core.backend import Done, JobId
    from fancypipe_core.hooks import EventKind

__all__ = ["Report"]

# Notes for journals and pages, which are not shown.
_QUIET = {"command", "folder", "exit", "program-stdout", "program-stderr", "picture"}

_MOST_ATTEMPTS = 1000  # at a task, where a plugin has each failure followed by another


class Report:
    """Passes on what happens, and has what went wrong kept.

    Args:
        observers: Who wants to know; None if nobody does, and then nothing is made.
        opener: Makes an object of an encoded value.
        live: Whether values are as they are; else they are encoded.

    Attributes:
        failures: What went wrong.
        counts: How many tasks came to which end.
        observed: Whether anybody wants to know what happens to tasks.
        decides_retries: Whether anybody wants to be asked if a task is tried again.
    """

    def __init__(
        self, observers: Observers | None, opener: Callable[[Any], Any], live: bool = False
    ) -> None:
        self.failures = Failures(opener)
        self.counts: Counter[str] = Counter()
        stream = observers.stream(live) if observers is not None else None
        self._stream = stream
        # None where nobody wants events, or notes: what nobody wants is not made.
        self._events = stream if stream is not None and stream.kinds else None
        self._notes = stream if stream is not None and stream.notes else None
        self.observed = self._events is not None
        self.decides_retries = observers is not None and observers.decides_retries
        self._observers = observers
        self._begin = monotonic()

    def run_started(self) -> None:
        """A run begins."""
        self.counts.clear()
        self._begin = monotonic()

    def flush(self) -> None:
        """Pass on to the observers what has come together."""
        if self._stream is not None:
            self._stream.flush()

    def rest(self, inline: bool) -> float:
        """Nothing more may happen for long: pass on what has come together, but not too often.

        Args:
            inline: Whether tasks run in this thread, so that nobody can be told meanwhile.

        Returns:
            The seconds until it is to be called again.
        """
        if inline:
            self.flush()
        return inf if self._stream is None else self._stream.rest()

    def left_behind(self, count: int) -> None:
        """So many jobs of a run could not be ended."""
        tasks = "1 task keeps" if count == 1 else f"{count} tasks keep"
        self.warn(
            f"{tasks} running, since this backend cannot stop a running task; "
            "the result is dropped, and this program's end stops it at the latest"
        )

    def warn(self, text: str) -> None:
        """Say something to the user."""
        self._say(text)
        if self._notes is not None:
            self._notes.note(None, Note(None, "warning", text))

    @staticmethod
    def _say(text: str) -> None:
        _write(sys.stderr, f"fancypipe: {text}")

    # ---- while it runs ----

    def added(self, nodes: Sequence[Node]) -> None:
        """The graph has met these tasks; only called if `observed`."""
        if self._events is not None:
            told = [node for node in nodes if node.part is None and not node.hidden]
            self._events.added(told)

    def cached(self, nodes: Sequence[Node]) -> None:
        """The values of these are there from before."""
        told = [node for node in nodes if node.part is None]
        self.counts["cached"] += len(told)
        if self._events is not None:
            self._events.cached(told)

    def fresh(self, nodes: Sequence[Node]) -> None:
        """As `added`, of tasks that somebody wrote down as a call."""
        if self._events is not None:
            self._events.added(nodes)

    def submitted(self, jobs: Sequence[Job], nodes: Mapping[int, Node], plain: bool) -> None:
        """These jobs are about to be sent; `plain`: none is of a map, or needs anything."""
        if self._events is None:
            return
        if plain:
            self._events.submitted_plain(jobs, nodes)
        else:
            told = [job for job in jobs if nodes[job.id[0]].part is None]
            self._events.submitted(told, [nodes[job.id[0]] for job in told])

    def began(self, id: JobId) -> None:
        if self._events is not None:
            self._events.began(id)

    def started(self, node: Node, attempt: int, worker: str) -> None:
        if self._events is not None and node.part is None:
            self._events.started(node, attempt, worker)

    def computed(self, node: Node, attempt: int, seconds: float) -> None:
        """A module has run in the client."""
        if self._events is not None:
            self._events.ran(node, attempt, seconds)

    def ended(self, node: Node, done: Done) -> None:
        """A job has ended by itself; what of a map has is told as progress."""
        if self._events is not None and node.part is None:
            self._events.ended(node, done)

    def returned(self, events: Sequence[Done]) -> None:
        """Jobs have returned values, none of them of a map."""
        if self._events is not None:
            self._events.returned(events)

    def done(self, nodes: Sequence[Node]) -> None:
        """Tasks that are of no map have their values; they were counted."""
        if self._events is not None:
            self._events.done(nodes)

    def unfolded(self, node: Node, needs: Sequence[int]) -> None:
        if self._events is not None:
            self._events.unfolded(node, needs)

    def failed(self, node: Node, attempt: int, why: Err, seconds: float | None) -> None:
        self.failures.went_wrong(node, attempt, why)
        if self._events is not None:
            self._single_out(node)
            self._events.ran(node, attempt, seconds)

    def retry(self, node: Node, attempt: int, why: Err) -> tuple[bool, bool]:
        """Ask whether an attempt that failed is the last, or is followed by another in any case.

        Raises:
            PluginError: Who is asked failed.
        """
        from fancypipe_core.hooks import TaskFailure

        assert self._observers is not None
        answer = self._observers.retry(
            TaskFailure(
                node.name, node.path, attempt, node.options.retries, why.type_name, why.message
            )
        )
        # Nothing goes on for ever, whatever they say.
        return answer is False, answer is True and attempt < _MOST_ATTEMPTS

    def lost(self, node: Node, attempt: int, why: Certificate, alone: bool = False) -> None:
        if not why.guilty and why.reason == "cancelled":
            return
        self.failures.died(node, attempt, why, alone)
        if self._events is not None:
            self._single_out(node)
            self._events.lost(node, attempt, why)

    def map_began(self, node: Node) -> None:
        """A map is under way."""
        if self._events is not None:
            self._events.map_began(node)

    def map_progress(self, node: Node, done: int, total: int | None) -> None:
        """So many elements of a map have values."""
        if self._events is not None:
            self._events.map_progress(node, done, total)

    def map_lost(self, node: Node, why: Certificate) -> None:
        """The worker of several elements of a map has died, and they are told apart."""
        if self._events is not None:
            self._events.event("lost", node, str(why), why)

    def _single_out(self, node: Node) -> None:
        """Have observers know of a part of a map, which is a task like any other from now on."""
        part = node.part
        if self._events is not None and isinstance(part, Elements) and not part.told:
            part.told = True
            self._events.added((node,))

    def retried(self, node: Node, delay: float = 0.0) -> None:
        if self._events is not None:
            why = self.failures.cause_in_a_line(node.id)
            text = f"{why}; tried again in {delay:.3g} s" if delay else why
            self._events.event("retried", node, text, self.failures.cause(node.id))

    def note(self, node: Node | None, note: Note) -> None:
        if note.stream in ("stdout", "stderr"):
            # Where a task of this process would have printed it, under the task's name.
            name = note.name or (node.name if node is not None else "")
            who = f"[{name}] " if name else ""
            _write(getattr(sys, note.stream), f"{who}{note.text}")
        elif note.stream == "progress":
            self._progress(node, note)
        elif note.stream not in _QUIET:
            who = f"{node.path}: " if node is not None else ""
            self._say(f"{who}{note.text}")
        if self._notes is not None and note.stream != "progress":
            self._notes.note(node, note)

    def _progress(self, node: Node | None, note: Note) -> None:
        """Pass on how far a task is."""
        if self._events is None or node is None or node.part is not None:
            return
        figures = _progress.read(note.text)
        if figures is not None and note.id is not None:
            self._events.progress(node, note.id[1], *figures)

    def settled(self, node: Node, state: State, root: int) -> None:
        part = node.part
        if node.hidden or isinstance(part, Feeder):
            if root:
                self.failures.gave_up(node, root)  # the error of a feeder is that of the map
            return
        if isinstance(part, Elements) and not part.told:
            if state is not State.FAILED:
                return
            self._single_out(node)
        kind: EventKind
        if state is State.DONE:
            kind = "done"
        elif state is not State.FAILED:
            kind = "cancelled"
        else:
            own = root == node.id or isinstance(node.returned, Pieces)
            kind = "failed" if own else "skipped"
            self.failures.gave_up(node, root)
            if kind == "skipped":
                self.failures.skipped(node)
        self.counts[kind] += 1
        if self._events is None:
            return
        if kind == "done":
            self._events.done((node,))
        else:
            text = self.failures.cause_in_a_line(root) if state is State.FAILED else ""
            cause = self.failures.cause(root) if kind == "failed" else None
            self._events.event(kind, node, text, cause)


def _write(stream: TextIO | None, text: str) -> None:
    """Write a line, if anybody is there to read it: a run does not end for want of readers."""
    if stream is None:
        return
    with suppress(OSError, ValueError):  # the terminal is gone, or it is closed
        try:
            print(text, file=stream)
        except UnicodeEncodeError:  # what a task prints may be more than this stream can show
            _write_as_it_is(stream, text + "\n")


def _write_as_it_is(stream: TextIO, text: str) -> None:
    """Write bytes that were no text in the first place, or else what the encoding cannot have."""
    encoding = getattr(stream, "encoding", None) or "ascii"
    try:
        data = text.encode(encoding, "surrogateescape")
        raw = stream.buffer
    except (UnicodeEncodeError, AttributeError):
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    else:
        stream.flush()
        raw.write(data)
        raw.flush()
