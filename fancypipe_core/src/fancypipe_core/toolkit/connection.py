"""The client's end of a channel to one worker: jobs and commands go out, reports come in."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from fancypipe_core._base.main_module import main_script
from fancypipe_core._wire import messages
from fancypipe_core._wire.channel import SocketChannel
from fancypipe_core.backend import Event, Job, JobId

__all__ = ["Connection", "setup_of"]


def setup_of(directory: str) -> messages.Setup:
    """Return what a worker of this process must know before its first job.

    Args:
        directory: The session's folder for temporary files.
    """
    main = main_script()
    named = (main.kind, main.value) if main is not None else None
    return messages.Setup(list(sys.path), list(sys.argv), named, directory)


class Connection:
    """A worker at the other end of a channel.

    Args:
        channel: Not blocking; jobs go, reports come.
        control: Not blocking; commands go.  The channel itself, if one channel
            carries all.
    """

    def __init__(self, channel: SocketChannel, control: SocketChannel) -> None:
        self.channel = channel
        self.control = control
        self._writer = messages.ToWorker()
        self._reader = messages.Reports()

    def setup(self, setup: messages.Setup) -> None:
        """Send what the worker must know before its first job.

        Raises:
            ConnectionLost: The worker is gone; so for all that is sent.
        """
        self.channel.send(messages.encode_command(setup))

    def submit(self, jobs: Sequence[Job]) -> None:
        """Send jobs."""
        self.channel.send(*self._writer.jobs(jobs))

    def adapt(self, variables: dict[str, str | None], folder: str) -> None:
        """Say what the jobs that are sent from now on are to find."""
        self.channel.send(messages.encode_command(messages.Adapt(variables, folder)))

    def cancel(self, ids: Sequence[JobId]) -> None:
        """Say that nobody wants these jobs any more."""
        self.channel.send(messages.encode_command(messages.Cancel(list(ids))))

    def recall(self, ids: Sequence[JobId]) -> None:
        """Ask for these jobs as far as they have not begun."""
        self.channel.send(messages.encode_command(messages.Recall(list(ids))))

    def give_back(self) -> None:
        """Ask for all jobs that have not begun, and for all results so far."""
        self.control.send(messages.encode_command(messages.GiveBack()))

    def ask_to_stop(self, grace: float = 0.0) -> None:
        """Ask the worker to end after what is running, or after so many seconds."""
        stop = messages.encode_command(messages.Stop(grace))
        self.control.send(stop)
        self.channel.send(stop)

    def reports(self) -> Iterator[tuple[list[Event], list[JobId] | None]]:
        """Take what has come.

        Yields:
            A report's events, and the jobs that are given back; None if it is no
            answer to a recall.

        Raises:
            ConnectionLost: The worker is gone, and all it sent was taken.
            ProtocolError: It sent what is no report.
        """
        for frame in self.channel.received():
            yield self._reader.read(frame)

    def close(self) -> None:
        """Close the channels."""
        self.channel.close()
        self.control.close()
