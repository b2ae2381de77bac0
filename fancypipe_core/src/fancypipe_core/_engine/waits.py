"""What modules wait for inside their mains: the loop goes on in their place, on top of them.

Only in the thread that drives; where a main has a thread of its own, it asks: see `_engine.mains`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fancypipe_core._base.signals import Interrupts
from fancypipe_core._engine.hands import Ask, Taken
from fancypipe_core._engine.machine import states as table
from fancypipe_core._engine.mains import Mains
from fancypipe_core._engine.means import Means
from fancypipe_core._engine.node import Node
from fancypipe_core._engine.reader import Unopened
from fancypipe_core._engine.roots import gatherer
from fancypipe_core._model.ref import Instance, Ref

__all__ = ["Waits"]


class Waits:
    """Runs what a module waits for.

    Args:
        means: What carries out what is to be done for it.
        mains: The mains that are under way.
        interrupts: What the user has asked for by signals.
        loop: Drives until what it is given says that it is over.
    """

    def __init__(
        self,
        means: Means,
        mains: Mains,
        interrupts: Interrupts,
        loop: Callable[[Callable[[], bool]], None],
    ) -> None:
        self._reactor, self._report, self._files, self._stop_if_interrupted = means
        self._graph = means.reactor.graph
        self._mains = mains
        self._interrupts = interrupts
        self._loop = loop

    def resolve(self, ref: Ref[Any], parent: Node) -> Any:
        """Return the value of a reference, for a module that waits for it.

        Raises:
            BaseException: Why there is none.
        """
        reactor = self._reactor
        reactor.composer.forget_contents()
        level = reactor.scheduler.level + 1
        reactor.handle(table.Level(level))
        try:
            value = self._value_of(ref, level, parent)
        except _Elsewhere as waits:
            number = waits.number
        except BaseException:
            self._goes_on(level)
            raise
        else:
            self._goes_on(level)
            return value
        return self._mains.answer_to(Ask(parent, ref, number))

    def _goes_on(self, level: int) -> None:
        """A module goes on that has waited inside its main."""
        self._reactor.handle(table.Level(level - 1))
        self._mains.hands.leave()
        # Whoever goes on may go on for long.
        self._stop_if_interrupted()

    def _value_of(self, target: Any, level: int, parent: Node) -> Any:
        if not isinstance(target, Instance):
            return self._demand(gatherer(self._graph, target, parent), level, parent)
        try:
            # The output of one task needs no gatherer.
            return self._demand(self._graph.number(target, parent), level, parent)
        except Unopened:
            # Let it be told as of everything that is asked for.
            return self._demand(gatherer(self._graph, target, parent), level, parent)

    def _demand(self, number: int, level: int, parent: Node) -> Any:
        self._reactor.handle(table.Demand([number], level))
        try:
            self._loop_until_settled(number)
            value = self._opened(number, parent)
        except Taken:
            raise _Elsewhere(number) from None
        except BaseException:
            self._drop(number)
            raise
        self._mains.keep(parent, [number])
        return value

    def _loop_until_settled(self, number: int) -> None:
        scheduler, asked, mains = self._reactor.scheduler, self._reactor.asked, self._mains
        while scheduler.state(number) not in table.SETTLED:
            if mains.gives_way and asked:
                if mains.hands.give_way():
                    raise Taken
                mains.gives_way = False
            self._loop(
                lambda: scheduler.state(number) in table.SETTLED or bool(mains.gives_way and asked)
            )

    def _opened(self, number: int, parent: Node) -> Any:
        node = self._graph.nodes[number]
        if self._reactor.scheduler.state(number) is not table.State.DONE:
            self._stop_if_interrupted()  # what has failed may have failed by that
            raise self._report.failures.error(number)
        self._files.pass_on(number, parent.id)
        return self._reactor.reader.outcome(node)

    def _drop(self, number: int) -> None:
        # After a Ctrl-C what is under way may end; `Shutdown` sees to it.
        if not self._interrupts.count:
            self._reactor.handle(table.Drop([number]))


class _Elsewhere(BaseException):
    """What a module waits for is driven in another thread from now on."""

    def __init__(self, number: int) -> None:
        self.number = number
