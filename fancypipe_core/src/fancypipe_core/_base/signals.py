"""The signals that ask a run to end: counted, and passed on to whoever works.

A signal comes between any two steps.  An exception there could leave the engine
half way: a worker that nobody knows of, a job that nobody waits for.  So while
the engine works, a signal is only counted; the engine is woken and looks at the
count.  `KeyboardInterrupt` is raised where the user's code runs, which may take
long, and where nobody works.
"""

from __future__ import annotations

# What `signal` is made of.  Its own functions look each handler up in an enumeration first, which
# takes more than all else that a run does with signals.
import _signal  # type: ignore[import-not-found]
import os
import signal
import sys
import threading
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from threading import get_ident
from time import monotonic
from types import CodeType, FrameType, TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from fancypipe_core.errors import Cancelled

if TYPE_CHECKING:
    from typing_extensions import Self

F = TypeVar("F", bound=Callable[..., Any])

__all__ = [
    "ENDING", "Interrupts", "Reaction", "Shelter", "again", "at_once", "block_ctrl_c", "how",
    "ignore_ctrl_c", "in_imports", "in_users_code", "interruptible", "leave_terminal", "quietly",
    "users_frames",
]  # fmt: skip

_TOLD = "_fancypipe_told"  # an attribute of our exceptions: their text is for the user
_PATIENCE = 2.0  # seconds after the second signal

Reaction = Callable[[FrameType | None], bool]
"""Called in the handler after it has counted; tells whether to raise `KeyboardInterrupt`."""

