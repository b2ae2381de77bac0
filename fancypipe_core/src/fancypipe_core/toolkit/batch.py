"""Jobs as bytes, for an engine that has a transport of its own.

The client has a `Packer`.  What that makes of jobs goes anywhere, in any way that carries bytes;
there `run_packed` runs them, and its answer goes back and is read by the `Packer`.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from tempfile import NamedTemporaryFile
from time import perf_counter
from typing import Any

from fancypipe_core._base.faults import fault
from fancypipe_core._base.signals import ignore_ctrl_c
from fancypipe_core._wire import messages
from fancypipe_core._wire.channel import Frame
from fancypipe_core._wire.passage import INPUT_GONE
from fancypipe_core._worker.runner import Runner
from fancypipe_core.backend import (
    NOT_BEGUN,
    Done,
    Environment,
    Event,
    Job,
    JobId,
    JobRunner,
    Lost,
    Note,
    Started,
)
from fancypipe_core.toolkit.connection import setup_of
from fancypipe_core.toolkit.shipping import worker_code
from fancypipe_core.toolkit.shipping.client_code import NONE, ClientCode, Wish
from fancypipe_core.toolkit.store import Gone, Left, Shelf, Store, Stored, leave_large, read

__all__ = ["LIMIT", "Answer", "Packed", "Packer", "answer", "put", "run_jobs", "run_packed", "take"]

LIMIT = 0.02  # seconds after which a batch begins no more
_AT_ONCE = getattr(select, "PIPE_BUF", 512) // 2  # bytes that a dying process writes or does not
_here = threading.local()  # what a thread of a worker keeps from batch to batch of a session

Packed = tuple[bytes, str, str, Frame | str, float, bytes, list[Any], Callable[[Any], Any] | None]
"""Jobs: the session's setup, the client's process, the folder for large frames, a frame, a limit.

The limit is in seconds: when it is over, no more of them are begun.  Then comes what `ClientCode`
tells of the client's code, its digest, and parts that a worker has asked for; and at the end what
leaves large results in a store, see `Store.leave`.
"""

Answer = tuple[str, Frame | str, Wish]
"""What came of jobs: the worker's name, a frame, and what they wait for if none has begun."""


class Packer:
    """Makes bytes of jobs whose values are encoded, and events of what comes back.

    What it makes consists of tuples, lists, texts, `bytes` and `bytearray`.

    Args:
        directory: The session's folder, `BackendOptions.directory`.
        folder: For frames that a pipe does not take at once; empty if all go as they are.
        limit: Seconds after which no more of the jobs that were packed together is begun.
        store: Where large results are put for who takes them; None if they go with each job.
        measures: Whether it is to be told what jobs use: `BackendOptions.measures`.
        pictures: Whether it is to be told pictures: `BackendOptions.pictures`.
        ships: Whether the client's code goes to workers that do not have it; of no use where
            they are processes of this machine that were started for this session.
    """

    def __init__(
        self,
        directory: str,
        folder: str = "",
        limit: float = LIMIT,
        store: Store | None = None,
        measures: bool = False,
        ships: bool = True,
        pictures: bool = False,
    ) -> None:
        self._ships = ships
        self._code: ClientCode | None = None
        self._folder, self._limit = folder, limit
        self._shelf = Shelf(store) if store is not None else None
        self._leave = store.leave if store is not None else None
        self._setup = setup_of(directory, measures, pictures=pictures)
        self._told = messages.encode_command(self._setup)
        self._writer, self._reports = messages.ToWorker(), messages.Reports()

    def adapt(self, environment: Environment) -> None:
        """Let the jobs that are packed from now on find this; see `backend.Adapting`."""
        self._setup.adapt = messages.Adapt(dict(environment.own), environment.folder)
        self._told = messages.encode_command(self._setup)

    def pack(self, jobs: Sequence[Job]) -> Packed:
        """Return what `run_packed` takes, in any process that has fancypipe."""
        head, parts = self._writer.jobs(jobs, whole=True)
        if self._shelf is not None:
            parts = self._shelf.put(parts)
        frame = put((head, parts), self._folder)
        if self._code is None:
            self._code = ClientCode(self._setup, self._ships)
        code = self._code.parts(job.id for job in jobs)
        code = self._shelf.put(code) if self._shelf is not None else [*map(bytes, code)]
        told = self._told, _this_process(), self._folder
        return *told, frame, self._limit, self._code.digest, code, self._leave

    def unpack(self, answer: Answer) -> list[Event]:
        """Return what has happened: for each job that was begun, who ran it, and its end.

        Those that were not begun end in `Lost` by `NOT_BEGUN`: the others took long, or the
        worker lacks the client's code.  When these are packed again, it comes with them.

        Raises:
            ProtocolError: It is no answer of `run_packed`.
            Gone: Something that its worker has left in the store is not there.
        """
        worker, frame, wish = answer
        head, parts = take(frame)
        if self._shelf is not None:
            try:
                parts = self._shelf.keep(parts)
            except Gone:
                self._lost()
                raise
        told: list[Event] = []
        for event in self._reports.read((head, parts)):
            if self._shelf and isinstance(event, Lost) and event.why == INPUT_GONE:
                self._lost()
            if isinstance(event, Done):
                told.append(Started(event.id, worker))
            told.append(event)
        if self._code is None:
            return told
        ids = [event.id for event in told if isinstance(event, (Done, Lost))]
        more = self._code.heard(wish, ids)
        return told + more if not any(isinstance(one, Lost) for one in more) else more

    def waiting(self, answer: Answer, events: Sequence[Event]) -> set[JobId]:
        """Return the jobs that would run if they were sent again: the worker has lacked something.

        Args:
            answer: Of a worker.
            events: What `unpack` has made of it.
        """
        if answer[2] == NONE:
            return set()
        return {one.id for one in events if isinstance(one, Lost) and one.why == NOT_BEGUN}

    def _lost(self) -> None:
        """The store has lost something: do without it."""
        if self._shelf is not None:
            self._shelf.close()
        self._leave = None

    def forget(self) -> None:
        """Let go of all that was put into the store."""
        if self._shelf is not None:
            self._shelf.forget()


