"""Runs modules, which compose, in the client; and puts together what was asked for."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Generator, Sequence
from contextvars import Context
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from fancypipe_core._base.isolation import ambient
from fancypipe_core._base.signals import interruptible
from fancypipe_core._codec.values import Values
from fancypipe_core._engine.graph import Graph
from fancypipe_core._engine.machine import states as table
from fancypipe_core._engine.node import Broken, Node, parent_of
from fancypipe_core._engine.reader import Reader
from fancypipe_core._engine.report import Report
from fancypipe_core._model.carriage import came, this_thread
from fancypipe_core._model.ref import Ref
from fancypipe_core._model.scope import end_fork, scope
from fancypipe_core._model.task import entry, target_with
from fancypipe_core._model.temp_paths import Keeper
from fancypipe_core.backend import JobId, Live

if TYPE_CHECKING:
    from fancypipe_core._engine.resume import Resume  # few sessions have one

T = TypeVar("T")

Steps = Generator[tuple[Callable[[], Any], bool], Any, Sequence[table.Event]]
"""What is done for a module: it yields the user's code, with whether that waits for nothing, is
sent what it returns, and returns what the scheduler is to be told."""

__all__ = ["Composer", "Steps"]


class Composer:
    """Computes the nodes that take no slot.

    Args:
        graph: Where they are.
        reader: Reads what they hold.
        values: How values are carried.
        report: Takes the events of the run.
        files: Keeps temporary files as long as their values.
        resolve: Waits for a reference that a module needs inside its main.

    Attributes:
        resume: Takes results from before; None if nothing does.
    """

    resume: Resume | None = None

    def __init__(
        self,
        graph: Graph,
        reader: Reader,
        values: Values,
        report: Report,
        files: Keeper,
        resolve: Callable[[Ref[Any], Node], Any],
    ) -> None:
        self._graph = graph
        self._reader = reader
        self._values = values
        self._report = report
        self._files = files
        self._resolve = resolve

    @interruptible
    def run(self, node: Node, id: JobId, apart: bool) -> Steps:
        """Run a module's main; return what the scheduler is to be told.

        Args:
            node: Its node.
            id: The attempt.
            apart: Whether the main has a thread of its own, which is to run nothing of ours.

        Raises:
            BaseException: Whatever the user's code raises.
        """
        begin = monotonic()
        self.hold_files(node, node.filled_by)
        if apart:
            inputs = yield partial(self.inputs_of, node), True
            main = self.main_of(node)
            value = yield partial(main, *inputs), False
        else:
            value = yield partial(self._call, node), False
        packed = self._values.pack_result(value)
        needs = self._graph.unfold(node, packed)
        self._report.computed(node, id[1], monotonic() - begin)
        if needs:
            self._report.unfolded(node, needs)
            return (table.Unfolded(id, needs),)
        self._graph.complete(node)
        self.sort_files(node)
        return (table.Returned([id]),)

    def _call(self, node: Node) -> Any:
        args, kwargs, state = self.inputs_of(node)
        return self.main_of(node)(args, kwargs, state)

    def inputs_of(self, node: Node) -> Any:
        """Read the inputs of a module, and hold files that come to the client with them."""
        found = self._reader.read_inputs(node)
        if this_thread.came is not None:
            self._files.hold_until_settled(node.id, came())
        return found

    @interruptible
    def call(self, node: Node, what: Callable[[], T]) -> T:
        """Run the user's code in the client, for a node; return what it returns.

        In any thread; `forget_contents` must follow in the one that drives.

        Raises:
            BaseException: Whatever it raises.
        """
        ambient.refresh()
        here = _ModuleScope(self._resolve, node)
        try:
            return Context().run(_within, here, what)
        except BaseException as error:
            if here.in_fork:
                code = error.code if isinstance(error, SystemExit) else 1
                said = "" if isinstance(error, SystemExit) else traceback.format_exc()
                end_fork(code if isinstance(code, int) else 1, said)
            raise
        finally:
            if here.in_fork:
                end_fork()
            ambient.refresh()

    def forget_contents(self) -> None:
        """The user's code has run: what objects hold may have changed."""
        self._values.forget_contents()
        if self.resume is not None:
            self.resume.forget_contents()

    def hold_files(self, node: Node, needs: Sequence[int]) -> None:
        """A node begins to make others: hold the folders that it may know of."""
        files = self._files
        if files.holders:
            files.hold_until_settled(node.id, files.known(node.id, parent_of(node), needs))

    def sort_files(self, node: Node, made: str = "") -> None:
        """A node has its value: hold the folders that it names, and no others.

        Args:
            node: The node.
            made: The folder that its job has made; empty for none.
        """
        files = self._files
        if not (files.holders or made):
            return
        known = files.known(node.id, parent_of(node), node.filled_by)
        if made:
            known.add(made)
        if known and type(node.value) is not Broken:
            files.hold(node.id, self._values.named(node.value, known))
        files.settle(node.id)
        if made:
            files.made(made)

    @interruptible
    def gather(self, node: Node, id: JobId) -> table.Event:
        """All that was asked for is there: open it.  Nothing else is decoded in the client.

        Raises:
            BaseException: Whatever the user's objects raise when they are made.
        """
        node.value = self._reader.gather(node)
        self._files.inherit(node.id, node.filled_by)
        if this_thread.came is not None:
            self._files.hold(node.id, came())
        return table.Returned([id])

    def main_of(self, node: Node) -> Any:
        """Return what a node calls, as an object of this process."""
        if node.instance is not None:
            definition = node.instance._definition.origin
            return entry(target_with(self._values.presets, definition.target))
        body = node.call.body
        if isinstance(body, Live):
            return body.value
        return entry(self._values.open(body))


def _within(here: _ModuleScope, what: Callable[[], T]) -> T:
    scope.set(here)
    return what()


class _ModuleScope:
    """Where a module's main runs."""

    def __init__(
        self,
        resolve: Callable[[Ref[Any], Node], Any],
        node: Node,
    ) -> None:
        self._resolve = resolve
        self._node = node
        self.directory = ""
        self.in_fork = self.apart = False

    def resolve(self, ref: Ref[Any]) -> Any:
        return self._resolve(ref, self._node)

    def context(self) -> None:
        return None

    def carries(self, path: str) -> bool:
        return False

    def went(self, path: str) -> None:
        """None does, see `carries`."""

    def landing(self) -> str:
        return ""

    def copy(self, record: Any) -> tuple[str, str]:
        return record.path, ""

    def origin(self, path: str) -> str:
        return ""
