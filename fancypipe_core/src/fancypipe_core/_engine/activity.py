"""Who drives a session's loop, and what it is asked for meanwhile.

One thread drives at a time.  Where nobody does, whoever runs something drives for itself: its
tasks run in its own thread on serial, with its debugger.  Where somebody does already, it is
asked, and a thread of the session's own goes on for all, until nothing is left.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any, Protocol

from fancypipe_core import errors
from fancypipe_core._base.isolation import ambient
from fancypipe_core._base.signals import Interrupts
from fancypipe_core._base.slices import wait_for
from fancypipe_core._engine.background import Background
from fancypipe_core._engine.driver import Driver
from fancypipe_core._engine.mains import Post
from fancypipe_core._engine.roots import Root
from fancypipe_core._engine.streams import Stream
from fancypipe_core._model.ref import Instance

if TYPE_CHECKING:
    from fancypipe_core._engine.futures import Submission, TaskFuture

__all__ = ["Activity", "Runs", "end_of_program"]

_LEFT = "ended before all results were handed out"
_NO_THREAD = "interpreter shutdown, or too many threads"  # the words of `concurrent.futures`


_ending: list[bool] = []


def end_of_program() -> None:
    """From now on nothing new begins in the background: threads may not start any more."""
    _ending.append(True)


class Runs(Protocol):
    """What has to be done around a run."""

    def begin(self, target: Any) -> None:
        """A run begins, in the thread that will drive it first; with what was asked for first."""

    def over(self, error: BaseException | None) -> None:
        """It is over; with the first error, if anything that was asked for did not come."""


class Activity:
    """What is under way in a session.

    Args:
        driver: The loop.
        interrupts: What the user has asked for by signals.
        runs: What has to be done around a run.
        lent: Returns what lends the process to tasks while the caller's thread drives.
        grace: Seconds that running tasks have when a run is ended.

    Attributes:
        drives: The thread in which the loop is; 0 if it is in none.

    It has the `Hands` of that thread.
    """

    def __init__(
        self,
        driver: Driver,
        interrupts: Interrupts,
        runs: Runs,
        lent: Callable[[], AbstractContextManager[None]],
        grace: float,
    ) -> None:
        self._driver = driver
        self._interrupts = interrupts
        self._runs = runs
        self._lent = lent
        self._grace = grace
        self._lock = threading.Lock()
        self.drives = 0
        self._live = False  # whether a run is under way
        self._to_end = False  # whether it is to end when its caller comes back for more
        self._background = Background(self._work, self._lock)  # if busy, it drives
        self._idle = threading.Condition(self._lock)
        self._closed = ""
        self._led: Root | None = None  # what the thread that drives does so for, if not for all
        self._away = False  # whether it is in the user's code
        self._taken: dict[int, Root] = {}  # by threads that cannot go on to drive: what they led
        self._to_serve: Root | None = None  # the last of these, until somebody else drives
        driver.mains.hands = self

    # ---- for callers ----

    @property
    def is_driven_here(self) -> bool:
        """Whether this very thread is in the loop, or in a main that it runs in another one."""
        here = get_ident()
        return self.drives == here or here in self._taken or here in self._driver.mains.threads

    @property
    def is_live(self) -> bool:
        """Whether anything is under way."""
        return self._live

    def run(self, target: Any) -> Any:
        """Return what comes of a target; drive for it, if nobody else does.

        Raises:
            BaseException: As for `Session.run`.
        """
        with self._lock:
            if self._closed:
                raise errors.BackendClosed(self._closed)
            leads = not (self._live or self._driver.asked)
            if leads:
                self._live, self.drives = True, get_ident()
        if not leads:
            root = self._foreground(target)
            self.ask(root)
            return self._wait(root)
        mine = Root(target)
        if self._lead(mine, partial(self._begin, target)):
            if mine.error is not None:
                raise mine.error
            return mine.value
        taken = self._was_taken()
        if taken is not None:
            assert isinstance(taken, _submission())
            return self._wait(taken)
        if mine.error is None and mine.number in self._driver.roots.watched:
            waiting = self._stand_in(mine)
            self._hand_over(waiting)
            return self._wait(waiting)
        self._hand_over()
        return mine.outcome()

    def submit(
        self,
        target: Any,
        adapt: Callable[[], None],
        kind: type[TaskFuture[Any]] | None = None,
    ) -> Submission:
        """Have a target run beside all else.

        Args:
            target: Any value with references in it.
            adapt: Called in the thread that drives, right before.
            kind: The class of its future; by default `TaskFuture`.

        Raises:
            BackendClosed: The session has ended, or the program does.
        """
        from fancypipe_core._engine.futures import Submission, TaskFuture

        root = Submission(target, self, adapt, kind or TaskFuture)
        self.ask(root)
        return root

    def give_up(self, roots: list[Root]) -> None:
        """Cancel those of these that have not begun."""
        self.order(lambda: self._driver.roots.recall(roots))

    def stream(self, target: Instance[Any]) -> Stream:
        """Return what takes the results of a map one by one; for `pieces`."""
        return Stream(target, self._driver.maps, self._driver.files)

    def _foreground(self, target: Any) -> Submission:
        root = _submission()(target, self)
        root.takes_interrupts = threading.current_thread() is threading.main_thread()
        return root

    def _wait(self, root: Submission) -> Any:
        with self._interrupts.told_to(self._woken):
            return root.future.result()

    def _woken(self, _frame: object) -> bool:
        self._driver.wake()
        return self._interrupts.is_stuck()

    def ask(self, *roots: Root) -> None:
        """Have something run, from any thread."""
        driver = self._driver
        with self._lock:
            self._check_open()
            if _ending:
                raise errors.BackendClosed("interpreter shutdown: the program ends")
            was_empty = not driver.asked
            driver.asked.extend(roots)
            if self.drives:
                if not (self._away and self._take_over()) and was_empty:
                    driver.wake()
            elif not self._background.busy:
                try:
                    self._go_on_in_background()
                except RuntimeError as error:
                    for _ in roots:
                        driver.asked.pop()
                    raise errors.BackendClosed(f"{_NO_THREAD}: {error}") from None

    def order(self, what: Callable[[], object]) -> None:
        """Have something done in the thread that drives, if anything is under way."""
        with self._lock:
            if self._live or self._background.busy:
                self._driver.orders.append(what)
                if self.drives:
                    self._driver.wake()

    def _check_open(self) -> None:
        if self._closed:
            raise errors.BackendClosed(self._closed)

    def cancel(self, root: Root) -> None:
        """Nobody wants this any more."""
        self.order(lambda: self._driver.roots.drop(root) if root.number else None)

    def refuse_to_wait(self) -> None:
        """Raise if who waits in this thread would wait for ever.

        Raises:
            UsageError: The run that has to go on is driven in this thread.
        """
        if self.is_driven_here:
            raise errors.UsageError(
                "a future was waited for inside the run that it waits for, so it would wait for "
                "ever; return the reference, or write .result() on it"
            )

    def cancel_all(self, grace: float | None = None) -> None:
        """End all that is under way, and all that waits for its turn.

        Args:
            grace: Seconds that running tasks have; None for the setting.
        """
        with self._lock:
            doomed = self._end_all(grace)
        _fail(doomed, errors.Cancelled("cancelled before it began"))

    def _end_all(self, grace: float | None) -> list[Root]:
        """Have the run end; return what had not begun.  Called with the lock held."""
        doomed = list(self._driver.asked)
        self._driver.asked.clear()
        if self._live:
            if grace is not None:
                self._driver.limit_grace(grace)
            if self.drives or self._background.busy:
                self._interrupts.count += 1
                self._driver.wake()
            else:
                self._to_end = True
        return doomed

    def close(self, grace: float, why: str) -> None:
        """End all that is under way, for good.

        Args:
            grace: Seconds that running tasks have.
            why: What whoever comes later is told.
        """
        with self._lock:
            self._closed = why
            doomed = self._end_all(grace)
            parked = self._live and not (self.drives or self._background.busy)
            if parked:
                self.drives = get_ident()
        _fail(doomed, errors.BackendClosed("the session was closed before this began"))
        if parked:
            self._close_run(errors.BackendClosed(why))
        if self.drives == get_ident():
            return  # what calls this is a part of what is to end
        with self._idle:
            wait_for(self._idle, lambda: not (self.drives or self._background.busy))
            thread = self._background.end()
        self._driver.mains.helpers.end()
        if thread is not None:
            thread.join()

    def forget(self, why: Callable[[], BaseException]) -> None:
        """This process is a fork: nothing goes on here, and who takes results is told why."""
        self._lock = threading.Lock()  # a thread that is not here may hold the other
        for root in (*self._driver.roots.watched.values(), *self._driver.asked):
            if isinstance(root, Stream):
                root.forget(why())

    def _close_run(self, error: BaseException) -> None:
        """End a run at once that was led in this thread, and is not over."""
        try:
            with self._lent():
                try:
                    self._driver.close_run()
                finally:
                    self._over(error)
        finally:
            self._settle(error)

    def pieces(self, stream: Stream) -> Generator[tuple[int, list[Any]], None, None]:
        """Yield lists of results of a map, each with the index of its first.

        Raises:
            BaseException: As for `Session.run`.
        """
        with self._lock:
            self._check_open()
            mine = not (self._live or self._driver.asked)
            if mine:
                self._live, self.drives, self._to_end = True, get_ident(), False
        before: Callable[[], None] = partial(self._begin, stream.target)
        over = False
        if not mine:
            self.ask(stream)
        try:
            while True:
                if mine:
                    over = True  # who raises has ended the run
                    with self._at_work():
                        over = self._lead(stream, before)
                    before = _nothing
                    if not over and self._was_taken() is None:
                        self._park(stream)
                else:
                    stream.wait()
                found = stream.take()
                if found:
                    yield from found
                elif over or stream.is_told:
                    break
                if not over:
                    mine = self._comes_back(stream)
            stream.outcome()
        finally:
            if not (over or stream.is_told):
                with self._at_work():
                    if self._comes_back(stream):
                        self._close_run(errors.Cancelled(_LEFT))
                    else:
                        self.cancel(stream)

    def _park(self, stream: Stream) -> None:
        """The caller has something in hand; others may ask for more meanwhile."""
        if stream.is_told:
            self._go_on()  # he comes back no more
            return
        driver = self._driver
        others = [one for one in driver.roots.watched.values() if one is not stream]
        with self._lock:
            self.drives = 0
            if not (driver.asked or others):
                return
            try:
                self._go_on_in_background()
                return
            except RuntimeError as raised:
                error = errors.BackendClosed(f"{_NO_THREAD}: {raised}")
            # Nobody knows when the caller comes back.
            for one in others:
                driver.roots.drop(one)
            others += driver.asked
            driver.asked.clear()
        _fail(others, error)

    def _comes_back(self, stream: Stream) -> bool:
        """Tell whether who takes results one by one is to drive, and let him."""
        with self._lock:
            if stream.is_told or self._background.busy or not self._live or self.drives:
                if self._background.busy:
                    self._driver.wake()  # it may take more
                return False
            self.drives = get_ident()
            return True

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """A part of a run is done in this block; between two of these the caller's code runs."""
        with self._interrupts.watched():
            self._interrupts.count += self._to_end
            yield

    def wait_until_idle(self) -> None:
        """Wait until nothing is under way in the session's own thread."""
        with self._idle:
            wait_for(self._idle, lambda: not self._background.busy)

    # ---- the hands of the thread that drives ----

    def leave(self) -> None:
        with self._lock:
            self._away = True
            if self._driver.asked:
                self._take_over()

    def come_back(self) -> bool:
        with self._lock:
            if self.drives != get_ident():
                return False
            self._away = False
            return True

    def give_way(self) -> bool:
        with self._lock:
            return self._take_over()

    def post(self, post: Post) -> bool:
        with self._lock:
            if not self._live:
                return False
            self._driver.mains.posts.append(post)
            if self.drives:
                self._driver.wake()
            return True

    def _take_posts(self) -> list[Post]:
        """Return what nobody will do; called with the lock held."""
        posts = self._driver.mains.posts
        lost: list[Post] = list(posts)
        posts.clear()
        return lost

    def _take_over(self) -> bool:
        """Have the session's own thread drive in place of one that leads; tell whether it does.

        Called with the lock held.
        """
        led = self._led
        if led is None:
            return False
        try:
            self._go_on_in_background()
        except RuntimeError:  # it goes on when it comes back
            return False
        if not isinstance(led, Stream):
            led = self._stand_in(led)
        self._to_serve = self._taken[self.drives] = led
        self._led, self._away, self.drives = None, False, 0
        return True

    def _stand_in(self, led: Root) -> Submission:
        """Return what stands for what a thread has led, since others drive."""
        waiting = _submission()(led.target, self)
        waiting.takes_interrupts = self.drives == threading.main_thread().ident
        waiting.number, waiting.pins, waiting.wanted = led.number, led.pins, led.wanted
        waiting.future._begun = True
        return waiting

    def _was_taken(self) -> Root | None:
        """Return what stands for what was led in this thread, if another one drives for it."""
        with self._lock:
            return self._taken.pop(get_ident(), None)

    # ---- who drives ----

    def _begin(self, target: Any) -> None:
        self._driver.roots.failed = None
        self._runs.begin(target)
        self._driver.begin(self._grace)

    def _lead(self, root: Root, before: Callable[[], None]) -> bool:
        """Drive in this thread; tell whether the run is over."""
        over = True
        error: BaseException | None = None
        try:
            with self._lent():
                try:
                    before()
                    self._led = root
                    over = self._driver.lead(root)
                except BaseException as raised:
                    error = raised
                    raise
                finally:
                    with self._lock:
                        if self._led is root:  # nobody has taken over
                            self._led, self._away = None, False
                    if over:
                        self._over(error or root.error)
        finally:
            if over:
                self._settle(error)
        return over

    def _over(self, error: BaseException | None) -> None:
        error = error or self._driver.roots.failed
        self._driver.roots.failed = None
        self._runs.over(error)

    def _settle(self, error: BaseException | None) -> None:
        """The run is over: see that nobody waits for it, and that what came late is done."""
        left, self._driver.left = self._driver.left, []
        with self._lock:
            self.drives, self._live = 0, False
            lost = self._take_posts() if self._driver.mains.posts else []
            more = bool(self._driver.asked)
            if self._closed and not more:
                self._idle.notify_all()  # who closes waits for that, and nobody else
        for post in lost:
            post.lost()
        if left:
            _fail(left, error or errors.InternalError("the run ended without a reason"))
        if more:
            self._go_on()

    def _hand_over(self, waiting: Submission | None = None) -> None:
        """Let the session's own thread go on."""
        if waiting is not None:
            self._driver.roots.watch([waiting])
        self._go_on()

    def _go_on(self) -> None:
        """Let the session's own thread drive from now on; where it cannot start, this one does."""
        with self._lock:
            self.drives = 0
            if self._background.busy:
                return  # somebody has asked for more in between
            try:
                self._go_on_in_background()
                return
            except RuntimeError:  # memory, a limit, or Python lets none start at its end
                self._background.busy = True
                self._interrupts.hold()
        self._work()

    def _go_on_in_background(self) -> None:
        """Have the session's own thread drive; called with the lock held.

        Raises:
            RuntimeError: No thread can start.
        """
        self._interrupts.hold()
        try:
            self._background.go()
        except RuntimeError:
            self._interrupts.let_go()
            raise

    def _work(self) -> None:
        """Drive beside the caller's code."""
        with ambient.shared():
            self._serve()

    def _serve(self) -> None:
        """Drive runs, as long as somebody asks for something."""
        driver = self._driver
        while True:
            with self._lock:
                if not (self._live or driver.asked):
                    self._background.busy = False
                    self._interrupts.let_go()
                    self._idle.notify_all()
                    return
                is_new, self._live, self.drives = not self._live, True, get_ident()
                led, self._to_serve = self._to_serve, None
            error: BaseException | None = None
            try:
                if is_new:
                    self._begin(driver.asked[0].target if driver.asked else None)
                driver.serve(led)
            except BaseException as raised:  # noqa: BLE001 - it is for those who wait
                error = raised
            try:
                self._over(error)
            except BaseException as raised:  # noqa: BLE001 - as above
                error = error or raised
            self._end_of_run(error)

    def _end_of_run(self, error: BaseException | None) -> None:
        driver = self._driver
        left, driver.left = driver.left, []
        with self._lock:
            self.drives, self._live = 0, False
            lost = self._take_posts() if self._driver.mains.posts else []
            # `cancel_all` has told who was asked for before it; who came after it begins anew.
            if error is not None and not isinstance(error, errors.Cancelled):
                left += driver.asked
                driver.asked.clear()
            if self._interrupts.count:
                self._interrupts.forget()
            if self._closed and isinstance(error, errors.Cancelled):
                error = errors.BackendClosed("the session was closed before this was done")
        for post in lost:
            post.lost()
        if left:
            _fail(left, error or errors.InternalError("the run ended without a reason"))


def _submission() -> type[Submission]:
    from fancypipe_core._engine.futures import Submission  # most runs need none

    return Submission


def _nothing() -> None:
    """A run goes on."""


def _fail(roots: Iterable[Root], error: BaseException) -> None:
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
