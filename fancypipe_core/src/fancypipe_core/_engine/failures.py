"""What went wrong in a run, and the errors that say so."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple, TypeVar

from fancypipe_core import errors
from fancypipe_core._codec import failure as _failure
from fancypipe_core._engine.node import Node
from fancypipe_core.backend import Certificate, Err, Live

__all__ = ["Failures", "alike", "too"]

E = TypeVar("E", bound=errors.FancyPipeError)

_LAST_LINES = 25  # of a dead worker's output, in the error


class _Death(NamedTuple):
    """A loss of a task that counted."""

    attempt: int
    why: Certificate
    alone: bool

    def __str__(self) -> str:
        alone = ", alone in a fresh process" if self.alone else ""
        return f"attempt {self.attempt}{alone}: {self.why}"


class Failures:
    """Keeps what went wrong, and words it when it is asked for.

    Args:
        opener: Makes an object of an encoded value.

    Attributes:
        any: Whether anything is kept.
    """

    def __init__(self, opener: Callable[[Any], Any]) -> None:
        self._open = opener
        self._nodes: dict[int, Node] = {}
        self._causes: dict[int, tuple[Err | Certificate, int]] = {}
        self._deaths: dict[int, list[_Death]] = {}
        self._errors: dict[int, errors.FancyPipeError] = {}
        self._failures: dict[int, None] = {}  # in their order
        self._skipped: set[int] = set()
        self._roots: dict[int, int] = {}
        self.any = False

    def known(self) -> AbstractSet[int]:
        """Return the tasks of which something is known that `forget` may drop."""
        return self._causes.keys() | self._roots.keys()

    @property
    def size(self) -> int:
        """Of how many tasks something is known, more or less."""
        return len(self._causes) + len(self._roots)

    def clear(self) -> None:
        """A run has ended: forget what went wrong in it."""
        self.any = False
        # Errors have frames, and frames have values: all that goes with the error.
        self._nodes.clear()
        self._causes.clear()
        self._deaths.clear()
        self._errors.clear()
        self._failures.clear()
        self._skipped.clear()
        self._roots.clear()

    def forget(self, tasks: Iterable[int]) -> None:
        """Nobody will ask what became of these any more."""
        for one in tasks:
            for kept in (self._nodes, self._causes, self._deaths, self._errors, self._roots):
                kept.pop(one, None)
            self._failures.pop(one, None)
            self._skipped.discard(one)

    # ---- what went wrong ----

    def went_wrong(self, node: Node, attempt: int, why: Err | Certificate) -> None:
        """An attempt has failed, or its worker has died."""
        self.any = True
        self._nodes[node.id] = node
        self._causes[node.id] = (why, attempt)

    def died(self, node: Node, attempt: int, why: Certificate, alone: bool) -> None:
        """The worker of an attempt has died; `alone`: nothing else was in it."""
        if why.started and why.reason not in ("timeout", "left"):
            self._deaths.setdefault(node.id, []).append(_Death(attempt, why, alone))
        self.went_wrong(node, attempt, why)

    def gave_up(self, node: Node, root: int) -> None:
        """A task is not done, because of this one; of itself, if it is the same."""
        self.any = True
        self._roots[node.id] = root
        if root == node.id and not node.hidden:
            self._failures[node.id] = None

    def skipped(self, node: Node) -> None:
        """A task did not run because of another."""
        self._skipped.add(node.id)

    def cause(self, number: int) -> Err | Certificate | None:
        """Return what a task failed of last; None if it did not."""
        known = self._causes.get(number)
        return None if known is None else known[0]

    def cause_in_a_line(self, number: int) -> str:
        """Return in one line what a task failed of last; empty if it did not."""
        return _one_line(self.cause(number))

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
            index=node.index,
        )
        skipped.root = culprit
        skipped.__cause__ = error
        return skipped

    def failed_among(self, tasks: Collection[int]) -> bool:
        """Tell whether a task of the user's is among these that failed by itself."""
        return any(one in tasks for one in self._failures)

    def run_failed(self, among: Collection[int], results: Any = None) -> errors.RunFailed:
        """Return the error for what went on after failures.

        Args:
            among: The tasks because of which it failed; that others failed is not its affair.
            results: What was asked for, with exceptions where values are missing.
        """
        failures = [self._task_error_of(one) for one in self._failures if one in among]
        skipped = len(self._skipped.intersection(among))
        text = f"{len(failures)} of the tasks failed"
        text += f", and {skipped} could not run because of them" if skipped > 0 else ""
        kinds = alike(failures)
        for failure, more in kinds[:20]:
            text += f"\n  {failure}" + (f" ({too(more)})" if more else "")
        if len(kinds) > 20:
            text += f"\n  and {sum(1 + more for _, more in kinds[20:])} more"
        error = errors.RunFailed(text, failures=failures, skipped=skipped, results=results)
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
            errors.TaskError(str(error), task=node.path, where=node.where, index=node.index), error
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
        inputs = cause.inputs or node.brief
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
                index=node.index,
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
            "inputs": node.brief,
            "index": node.index,
        }
        who = f"task {node.path} ({facts['inputs']}{', ' if facts['inputs'] else ''}"
        who += f"made at {node.where})"
        if why.reason == "timeout":
            return errors.TaskTimeout(
                f"{who} took longer than its timeout of "
                f"{node.options.timeout:g} s and was given up on attempt {attempt} "
                f"({why.where})",
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


def _one_line(why: Err | Certificate | None) -> str:
    if why is None:
        return ""
    if isinstance(why, Certificate):
        return str(why)
    return _failure.said(why.type_name, why.message, why.text)
