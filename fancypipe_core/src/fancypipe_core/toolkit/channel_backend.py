"""A backend behind a channel: `serve` at the worker's end, `ChannelBackend` at ours.

The channel carries jobs out and reports in.  A second one, for control, is
read by a thread of its own in the worker, so that jobs can be called back while
one is running; it hangs up when the client is gone.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Callable, Sequence

from fancypipe_core import errors
from fancypipe_core._base.faults import fault
from fancypipe_core._wire import messages
from fancypipe_core._wire.channel import Frame, SocketChannel
from fancypipe_core._worker.inline import InlineBackend
from fancypipe_core.backend import Done, Event, Job, JobId, Lost, Slots
from fancypipe_core.toolkit.connection import Connection

__all__ = ["ChannelBackend", "serve"]

_DEAF = 70  # the exit code of a worker that cannot take commands any more


def serve(
    channel: SocketChannel,
    control: SocketChannel,
    backend: InlineBackend,
    called_back: Callable[[], bool] = lambda: False,
    goes_on: Callable[[bool], bool] = lambda _idle: True,
    adapt: Callable[[messages.Adapt], None] = lambda _command: None,
) -> None:
    """Run jobs that come over a channel, until told to stop or the other end is gone.

    Args:
        channel: Blocking; jobs come, reports go.
        control: Blocking; commands come.  Read in a thread that is started here.
        backend: Runs the jobs, in this thread.
        called_back: Tells, once, that the jobs which have not begun are to be
            given back: for clients that have a way to say so which works while
            a task keeps the control thread from running.
        goes_on: Asked between bursts of jobs, with whether there is nothing to do
            now; False ends it.  What has not begun stays undone.
        adapt: Takes what the jobs that come after it are to find; maybe while one runs.

    Raises:
        ConnectionLost: The channel is gone, so nobody has asked for the end.
    """
    _Server(channel, control, backend, called_back, goes_on, adapt).serve()


class _Server:
    def __init__(
        self,
        channel: SocketChannel,
        control: SocketChannel,
        backend: InlineBackend,
        called_back: Callable[[], bool],
        goes_on: Callable[[bool], bool],
        adapt: Callable[[messages.Adapt], None],
    ) -> None:
        self._channel = channel
        self._control = control
        self._backend = backend
        self._called_back = called_back
        self._goes_on = goes_on
        self._adapt = adapt
        self._lost: errors.ConnectionLost | None = None
        self._reader = messages.FromWorker()
        self._sending = threading.Lock()
        self._receiving = threading.Lock()
        self._stopping = threading.Event()

    def serve(self) -> None:
        backend = self._backend
        backend.start(self._report)
        threading.Thread(target=self._listen, name="fancypipe-control", daemon=True).start()
        while not self._stopping.is_set():
            fault("serve.turn")
            if backend.waiting:
                backend.drive(0)
                if not self._goes_on(False):
                    break
                if self._called_back():
                    self._give_back()
            else:
                for stream in (sys.stdout, sys.stderr):
                    _flush(stream)
                if not self._goes_on(True):
                    break
                self._wait_for_jobs()
        backend.stop(0.0)
        if self._lost is not None:
            raise self._lost

    def _wait_for_jobs(self) -> None:
        try:
            with self._receiving:
                self._take(self._channel.receive())
        except errors.ConnectionLost as error:
            self._stop(error)

    def _stop(self, error: errors.ConnectionLost) -> None:
        """Nobody is there any more."""
        if not self._stopping.is_set():
            self._lost = error
            self._stopping.set()

    def _take(self, frame: Frame) -> None:
        command = messages.decode_command(frame)
        if isinstance(command, messages.Jobs):
            self._backend.submit(self._reader.jobs(command, frame[1]))
        elif isinstance(command, messages.Adapt):
            self._adapt(command)
        elif isinstance(command, messages.Stop):
            self._stopping.set()

    def _listen(self) -> None:
        """Take commands, in a thread of its own; this process ends with it."""
        try:
            self._obey()
        except errors.ChannelError:
            # Nobody is left to work for, and the running task may never end.
            os._exit(0)
        except BaseException:  # noqa: BLE001 - a bug of ours; without this thread we are deaf
            traceback.print_exc()
            os._exit(_DEAF)

    def _obey(self) -> None:
        while True:
            fault("serve.listen")
            command = messages.decode_command(self._control.receive())
            if isinstance(command, messages.Stop):
                self._stopping.set()
                self._backend.withdraw()
            elif isinstance(command, messages.GiveBack):
                self._called_back()
                self._give_back()

    def _give_back(self) -> None:
        # While a task runs, jobs may have come that nobody has read yet.  If the
        # other thread is just reading, it has nothing to do, and there are none.
        if self._receiving.acquire(blocking=False):
            try:
                for frame in self._channel.received():
                    self._take(frame)
            except errors.ConnectionLost as error:
                self._stop(error)
            finally:
                self._receiving.release()
        ids = [job.id for job in self._backend.withdraw()]
        self._backend.report()
        self._send([], ids)

    def _report(self, events: Sequence[Event]) -> None:
        # That it is up is news; its one slot is not, for it is one of the client's many.
        self._send([] if isinstance(events[0], Slots) else events)

    def _send(self, events: Sequence[Event], returned: Sequence[JobId] | None = None) -> None:
        frame = messages.encode_report(events, returned)
        fault("child.report")
        with self._sending:
            try:
                self._channel.send(*frame)
            except errors.ConnectionLost as error:
                self._stop(error)
        fault("child.reported")


def _flush(stream: object) -> None:
    try:
        stream.flush()  # type: ignore[attr-defined]
    except (OSError, ValueError, AttributeError):
        return  # the user closed or replaced it


class ChannelBackend(Connection):
    """Our end of a channel to one worker, and the jobs that it has.

    Args:
        channel: Not blocking; jobs go, reports come.
        control: Not blocking; commands go.  The channel itself, if there is a
            `serve_backend` at the other end.
        sink: Takes the worker's events.
        gave_back: Takes the jobs that the worker returned without having begun.
    """

    def __init__(
        self,
        channel: SocketChannel,
        control: SocketChannel,
        sink: Callable[[Sequence[Event]], None],
        gave_back: Callable[[Sequence[Job]], None],
    ) -> None:
        super().__init__(channel, control)
        self.outstanding: dict[JobId, Job] = {}
        self._sink = sink
        self._gave_back = gave_back

    def submit(self, jobs: Sequence[Job]) -> None:
        """Send jobs.

        Raises:
            ConnectionLost: The worker is gone; the jobs are outstanding.
        """
        for job in jobs:
            self.outstanding[job.id] = job
        super().submit(jobs)

    def read(self) -> None:
        """Take what has come.

        Raises:
            ConnectionLost: The worker is gone, and all it sent was taken.
            ProtocolError: It sent what is no report.
        """
        for events, returned in self.reports():
            known: list[Event] = []
            for event in events:
                # A result that nobody waits for any more is not passed on.
                late = (
                    isinstance(event, (Done, Lost)) and self.outstanding.pop(event.id, None) is None
                )
                if not late:
                    known.append(event)
            if known:
                self._sink(known)
            if returned is not None:
                self._gave_back(self.take(returned))

    def take(self, ids: Sequence[JobId]) -> list[Job]:
        """Take these jobs out of what is outstanding: the worker will not run them."""
        return [self.outstanding.pop(id) for id in ids if id in self.outstanding]
