"""Starts a clean interpreter, as the procs backend starts a worker, and talks with it."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from fancypipe_core import errors
from fancypipe_core._base.interpreter import interpreter
from fancypipe_core._base.msgpack import unpacker
from fancypipe_core._doctor.records import Imported, Unread
from fancypipe_core._wire import messages
from fancypipe_core._wire.channel import Frame, SocketChannel
from fancypipe_core.backend import Job

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Clean", "Gone"]

T = TypeVar("T")

_MOST_OUTPUT = 1 << 20  # bytes of what it prints that are kept
_PATIENCE = 5.0  # seconds that it has to give up by itself when its time is over


class Gone(Exception):
    """The interpreter ended, or had to be ended, before it answered.

    Attributes:
        code: Its exit code, negative for a signal; None if its time was over.
    """

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code


class Clean:
    """A clean interpreter; a context manager that leaves nothing behind.

    Args:
        setup: What a worker is told before its first job.
        limit: Seconds that it has for all it does.
        cwd: Its current folder; None for ours.
        options: Further options of the interpreter.
    """

    def __init__(
        self,
        setup: messages.Setup,
        limit: float,
        cwd: str | None = None,
        options: Sequence[str] = (),
    ) -> None:
        self.printed = b""  # on standard output
        self.complained = b""  # on standard error
        self._until = monotonic() + limit + _PATIENCE
        self._begun = monotonic()
        self._limit = limit
        ours, theirs = socket.socketpair()
        watch, self._lifeline = os.pipe()
        read_out, write_out = os.pipe()
        read_err, write_err = os.pipe()
        self._outputs = [read_out, read_err]
        passed = (theirs.fileno(), watch)
        command = interpreter("fancypipe_core._doctor.child", *options)
        try:
            self._process = subprocess.Popen(
                [*command, *map(str, passed), str(limit)],
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=write_out,
                stderr=write_err,
                pass_fds=passed,
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            for descriptor in (self._lifeline, *self._outputs):
                os.close(descriptor)
            raise
        finally:
            theirs.close()
            for descriptor in (watch, write_out, write_err):
                os.close(descriptor)
        self._channel = SocketChannel(ours, blocking=False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._channel, selectors.EVENT_READ)
        for descriptor in self._outputs:
            os.set_blocking(descriptor, False)
            self._selector.register(descriptor, selectors.EVENT_READ)
        self._writer = messages.ToWorker()
        self._frames: list[Frame] = []
        with suppress(errors.ConnectionLost):  # it is seen when the answer is waited for
            self._channel.send(messages.encode_command(setup))

    def imported(self) -> Imported:
        """Wait until it has imported the main script.

        Raises:
            Gone: It did not answer.
        """
        return self._answer(Imported)

    def unread(self, jobs: Sequence[Job]) -> list[Unread]:
        """Let it decode jobs; return those that it could not decode.

        Raises:
            Gone: It did not answer.
        """
        with suppress(errors.ConnectionLost):
            self._channel.send(*self._writer.jobs(jobs))
        return self._answer(list[Unread])

    def _answer(self, kind: type[T]) -> T:
        while not self._frames:
            left = self._until - monotonic()
            if left <= 0:
                raise Gone(None)
            channel = self._selector.get_key(self._channel)
            wanted = selectors.EVENT_READ
            wanted |= selectors.EVENT_WRITE if self._channel.pending else 0
            if channel.events != wanted:
                self._selector.modify(self._channel, wanted)
            ready = self._selector.select(min(left, 1.0))
            for key, mask in ready:
                if key.fileobj is not self._channel:
                    self._read_output(key.fd)
                    continue
                try:
                    if mask & selectors.EVENT_WRITE:
                        self._channel.flush()
                    if mask & selectors.EVENT_READ:
                        self._frames += self._channel.received()
                except errors.ConnectionLost:
                    raise Gone(self._ended()) from None
        for descriptor in self._outputs:
            self._read_output(descriptor)  # it was printed before the answer
        answer: T = unpacker(kind)(self._frames.pop(0)[0])
        return answer

    def _ended(self) -> int | None:
        """Reap it; return its exit code, None if it gave up since its time was over."""
        try:
            code = self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:  # it closed the channel, and lives on
            code = 0
        for descriptor in self._outputs:
            self._read_output(descriptor)
        late = monotonic() - self._begun >= self._limit
        return None if late and b"Timeout (" in self.complained else code

    def _read_output(self, descriptor: int) -> None:
        with suppress(BlockingIOError):
            while chunk := os.read(descriptor, 65536):
                if descriptor == self._outputs[0]:
                    self.printed = (self.printed + chunk)[:_MOST_OUTPUT]
                else:
                    self.complained = (self.complained + chunk)[-_MOST_OUTPUT:]
            if descriptor in self._selector.get_map():
                self._selector.unregister(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # With whatever the user's code has started in it.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._selector.close()
        self._channel.close()
        for descriptor in (self._lifeline, *self._outputs):
            os.close(descriptor)