def _this_process() -> str:
    """Return what no other process has."""
    return f"{socket.gethostname()}:{os.getpid()}"


def put(frame: Frame, folder: str) -> Frame | str:
    """Return a frame as pools can carry it: in a file, if it is large and there is a folder.

    A process pool waits for ever for the rest of what a worker was killed in the middle of.
    """
    held = (Stored, Left)
    if any(type(part) in held for part in frame[1]):
        return frame[0], [part if type(part) in held else bytearray(part) for part in frame[1]]
    views = [memoryview(part).cast("B") for part in (frame[0], *frame[1])]
    if folder and sum(view.nbytes for view in views) > _AT_ONCE:
        with suppress(OSError):  # the disk is full: the pool carries it
            os.makedirs(folder, 0o700, exist_ok=True)
            with NamedTemporaryFile(dir=folder, delete=False) as file:
                file.write(b" ".join(b"%d" % view.nbytes for view in views) + b"\n")
                for view in views:
                    fault("batch.put")
                    file.write(view)
            return file.name
    # Pools pickle in their own ways; this they all can, and it comes back writable.
    return frame[0], [bytearray(view) for view in views[1:]]


def take(put: Frame | str) -> Frame:
    """Return a frame that was put."""
    if not isinstance(put, str):
        return put
    with open(put, "rb") as file:
        parts = [bytearray(int(size)) for size in file.readline().split()]
        for part in parts:
            file.readinto(part)
    os.unlink(put)
    return bytes(parts[0]), parts[1:]


def answer(_: None) -> None:
    """Show that a worker is up."""
    fault("batch.answer")


def run_packed(packed: Packed) -> Answer:
    """Run jobs, one after the other; called in a worker, and there in one thread at a time or many.

    Args:
        packed: What `Packer.pack` made.

    Returns:
        What `Packer.unpack` reads.
    """
    fault("batch.begin")
    setup, client, folder, frame, limit, digest, sent, leave = packed
    frame = take(frame)
    command = messages.decode_command(frame)
    assert isinstance(command, messages.Jobs), "a batch that holds no jobs"
    parts, code = read(frame[1]), read(sent)
    events: list[Event]
    wish = NONE
    if parts is None or code is None:
        events = [Lost((job.task, job.attempt), INPUT_GONE) for job in command.jobs]
    elif client == _this_process():
        events = _run(setup, command, parts, limit)
    else:
        _stay_with_parent()
        limits = [job.time_limit / 2 for job in command.jobs if job.time_limit]
        patience = min([worker_code.PATIENCE, *limits])  # no job is stopped while it waits
        here = worker_code.here()
        wish = here.enter(digest, code, setup, patience)
        if wish == NONE:
            try:
                events = _run(setup, command, parts, limit)
            finally:
                here.leave()
        else:
            events = [Lost((job.task, job.attempt), NOT_BEGUN) for job in command.jobs]
    head, made = messages.encode_report(events)
    report = put((head, leave_large(made, leave)), folder)
    fault("batch.report")
    return _this_process(), report, wish


def _run(setup: bytes, command: messages.Jobs, parts: list[Any], limit: float) -> list[Event]:
    """Run jobs, with what this thread has kept since the last of the same session and code."""
    here = worker_code.here()
    now = setup, here.times
    if getattr(_here, "kept", None) != now:
        known = messages.decode_command((setup, []))
        assert isinstance(known, messages.Setup), "a batch without setup"
        _here.runner = Runner(
            known.directory, live=False, measures=known.measures, pictures=known.pictures
        )
        _here.reader = messages.FromWorker()
        _here.kept = now
    notes: list[Event] = []
    _here.runner.connect(notes.extend)
    while here.remarks:
        notes.append(Note(None, "warning", here.remarks.pop()))
    events = run_jobs(_here.runner, _here.reader.jobs(command, parts), limit)
    return [*notes, *events]


def _stay_with_parent() -> None:
    """In a child's main thread, once: leave Ctrl-C to the client, and end with it."""
    import multiprocessing

    if hasattr(_here, "stays") or threading.current_thread() is not threading.main_thread():
        return
    _here.stays = True
    parent = multiprocessing.parent_process()
    if parent is not None:
        # The terminal's Ctrl-C is for the client; and without it nobody needs us.
        ignore_ctrl_c()
        threading.Thread(target=_outlive, args=(parent,), daemon=True).start()


def _outlive(parent: Any) -> None:
    parent.join()
    os._exit(0)


def run_jobs(runner: JobRunner, jobs: list[Job], limit: float = LIMIT) -> list[Event]:
    """Run jobs until all are done or that many seconds are over; the others are lost, not begun."""
    ended: list[Event] = []
    until = perf_counter() + limit
    token = runner.enter()
    try:
        for job in jobs:
            if ended and perf_counter() > until:
                break
            ended.append(runner.run(job))
    finally:
        runner.leave(token)
    return ended + [Lost(job.id, NOT_BEGUN) for job in jobs[len(ended) :]]
