"""Who drives a session's loop.

One thread drives at a time.  Where nobody does, whoever runs something drives for itself: its
tasks run in its own thread on serial, with its debugger.  Where somebody does already, it is
asked, and a thread of the session's own goes on for all, until nothing is left.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import get_ident
from typing import TYPE_CHECKING, Any

from fancypipe_core import errors
from fancypipe_core._base.isolation import ambient
from fancypipe_core._base.signals import Interrupts
from fancypipe_core._base.slices import wait_for
from fancypipe_core._engine.background import Background
from fancypipe_core._engine.driver import Driver
from fancypipe_core._engine.hands import Post
from fancypipe_core._engine.observed_runs import ObservedRuns
from fancypipe_core._engine.roots import Root, fail
from fancypipe_core._engine.streams import Stream

if TYPE_CHECKING:
    from fancypipe_core._engine.futures import Submission

__all__ = ["Wheel", "end_of_program"]

_NO_THREAD = "interpreter shutdown, or too many threads"  # the words of `concurrent.futures`
_ending: list[bool] = []


def end_of_program() -> None:
    """From now on nothing new begins in the background: threads may not start any more."""
    _ending.append(True)


class Wheel:
    """Which thread drives, and what others ask of it.

    It is the `Hands` of that thread.

    Args:
        driver: The loop.
        interrupts: What the user has asked for by signals.
        runs: What has to be done around a run.
        lent: Returns what lends the process to tasks while the caller's thread drives.
        grace: Seconds that running tasks have when a run is ended.

    Attributes:
        submission: Makes what stands for a target that somebody waits for while others drive; set
            by who hands out what comes of it.
        drives: The thread in which the loop is; 0 if it is in none.
        is_live: Whether a run is under way.
    """

    submission: Callable[[Any], Submission]

    def __init__(
        self,
        driver: Driver,
        interrupts: Interrupts,
        runs: ObservedRuns,
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
        self.is_live = False
        self._to_end = False  # whether it is to end when its caller comes back for more
        self._background = Background(self._work, self._lock)  # if busy, it drives
        self._idle = threading.Condition(self._lock)
        self._closed = ""
        self._led: Root | None = None  # what the thread that drives does so for, if not for all
        self._away = False  # whether it is in the user's code
        self._taken: dict[int, Root] = {}  # by threads that cannot go on to drive: what they led
        self._to_serve: Root | None = None  # the last of these, until somebody else drives
        driver.mains.hands = self

    @property
    def is_here(self) -> bool:
        """Whether this very thread is in the loop, or in a main that it runs in another one."""
        here = get_ident()
        return self.drives == here or here in self._taken or here in self._driver.mains.threads

    def take(self) -> bool:
        """Drive from now on, if nothing is under way; tell whether that is so.

        Raises:
            BackendClosed: The session has ended.
        """
        with self._lock:
            if self._closed:
                raise errors.BackendClosed(self._closed)
            if self.is_live or self._driver.asked:
                return False
            self.is_live, self.drives, self._to_end = True, get_ident(), False
            return True

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
            if self.is_live or self._background.busy:
                self._driver.orders.append(what)
                if self.drives:
                    self._driver.wake()

    def _check_open(self) -> None:
        if self._closed:
            raise errors.BackendClosed(self._closed)

    # ---- the end ----

    def cancel_all(self, grace: float | None = None) -> None:
        """End all that is under way, and all that waits for its turn.

        Args:
            grace: Seconds that running tasks have; None for the setting.
        """
        with self._lock:
            doomed = self._end_all(grace)
        fail(doomed, errors.Cancelled("cancelled before it began"))

    def _end_all(self, grace: float | None) -> list[Root]:
        """Have the run end; return what had not begun.  Called with the lock held."""
        doomed = list(self._driver.asked)
        self._driver.asked.clear()
        if self.is_live:
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
            parked = self.is_live and not (self.drives or self._background.busy)
            if parked:
                self.drives = get_ident()
        fail(doomed, errors.BackendClosed("the session was closed before this began"))
        if parked:
            self.close_run(errors.BackendClosed(why))
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

    def close_run(self, error: BaseException) -> None:
        """End a run at once that was led in this thread, and is not over."""
        try:
            with self._lent():
                try:
                    self._driver.close_run()
                finally:
                    self._over(error)
        finally:
            self._settle(error)

    def wait_until_idle(self) -> None:
        """Wait until nothing is under way in the session's own thread."""
        with self._idle:
            wait_for(self._idle, lambda: not self._background.busy)

    # ---- who takes results one by one, and has the caller's code run in between ----

    def park(self, stream: Stream) -> None:
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
        fail(others, error)

    def comes_back(self, stream: Stream) -> bool:
        """Tell whether who takes results one by one is to drive, and let him."""
        with self._lock:
            if stream.is_told or self._background.busy or not self.is_live or self.drives:
                if self._background.busy:
                    self._driver.wake()  # it may take more
                return False
            self.drives = get_ident()
            return True

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """A part of a run is done in this block; between two of these the caller's code runs."""
        with self._interrupts.watched():
            self._interrupts.count += self._to_end
            yield

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
            if not self.is_live:
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
            led = self.stand_in(led)
        self._to_serve = self._taken[self.drives] = led
        self._led, self._away, self.drives = None, False, 0
        return True

    def stand_in(self, led: Root) -> Submission:
        """Return what stands for what a thread has led, since others drive."""
        waiting = self.submission(led.target)
        waiting.takes_interrupts = self.drives == threading.main_thread().ident
        waiting.number, waiting.pins, waiting.wanted = led.number, led.pins, led.wanted
        waiting.future._begun = True
        return waiting

    def was_taken(self) -> Root | None:
        """Return what stands for what was led in this thread, if another one drives for it."""
        with self._lock:
            return self._taken.pop(get_ident(), None)

    # ---- a run, from the thread that begins it to the last one ----

    def begin(self, target: Any) -> None:
        self._driver.roots.failed = None
        self._runs.begin(target)
        self._driver.begin(self._grace)

    def lead(self, root: Root, before: Callable[[], None]) -> bool:
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
            self.drives, self.is_live = 0, False
            lost = self._take_posts() if self._driver.mains.posts else []
            more = bool(self._driver.asked)
            if self._closed and not more:
                self._idle.notify_all()  # who closes waits for that, and nobody else
        for post in lost:
            post.lost()
        if left:
            fail(left, error or errors.InternalError("the run ended without a reason"))
        if more:
            self._go_on()

    def hand_over(self, waiting: Submission | None = None) -> None:
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
                if not (self.is_live or driver.asked):
                    self._background.busy = False
                    self._interrupts.let_go()
                    self._idle.notify_all()
                    return
                is_new, self.is_live, self.drives = not self.is_live, True, get_ident()
                led, self._to_serve = self._to_serve, None
            error: BaseException | None = None
            try:
                if is_new:
                    self.begin(driver.asked[0].target if driver.asked else None)
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
            self.drives, self.is_live = 0, False
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
            fail(left, error or errors.InternalError("the run ended without a reason"))
