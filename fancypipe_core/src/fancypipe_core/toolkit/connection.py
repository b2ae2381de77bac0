"""The client's end of a channel to one worker: jobs and commands go out, reports come in."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence

from fancypipe_core._base.main_module import main_script
from fancypipe_core._wire import messages
from fancypipe_core._wire.channel import SocketChannel
from fancypipe_core._wire.passage import Passage
from fancypipe_core.backend import Done, Event, Job, JobId, Lost

__all__ = ["ChannelBackend", "Connection", "setup_of"]


def setup_of(
    directory: str, measures: bool = False, apart: bool = False, pictures: bool = False
) -> messages.Setup:
    """Return what a worker of this process must know before its first job.

    Args:
        directory: The session's folder for temporary files.
        measures: Whether it is to tell what jobs use: `BackendOptions.measures`.
        apart: Whether the client does not see that folder: `BackendOptions.apart`.
        pictures: Whether it is to tell pictures: `BackendOptions.pictures`.
    """
    main = main_script()
    named = (main.kind, main.value) if main is not None else None
    return messages.Setup(
        list(sys.path),
        list(sys.argv),
        named,
        directory,
        measures=measures,
        apart=apart,
        pictures=pictures,
    )


class Connection:
    """A worker at the other end of a channel.

    Args:
        channel: Not blocking; jobs and commands go, reports come.
        control: Not blocking; what is urgent goes here too, if the worker has a second
            ear for that.
    """

    def __init__(self, channel: SocketChannel, control: SocketChannel | None = None) -> None:
        self.channel = channel
        self._control = control
        self.use(channel.passage)

    def use(self, passage: Passage | None) -> None:
        """Let segments go this way; before the first job."""
        self.channel.passage = passage
        self._writer = messages.ToWorker(passage)
        self._reader = messages.Reports(passage)

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

    def go_by_bytes(self) -> None:
        """Let no more values go through the passage, in neither direction."""
        if self.channel.passage is not None:
            self.channel.passage.close()
        self.channel.send(messages.encode_command(messages.ByBytes()))

    def cancel(self, ids: Sequence[JobId]) -> None:
        """Say that nobody wants these jobs any more."""
        self._urge(messages.Cancel(list(ids)))

    def recall(self, ids: Sequence[JobId]) -> None:
        """Ask for these jobs as far as they have not begun: each such is `Lost`."""
        self._urge(messages.Recall(list(ids)))

    def ask_to_stop(self, grace: float = 0.0) -> None:
        """Ask the worker to end after what is running, or after so many seconds."""
        self._urge(messages.Stop(grace))

    def _urge(self, command: messages.Cancel | messages.Recall | messages.Stop) -> None:
        """Say it where it is heard at once; and in order with the jobs, for those on their way."""
        head = messages.encode_command(command)
        if self._control is not None:
            self._control.send(head)
        self.channel.send(head)

    def reports(self) -> Iterator[list[Event]]:
        """Take what has come, report by report.

        Raises:
            ConnectionLost: The worker is gone, and all it sent was taken.
            ProtocolError: It sent what is no report.
        """
        for frame in self.channel.received():
            yield self._reader.read(frame)

    def close(self) -> None:
        """Close the channels."""
        self.channel.close()
        if self._control is not None:
            self._control.close()


class ChannelBackend(Connection):
    """A connection that knows which jobs the worker has.

    Args:
        channel: As for `Connection`, and so is `control`.
        sink: Takes the worker's events.

    Attributes:
        outstanding: The jobs that were sent, and have not ended.
    """

    def __init__(
        self,
        channel: SocketChannel,
        sink: Callable[[Sequence[Event]], None],
        control: SocketChannel | None = None,
    ) -> None:
        super().__init__(channel, control)
        self.outstanding: dict[JobId, Job] = {}
        self._sink = sink

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
        for events in self.reports():
            # A result that nobody waits for any more is not passed on.
            known = [
                event
                for event in events
                if not isinstance(event, (Done, Lost))
                or self.outstanding.pop(event.id, None) is not None
            ]
            if known:
                self._sink(known)

    def take(self) -> list[Job]:
        """Take out all that is outstanding: the worker is gone."""
        jobs = list(self.outstanding.values())
        self.outstanding.clear()
        return jobs
