"""The manager: the router in a thin shell.  It reads no job and no result."""

from __future__ import annotations

import os
import secrets
import signal
from collections import deque
from collections.abc import Callable
from time import monotonic
from types import FrameType

from fancypipe_core.toolkit.clock import SteadyClock
from fancypipe_remote._protocol import messages
from fancypipe_remote._protocol.messages import Parts
from fancypipe_remote._protocol.parties import Times
from fancypipe_remote._protocol.router import Identity, Out, Router
from fancypipe_remote._release import release
from fancypipe_remote._transport import Listener, Sent, Waiter, Waker

__all__ = ["Manager"]

_MOST_WAITING = 16 * 1024 * 1024  # bytes for one peer; more are dropped, and sent again by the ends
_TRY_AGAIN = 0.005  # seconds until a peer that was full is tried again
_LOOK = 0.25  # seconds between looks at how much room there is
_ROUND = 256  # messages that are taken before what they caused is sent


class Manager:
    """Relays between clients and workers until told to stop.

    Args:
        listener: Where they come in.
        say: Takes lines for the log.
        times: Its limits.
    """

    def __init__(
        self, listener: Listener, say: Callable[[str], None], times: Times | None = None
    ) -> None:
        me = Identity(secrets.token_hex(8), release(), messages.host_name(), os.getpid())
        self._listener = listener
        self._say = say
        self._router = Router(me, times)
        self._clock = SteadyClock(monotonic())
        self._waker = Waker()
        self._waiter = Waiter(listener, self._waker)
        self._waiting: dict[bytes, _Waiting] = {}
        self._stopping = False
        self._next_look = 0.0

    def run(self) -> None:
        """Serve, until `stop` is called."""
        try:
            while not self._stopping:
                self._turn()
            for out in self._router.stop():
                self._send(out)
            # The last word gets a moment to leave.
            self._waiter.wait(0.1)
        finally:
            self._listener.close()
            self._waker.close()

    def stop(self) -> None:
        """End; may be called from a signal handler or another thread."""
        self._stopping = True
        self._waker.wake()

    def stop_on_signals(self) -> None:
        """Let SIGTERM and Ctrl-C stop it."""

        def stop(_number: int, _frame: FrameType | None) -> None:
            self.stop()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)

    def _turn(self) -> None:
        clock = self._clock
        wait = max(0.0, self._router.next_tick - clock.now)
        clock.patience = min(wait, _TRY_AGAIN) if self._waiting else wait
        self._waiter.wait(clock.patience)
        pause = clock.move(monotonic())
        if pause:
            self._say(f"stood still for {pause:.1f} s: nobody is taken for gone for that")
            self._router.awoke(clock.now)
        self._try_again()
        for _ in range(_ROUND):
            message = self._listener.receive()
            if message is None:
                break
            for out in self._router.take(*message, clock.now):
                self._send(out)
        if clock.now >= self._router.next_tick:
            for out in self._router.tick(clock.now):
                self._send(out)
        if self._router.log or clock.now >= self._next_look:
            self._next_look = clock.now + _LOOK
            self._look()

    def _look(self) -> None:
        """See to what need not be seen to for each message."""
        self._listener.keep_room_for(len(self._router))
        for line in [*self._router.log, *self._listener.remarks(self._router.links)]:
            self._say(line)
        self._router.log.clear()

    def _send(self, out: Out) -> None:
        if out.last:
            # Whether it hears why or not: one more word of it would be one too many.
            self._listener.send(out.to, out.parts)
            self._listener.ignore(out.to)
            self._waiting.pop(out.to, None)
            return
        waiting = self._waiting.get(out.to)
        if waiting is not None:
            waiting.add(out.parts)
            return
        sent = self._listener.send(out.to, out.parts)
        if sent is Sent.FULL:
            self._waiting[out.to] = _Waiting(out.parts)
        elif sent is Sent.GONE:
            self._router.unreachable(out.to, self._clock.now)

    def _try_again(self) -> None:
        for to, waiting in list(self._waiting.items()):
            sent = Sent.OK
            while waiting.messages and sent is Sent.OK:
                sent = self._listener.send(to, waiting.messages[0])
                if sent is Sent.OK:
                    waiting.drop_first()
            if sent is Sent.GONE:
                self._router.unreachable(to, self._clock.now)
            if sent is Sent.GONE or not waiting.messages:
                del self._waiting[to]


class _Waiting:
    """What waits for a peer that does not read fast enough."""

    def __init__(self, first: Parts) -> None:
        self.messages: deque[Parts] = deque([first])
        self._bytes = sum(map(len, first))

    def add(self, parts: Parts) -> None:
        size = sum(map(len, parts))
        if self._bytes + size <= _MOST_WAITING:
            self.messages.append(parts)
            self._bytes += size

    def drop_first(self) -> None:
        self._bytes -= sum(map(len, self.messages.popleft()))
