"""Jobs as bytes, for an engine that has a transport of its own.

The client has a `Packer`.  What that makes of jobs goes anywhere, in any way that carries bytes;
there `run_packed` runs them, and its answer goes back and is read by the `Packer`.
"""

from __future__ import annotations

import os
import secrets
import select
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import perf_counter
from typing import Any

import msgspec

from fancypipe_core._base.faults import fault
from fancypipe_core._base.signals import ignore_ctrl_c
from fancypipe_core._wire import messages
from fancypipe_core._wire.channel import Frame
from fancypipe_core._wire.passage import INPUT_GONE
from fancypipe_core._worker.runner import Runner
from fancypipe_core.backend import (
    NOT_BEGUN,
    Certificate,
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
from fancypipe_core.errors import DecodeError
from fancypipe_core.toolkit.connection import setup_of
from fancypipe_core.toolkit.executor import HOST
from fancypipe_core.toolkit.shipping import prove, sees, unprove, worker_code
from fancypipe_core.toolkit.shipping.client_code import NONE, ClientCode, Wish
from fancypipe_core.toolkit.shipping.client_files import ClientFiles, Sent, wish_for
from fancypipe_core.toolkit.shipping.file_copies import FileCopies, copies_for, needed_copies
from fancypipe_core.toolkit.store import Gone, Left, Shelf, Store, Stored, leave_large, read

__all__ = ["LIMIT", "Answer", "Packed", "Packer", "answer", "put", "run_jobs", "run_packed", "take"]

LIMIT = 0.02  # seconds after which a batch begins no more
_AT_ONCE = getattr(select, "PIPE_BUF", 512) // 2  # bytes that a dying process writes or does not
_here = threading.local()  # what a thread of a worker keeps from batch to batch of a session

Packed = tuple[
    bytes,
    str,
    str,
    Frame | str,
    float,
    bytes,
    list[Any],
    Callable[[Any], Any] | None,
    list[Sent],
]
"""Jobs: the session's setup, the client's process, the folder for large frames, a frame, a limit.

The limit is in seconds: when it is over, no more of them are begun.  Then comes what `ClientCode`
tells of the client's code, its digest, and parts that a worker has asked for; what leaves large
results in a store, see `Store.leave`; and files that a worker has asked for.
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
        self._files = ClientFiles(directory) if ships else None
        self._writer, self._reports = messages.ToWorker(), messages.Reports()

    def adapt(self, environment: Environment) -> None:
        """Let the jobs that are packed from now on find this; see `backend.Adapting`."""
        self._setup.adapt = messages.Adapt(dict(environment.own), environment.folder)
        self._told = messages.encode_command(self._setup)

    def pack(self, jobs: Sequence[Job]) -> Packed:
        """Return what `run_packed` takes, in any process that has fancypipe."""
        files: list[Sent] = []
        if self._files is not None:
            jobs, files = self._files.offer(jobs)
        head, parts = self._writer.jobs(jobs, whole=True)
        if self._shelf is not None:
            parts = self._shelf.put(parts)
        frame = put((head, parts), self._folder)
        if self._code is None:
            self._code = ClientCode(self._setup, self._ships)
            if self._ships:
                self._prove()
        code = self._code.parts(job.id for job in jobs)
        code = self._shelf.put(code) if self._shelf is not None else [*map(bytes, code)]
        told = self._told, _this_process(), self._folder
        return *told, frame, self._limit, self._code.digest, code, self._leave, files

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
            if self._files is not None and isinstance(event, (Done, Lost)) and wish == NONE:
                told.append(self._files.ended(event))
            else:
                told.append(event)
        if self._code is None:
            return told
        ids = [event.id for event in told if isinstance(event, (Done, Lost))]
        more = self._code.heard(wish, ids)
        if self._files is not None:
            more += self._files.heard(wish, ids)
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

    def close(self) -> None:
        """Leave nothing in the store, and nothing of ours in the session's folder."""
        self.forget()
        if self._setup.proof:
            unprove(self._setup.directory)

    def _prove(self) -> None:
        """Leave a file by which workers know the session's folder, if it can be written."""
        self._setup.proof = secrets.token_hex(16)
        with suppress(OSError):
            os.makedirs(self._setup.directory, 0o700, exist_ok=True)
            prove(self._setup.directory, self._setup.proof)
        self._told = messages.encode_command(self._setup)

    def forget(self) -> None:
        """Let go of all that was put into the store, and of what jobs were to get."""
        if self._files is not None:
            self._files.forget()
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
            with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
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
    setup, client, folder, frame, limit, digest, sent, leave, files = packed
    frame = take(frame)
    command = messages.decode_command(frame)
    assert isinstance(command, messages.Jobs), "a batch that holds no jobs"
    parts, code = read(frame[1]), read(sent)
    events: list[Event]
    wish = NONE
    if parts is None or code is None:
        events = [Lost((job.task, job.attempt), INPUT_GONE) for job in command.jobs]
    elif client == _this_process():
        events, _ = _run(setup, client, command, parts, files, limit)
    else:
        _stay_with_parent()
        limits = [job.time_limit / 2 for job in command.jobs if job.time_limit]
        patience = min([worker_code.PATIENCE, *limits])  # no job is stopped while it waits
        here = worker_code.here()
        wish = here.enter(digest, code, setup, patience)
        if wish == NONE:
            try:
                events, wish = _run(setup, client, command, parts, files, limit)
            finally:
                here.leave()
        if wish != NONE:
            events = [Lost((job.task, job.attempt), NOT_BEGUN) for job in command.jobs]
    head, made = messages.encode_report(events)
    report = put((head, leave_large(made, leave)), folder)
    fault("batch.report")
    return _this_process(), report, wish


def _run(
    setup: bytes,
    client: str,
    command: messages.Jobs,
    parts: list[Any],
    files: list[Sent],
    limit: float,
) -> tuple[list[Event], Wish]:
    """Run jobs, with what this thread has kept since the last of the same session and code."""
    here = worker_code.here()
    now = setup, here.times
    if getattr(_here, "kept", None) != now:
        _begin_session(setup, client)
        _here.kept = now
    notes: list[Event] = []
    _here.runner.connect(notes.extend)
    while here.remarks:
        notes.append(Note(None, "warning", here.remarks.pop()))
    jobs = _here.reader.jobs(command, parts)
    copies: FileCopies | None = _here.copies
    if copies is None:
        return [*notes, *run_jobs(_here.runner, jobs, limit)], NONE
    with copies.used():
        try:
            copies.take(files, needed_copies(parts))
        except (OSError, DecodeError) as error:
            return [*notes, *_not_taken(jobs, error)], NONE
        if paths := copies.lacking(parts):
            return notes, wish_for(paths)
        events = run_jobs(_here.runner, jobs, limit)
        return [*notes, *map(_sent_whole, events)], NONE


def _begin_session(setup: bytes, client: str) -> None:
    known = messages.decode_command((setup, []))
    assert isinstance(known, messages.Setup), "a batch without setup"
    is_seen = not known.proof or client == _this_process() or sees(known.directory, known.proof)
    copies = None if is_seen else copies_for(known.directory, client)
    directory = known.directory if copies is None else copies.directory
    _here.runner = Runner(
        directory,
        live=False,
        measures=known.measures,
        pictures=known.pictures,
        apart=copies or False,
    )
    _here.reader = messages.FromWorker()
    _here.copies, _here.directory = copies, known.directory


def _not_taken(jobs: Sequence[Job], error: Exception) -> list[Lost]:
    """Say of jobs that their files could not be put here, and none has begun."""
    text = (
        f"files of the task cannot be written below {tempfile.gettempdir()}: {error}; make room "
        "there, or set TMPDIR for the workers"
    )
    why = Certificate("gone", text, HOST, os.getpid(), started=False, guilty=False)
    return [Lost(job.id, why) for job in jobs]


def _sent_whole(event: Event) -> Event:
    """Remove the folder of a job whose files go with their content; say its name in the client."""
    if not isinstance(event, Done) or not event.folder:
        return event
    shutil.rmtree(event.folder, ignore_errors=True)
    folder = os.path.join(_here.directory, os.path.basename(event.folder))
    return msgspec.structs.replace(event, folder=folder)


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
