"""The client's link: the engine's thread drives it, and another one while that is away."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable
from time import monotonic
from typing import Any, NamedTuple

from fancypipe_core.errors import InternalError
from fancypipe_core.toolkit import fault
from fancypipe_remote._protocol import messages
from fancypipe_remote._protocol.endpoint import ClientSide, Closed
from fancypipe_remote._protocol.link import LinkState
from fancypipe_remote._transport import Dialer, Waiter, Waker
from fancypipe_remote._transport.direct import DirectListener
from fancypipe_remote._transport.loop import Loop
from fancypipe_remote._transport.stream_socket import StreamSocket

__all__ = ["Network", "News"]

_TURN = 0.5  # seconds
_AWAY = 0.1  # seconds that nobody drives it, until the thread does
_LONGEST = 1.0  # seconds that a turn takes at most
_STUCK = 60.0  # seconds in which the thread gives way, also on a machine that does much else
_SEEKING = 0.5  # seconds to wait for the end of a thread that has no link yet
_LAST_WORDS = 1.0  # seconds in which the workers should hear that the client leaves


class News(NamedTuple):
    """What the engine's thread must know.

    Attributes:
        workers: Who is there, by address.
        clients: How many clients share them.
        manager: The manager that was met last; None before the first.
        listed: Whether it has told who is there.
        over: Why there is no link any more; None while there is.
        refused: Whether the manager has refused us.
        seen: Which workers have said whether they see the folder of `look`.
        round_trips: Seconds to each host process and back, by the connection's number.
        closed: Connections that are no more, by number, and why.
        remarks: What peers did that they should not do, in sentences.
        liars: The workers who did.
        failed: The exception that ended the thread.
    """

    workers: dict[bytes, messages.Worker]
    clients: int
    manager: messages.Welcome | None
    listed: bool
    over: str | None
    refused: bool
    seen: dict[bytes, bool]
    round_trips: dict[int, float]
    closed: dict[int, str]
    remarks: list[str]
    liars: frozenset[bytes]
    failed: BaseException | None = None


class _Held:
    """Keeps the thread out of a network.

    Raises:
        InternalError: It does not give way.
    """

    def __init__(self, network: Network) -> None:
        self._network = network

    def __enter__(self) -> None:
        if not self._network._acquire(_STUCK):
            self._network._release(is_held=False)
            raise InternalError(self._network._where())

    def __exit__(self, *_: object) -> None:
        self._network._release()


class Network:
    """The client's link, and the sockets of its connections.

    One thread at a time drives it: that of the engine in `turn`.  While that is busy for
    long, or between runs, a thread of its own does, so that the manager hears of us; and it
    makes the link, which takes its time.  What is called here waits for the other to give way.

    Args:
        dialer: Makes the link, in the thread; it may take its time, and is given what tells
            whether nobody waits for it any more.
        hello: What we say of ourselves.
        wait: Seconds to seek a manager, at the beginning and again.
    """

    def __init__(
        self,
        dialer: Callable[[Callable[[], bool]], Dialer],
        hello: messages.Hello,
        wait: float,
    ) -> None:
        self._make_dialer = dialer
        self._hello = hello
        self._wait = wait
        self._side = ClientSide(hello, wait, monotonic())
        self._waker = Waker()
        self._alone = Waiter(self._waker)  # as long as there is no link
        self._loop: Loop | None = None
        self._lock = threading.RLock()
        self._held = _Held(self)
        self._is_driven = False  # by the engine's thread, which has the lock or waits for it
        self._left = 0.0  # when that was driving last
        self._stopping = threading.Event()
        self._rounds = 0  # of the thread
        self._seen = -1
        self._thread = threading.Thread(target=self._run, name="fancypipe-network", daemon=True)
        self._sockets: dict[int, StreamSocket] = {}
        self._is_written = False  # whether a socket was, since they were asked
        self._heard: set[int] = set()  # connections whose sockets have become readable
        self._last: tuple[Any, ...] = self._now()
        self._closed: dict[int, str] = {}
        self._failed: BaseException | None = None

    # ---- in the engine's thread ----

    def start(self) -> None:
        """Start the thread, which makes the link."""
        self._thread.start()

    def wake(self) -> None:
        """End a turn, or the next one; called in any thread."""
        self._waker.wake()

    def turn(self, seconds: float | None) -> bool:
        """Carry bytes until something has come; tell whether it has, or somebody has woken us.

        Args:
            seconds: How long to wait at most; None for no limit.
        """
        limit = _LONGEST if seconds is None else seconds
        if self._loop is None and self._failed is None:
            return bool(self._alone.wait(limit))
        is_held = self._acquire(limit)
        try:
            if self._loop is None or self._failed is not None:
                return True
            return is_held and self._turn(self._loop, 0.0 if self._has_come else limit)
        finally:
            self._release(is_held)

    def flush(self) -> None:
        """Send what was written, if anything: now, unless the thread is about to."""
        if not self._is_written:
            return
        if self._lock.acquire(blocking=False):
            try:
                if self._loop is not None and self._failed is None:
                    self._carry()
                    self._loop.send()
            finally:
                self._lock.release()
        else:
            self._waker.wake()

    def heard(self) -> set[int]:
        """Return the numbers of the connections whose sockets have become readable."""
        found = set()
        while self._heard:
            found.add(self._heard.pop())  # while the thread may put others in
        return found

    def open(self, worker: bytes, slots: int) -> tuple[int, StreamSocket]:
        """Open a connection; return its number, and a socket to the other end."""
        with self._held:
            connection = self._side.open(worker, slots)
            socket = self._sockets[connection.number] = StreamSocket(connection, self._note)
        return connection.number, socket

    def join(self, number: int, listener: DirectListener) -> None:
        """Let a connection go over a direct link, if its host process has made one."""
        with self._held:
            socket = self._sockets.get(number)
            if socket is None or self._loop is None:
                listener.close()
            elif (link := listener.accept(socket.connection.peer)) is not None:
                self._loop.join(link)

    def close(self, number: int, why: str) -> None:
        """Close a connection; what was not carried yet is lost."""
        with self._held:
            socket = self._sockets.pop(number, None)
            if socket is not None:
                self._side.close(socket.connection, why)
                if self._loop is not None:
                    self._loop.part(socket.connection.peer)

    def look(self, worker: bytes, folder: str, proof: str) -> None:
        """Ask a worker whether it sees a folder; the answer is news."""
        with self._held:
            self._side.look(worker, folder, proof)

    def use(self, need: int, using: dict[bytes, int]) -> None:
        """Say how many slots could be used, and how many jobs are on each worker."""
        with self._held:
            self._side.use(need, using)

    def news(self) -> News | None:
        """Return what is new, or None."""
        if not self._has_news:
            return None
        with self._held:
            self._last = self._now()
            closed, self._closed = self._closed, {}
            remarks, self._side.log = self._side.log, []
            rest = closed, remarks, frozenset(self._side.liars), self._failed
            return News._make((*self._last, *rest))

    def check(self) -> str:
        """Say whether the thread stands still; empty if it does not.

        Raises:
            InternalError: It has died.
        """
        if not self._thread.is_alive():
            raise InternalError("the thread fancypipe-network has died")
        if self._loop is None:
            return ""  # it seeks the manager, which has a limit of its own
        rounds, self._seen = self._seen, self._rounds
        if rounds != self._rounds:
            return ""
        return self._where()

    def _where(self) -> str:
        frame = sys._current_frames().get(self._thread.ident or 0)
        stack = "".join(traceback.format_stack(frame)[-8:]) if frame is not None else "its end"
        return f"the thread fancypipe-network stands still; it is at\n{stack}"

    @property
    def has_failed(self) -> bool:
        """Whether nothing comes any more."""
        return self._failed is not None

    def stop(self) -> None:
        """Close all, and wait for the thread to end."""
        self._stopping.set()
        self._waker.wake()
        # If it seeks the manager it will see that nobody waits for it.
        self._thread.join(_SEEKING if self._loop is None else _LAST_WORDS + 5.0)
        if not self._thread.is_alive():
            self._waker.close()

    def forget(self) -> None:
        """Close what a fork must not hold."""
        self._waker.close()
        if self._loop is not None:
            self._loop.forget()

    def _acquire(self, seconds: float) -> bool:
        """Keep the thread out; tell whether it gave way in so many seconds."""
        self._is_driven = True
        if self._lock.acquire(blocking=False):
            return True
        self._waker.wake()
        return self._lock.acquire(timeout=seconds)

    def _release(self, is_held: bool = True) -> None:
        if is_held:
            self._lock.release()
        self._left = monotonic()
        self._is_driven = False

    def _note(self) -> None:
        self._is_written = True

    # ---- in whatever thread drives it ----

    def _turn(self, loop: Loop, seconds: float) -> bool:
        """Turn once; tell whether something has come for the engine."""
        self._carry()
        woken = self._waker in loop.turn(seconds)
        events, self._side.events = self._side.events, []
        for event in events:
            number = event.connection.number
            socket = self._sockets.get(number)
            if isinstance(event, Closed):
                self._closed[number] = event.connection.closed or ""
                self._sockets.pop(number, None)
                loop.part(event.connection.peer)
            if socket is None:
                continue
            if isinstance(event, Closed):
                socket.end()
            else:
                socket.deliver(event.data)
            if socket.readable:
                self._heard.add(number)
        return woken or self._has_come

    def _carry(self) -> None:
        """Give the streams what was sent."""
        self._is_written = False
        for socket in self._sockets.values():
            socket.carry()

    def _now(self) -> tuple[Any, ...]:
        side, link = self._side, self._side.link
        over = link.why if link.state is LinkState.OVER else None
        return (
            side.workers, side.clients, link.manager, side.listed, over, link.was_refused,
            side.seen, side.round_trips,
        )  # fmt: skip

    @property
    def _has_come(self) -> bool:
        return bool(self._heard) or self._has_news

    @property
    def _has_news(self) -> bool:
        return bool(
            self._closed or self._side.log or self._failed is not None or self._now() != self._last
        )

    # ---- in its own thread ----

    def _run(self) -> None:
        try:
            dialer = self._make_dialer(self._stopping.is_set)
            self._side = ClientSide(self._hello, self._wait, monotonic())
            loop = self._loop = Loop(dialer, self._side, self._waker)
            self._waker.wake()
            while not self._stopping.wait(_AWAY):
                self._drive(loop)
            self._leave(loop)
        except BaseException as error:  # noqa: BLE001 - it ends the run, with its reason
            self._failed = error
        finally:
            self._waker.wake()
            with self._lock:
                if self._loop is not None:
                    self._loop.close()
            if self._stopping.is_set():  # else the engine may be waiting for it
                self._waker.close()

    def _drive(self, loop: Loop) -> None:
        """Drive it as long as the engine's thread does not."""
        while True:
            fault("remote.network")
            self._rounds += 1
            if self._is_driven or monotonic() < self._left + _AWAY or self._stopping.is_set():
                return
            with self._lock:
                self._turn(loop, _TURN)

    def _leave(self, loop: Loop) -> None:
        with self._lock:
            for connection in self._side.connections:
                self._side.close(connection, "the client has ended")
            until = monotonic() + _LAST_WORDS
            loop.turn(0.0)
            while not loop.idle and monotonic() < until:
                loop.turn(0.05)
