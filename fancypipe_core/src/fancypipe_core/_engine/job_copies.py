"""Copies of jobs for who wants to keep them: what it takes to run a task once more, anywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from fancypipe_core import errors
from fancypipe_core._codec.in_words import bytes_of
from fancypipe_core._codec.pickler import Encoder
from fancypipe_core._codec.values import EncodedValues, LiveValues, Values
from fancypipe_core._engine.graph import Graph
from fancypipe_core._engine.machine.states import State
from fancypipe_core._engine.node import Node, parent_of
from fancypipe_core._engine.parts import Elements, Feeder
from fancypipe_core._model.definition import Definition
from fancypipe_core._model.mapping import SpanEntry
from fancypipe_core._model.temp_paths import Keeper
from fancypipe_core.backend import Encoded, Job, Live

if TYPE_CHECKING:
    from fancypipe_core._wire.kept_job import Surroundings
    from fancypipe_core.hooks import TaskJob

__all__ = ["JobCopies"]


class JobCopies:
    """Tells an observer of jobs, as soon as nothing else will come of them, or when they are sent.

    Args:
        graph: The run's nodes.
        values: How they are carried.
        files: Keeps temporary files as long as their values.
        tell: Takes a job.
        around: Returns what tasks find around them, given source files of theirs.
        every: Whether to tell of all jobs that are sent; else only of those that failed.
    """

    def __init__(
        self,
        graph: Graph,
        values: Values,
        files: Keeper,
        tell: Callable[[TaskJob], None],
        around: Callable[[Sequence[str]], Surroundings],
        *,
        every: bool,
    ) -> None:
        self._graph = graph
        self._values = values
        self._files = files
        self._tell = tell
        self._around = around
        self.every = every

    def settled(self, node: Node, state: State, root: int) -> None:
        """A task has come to its end, and its inputs are still there."""
        failed = state is State.FAILED and root == node.id
        if failed and not (self.every and not node.local):
            self._copy(node, node.attempt, None)

    def submitted(self, jobs: Sequence[Job]) -> None:
        """Jobs go to the backend, if `every`."""
        for job in jobs:
            if job.id[1] == 1:
                self._copy(self._graph.nodes[job.id[0]], 1, job)

    def _copy(self, node: Node, attempt: int, job: Job | None) -> None:
        part = node.part
        if node.hidden or not attempt or isinstance(part, Feeder):
            return
        definition = self._definition(node)
        if part is None and definition is not None and definition.element is not None:
            return  # a map is not sent itself, its elements are
        if isinstance(part, Elements) and part.span.count > 1:
            return  # an element that fails is told by itself
        from fancypipe_core.hooks import TaskJob

        live = isinstance(self._values, LiveValues)
        try:
            job = job or self._graph.job(node, attempt, Live if live else None)
            size = None if isinstance(job.inputs, Live) else bytes_of(job.inputs)
        except (errors.GraphError, errors.EncodeError, OSError):
            return  # it never was a job: an input is not there
        known = self._files.known(node.id, parent_of(node), node.filled_by)
        encode = partial(self._encoded, node, job, definition)
        self._tell(
            TaskJob(node.name, node.id, node.path, attempt, node.brief, size, tuple(known), encode)
        )

    def _definition(self, node: Node) -> Definition | None:
        if isinstance(node.part, Elements):
            return self._graph.definition(node.part.of.node)
        return self._graph.definition(node)

    def _encoded(self, node: Node, job: Job, definition: Definition | None) -> bytes:
        """Write a job down.

        Raises:
            EncodeError: It cannot be.
        """
        from fancypipe_core._wire import kept_job  # few runs keep any

        call, inputs = job.call.body, job.inputs
        if isinstance(inputs, Live) or isinstance(call, Live):
            call, inputs = self._written(job, definition)
        files = [definition.file] if definition is not None else []
        return kept_job.kept(
            job.id[0], job.id[1], node.name, call, inputs, job.needs, self._around(files)
        )

    def _written(self, job: Job, definition: Definition | None) -> tuple[Encoded, Encoded]:
        """Write down what is there as it is.  What attempts got were copies of it: it is as new."""
        if definition is None:
            raise errors.EncodeError("nobody knows what it was made of")
        encoded = EncodedValues()
        encoded.presets = self._values.presets
        call = encoded.call(definition).body
        given: Any = job.inputs.value if isinstance(job.inputs, Live) else job.inputs
        if isinstance(job.call.body, Live) and type(job.call.body.value) is SpanEntry:
            rows = self._values.rows(given)
            columns = [[one] for one in next(rows.args)]
            fixed = None if rows.fixed is None else encoded.pack_fixed(rows.fixed())
            packed = encoded.pack_rows(rows.start, columns, fixed, definition.positions)
        else:
            try:
                args, kwargs, state = self._values.open(given)
            except Exception as error:
                raise errors.EncodeError(f"its inputs cannot be read: {error}") from error
            packed = Encoder().encode_inputs(args, kwargs, state, definition.positions)
        assert not isinstance(call, Live)
        assert not isinstance(packed.body, Live)
        if packed.wants:
            raise errors.EncodeError("there is a reference in its inputs")
        return call, packed.body
