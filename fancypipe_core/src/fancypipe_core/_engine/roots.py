"""What was asked for: each thing is demanded, watched, handed out and let go by itself."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from fancypipe_core import errors
from fancypipe_core._engine.graph import Graph
from fancypipe_core._engine.machine import states as table
from fancypipe_core._engine.machine.scheduler import Scheduler
from fancypipe_core._engine.means import Means
from fancypipe_core._engine.node import Gatherer, Node
from fancypipe_core._engine.reader import Reader, Unopened
from fancypipe_core._model.carriage import came, this_thread
from fancypipe_core._model.definition import Definition
from fancypipe_core._model.options import Options
from fancypipe_core._model.ref import Instance

__all__ = ["Root", "Roots", "fail", "gatherer"]


DONE, RUNNING, UNFOLDED = table.State.DONE, table.State.RUNNING, table.State.UNFOLDED

_FEW = 1000  # failures that may be kept without a look


class Root:
    """Something that somebody has asked for.

    Args:
        target: Any value with references in it.
        tell: Called with it when it is over, in the thread that drives.

    Attributes:
        number: Its node; 0 before it is demanded.
        place: In the queue of what is asked for; see `Intake`.
        pins: The nodes that are demanded for it.
        wanted: The nodes that it refers to, where these are demanded too.
        value: What came of it.
        error: Why nothing came of it.
    """

    __slots__ = ("error", "number", "pins", "place", "target", "tell", "value", "wanted")

    def __init__(self, target: Any, tell: Callable[[Root], None] = lambda _root: None) -> None:
        self.target = target
        self.tell = tell
        self.number = 0
        self.place = 0
        self.pins: list[int] = []
        self.wanted: Sequence[int] = ()
        self.value: Any = None
        self.error: BaseException | None = None

    @property
    def is_given_up(self) -> bool:
        """Whether nobody wants it any more."""
        return False

    def take_number(self, graph: Graph, scheduler: Scheduler) -> int:
        """Return the number of a node that stands for it and nothing else; 0 if there is none."""
        target = self.target
        if not isinstance(target, Instance) or scheduler.keep_going:
            return 0
        number = graph.number(target, None)
        return number if scheduler.state(number) is None else 0

    def open(self, reader: Reader, node: Node) -> None:
        """It is done: take its value.

        Raises:
            TaskError: As for `Reader.outcome`.
            Unopened: As for `Reader.outcome`.
        """
        self.value = reader.outcome(node)

    def give_up(self) -> None:
        """It has not begun, and nobody wants it: tell who waits."""

    def begin(self) -> None:
        """It is about to be demanded, in the thread that drives."""

    def is_over(self, scheduler: Scheduler) -> bool:
        """Tell whether it has come to its end, once it is demanded."""
        return scheduler.state(self.number) in table.SETTLED

    def outcome(self) -> Any:
        """Return what came of it, once it is over.

        Raises:
            BaseException: Why nothing did.
        """
        if self.error is not None:
            raise self.error
        return self.value


class Roots:
    """What is asked for and not over.

    Args:
        means: What carries out what is to be done for it.
    """

    def __init__(self, means: Means) -> None:
        self._reactor, report, self._files, self._stop_if_interrupted = means
        self._failures = report.failures
        self._graph = means.reactor.graph
        self._reader = means.reactor.reader
        self._most = _FEW
        self.failed: BaseException | None = None  # the first of the errors of a run
        self.watched: dict[int, Root] = means.reactor.watched

    def demand(self, roots: Iterable[Root]) -> None:
        """Demand these, the first first."""
        graph, scheduler = self._graph, self._reactor.scheduler
        pins: list[int] = []
        taken: set[int] = set()
        for root in roots:
            # The output of one task needs no gatherer, unless others have asked for it too.
            number = root.take_number(graph, scheduler)
            if number and number not in taken:
                root.number = number
                root.pins = [number]
                taken.add(number)
            else:
                self._gather(root)
            pins += root.pins
        self._reactor.handle(table.Demand(pins))

    def _gather(self, root: Root) -> None:
        """Have a node that gathers what was asked for."""
        root.number = gatherer(self._graph, root.target, None)
        if self._reactor.scheduler.keep_going:
            # What has values is handed out also where others have failed.
            try:
                root.wanted = self._graph.grow(root.number)
            except Exception:  # noqa: BLE001 - it is told when the scheduler asks the same
                root.wanted = ()
        root.pins += [*root.wanted, root.number]

    def watch(self, roots: Iterable[Root]) -> None:
        """Have these told when they are over."""
        for root in roots:
            self.watched[root.number] = root
            if root.is_over(self._reactor.scheduler):
                self._reactor.ended.append(root.number)  # that is not told again

    def deliver(self) -> None:
        """Tell those that are over."""
        reactor = self._reactor
        while reactor.ended:
            ended, reactor.ended[:] = list(reactor.ended), []
            over = []
            for number in ended:
                root = self.watched.get(number)
                if root is None or reactor.scheduler.state(number) is table.State.CANCELLED:
                    continue  # that is for who has cancelled it
                del self.watched[number]
                if self.settle(root):
                    over.append(root)
                    self.failed = self.failed or root.error
                else:
                    self.watch([root])
            if over:
                reactor.handle(table.Drop([pin for root in over for pin in root.pins]))
                for root in over:
                    root.tell(root)
                if self._failures.size > self._most:
                    self._forget_failures()

    def settle(self, root: Root) -> bool:
        """Find what came of a root that is over; tell whether it is."""
        number = root.number
        node = self._graph.nodes[number]
        try:
            if node.state is not DONE:
                self._stop_if_interrupted()  # what has failed may have failed by that
                root.error = self._failure(root, node)
                return True
            self._files.keep(number)
            root.open(self._reader, node)
            if this_thread.came is not None:
                self._files.hold(number, came())
                self._files.keep(number)
        except KeyboardInterrupt:
            raise
        except Unopened:
            # Let it be told as of everything that is asked for.
            before = root.number
            self._gather(root)
            self._reactor.handle(table.Demand([pin for pin in root.pins if pin != before]))
            return False
        except BaseException as error:  # noqa: BLE001 - the user's objects may raise anything
            root.error = error
        return True

    def _failure(self, root: Root, node: Node) -> BaseException:
        scheduler, failures = self._reactor.scheduler, self._failures
        if not scheduler.keep_going:
            return failures.error(node.id)
        culprits = scheduler.culprits(node.id)
        if not failures.failed_among(culprits):
            return failures.error(node.id)  # all have their values, which cannot be handed out
        if not node.hidden:
            return failures.run_failed(culprits)
        failed: dict[int, Any] = {}
        for need in root.wanted:
            if scheduler.state(need) is table.State.DONE:
                self._files.keep(need)
            else:
                wanted = self._graph.nodes[need]
                some = self._reactor.maps.partial(wanted)
                failed[need] = some or failures.failure(wanted)
        return failures.run_failed(culprits, self._reader.gather_partly(node, failed))

    def drop(self, root: Root) -> None:
        """Nobody wants this any more."""
        if self.watched.get(root.number) is root:
            del self.watched[root.number]
        self._reactor.handle(table.Drop(root.pins))

    def _forget_failures(self) -> None:
        """Let go of failures of which nobody can be told any more.

        A run may go on for days.
        """
        scheduler, failures = self._reactor.scheduler, self._failures
        stale = failures.known() - self._graph.nodes.keys() - scheduler.blamed()
        failures.forget(stale)
        scheduler.forget(stale)
        self._most = max(_FEW, 2 * failures.size)

    def recall(self, roots: Iterable[Root]) -> None:
        """Give up those of these that have not begun.

        As many as can run at the same time count as begun: they would be, in no time.
        """
        scheduler = self._reactor.scheduler
        first = set(scheduler.under_way()[: self._reactor.slots.count])
        for root in roots:
            if not root.number:
                root.give_up()
            if self.watched.get(root.number) is not root:
                continue
            states = [(pin, scheduler.state(pin)) for pin in root.pins]
            sent = [(pin, scheduler.attempt(pin)) for pin, state in states if state is RUNNING]
            if sent:
                if first.isdisjoint(sent):
                    self._reactor.recall(sent, root)
            elif UNFOLDED not in dict(states).values():
                self.drop(root)
                root.give_up()

    def leave(self) -> list[Root]:
        """The run is over; return those that are not."""
        left = list(self.watched.values())
        self.watched.clear()
        return left


def fail(roots: Iterable[Root], error: BaseException) -> None:
    """Tell these that nothing comes of them, each with an error of its own."""
    for root in roots:
        if isinstance(error, KeyboardInterrupt) and not getattr(root, "takes_interrupts", False):
            root.error = errors.Cancelled(str(error))
        else:
            root.error = error
            with suppress(Exception):  # each in a traceback of its own, if it can be
                root.error = copy.copy(error)
                root.error.__cause__ = error.__cause__
        root.tell(root)


def gatherer(graph: Graph, target: Any, parent: Node | None) -> int:
    """Return the number of a new node that gathers what a value refers to."""
    instance: Instance[Any] = Instance(_GATHER, (target,), {}, _CODE, 0)
    options = _GATHER.options
    return graph.add(lambda number: Gatherer(number, parent, 1, instance, options, True)).id


def _gather(target: Any) -> Any:
    return target


_CODE = _gather.__code__
_GATHER = Definition(_gather, _gather, Options("run"), is_module=True)
