"""Runs the elements of a map's span, one after the other, as if each were a job of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from time import perf_counter
from typing import Any, NamedTuple

from fancypipe_core._base.isolation import ambient
from fancypipe_core._codec import failure, undecodable
from fancypipe_core._codec.exceptions import ExceptionPacker
from fancypipe_core._codec.pickler import NO_PICTURES, PLAIN
from fancypipe_core._codec.rows import Results, Rows
from fancypipe_core._model.context import TaskScope
from fancypipe_core._model.input_summary import brief
from fancypipe_core._model.mapping import SpanEntry
from fancypipe_core.backend import Err

__all__ = ["Ran", "SpanRunner"]

_LONGEST = (
    0.02  # seconds: a span that takes longer was thought to be short, and gives back the rest
)
_LARGEST = 4 << 20  # bytes of results that are held back for company


class Ran(NamedTuple):
    """What became of a span.

    Attributes:
        results: Of the first elements; as many as have values.
        why: How the next one failed; None if none did.
    """

    results: Results
    why: Err | None


class _Work:
    """A span that is being run."""

    __slots__ = ("entry", "here", "over", "results", "rows", "until", "why")

    def __init__(self, entry: SpanEntry, rows: Rows, results: Results, until: float) -> None:
        self.entry = entry
        self.rows = rows
        self.results = results
        self.until = until
        self.over = False
        self.why: Err | None = None
        self.here: object = None


class SpanRunner:
    """Runs spans.

    Args:
        context: Each element has a copy.
        scope: What elements may ask for.
        exceptions: Packs what they raise.
        results: Makes what takes their results.
        let_pass: Raises again what is no exception of the task's.
        end_fork: Ends this process if it is a fork that an element has made.
        show: Tells the pictures in what an element returned, under a name; None if nobody looks.
    """

    def __init__(
        self,
        context: Context,
        scope: TaskScope,
        exceptions: ExceptionPacker,
        results: Callable[[], Results],
        let_pass: Callable[[BaseException], None],
        end_fork: Callable[[Err | None], None],
        show: Callable[[Any, str], None] | None = None,
    ) -> None:
        self._context = context
        self._scope = scope
        self._pack = exceptions.pack
        self._results = results
        self._let_pass = let_pass
        self._end_fork = end_fork
        self._show = show

    def run(self, entry: SpanEntry, rows: Rows, label: str) -> Ran:
        """Run elements until one fails, or until it has become too much for one job.

        Raises:
            KeyboardInterrupt: The user pressed Ctrl-C.
        """
        work = _Work(entry, rows, self._results(), perf_counter() + _LONGEST)
        work.here = ambient.begin()
        try:
            while not work.over:
                # An element that sets no context variable leaves the context as it found it.
                context = self._context.copy()
                context.run(self._run_in, context, work)
        except BaseException as error:  # noqa: BLE001 - an element that cannot be read
            self._let_pass(error)
            wrapped = undecodable.explain(error, label, True)
            work.why = failure.describe(wrapped, self._pack, final=True)
        finally:
            ambient.end(work.here)
        return Ran(work.results, work.why)

    def _run_in(self, context: Context, work: _Work) -> None:
        """Run elements until they are over, or one has set a variable of this context."""
        scope, results, until, show = self._scope, work.results, work.until, self._show
        function, fixed = work.entry.function, work.rows.fixed
        plain, add, between, now = results.plain, results.add, ambient.between, perf_counter
        kwargs: dict[str, Any] = {}
        variables = len(context)
        index = work.rows.start + len(results)
        for args in work.rows.args:
            scope.element = index
            try:
                if fixed is None:
                    value = function(*args)
                else:
                    kwargs = fixed()
                    value = function(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - a task's sys.exit() as well
                self._failed(work, error, args, kwargs)
                if scope.in_fork:
                    self._end_fork(work.why)
                return
            if scope.in_fork:
                self._end_fork(None)
            if scope.meter is not None:
                scope.end_meter()
            if show is not None and type(value) not in NO_PICTURES:
                show(value, f"[{index}]")
            if type(value) in PLAIN:
                plain(value)
            else:
                try:
                    add(value)
                except BaseException as error:  # noqa: BLE001 - the user's objects
                    self._failed(work, error, args, kwargs, final=True)
                    return
            index += 1
            work.here = between(work.here)
            if now() > until or results.size > _LARGEST:
                break
            if len(context) != variables:
                return
        work.over = True

    def _failed(
        self,
        work: _Work,
        error: BaseException,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        final: bool = False,
    ) -> None:
        self._let_pass(error)
        said = brief(work.entry.inputs, args, kwargs)
        work.why = failure.describe(error, self._pack, final=final, inputs=said)
        work.over = True
