"""The user's code in the client: where it runs, and who drives meanwhile.

Who only calls `run()` has it in his own thread, which drives: a main that waits for a result has
the loop go on in its place, on top of it.  Where several things are under way a main has a thread
of its own.  If it has not returned in a moment, or waits for a result, others go on beside it.  All
that the engine does for it is done by the one that drives: it asks for that by a `Post`.

A caller who is in a main when others ask for something cannot go on to drive.  The session's own
thread does so from then on, and the main is one that has a thread of its own (`Taken`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import Any

from fancypipe_core import errors
from fancypipe_core._engine.hands import Alone, Ask, Hands, Main, Post, Returned, Taken
from fancypipe_core._engine.helpers import Helpers
from fancypipe_core._engine.machine import states as table
from fancypipe_core._engine.means import Means
from fancypipe_core._engine.modules import Steps
from fancypipe_core._engine.node import Node
from fancypipe_core._engine.parts import Feeder
from fancypipe_core._engine.reader import Unopened
from fancypipe_core._engine.roots import gatherer
from fancypipe_core._model.ref import Instance
from fancypipe_core.backend import JobId

__all__ = ["Mains"]

_MOMENT = 0.02  # seconds for which a main holds up others; most return sooner


class Mains:
    """Runs the user's code of modules and maps.

    Args:
        means: What carries out what comes of it.

    Attributes:
        hands: How the thread that drives lets others do so.
        gives_way: Whether another thread is to drive when others ask for something.
        apart: Whether each main has a thread of its own.
        under_way: The mains that have begun and not ended, by the numbers of their scopes.
        holding: The one that holds up others, in a thread of its own.
        asks: What mains wait for in such threads.
        posts: What mains want to be done.
        helpers: Their threads.
    """

    def __init__(self, means: Means) -> None:
        self._reactor, self._report, self._files, self._stop_if_interrupted = means
        reactor = means.reactor
        self._graph = reactor.graph
        self._composer = reactor.composer
        self._maps = reactor.maps
        self.hands: Hands = Alone()
        self.gives_way = self.apart = False
        self.posts: deque[Post] = deque()
        self.helpers = Helpers("fancypipe-module")
        self.under_way: dict[int, Main] = {}
        self.holding: Main | None = None  # the one that holds up others in its thread
        self.asks: list[Ask] = []
        reactor.performers[table.Compute] = self.compute

    # ---- in the thread that drives ----

    def compute(self, action: table.Compute) -> None:
        """Compute a module, a part of a map, or what only gathers."""
        id = action.id
        node = self._graph.nodes[id[0]]
        self._report.began(id)
        if node.hidden:
            self._gather(node, id)
            return
        try:
            main = Main(id, node, self._steps(node, id))
        except BaseException as error:  # noqa: BLE001 - it is the user's code
            self._failed(node, id, error)
            return
        self.under_way[main.scope.id] = main
        self._go_on(main, main.steps.__next__)

    def _gather(self, node: Node, id: JobId) -> None:
        try:
            event = self._composer.gather(node, id)
        except BaseException as error:  # noqa: BLE001 - it is the user's code
            self._failed(node, id, error)
        else:
            self._reactor.handle(event)

    def _steps(self, node: Node, id: JobId) -> Steps:
        maps, part, reactor = self._maps, node.part, self._reactor
        if isinstance(part, Feeder) or (part is not None and part.more is not None):
            return maps.go_on(node, id, reactor.scheduler, reactor.slots)
        if maps.is_map(node):
            return maps.begin(node, id, reactor.scheduler)
        return self._composer.run(node, id, self.apart)

    def _go_on(self, main: Main, step: Callable[[], tuple[Callable[[], Any], bool]]) -> None:
        """Do what is to be done until the user's code is next, and have that run; and so on."""
        while True:
            try:
                what, is_quick = step()
            except StopIteration as end:
                self._over(main, end.value)
                return
            except BaseException as error:  # noqa: BLE001 - it is the user's code
                self._over(main, (), error)
                return
            if self.apart and not is_quick and self._begin_apart(main, what):
                return
            try:
                value = self._here(main, what)
            except Taken:
                raise
            except BaseException as error:  # noqa: BLE001 - it is the user's code
                main.steps.close()
                self._over(main, (), error)
                return
            step = partial(main.steps.send, value)

    def _here(self, main: Main, what: Callable[[], Any]) -> Any:
        """Run the user's code in this thread; if it does not drive then any more, say what came."""
        self.hands.leave()
        came = self._came_of(main, what)
        if not self.hands.come_back():
            self.hands.post(came)
            raise Taken
        self._composer.forget_contents()
        error, came.error = came.error, None
        try:
            if error is not None:
                raise error
            return came.value
        finally:
            del error

    def _came_of(self, main: Main, what: Callable[[], Any]) -> Returned:
        try:
            return Returned(main, self._composer.call(main.scope, what), None)
        except BaseException as error:  # noqa: BLE001 - it is the user's code
            return Returned(main, None, error)

    def _begin_apart(self, main: Main, what: Callable[[], Any]) -> bool:
        """Run the user's code in a thread of its own; tell whether there is one."""
        main.since = monotonic()
        if not self.helpers.start(partial(self._run_apart, main, what)):
            return False
        if not main.is_aside:
            self.holding = main
        return True

    def _over(
        self, main: Main, events: Sequence[table.Event], error: BaseException | None = None
    ) -> None:
        """Nothing is left to be done for this attempt."""
        del self.under_way[main.scope.id]
        if error is not None:
            self._failed(main.node, main.id, error)
        for event in events:
            self._reactor.handle(event)
        if main.pins:
            self._reactor.handle(table.Drop(main.pins))

    def _failed(self, node: Node, id: JobId, error: BaseException) -> None:
        if isinstance(error, (KeyboardInterrupt, errors.InternalError)):
            raise error
        self._stop_if_interrupted()
        self._reactor.fail(node, id, error)

    # ---- mains that have a thread of their own ----

    def take_over(self) -> None:
        """Another thread drives from now on: all mains have one of their own."""
        for main in self.under_way.values():
            main.is_aside = True
        self._reactor.handle(table.Apart())

    @property
    def threads(self) -> set[int]:
        """The threads in which mains are."""
        return self.helpers.busy

    @property
    def is_busy(self) -> bool:
        """Whether something may come of a main, without anything else."""
        return bool(self.posts) or self._reactor.scheduler.mains_go_on

    def heed(self) -> bool:
        """Do what mains have asked for, and tell them what they wait for; whether there was any."""
        heeded = bool(self.posts)
        while self.posts:
            post = self.posts.popleft()
            self._composer.forget_contents()
            if isinstance(post, Ask):
                self._take(post)
            else:
                self._take_back(post)
        for ask in list(self.asks):
            if self._reactor.scheduler.state(ask.number) in table.SETTLED:
                self._answer(ask)
                heeded = True
        return heeded

    def until_aside(self, main: Main, most: float) -> float:
        """Return the seconds until a main holds up nobody any more, or `most` if that is less.

        If that is now, others go on beside it from now on.
        """
        left = main.since + _MOMENT - monotonic()
        if left <= 0.0:
            self._aside(main)
        return min(most, max(left, 0.0))

    def _aside(self, main: Main, awaits: Sequence[int] = ()) -> None:
        main.is_aside = True
        if self.holding is main:
            self.holding = None
        self._reactor.handle(table.Aside(main.id, awaits))

    def _take_back(self, post: Returned) -> None:
        main, scheduler = post.main, self._reactor.scheduler
        if self.holding is main:
            self.holding = None
        if self.under_way.get(main.scope.id) is not main:
            return  # of an earlier run
        if not scheduler.expects(main.id):
            main.steps.close()
            self._over(main, (table.Failed(main.id),))
        elif post.error is not None:
            main.steps.close()
            self._over(main, (), post.error)
        else:
            self._go_on(main, partial(main.steps.send, post.value))

    def _take(self, ask: Ask) -> None:
        main = self.under_way.get(ask.node.id)
        if main is None or not self._reactor.scheduler.expects(main.id):
            ask.lost()
            return
        if not ask.number:
            try:
                ask.number = self._number(ask)
            except BaseException as error:  # noqa: BLE001 - whatever is wrong with the target
                ask.tell(None, error)
                return
            self._reactor.handle(table.Demand([ask.number]))
        self._aside(main, [ask.number])
        self.keep(ask.node, [ask.number])
        self.asks.append(ask)

    def keep(self, node: Node, numbers: list[int]) -> None:
        """A main has waited for these, and may return them; not what it had waited for before."""
        main = self.under_way[node.id]
        before, main.pins = main.pins, numbers
        if before:
            self._reactor.handle(table.Drop(before))

    def _number(self, ask: Ask) -> int:
        if isinstance(ask.target, Instance):
            return self._graph.number(ask.target, ask.node)
        return gatherer(self._graph, ask.target, ask.node)

    def _answer(self, ask: Ask) -> None:
        value: Any = None
        error: BaseException | None = None
        try:
            node = self._graph.nodes[ask.number]
            if node.state is not table.State.DONE:
                self._stop_if_interrupted()  # what has failed may have failed by that
                error = self._report.failures.error(ask.number)
            else:
                self._files.pass_on(ask.number, ask.node.id)
                value = self._reactor.reader.outcome(node)
        except KeyboardInterrupt:
            raise
        except Unopened:
            # Let it be told as of everything that is asked for.
            self._ask_anew(ask)
            return
        except BaseException as raised:  # noqa: BLE001 - the user's objects may raise anything
            error = raised
        self.asks.remove(ask)
        self._aside(self.under_way[ask.node.id])
        ask.tell(value, error)

    def _ask_anew(self, ask: Ask) -> None:
        number = gatherer(self._graph, ask.target, ask.node)
        self._reactor.handle(table.Demand([number]))
        main = self.under_way[ask.node.id]
        main.pins.append(number)
        self._aside(main, [number])
        ask.number = number

    def end(self) -> None:
        """The run is over: what goes on is on its own."""
        self.under_way.clear()
        self.holding = None
        asks, self.asks = self.asks, []
        for ask in asks:
            ask.lost()

    # ---- in the threads of mains ----

    def _run_apart(self, main: Main, what: Callable[[], Any]) -> None:
        self.hands.post(self._came_of(main, what))

    def answer_to(self, ask: Ask) -> Any:
        """Return the value of what a main waits for in a thread that does not drive.

        Raises:
            BaseException: Why there is none.
        """
        if not self.hands.post(ask):
            ask.lost()
        return ask.wait()
