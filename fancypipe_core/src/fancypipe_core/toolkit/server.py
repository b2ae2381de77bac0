"""The worker's end of a channel: jobs and commands come in, a backend's events go out.

A backend that lives in other threads is called from here when something has
come.  A driven one owns the serving thread: what comes in wakes it.  In neither
case does reading or writing wait for the backend, or the backend for them: there
is a thread for each.  So a job can be cancelled at any time, and a client that
does not read holds up nobody but itself.  Where a channel keeps what it cannot send
yet, reports are written where they are made, which saves a hand-over.

A backend that runs jobs in the serving thread itself, as `InlineBackend` does,
would pay for these threads with two hand-overs for each burst of jobs.  It reads the
channel when it has nothing to do, with `hear`, and its reports are written where
they are made.  What must be heard while a task runs comes over a second channel
as well, `control`, and is obeyed at once in a thread of its own.
"""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable, Container, Sequence
from functools import partial
from queue import SimpleQueue
from time import monotonic
from typing import Any, NoReturn, Protocol

from fancypipe_core import errors
from fancypipe_core._base import shared_memory
from fancypipe_core._base.faults import fault
from fancypipe_core._wire import messages
from fancypipe_core._wire.channel import Frame, SocketChannel
from fancypipe_core._wire.passage import INPUT_GONE
from fancypipe_core._worker.environment import Caller, apply
from fancypipe_core.backend import (
    NOT_BEGUN,
    Adapting,
    Backend,
    Driven,
    Event,
    Following,
    Job,
    JobId,
    Lost,
    Selectable,
    Sink,
)

__all__ = ["Gate", "Server"]

_LAST_WORDS = 5.0  # seconds that a client has to take the last reports
_LOOK = 60.0  # seconds to wait at most, if there is nothing to do
_LINGER = 0.02  # seconds for which an idle worker keeps a large value mapped
_DEAF = 70  # the exit code of a worker that cannot take commands any more


class Gate(Protocol):
    """Stands between a server and its backend, and says when jobs begin.

    Its methods are called in the serving thread.
    """

    def open(self, backend: Backend, ask: Callable[[Callable[[], None]], None], sink: Sink) -> Sink:
        """Begin: the backend is about to be started.

        Args:
            backend: Where jobs are to begin.
            ask: Has something done in the serving thread; called in any thread.
            sink: Takes events for the client.

        Returns:
            The sink for the backend.
        """

    def submit(self, jobs: Sequence[Job]) -> None:
        """Jobs have come."""

    def cancel(self, ids: Sequence[JobId]) -> None:
        """As of a backend."""

    def recall(self, ids: Sequence[JobId]) -> None:
        """As of a backend."""


