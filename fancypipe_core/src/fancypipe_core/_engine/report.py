"""The report of a run: events for observers while it goes on, errors when it fails."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO, TypeVar

from fancypipe_core import errors
from fancypipe_core._codec import failure as _failure
from fancypipe_core._engine.graph import Node
from fancypipe_core._engine.machine.states import State
from fancypipe_core._model import progress as _progress
from fancypipe_core._model.input_summary import brief_of
from fancypipe_core.backend import Certificate, Err, Job, Live, Note

if TYPE_CHECKING:
    from fancypipe_core._plugins.observers import Observers
    from fancypipe_core.backend import JobId
    from fancypipe_core.hooks import EventKind

__all__ = ["Report", "alike", "too"]

E = TypeVar("E", bound=errors.FancyPipeError)

_LAST_LINES = 25  # of a dead worker's output, in the error
_MOST_ATTEMPTS = 1000  # at a task, where a plugin has each failure followed by another


class _Death(NamedTuple):
    """A loss of a task that counted."""

    attempt: int
    why: Certificate
    alone: bool

    def __str__(self) -> str:
        alone = ", alone in a fresh process" if self.alone else ""
        return f"attempt {self.attempt}{alone}: {self.why}"


class Report:
    """Keeps what went wrong and passes on what happens.

    Args:
        observers: Who wants to know; None if nobody does, and then nothing is made.
        opener: Makes an object of an encoded value.
    """

    def __init__(self, observers: Observers | None, opener: Callable[[Any], Any]) -> None:
        self.observed = observers is not None
        self.decides_retries = observers is not None and observers.decides_retries
        self._observers = observers
        self._open = opener
        self._nodes: dict[int, Node] = {}
        self._causes: dict[int, tuple[Err | Certificate, int]] = {}
        self._deaths: dict[int, list[_Death]] = {}
        self._errors: dict[int, errors.FancyPipeError] = {}
        self._failures: list[int] = []
        self._roots: dict[int, int] = {}
        self.counts: Counter[str] = Counter()
        self._begin = monotonic()

    def run_started(self) -> None:
        """A run begins."""
        self.counts.clear()
        self._begin = monotonic()

    def flush(self) -> None:
        """Pass on to the observers what has come together."""
        if self._observers is not None:
            self._observers.flush()

    def run_over(self) -> None:
        """A run has ended."""
        # Errors have frames, and frames have values: all that goes with the error.
        self._nodes.clear()
        self._causes.clear()
        self._deaths.clear()
        self._errors.clear()
        self._failures.clear()
        self._roots.clear()

    def left_behind(self, count: int) -> None:
        """So many jobs of a run could not be ended."""
        tasks = "1 task keeps" if count == 1 else f"{count} tasks keep"
        self.warn(
            f"{tasks} running, since this backend cannot stop a running task; "
            "the result is dropped, and this program's end stops it at the latest"
        )

    def warn(self, text: str) -> None:
        """Say something to the user."""
        _write(sys.stderr, f"fancypipe: {text}")

    # ---- while it runs ----

    def added(self, node: Node) -> None:
        if self._observers is not None and not node.hidden:
            self._observers.event("added", node)

    def submitted(self, jobs: Sequence[Job]) -> None:
        if self._observers is not None:
            self._observers.submitted(jobs)

    def began(self, id: JobId) -> None:
        if self._observers is not None:
            self._observers.began(id)

    def finished(self, node: Node, attempt: int, seconds: float | None) -> None:
        if self._observers is not None:
            self._observers.ran(node, attempt, seconds)

    def unfolded(self, node: Node) -> None:
        if self._observers is not None:
            self._observers.event("unfolded", node)

    def failed(self, node: Node, attempt: int, why: Err, seconds: float | None) -> None:
        self._nodes[node.id] = node
        self._causes[node.id] = (why, attempt)
        if self._observers is not None:
            self._observers.ran(node, attempt, seconds)

    def retry(self, node: Node, attempt: int, why: Err) -> tuple[bool, bool]:
        """Ask whether an attempt that failed is the last, or is followed by another in any case.

        Raises:
            PluginError: Who is asked failed.
        """
        from fancypipe_core.hooks import TaskFailure

        assert self._observers is not None
        answer = self._observers.retry(
            TaskFailure(node.name, node.path, attempt, node.retries, why.type_name, why.message)
        )
        # Nothing goes on for ever, whatever they say.
        return answer is False, answer is True and attempt < _MOST_ATTEMPTS

    def lost(self, node: Node, attempt: int, why: Certificate, alone: bool = False) -> None:
        if not why.guilty and why.reason == "cancelled":
            return
        if why.started and why.reason != "timeout":
            self._deaths.setdefault(node.id, []).append(_Death(attempt, why, alone))
        self._nodes[node.id] = node
        self._causes[node.id] = (why, attempt)
        if self._observers is not None:
            self._observers.event("lost", node, str(why))

    def retried(self, node: Node, delay: float = 0.0) -> None:
        if self._observers is not None:
            cause = _one_line(self._causes.get(node.id))
            text = f"{cause}; tried again in {delay:.3g} s" if delay else cause
            self._observers.event("retried", node, text)

    def note(self, node: Node | None, note: Note) -> None:
        if note.stream in ("stdout", "stderr"):
            # Where a task of this process would have printed it, under the task's name.
            name = note.name or (node.name if node is not None else "")
            who = f"[{name}] " if name else ""
            _write(getattr(sys, note.stream), f"{who}{note.text}")
        elif note.stream == "progress":
            self._progress(node, note)
        else:
            who = f"{node.path}: " if node is not None else ""
            self.warn(f"{who}{note.text}")

    def _progress(self, node: Node | None, note: Note) -> None:
        """Pass on how far a task is."""
        if self._observers is None or node is None:
            return
        figures = _progress.read(note.text)
        if figures is not None and note.id is not None:
            self._observers.progress(node, note.id[1], *figures)

    def settled(self, node: Node, state: State, root: int) -> None:
        if node.hidden:
            self._roots[node.id] = root
            return
        kind: EventKind
        if state is State.DONE:
            kind = "done"
        elif state is not State.FAILED:
            kind = "cancelled"
        else:
            kind = "failed" if root == node.id else "skipped"
            self._roots[node.id] = root
            if root == node.id:
                self._failures.append(node.id)
        self.counts[kind] += 1
        if self._observers is not None:
            text = _one_line(self._causes.get(root)) if state is State.FAILED else ""
            self._observers.event(kind, node, text)

    # ---- errors ----

    def error(self, number: int) -> errors.FancyPipeError:
        """Return the error for a demanded task that is not done."""
        root = self._roots.get(number) or number
        return self._error_of(root)

    def failure(self, node: Node) -> errors.FancyPipeError:
        """Return what stands for the value of a task that is not done."""
        root = self._roots.get(node.id) or node.id
        error = self._one_error_of(root)
        if root == node.id:
            return error
        culprit = self._nodes[root].path
        skipped = errors.DependencyFailed(
            f"task {node.path} (made at {node.where}) did not run: it needs task {culprit}, "
            "which failed",
            task=node.path,
            where=node.where,
        )
        skipped.root = culprit
        skipped.__cause__ = error
        return skipped

    def run_failed(self, results: Any = None) -> errors.RunFailed:
        """Return the error for a run that went on after failures.

        Args:
            results: What was asked for, with exceptions where values are missing.
        """
        failures = [self._task_error_of(number) for number in self._failures]
        skipped = self.counts["skipped"]
        text = f"{len(failures)} of the tasks failed"
        text += f", and {skipped} could not run because of them" if skipped > 0 else ""
        kinds = alike(failures)
        for failure, more in kinds[:20]:
            text += f"\n  {failure}" + (f" ({too(more)})" if more else "")
        if len(kinds) > 20:
            text += f"\n  and {sum(1 + more for _, more in kinds[20:])} more"
        error = errors.RunFailed(text, failures=failures, skipped=max(skipped, 0), results=results)
        error.__cause__ = failures[0] if failures else None
        return error

    def _one_error_of(self, number: int) -> errors.FancyPipeError:
        """Return always the same error for a task."""
        known = self._errors.get(number)
        if known is None:
            known = self._errors[number] = self._error_of(number)
        return known

    def _task_error_of(self, number: int) -> errors.TaskError:
        """Return the error for a task also where it could not even begin."""
        error = self._one_error_of(number)
        if isinstance(error, errors.TaskError):
            return error
        node = self._nodes[number]
        return errors.with_cause(
            errors.TaskError(str(error), task=node.path, where=node.where), error
        )

    def _error_of(self, number: int) -> errors.FancyPipeError:
        node = self._nodes.get(number)
        known = self._causes.get(number)
        if node is None or known is None:
            raise errors.InternalError(f"task {number} failed, and no reason was recorded")
        cause, attempt = known
        if isinstance(cause, Certificate):
            return self._death(node, cause, attempt)
        original = self._original(cause)
        if isinstance(original, (errors.UsageError, errors.CodecError)) and (
            attempt == 0 or node.hidden
        ):
            return _at(original, node)
        if isinstance(original, errors.TaskError):
            return original  # a module waited for a task that failed: it is that task's error
        inputs = cause.inputs or brief_of(node.instance)
        return errors.with_cause(
            errors.TaskError(
                f"task {node.path}{_inside(inputs)} failed{_nth(attempt)}: "
                f"{_failure.said(cause.type_name, cause.message, cause.text)} "
                f"(at {cause.where or node.where})",
                task=node.path,
                attempt=attempt,
                where=cause.where or node.where,
                host=cause.host,
                pid=cause.pid,
                traceback=cause.text,
                inputs=inputs,
            ),
            original,
        )

    def _original(self, cause: Err) -> BaseException:
        if isinstance(cause.error, Live):
            value = cause.error.value
        elif cause.error is not None:
            try:
                value = self._open(cause.error)
            except BaseException:  # noqa: BLE001 - the user's objects may raise anything
                value = None
        else:
            value = None
        if isinstance(value, BaseException):
            return value
        return errors.RemoteError(
            f"{cause.type_name}: {cause.message}", type_name=cause.type_name, traceback=cause.text
        )

    def _death(self, node: Node, why: Certificate, attempt: int) -> errors.TaskError:
        facts: dict[str, Any] = {
            "task": node.path,
            "attempt": attempt,
            "where": node.where,
            "host": why.host,
            "pid": why.pid,
            "inputs": brief_of(node.instance),
        }
        who = f"task {node.path} ({facts['inputs']}{', ' if facts['inputs'] else ''}"
        who += f"made at {node.where})"
        if why.reason == "timeout":
            return errors.TaskTimeout(
                f"{who} took longer than its timeout of "
                f"{node.timeout:g} s and was given up on attempt {attempt} (host {why.host}, "
                f"pid {why.pid})",
                **facts,
            )
        deaths = self._deaths.get(node.id, [])
        times = f" {len(deaths)} times, at last by" if len(deaths) > 1 else ":"
        text = f"{who} was given up: its worker died{times} {why}"
        if len(deaths) > 1:
            text += "".join(f"\n  {death}" for death in deaths)
        if why.output:
            text += ("\n  " if len(deaths) > 1 else "; ") + "the last that it printed:"
            text += "".join(f"\n  | {line}" for line in why.output[-_LAST_LINES:])
        lost = errors.TaskLost(text, **facts)
        lost.certificate = why
        lost.certificates = tuple(death.why for death in deaths)
        return lost


def alike(failures: Sequence[E]) -> list[tuple[E, int]]:
    """Return failures, and of how many more each stands for.

    What a worker could not read, it could not read for all tasks of a definition.
    """
    kinds: dict[str, tuple[E, int]] = {}
    for number, error in enumerate(failures):
        cause = error.__cause__
        shared = isinstance(cause, (errors.DecodeError, errors.UsageError))
        key = str(cause) if shared else str(number)
        first, more = kinds.get(key, (error, -1))
        kinds[key] = (first, more + 1)
    return list(kinds.values())


def too(more: int) -> str:
    """Say of how many more tasks something is true."""
    return f"and {more} more task{'s' if more > 1 else ''} for this reason"


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


def _at(error: errors.FancyPipeError, node: Node) -> errors.FancyPipeError:
    """Add to an error of ours which task it is about."""
    text = str(error)
    if not node.hidden and f"(task {node.path}," not in text:
        error.args = (f"{text} (task {node.path}, made at {node.where})", *error.args[1:])
    return error


def _inside(text: str) -> str:
    return f" ({text})" if text else ""


def _nth(attempt: int) -> str:
    return f" on attempt {attempt}" if attempt > 1 else ""


def _one_line(cause: tuple[Err | Certificate, int] | None) -> str:
    if cause is None:
        return ""
    why = cause[0]
    if isinstance(why, Certificate):
        return str(why)
    return _failure.said(why.type_name, why.message, why.text)
