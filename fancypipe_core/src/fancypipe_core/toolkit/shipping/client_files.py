"""A client's files for workers that an engine chooses: named with each job, and sent if asked for.

Nobody knows which worker a job comes to.  So what stands for a file in a job's inputs says what
a copy of it is known by; a worker that has none gives its jobs back, not begun, and says which
files it wants, and the jobs are sent again with those.  What jobs have made where the session's
folder is not seen comes with its content, and is put into that folder at once.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any

from msgspec.structs import replace

from fancypipe_core import errors
from fancypipe_core._model import carriage
from fancypipe_core._wire.passage import INPUT_GONE
from fancypipe_core.backend import (
    Certificate,
    Cut,
    Done,
    Err,
    Event,
    Handle,
    Job,
    JobId,
    Lost,
    More,
    Ok,
    Payload,
    Reply,
)
from fancypipe_core.toolkit.shipping.client_code import Wish

__all__ = ["CONTENTS", "ClientFiles", "Sent", "wish_for"]

CONTENTS = "contents"
"""What jobs wait for at a worker, in a `Wish`: contents of files; behind it stand their paths."""

Sent = tuple[str, str, bytearray | None, str]
"""What a copy is known by, the path here, the file with its content, and why it has none."""

_MOST_FAILURES = 3  # attempts of a task to which a file could not come, or from which
_AGAIN = "a worker asked for files again although they had come with the job"


def wish_for(paths: Iterable[str]) -> Wish:
    """Return what a worker says that lacks these files."""
    return CONTENTS, "\0".join(paths)


class ClientFiles:
    """The files of a session's jobs.

    Args:
        directory: The session's folder.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._wanted: dict[JobId, set[str]] = {}
        self._carried: dict[JobId, set[str]] = {}  # whose contents are on their way, with which job
        self._put_off: set[JobId] = set()
        self._failures: dict[int, int] = {}  # by the task

    def offer(self, jobs: Sequence[Job]) -> tuple[Sequence[Job], list[Sent]]:
        """Return jobs that say what copies of their files are known by, and what was asked for.

        All contents that go with a call are in memory until it was made.
        """
        sent: dict[str, Sent] = {}
        wanted: set[str] = set()

        def named(buffer: Any) -> Any:
            record = carriage.read(buffer)
            try:
                state = carriage.state_of(record.path)
            except OSError:
                return buffer  # the worker says that it is not there
            about = record.kind + os.fsencode(record.path) + b"\0" + state
            copy = f"file-{blake2b(about, digest_size=16).hexdigest()}"
            if record.path in wanted and copy not in sent:
                sent[copy] = _sent(copy, record)
            return carriage.bare(record.kind, record.path, record.size, copy)

        made: list[Job] = []
        for job in jobs:
            wanted = self._wanted.get(job.id, set())
            made += carriage.with_files([job], named)
            if wanted:
                self._carried[job.id] = set(wanted)
        return made, list(sent.values())

    def heard(self, wish: Wish, ids: Sequence[JobId]) -> list[Event]:
        """Take what a worker has said of these jobs.

        Many are sent before the first answer.  What one of them brings, the others are not sent
        with at once: they may find it there.

        Returns:
            Losses, of a worker that wants what it has been sent.
        """
        for id in ids if self._carried else ():
            self._carried.pop(id, None)
        if wish[0] != CONTENTS:
            return []
        paths = set(wish[1].split("\0"))
        if all(paths <= self._wanted.get(id, set()) for id in ids):
            return [Lost(id, Certificate("protocol", _AGAIN, "", 0)) for id in ids]
        if self._put_off.isdisjoint(ids):
            self._put_off.update(ids)
            paths = paths.difference(*self._carried.values())
        for id in ids:
            self._wanted.setdefault(id, set()).update(paths)
        return []

    def ended(self, event: Done | Lost) -> Event:
        """Return the end of a job, with what it has made in the session's folder.

        No transfer that has failed is held against a task: it runs again, and after some attempts
        it fails by an error that says what went wrong.
        """
        self._wanted.pop(event.id, None)
        self._put_off.discard(event.id)
        if isinstance(event, Lost):
            why = event.why
            failed = why.reason == "gone" and not why.started and why != INPUT_GONE
            return self._failed(event) if failed else event
        task, attempt = event.id
        name = os.path.basename(event.folder) or f"came-{task}.{attempt}"
        folder = os.path.join(self._directory, name)
        try:
            reply = _landed(event.reply, folder)
        except (OSError, errors.DecodeError) as error:
            text = f"what the task has made cannot be written to {folder}: {error}"
            why = Certificate(
                "gone", text, socket.gethostname(), os.getpid(), started=False, guilty=False
            )
            return self._failed(Lost(event.id, why))
        self._failures.pop(task, None)
        return event if reply is event.reply else replace(event, reply=reply, folder=folder)

    def forget(self) -> None:
        """No job is under way."""
        self._wanted.clear()
        self._carried.clear()
        self._put_off.clear()

    def _failed(self, event: Lost) -> Event:
        task, why = event.id[0], event.why
        count = self._failures[task] = self._failures.get(task, 0) + 1
        if count < _MOST_FAILURES:
            return event
        del self._failures[task]
        text = f"{why.detail}; so it went {count} times"
        return Done(
            event.id, Err("BackendError", text, text, "", None, why.host, why.pid, final=True), 0.0
        )


def _sent(copy: str, record: carriage.FileRecord) -> Sent:
    try:
        return copy, record.path, carriage.carried(record.kind, record.path), ""
    except (OSError, MemoryError) as error:
        why = f"{record.path} cannot be read on {socket.gethostname()}, where it is: {error!r}"
        return copy, record.path, None, why


def _landed(reply: Reply, folder: str) -> Reply:
    """Return a reply whose files are below a folder; the same one if none came with its content.

    Raises:
        DecodeError: One is not what was sent.
        OSError: One cannot be written.
    """

    def has_content(one: Any) -> bool:
        return carriage.has_content(one.map() if type(one) is Handle else one)

    def value(one: Any) -> Any:
        if not any(payload.buffers and any(map(has_content, payload.buffers)) for payload in one):
            return one
        return tuple(
            Payload(payload.head, tuple(map(buffer, payload.buffers)), payload.holes, payload.names)
            for payload in one
        )

    def buffer(one: Any) -> Any:
        if not has_content(one):
            return one
        record = carriage.read(one.map() if type(one) is Handle else one)
        return carriage.bare(record.kind, carriage.land(record, folder), record.size)

    if type(reply) is Cut:
        if reply.done is None:
            return reply
        done = _landed(reply.done, folder)
        return reply if done is reply.done else replace(reply, done=done)
    if type(reply) is More:
        outputs = value(reply.outputs)
        inputs = [value((task.inputs,))[0] for task in reply.tasks]
        pairs = zip(reply.tasks, inputs, strict=True)
        if outputs is reply.outputs and all(task.inputs is one for task, one in pairs):
            return reply
        pairs = zip(reply.tasks, inputs, strict=True)
        tasks = tuple(replace(task, inputs=one) for task, one in pairs)
        return replace(reply, tasks=tasks, outputs=outputs)
    if type(reply) is Ok:
        outputs = value(reply.outputs)
        return reply if outputs is reply.outputs else replace(reply, outputs=outputs)
    return reply
