"""The client's thread for the network: it beats, also while the engine is busy."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable
from queue import Empty, SimpleQueue
from time import monotonic
from typing import NamedTuple

from fancypipe_core.errors import InternalError
from fancypipe_core.toolkit import fault
from fancypipe_remote._protocol import messages
from fancypipe_remote._protocol.endpoint import ClientSide, Closed
from fancypipe_remote._protocol.link import LinkState
from fancypipe_remote._transport import Dialer
from fancypipe_remote._transport.loop import Loop
from fancypipe_remote._transport.stream_socket import StreamSocket

__all__ = ["Network", "News"]

_TURN = 0.5  # seconds
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


class Network:
    """The thread.

    Args:
        dialer: Makes the link, in the thread; it may take its time, and is given what tells
            whether nobody waits for it any more.
        hello: What we say of ourselves.
        wait: Seconds to seek a manager, at the beginning and again.
        wake: Called when there is news, or something to receive.
    """

    def __init__(
        self,
        dialer: Callable[[Callable[[], bool]], Dialer],
        hello: messages.Hello,
        wait: float,
        wake: Callable[[], None],
    ) -> None:
        self._make_dialer = dialer
        self._hello = hello
        self._wait = wait
        self._wake = wake
        self._asked: SimpleQueue[Callable[[ClientSide], None]] = SimpleQueue()
        self._news: SimpleQueue[News] = SimpleQueue()
        self._last: tuple[object, ...] = ()
        self._closed: dict[int, str] = {}
        self._sockets: dict[int, StreamSocket] = {}
        self._numbers = 0
        self._stopping = False
        self._turns = 0
        self._seen = -1
        self._loop: Loop | None = None
        self._thread = threading.Thread(target=self._run, name="fancypipe-network", daemon=True)

    # ---- in the engine's thread ----

    def start(self) -> None:
        """Start the thread, which makes the link."""
        self._thread.start()

    def open(self, worker: bytes, slots: int) -> tuple[int, StreamSocket]:
        """Open a connection; return its number, and a socket to the other end."""
        self._numbers += 1
        number = self._numbers
        socket = StreamSocket(self._nudge)

        def begin(side: ClientSide) -> None:
            socket.connection = side.open(worker, slots)
            assert socket.connection.number == number, "connections are numbered in order"
            self._sockets[number] = socket

        self._ask(begin)
        return number, socket

    def close(self, number: int, why: str) -> None:
        """Close a connection; what was not carried yet is lost."""

        def end(side: ClientSide) -> None:
            socket = self._sockets.pop(number, None)
            if socket is not None and socket.connection is not None:
                side.close(socket.connection, why)

        self._ask(end)

    def look(self, worker: bytes, folder: str, proof: str) -> None:
        """Ask a worker whether it sees a folder; the answer is news."""
        self._ask(lambda side: side.look(worker, folder, proof))

    def use(self, need: int, using: dict[bytes, int]) -> None:
        """Say how many slots could be used, and how many jobs are on each worker."""
        self._ask(lambda side: side.use(need, using))

    def news(self) -> News | None:
        """Return what is new, or None."""
        newest = None
        closed: dict[int, str] = {}
        remarks: list[str] = []
        while True:
            try:
                newest = self._news.get_nowait()
            except Empty:
                return newest and newest._replace(closed=closed, remarks=remarks)
            closed.update(newest.closed)
            remarks += newest.remarks

    def check(self) -> str:
        """Say whether the thread stands still; empty if it does not.

        Raises:
            InternalError: It has died.
        """
        if not self._thread.is_alive():
            raise InternalError("the thread fancypipe-network has died")
        if self._loop is None:
            return ""  # it seeks the manager, which has a limit of its own
        turns, self._seen = self._seen, self._turns
        if turns != self._turns:
            return ""
        frame = sys._current_frames().get(self._thread.ident or 0)
        stack = "".join(traceback.format_stack(frame)[-8:]) if frame is not None else "its end"
        return f"the thread fancypipe-network stands still; it is at\n{stack}"

    def stop(self) -> None:
        """Close all, and wait for the thread to end."""
        self._stopping = True
        if self._loop is not None:
            self._loop.waker.wake()
            self._thread.join(_LAST_WORDS + 5.0)
        else:  # it seeks the manager, and will see that nobody waits for it
            self._thread.join(_SEEKING)

    def _ask(self, what: Callable[[ClientSide], None]) -> None:
        self._asked.put(what)
        self._nudge()

    def _nudge(self) -> None:
        if self._loop is not None:
            self._loop.waker.wake()

    # ---- in its own ----

    def _run(self) -> None:
        try:
            dialer = self._make_dialer(lambda: self._stopping)
            side = ClientSide(self._hello, self._wait, monotonic())
            loop = self._loop = Loop(dialer, side)
            try:
                while not self._stopping:
                    fault("remote.network")
                    self._turn(loop, side)
                self._leave(loop, side)
            finally:
                loop.close()
        except BaseException as error:  # noqa: BLE001 - it ends the run, with its reason
            none = News({}, 0, None, False, None, False, {}, {}, {}, [], frozenset())
            self._news.put(none._replace(failed=error))
            self._wake()

    def _turn(self, loop: Loop, side: ClientSide) -> None:
        while True:
            try:
                self._asked.get_nowait()(side)
            except Empty:
                break
        self._carry(loop, side)
        self._turns += 1
        self._tell(side)

    def _carry(self, loop: Loop, side: ClientSide) -> None:
        """Carry bytes between the sockets and the link."""
        for socket in self._sockets.values():
            socket.carry()
        loop.turn(_TURN)
        events, side.events = side.events, []
        for event in events:
            number = event.connection.number
            if isinstance(event, Closed):
                self._closed[number] = event.connection.closed or ""
                if (lost := self._sockets.pop(number, None)) is not None:
                    lost.end()
                self._wake()
            elif (told := self._sockets.get(number)) is not None:
                told.deliver(event.data)
                if told.readable:
                    self._wake()

    def _leave(self, loop: Loop, side: ClientSide) -> None:
        for connection in side.connections:
            side.close(connection, "the client has ended")
        until = monotonic() + _LAST_WORDS
        loop.turn(0.0)
        while not loop.idle and monotonic() < until:
            loop.turn(0.05)

    def _tell(self, side: ClientSide) -> None:
        link = side.link
        over = link.why if link.state is LinkState.OVER else None
        now = (
            side.workers, side.clients, link.manager, side.listed, over, link.was_refused,
            side.seen, side.round_trips,
        )  # fmt: skip
        if now == self._last and not self._closed and not side.log:
            return
        self._last = now
        closed, self._closed = self._closed, {}
        remarks, side.log = side.log, []
        self._news.put(News(*now, closed, remarks, frozenset(side.liars)))
        self._wake()