class Server:
    """Runs a backend for the client at the other end of a channel.

    Args:
        channel: `receive` waits for jobs and commands, `send` takes reports.  The
            `Setup` has been taken from it already.
        waits: Whether `send` may wait for the client.
        control: Blocking; for a backend that runs jobs in the serving thread and calls
            `hear` when it has none.  Urgent commands come here first.  When it
            ends, so does this process: the client is gone, and a task may run for ever.
        adapt: Takes the variables, set or unset, and the folder that later jobs are to
            find; by default they become those of this process, and the backend is told.
        wait: Waits, for so many seconds at most, until something may have come over the
            channel or one of these descriptors is readable, and returns those that are.  With
            it no thread listens, as long as the backend is served, unless that is driven and
            has no descriptor.
        gate: Lets jobs begin; by default they begin at once.

    Attributes:
        recalls: How many recalls `hear` has obeyed.
    """

    def __init__(
        self,
        channel: SocketChannel,
        control: SocketChannel | None = None,
        adapt: Callable[[dict[str, str | None], str], None] | None = None,
        *,
        waits: bool = True,
        wait: Callable[[float, Sequence[int]], Container[Any]] | None = None,
        gate: Gate | None = None,
    ) -> None:
        self._channel = channel
        self._wait = wait
        self._gate = gate
        self._has_sender = waits and control is None
        self._control = control
        self._adapt = adapt or self._adapt_process
        self._jobs = messages.FromWorker(channel.passage)
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._out: SimpleQueue[Sequence[Event] | None] = SimpleQueue()
        self._sending = threading.Lock()
        self._grace: float | None = None  # that the end has, once it is asked for
        self._error: Exception | None = None
        self._caller = Caller()
        self.recalls = 0
        self._backend: Backend
        self._takes: Backend | Gate  # what comes
        self._driven: Driven | None = None
        self._follows = False
        self._sink = self._out.put if self._has_sender else self._report
        self._selectable: Selectable | None = None

    def serve(self, backend: Backend) -> None:
        """Serve until told to stop, or the client is gone.

        The channel is shut down at the end, but not closed.

        Args:
            backend: Any, driven or not, that was not started yet.  Its values are encoded.

        Raises:
            BackendStartError: The backend did not come up.
            ConnectionLost: The client is gone, and did not ask for the end.
            ProtocolError: The client sent what is no command; the backend has been stopped.
        """
        self._backend = self._takes = backend
        sink: Sink = self._sink
        if self._gate is not None:
            self._takes, sink = self._gate, self._gate.open(backend, self._ask, sink)
        self._driven = backend if isinstance(backend, Driven) else None
        self._follows = isinstance(backend, Following) and backend.follows
        self._selectable = backend if isinstance(backend, Selectable) else None
        if self._driven is not None and self._selectable is None:
            self._wait = None  # it waits for what we know nothing of
        if self._control is not None:
            shared_memory.keep_last()
        work = self._listen if self._control is None else self._obey_at_once
        threads = [threading.Thread(target=work, name="fancypipe-listens", daemon=True)]
        if self._has_sender:
            threads.append(threading.Thread(target=self._send, name="fancypipe-sends", daemon=True))
        try:
            backend.start(sink)
            if self._wait is None:
                for thread in threads:
                    thread.start()
            while self._grace is None:
                fault("serve.turn")
                self._turn()
        finally:
            try:
                if self._wait is not None and self._error is None:
                    threads[0].start()  # while the backend ends, which takes its time
                backend.stop(self._grace or 0.0)
            finally:
                self._close(threads)
        if self._error is not None:
            raise self._error

    def hear(self) -> None:
        """Wait for a command and obey it: called in the serving thread, if there is `control`."""
        # The next command may need what the last has mapped.
        if shared_memory.keeps_any() and not self._channel.comes_within(_LINGER):
            shared_memory.let_go()
        try:
            self.recalls += isinstance(self._obey(self._channel.receive()), messages.Recall)
        except errors.ChannelError as error:
            self._fail(error)
        shared_memory.let_go()  # what came has its own

    def end(self, grace: float = 0.0) -> None:
        """Serve no longer; called in any thread."""
        if self._grace is None:
            self._grace = grace

    # ---- in the serving thread ----

    def _turn(self) -> None:
        """Wait for something to happen, and do what was asked for."""
        if self._wait is not None:
            self._select(self._wait)
            return
        if self._driven is None:
            self._inbox.get()()
            return
        while not self._inbox.empty():
            self._inbox.get_nowait()()
        if self._grace is None:
            self._driven.drive(None)

    def _select(self, wait: Callable[[float, Sequence[int]], Container[Any]]) -> None:
        """Wait for the channel and the backend, both in this thread."""
        backend, seconds, due = self._selectable, _LOOK, None
        descriptors: tuple[int, ...] = ()
        if backend is not None:
            descriptors, due = (backend.fileno(),), backend.due
            if due is not None:
                seconds = max(0.0, min(seconds, due - monotonic()))
        try:
            ready = wait(seconds, descriptors)
            for frame in self._channel.received():
                self._obey(frame)
        except Exception as error:  # noqa: BLE001 - raised again when the backend has ended
            self._fail(error)
            return
        while not self._inbox.empty():
            self._inbox.get_nowait()()
        if backend is None or self._grace is not None:
            return
        if descriptors[0] in ready or (due is not None and due <= monotonic()):
            backend.drive(0)

    def _close(self, threads: Sequence[threading.Thread]) -> None:
        shared_memory.keep_last(False)
        self._out.put(None)
        if self._has_sender and threads[-1].ident is not None:
            threads[-1].join(_LAST_WORDS)
        self._channel.shut_down()  # wakes both
        if self._control is None:
            for thread in threads:
                if thread.ident is not None:
                    thread.join(_LAST_WORDS)

    def _adapt_process(self, variables: dict[str, str | None], folder: str) -> None:
        apply(variables, folder)
        here = self._caller.changed()
        if isinstance(self._backend, Adapting) and here is not None:
            self._backend.adapt(here)

    # ---- in any thread ----

    def _obey(self, frame: Frame) -> messages.Command:
        command = messages.decode_command(frame)
        takes = self._takes
        if isinstance(command, messages.Jobs):
            jobs = self._jobs.jobs(command, frame[1])
            if self._jobs.gone:
                self._sink([Lost(id, INPUT_GONE) for id in self._jobs.gone])
                self._jobs.gone.clear()
            if not self._follows and any(job.after for job in jobs):
                self._sink([Lost(job.id, NOT_BEGUN) for job in jobs if job.after])
                jobs = [job for job in jobs if not job.after]
            self._ask(partial(takes.submit, jobs))
        elif isinstance(command, messages.Cancel):
            self._ask(partial(takes.cancel, command.ids))
        elif isinstance(command, messages.Recall):
            self._ask(partial(takes.recall, command.ids))
        elif isinstance(command, messages.Adapt):
            self._ask(partial(self._adapt, command.variables, command.folder))
        elif isinstance(command, messages.ByBytes):
            if self._channel.passage is not None:
                self._channel.passage.close()
        elif isinstance(command, messages.Stop):
            self._ask(partial(self.end, command.grace))
        return command

    def _ask(self, what: Callable[[], None]) -> None:
        """Let the backend do something: in the serving thread, unless that may be in a task."""
        if self._control is not None:
            what()
            return
        self._inbox.put(what)
        if self._driven is not None and self._wait is None:
            self._driven.wake()

    def _fail(self, error: Exception) -> None:
        """Serve no longer, and say why; unless that was asked for before."""
        if self._grace is None:
            self._error = error
            self.end()

    def _report(self, events: Sequence[Event]) -> None:
        frame = messages.encode_report(events, self._channel.passage)
        if self._control is not None:
            fault("child.report")
        with self._sending:
            try:
                self._channel.send(*frame)
            except errors.ConnectionLost as error:
                self._ask(partial(self._fail, error))
        if self._control is not None:
            fault("child.reported")

    # ---- in threads of their own ----

    def _listen(self) -> None:
        try:
            while True:
                self._obey(self._channel.receive())
        except Exception as error:  # noqa: BLE001 - raised again where the backend is served
            self._ask(partial(self._fail, error))

    def _send(self) -> None:
        try:
            while (events := self._out.get()) is not None:
                self._channel.send(*messages.encode_report(events, self._channel.passage))
        except Exception as error:  # noqa: BLE001 - raised again where the backend is served
            self._ask(partial(self._fail, error))

    def _obey_at_once(self) -> NoReturn:
        """Obey what is urgent, while the serving thread may be in a task; we end with it."""
        assert self._control is not None
        try:
            while True:
                fault("serve.listen")
                self._obey(self._control.receive())
                if self._grace is not None:
                    self._backend.stop(self._grace)  # begin nothing more
        except errors.ChannelError:
            # Nobody is left to work for, and the running task may never end.
            os._exit(0)
        except BaseException:  # noqa: BLE001 - a bug of ours; without this thread we are deaf
            traceback.print_exc()
            os._exit(_DEAF)
