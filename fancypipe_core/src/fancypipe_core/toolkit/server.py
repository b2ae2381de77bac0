"""Any backend at the far end of a channel: jobs and commands come in, events go out.

A backend that lives in other threads is called from here when something has
come.  A driven one owns this thread: what comes in wakes it.  In neither case
does reading or writing wait for the backend, or the backend for them: there is
a thread for each.  So a job can be cancelled at any time, and a client that does
not read holds up nobody but itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import cast

from fancypipe_core import errors
from fancypipe_core._wire import messages
from fancypipe_core._wire.channel import SocketChannel
from fancypipe_core._worker.environment import Caller, apply
from fancypipe_core.backend import Backend, Driven, Event

__all__ = ["serve_backend"]

_LAST_WORDS = 5.0  # seconds that a client has to take the last reports


def serve_backend(channel: SocketChannel, backend: Backend) -> None:
    """Run a backend for the client at the other end, until told to stop or it is gone.

    The channel is shut down at the end, but not closed.

    Args:
        channel: Blocking; jobs and commands come, reports go.  The `Setup` has
            been taken from it already.
        backend: Any, driven or not, that was not started yet.  Its values are encoded.

    Raises:
        BackendStartError: The backend did not come up.
        ProtocolError: The client sent what is no command; the backend has been stopped.
    """
    _Outpost(channel, backend).serve()


class _Outpost:
    def __init__(self, channel: SocketChannel, backend: Backend) -> None:
        self._channel = channel
        self._backend = backend
        self._driven = cast(Driven, backend) if hasattr(backend, "drive") else None
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._out: SimpleQueue[Sequence[Event] | None] = SimpleQueue()
        self._grace: float | None = None  # that the end has, once it is asked for
        self._error: Exception | None = None
        self._caller = Caller()

    def serve(self) -> None:
        listens = threading.Thread(target=self._listen, name="fancypipe-listens", daemon=True)
        sends = threading.Thread(target=self._send, name="fancypipe-sends", daemon=True)
        try:
            self._backend.start(self._out.put)
            listens.start()
            sends.start()
            while self._grace is None:
                self._turn()
        finally:
            try:
                self._backend.stop(self._grace or 0.0)
            finally:
                self._out.put(None)
                if sends.ident is not None:
                    sends.join(_LAST_WORDS)
                self._channel.shut_down()  # wakes both
                for thread in (listens, sends):
                    if thread.ident is not None:
                        thread.join(_LAST_WORDS)
        if self._error is not None:
            raise self._error

    def _turn(self) -> None:
        """Wait for something to happen, and do what was asked for."""
        if self._driven is None:
            self._inbox.get()()
            return
        try:
            while True:
                self._inbox.get_nowait()()
        except Empty:
            if self._grace is None:
                self._driven.drive(None)

    def _ask(self, what: Callable[[], None]) -> None:
        self._inbox.put(what)
        if self._driven is not None:
            self._driven.wake()

    def _end(self, grace: float) -> None:
        if self._grace is None:
            self._grace = grace

    def _adapt(self, command: messages.Adapt) -> None:
        apply(command.variables, command.folder)
        adapt = getattr(self._backend, "adapt", None)
        here = self._caller.changed()
        if adapt is not None and here is not None:
            adapt(here)

    # ---- in threads of their own ----

    def _listen(self) -> None:
        reader = messages.FromWorker()
        try:
            while True:
                frame = self._channel.receive()
                command = messages.decode_command(frame)
                if isinstance(command, messages.Jobs):
                    self._ask(partial(self._backend.submit, reader.jobs(command, frame[1])))
                elif isinstance(command, messages.Cancel):
                    self._ask(partial(self._backend.cancel, command.ids))
                elif isinstance(command, messages.Recall):
                    if (recall := getattr(self._backend, "recall", None)) is not None:
                        self._ask(partial(recall, command.ids))
                elif isinstance(command, messages.Adapt):
                    self._ask(partial(self._adapt, command))
                elif isinstance(command, messages.Stop):
                    self._ask(partial(self._end, command.grace))
        except errors.ConnectionLost:
            pass  # nobody is left to work for
        except Exception as error:  # noqa: BLE001 - raised again where the backend is served
            self._error = error
        self._ask(partial(self._end, 0.0))

    def _send(self) -> None:
        try:
            while (events := self._out.get()) is not None:
                self._channel.send(*messages.encode_report(events))
        except errors.ConnectionLost:
            pass
        except Exception as error:  # noqa: BLE001 - raised again where the backend is served
            self._error = error
        else:
            return
        self._ask(partial(self._end, 0.0))