ENDING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""The signals that ask a program to end."""


class Interrupts:
    """What the user has asked for by signals, since the outermost `watched` block began.

    Attributes:
        count: How many signals have come, and calls that do as they do.  After one a
            run ends in good order, after two at once.
        signal: Which came last; 0 if none did, but a program asked in another way.
        reaction: What is called when one comes.
        twice: What is called, in the handler, by the second one.
    """

    def __init__(self) -> None:
        self.count = 0
        self.signal = 0
        self.reaction: Reaction = at_once
        self.twice: Callable[[], object] | None = None
        self._depth = 0
        self._second = 0.0  # when the second one came; 0 if it has not

    def in_this_task(self) -> bool:
        """Tell whether the task of this thread was interrupted.

        A signal raises nothing but in the main thread: what a task raises elsewhere is its own.
        """
        return self.count > 0 and threading.current_thread() is threading.main_thread()

    @classmethod
    def here(cls) -> Interrupts:
        """Return those that are watched in this thread; if none are, new ones."""
        if threading.current_thread() is threading.main_thread():
            for number in ENDING:
                owner = getattr(_signal.getsignal(number), "__self__", None)
                if isinstance(owner, cls):
                    return owner
        return cls()

    def watched(
        self,
        numbers: Sequence[int] = (signal.SIGINT,),
        instead: Sequence[Any] = (signal.default_int_handler,),
        reaction: Reaction | None = None,
    ) -> _Watched:
        """Return a context manager: in its block these signals are taken.

        As far as nobody has a way of his own with them.  At its end it raises
        `KeyboardInterrupt` if one came, and the block ended as if none had.

        Args:
            numbers: The signals.
            instead: The handlers that are nobody's own.
            reaction: What one calls; by default it is counted, as with `only_counted`.
        """
        return _Watched(self, numbers, instead, reaction or self._only_count)

    def forget(self) -> None:
        """What has come was heeded: a run has ended by it, and what comes now is for the next."""
        self.count, self.signal, self._second = 0, 0, 0.0

    def hold(self) -> None:
        """As `watched`, for a run that goes on in a thread to which no signal comes."""
        if not self._depth:
            self.forget()
        self._depth += 1

    def let_go(self) -> None:
        """The end of what `hold` has begun."""
        self._depth -= 1

    def told_to(self, reaction: Reaction) -> _ToldTo:
        """Return a context manager: during its block a signal calls this."""
        return _ToldTo(self, reaction)

    def only_counted(self, wake: Callable[[], None] = lambda: None) -> _ToldTo:
        """Return a context manager: in its block no signal can break off what is done.

        It should take a second at most.  If it does not, a signal raises all the same.

        Args:
            wake: Called when one comes.
        """

        def react(_frame: FrameType | None) -> bool:
            wake()
            return self.is_stuck()

        return _ToldTo(self, react)

    def _only_count(self, _frame: FrameType | None) -> bool:
        return self.is_stuck()

    def error(self, text: str) -> BaseException:
        """Return what is raised by a run that was asked to end.

        For a signal this is `KeyboardInterrupt` itself: Python and many programs know
        what that means, and would take a class of ours for a failure.
        """
        if not self.signal:
            return Cancelled(text)
        error = KeyboardInterrupt(text)
        if sys.excepthook is sys.__excepthook__:  # else somebody has a way of his own
            sys.excepthook = _end_with_a_line
        setattr(error, _TOLD, True)
        return error

    def raise_if_any(self) -> None:
        """Raise what a run is ended by, if any has come."""
        if self.count:
            raise self.error(how(self.signal))

    def is_stuck(self) -> bool:
        """Tell whether so much time has gone since the second signal that one more must do."""
        # One may come while the handler of the second has not noted the time.
        return 0 < self._second < monotonic() - _PATIENCE

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        self.signal = number
        if self.count > 1 and not self._second:
            self._second = monotonic()
            if self.twice is not None:
                self.twice()
        if self.reaction(frame):
            if _shelters:
                _shelters[-1].came = True
                return
            raise KeyboardInterrupt


class _Watched:
    """A block in which signals are taken."""

    __slots__ = ("_before", "_instead", "_interrupts", "_numbers", "_reaction", "_told")

    def __init__(
        self,
        interrupts: Interrupts,
        numbers: Sequence[int],
        instead: Sequence[Any],
        reaction: Reaction,
    ) -> None:
        self._interrupts = interrupts
        self._numbers = numbers
        self._instead = instead
        self._reaction = reaction
        self._before: list[tuple[int, Any]] = []
        self._told: Reaction | None = None

    def __enter__(self) -> None:
        mine = self._interrupts
        if not mine._depth:
            mine.forget()
        mine._depth += 1
        if get_ident() != _main[0]:
            return  # signals come to the main thread
        try:
            self._told, mine.reaction = mine.reaction, self._reaction
            for number in self._numbers:
                handler = _signal.getsignal(number)
                if handler in self._instead:
                    self._before.append((number, handler))
                    _signal.signal(number, mine._take)
        except BaseException:  # one came at once
            self._leave()
            raise

    def _leave(self) -> None:
        mine = self._interrupts
        mine._depth -= 1
        try:
            for number, handler in self._before:
                _signal.signal(number, handler)
        finally:
            if self._told is not None:
                mine.reaction = self._told

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        mine = self._interrupts
        self._leave()
        if kind is None and mine.signal and self._before:
            raise mine.error(f"{how(mine.signal)} after the result was complete")


_main = [threading.main_thread().ident]  # a call for each look would cost as much as all else


def _find_main() -> None:
    _main[0] = threading.main_thread().ident


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_find_main)


class _ToldTo:
    """A block in which signals call something else; a class, since each run has four of these."""

    __slots__ = ("_before", "_interrupts", "_reaction")

    def __init__(self, interrupts: Interrupts, reaction: Reaction) -> None:
        self._interrupts = interrupts
        self._reaction = reaction
        self._before: Reaction | None = None

    def __enter__(self) -> None:
        # Signals come to the main thread: what others do is not broken off by them.
        self._before = None
        if get_ident() == _main[0]:
            self._before = self._interrupts.reaction
            self._interrupts.reaction = self._reaction

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            self._interrupts.reaction = self._before


_shelters: list[Shelter] = []  # those that the main thread is in


class Shelter:
    """A block in which no signal raises anything, until it is opened or ends.

    For what must not be left half way in code that may be interrupted otherwise, and is short.
    """

    def __init__(self) -> None:
        self.came = False

    def __enter__(self) -> Self:
        if get_ident() == _main[0]:
            _shelters.append(self)
        return self

    def open(self) -> None:
        """From here on signals raise again, and one that has come does now."""
        if self in _shelters:
            _shelters.remove(self)
            if self.came:
                raise KeyboardInterrupt

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with suppress(KeyboardInterrupt) if kind is not None else nullcontext():
            self.open()


@contextmanager
def quietly() -> Iterator[None]:
    """Let Ctrl-C end the program without a word during the block, until somebody watches it.

    For the imports of a command.  An interactive Python, which goes on after it, is not ended.
    """
    before = signal.getsignal(signal.SIGINT)
    mine = before is signal.default_int_handler and not hasattr(sys, "ps1")
    if not mine or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end_with_a_line(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """End a program that lets our Ctrl-C through as the command ends: with its line, and 130.

    As Python's own hook for all else.
    """
    if not hasattr(error, _TOLD):
        sys.__excepthook__(kind, error, traceback)
        return
    with suppress(OSError, ValueError, AttributeError):  # nobody reads, or it is closed
        print(f"fancypipe: {error}", file=sys.stderr)  # noqa: T201 - as Python does
    if not hasattr(sys, "ps1") and not sys.flags.interactive:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # one more does not make a traceback
        sys.exit(128 + signal.SIGINT)


_interruptible: set[CodeType] = set()


def interruptible(function: F) -> F:
    """Say that this function calls the user's code, in which a signal may raise.

    Nothing of ours is left half way by an exception there.
    """
    _interruptible.add(function.__code__)
    return function


def in_users_code(frame: FrameType | None, engine: Container[CodeType]) -> bool:
    """Tell whether user code is running: the innermost of those frames decides.

    Args:
        frame: Where a signal came.
        engine: The functions of whoever asks, which are not to be interrupted.
    """
    while frame is not None and frame.f_code not in engine:
        if frame.f_code in _interruptible:
            return True
        frame = frame.f_back
    return False


def users_frames(frame: FrameType | None) -> list[FrameType]:
    """Return the frames of user code that is running, the innermost first; none if it is not."""
    found: list[FrameType] = []
    while frame is not None:
        if frame.f_code in _interruptible:
            return found
        found.append(frame)
        frame = frame.f_back
    return []


def block_ctrl_c() -> None:
    """Ctrl-C does not come to this thread, nor to the threads and processes that it starts.

    So a process that is to call `ignore_ctrl_c` is not ended by one before it does.
    """
    if hasattr(signal, "pthread_sigmask"):
        from multiprocessing import resource_tracker

        resource_tracker.ensure_running()  # where this starts it, the mask is gone after that
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])


def leave_terminal() -> None:
    """Let nothing that a terminal says to a whole group of processes be for this one.

    Nor is it for the programs that this one starts.
    """
    if hasattr(os, "setsid"):
        os.setsid()
    ignore_ctrl_c()


def ignore_ctrl_c() -> None:
    """Ctrl-C is not for this process, but for the programs that it starts and their like.

    A signal that is ignored is ignored in them too.  One with a handler is not.
    """
    signal.signal(signal.SIGINT, _nothing)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])  # see `block_ctrl_c`
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_heed_ctrl_c)


def _nothing(_number: int, _frame: FrameType | None) -> None:
    return None


def _heed_ctrl_c() -> None:
    if signal.getsignal(signal.SIGINT) is _nothing:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def at_once(_frame: FrameType | None) -> bool:
    """Raise `KeyboardInterrupt`, as Python does."""
    return True


def in_imports(frame: FrameType | None) -> bool:
    """Tell whether Python itself is importing: there an exception may get lost, with noise."""
    return frame is not None and frame.f_code.co_filename.startswith("<frozen importlib")


def how(number: int) -> str:
    """Return words for a run that such a signal has ended: `interrupted (SIGTERM)`.

    Without a signal it was the program itself.
    """
    if not number:
        return "cancelled"
    name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
    return f"interrupted ({name})"


def again(number: int) -> str:
    """Say how to ask once more, as it was asked before: `Ctrl-C again`."""
    if not number:
        return "call cancel() again"
    return "Ctrl-C again" if number == signal.SIGINT else f"{signal.Signals(number).name} again"
