"""Jobs and events as frames: typed records in msgpack, payloads passed through unread.

A channel sends what is to be called once, and afterwards its number.  The
common job and the common result are small: one payload without buffers.

The other end may be a machine that lies.  So all that is read here is possible when
it leaves here: numbers are in their range, seconds are numbers, holes and buffers are
there, and the names of hosts are printable.  Whoever takes a record from here need
not ask.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from fancypipe_core._base.msgpack import pack, unpacker
from fancypipe_core._wire.channel import Frame
from fancypipe_core._wire.passage import RESULT_GONE, Passage
from fancypipe_core._wire.payloads import Incoming, Outgoing, small
from fancypipe_core._wire.records import (
    Adapt,
    ByBytes,
    CallRecord,
    Cancel,
    Command,
    CutRecord,
    DoneRecord,
    ErrRecord,
    JobRecord,
    Jobs,
    LostRecord,
    MoreRecord,
    NewTaskRecord,
    NoteRecord,
    OkRecord,
    Recall,
    ReportRecord,
    Setup,
    SlotsRecord,
    StartedRecord,
    Stop,
)
from fancypipe_core.backend import (
    Call,
    Cut,
    Done,
    Encoded,
    Err,
    Event,
    Job,
    JobId,
    Live,
    Lost,
    More,
    NewTask,
    Note,
    Ok,
    Payload,
    Reply,
    Slots,
    Started,
    Usage,
)
from fancypipe_core.errors import ProtocolError

__all__ = [
    "Adapt",
    "ByBytes",
    "Cancel",
    "Command",
    "FromWorker",
    "Jobs",
    "Recall",
    "Reports",
    "Setup",
    "Stop",
    "ToWorker",
    "decode_command",
    "encode_command",
    "encode_report",
]

T = TypeVar("T")

_NOT_RECEIVED = Err(
    "DecodeError",
    "its result is in shared memory and could not be received, since this process has too many "
    "files open; raise the limit (ulimit -n), or close what is not needed",
    "",
    "",
    None,
    "",
    0,
)

_decode_command = unpacker(Command)
_decode_report = unpacker(ReportRecord)


def encode_command(command: Command) -> bytes:
    """Return a command as the head of a frame."""
    return pack(command)


def decode_command(frame: Frame) -> Command:
    """Return the command in a frame.

    Raises:
        ProtocolError: It is none.
    """
    command: Command = _read(_decode_command, frame[0], "command")
    return command


def _read(decode: Callable[[bytes], T], head: bytes, what: str) -> T:
    try:
        return decode(head)
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"not a {what}: {error}") from error


def _printable(text: str) -> str:
    """Return a text that stays on its line and leaves a terminal alone."""
    return text if text.isprintable() else ascii(text)[1:-1]


def _check_folder(id: JobId, folder: str) -> None:
    """Refuse a folder that is another task's."""
    if not os.path.basename(folder).endswith(f"-{id[0]}.{id[1]}"):
        raise ProtocolError(f"a folder that is not of task {id[0]}: {folder!r}")


class ToWorker:
    """Writes jobs for one worker, and remembers which calls it knows.

    Args:
        passage: Where segments of shared memory go; None if there is no way for them.
    """

    def __init__(self, passage: Passage | None = None) -> None:
        self._passage = passage
        self._numbers: dict[Call, int] = {}

    def jobs(self, jobs: Sequence[Job], *, whole: bool = False) -> Frame:
        """Return a frame with these jobs; `whole`: it says all that they call, also what is known.

        For whoever cannot tell which worker will read it.
        """
        calls: list[CallRecord] = []
        said: set[int] = set()
        made: list[JobRecord] = []
        out = Outgoing(self._passage)
        numbers = self._numbers
        call: Call | None = None
        for job in jobs:
            if job.call is call:
                continue  # to look one up takes a while, and most are alike
            call = job.call
            number = numbers.get(call)
            if number is None or (whole and number not in said):
                number = numbers.setdefault(call, len(numbers))
                said.add(number)
                assert not isinstance(call.body, Live)
                calls.append(CallRecord(number, call.label, out.write_to_stay(call.body)))
        all_inputs: list[Any] = [job.inputs for job in jobs]
        assert Live not in set(map(type, all_inputs)), "live values cannot be sent"
        call, number = None, 0
        for job, inputs, head in zip(jobs, all_inputs, small(all_inputs), strict=True):
            task, attempt = job.id
            value = None if head is not None else out.write(inputs)
            if job.call is not call:
                call = job.call
                number = numbers[call]
            made.append(
                JobRecord(
                    task, attempt, number, head or b"", value,
                    job.time_limit, job.alone, job.after, job.needs, job.devices,
                )
            )  # fmt: skip
        return pack(Jobs(calls, made)), out.buffers


class FromWorker:
    """Reads commands in a worker, and writes its reports.

    Args:
        passage: Where segments come from; None if there is none.

    Attributes:
        gone: The jobs that came and were not returned, since the passage has lost an input.
    """

    def __init__(self, passage: Passage | None = None) -> None:
        self.gone: list[JobId] = []
        self._calls: dict[int, Call] = {}
        self._may_lose = passage is not None and passage.may_lose

    def jobs(self, command: Jobs, buffers: Sequence[Any]) -> list[Job]:
        """Return the jobs of a command.

        Raises:
            ProtocolError: They call what was never sent.
        """
        deal = Incoming(buffers)
        for call in command.calls:
            # What was sent before stays the same call.
            self._calls.setdefault(call.number, Call(call.label, deal.value(call.body)))
        made = []
        for job in command.jobs:
            after = job.after
            if job.inputs is None:
                inputs: Encoded = (Payload(job.head),)
            else:
                inputs = deal.value(job.inputs, len(after))
            called = self._calls.get(job.call)
            if called is None:
                raise ProtocolError(f"job {job.task} calls {job.call}, which was never sent")
            if job.needs is not None and job.needs.fault():
                raise ProtocolError(f"job {job.task} needs what cannot be")
            id = (job.task, job.attempt)
            if deal.missing and self._may_lose:
                deal.missing = False
                self.gone.append(id)
                continue
            rest = job.time_limit, job.alone, after, job.needs, job.devices
            made.append(Job(id, called, inputs, *rest))
        return made


def encode_report(events: Sequence[Event], passage: Passage | None = None) -> Frame:
    """Return a frame with a worker's events; `passage` as for `ToWorker`."""
    done: list[DoneRecord] = []
    notes: list[NoteRecord] = []
    rare: list[StartedRecord | LostRecord | SlotsRecord] = []
    each_time: list[JobId] = []
    out = Outgoing(passage)
    values: list[Any] = [
        event.reply.outputs
        if type(event) is Done and type(event.reply) is Ok and not event.reply.files
        else ()
        for event in events
    ]
    usage: Usage | None = None
    for event, head in zip(events, small(values), strict=True):
        if type(event) is Done:
            task, attempt = event.id
            wired = None if head is not None else _wired(event.reply, out)
            used: Usage | bool | None = event.usage
            if used is usage:
                used = used and True  # short ones of one worker have all used the same
            else:
                usage = event.usage
            rest = event.folder, used
            if not event.cache:
                each_time.append(event.id)
            done.append(DoneRecord(task, attempt, event.seconds, head or b"", wired, *rest))
        elif type(event) is Note:
            notes.append(NoteRecord(event.id, event.stream, event.text, event.name))
        elif type(event) is Started:
            rare.append(StartedRecord(*event.id, event.where))
        elif type(event) is Lost:
            rare.append(LostRecord(*event.id, event.why))
        elif type(event) is Slots:
            rare.append(SlotsRecord(event.count, event.ahead))
    return pack(ReportRecord(done, notes, rare, each_time)), out.buffers


def _wired(reply: Reply, out: Outgoing) -> OkRecord | MoreRecord | ErrRecord | CutRecord:
    if type(reply) is Cut:
        done = None if reply.done is None else _wired(reply.done, out)
        why = None if reply.why is None else _wired(reply.why, out)
        return CutRecord(reply.at, done, why)  # type: ignore[arg-type]
    if type(reply) is Ok:
        return OkRecord(out.write(_encoded(reply.outputs)), reply.files)
    if type(reply) is More:
        calls = {call: CallRecord(n, call.label, ()) for n, call in enumerate(reply.calls)}
        for call, wired in calls.items():
            wired.body = out.write(_encoded(call.body))
        tasks = tuple(
            NewTaskRecord(
                task.call,
                task.retries,
                task.timeout,
                task.is_module,
                out.write((task.inputs,))[0],
                task.where,
                task.retry_delay,
                task.needs,
                task.priority,
                task.cache,
            )
            for task in reply.tasks
        )
        outputs = out.write(_encoded(reply.outputs))
        return MoreRecord(tuple(calls.values()), tasks, outputs, reply.files, reply.passed)
    assert type(reply) is Err
    error = reply.error
    value = None if error is None else out.write(_encoded(error))
    return ErrRecord(
        reply.type_name,
        reply.message,
        reply.text,
        reply.where,
        value,
        reply.host,
        reply.pid,
        reply.final,
        reply.inputs,
    )


def _encoded(value: Encoded | Live) -> Encoded:
    assert not isinstance(value, Live), "live values cannot be sent"
    return value


class Reports:
    """Reads the reports of one worker.

    Args:
        passage: As for `FromWorker`.
    """

    def __init__(self, passage: Passage | None = None) -> None:
        self._may_lose = passage is not None and passage.may_lose
        # A definition is one call for the whole session, whichever task sends it.
        self._calls: dict[tuple[str, tuple[Any, ...]], Call] = {}

    def read(self, frame: Frame) -> list[Event]:
        """Return the events of a frame; a job's notes come before its end.

        Raises:
            ProtocolError: It is no report.
        """
        head, buffers = frame
        report = _read(_decode_report, head, "report")
        deal = Incoming(buffers)
        events: list[Event] = []
        usage: Usage | None = None
        rare, each_time = report.rare, {*report.each_time}
        if rare:
            begun = [one for one in rare if type(one) is StartedRecord]
            events += [Started((one.task, one.attempt), _printable(one.where)) for one in begun]
        if report.notes:
            events += [Note(note.id, note.stream, note.text, note.name) for note in report.notes]
        for done in report.done:
            id, reply = (done.task, done.attempt), done.reply
            made: Reply
            if reply is not None:
                made = self._reply(reply, deal)
                if deal.missing:
                    deal.missing, made = False, _NOT_RECEIVED
                    if self._may_lose:
                        events.append(Lost(id, RESULT_GONE))
                        continue
            elif done.head:
                made = Ok((Payload(done.head),))
            else:
                raise ProtocolError("a value of nothing")
            if done.folder:
                _check_folder(id, done.folder)
            if done.usage is not True:
                usage = done.usage or None
                if usage is not None and not usage.where.isprintable():
                    usage = msgspec.structs.replace(usage, where=_printable(usage.where))
            cache = not each_time or id not in each_time
            events.append(Done(id, made, done.seconds, done.folder, usage, cache))
        if rare:
            events += self._of_workers(rare)
        return events

    @staticmethod
    def _of_workers(rare: Iterable[StartedRecord | LostRecord | SlotsRecord]) -> Iterator[Event]:
        for one in rare:
            if isinstance(one, LostRecord):
                why = msgspec.structs.replace(one.why, host=_printable(one.why.host))
                yield Lost((one.task, one.attempt), why)
            elif isinstance(one, SlotsRecord):
                yield Slots(one.count, one.ahead)

    def _reply(self, reply: OkRecord | MoreRecord | ErrRecord | CutRecord, deal: Incoming) -> Reply:
        if type(reply) is CutRecord:
            done = None if reply.done is None else self._reply(reply.done, deal)
            why = None if reply.why is None else self._reply(reply.why, deal)
            if (done is None) == bool(reply.at) or (done is None and why is None):
                raise ProtocolError(f"a span that was cut at {reply.at}, and does not say how")
            return Cut(reply.at, done, why)  # type: ignore[arg-type]
        if type(reply) is OkRecord:
            return Ok(deal.value(reply.outputs), reply.files)
        if type(reply) is MoreRecord:
            calls = tuple(self._call(call.label, deal.value(call.body)) for call in reply.calls)
            tasks = tuple(
                NewTask(
                    task.call,
                    task.retries,
                    task.timeout,
                    task.is_module,
                    deal.value((task.inputs,), len(reply.tasks))[0],
                    task.where,
                    task.retry_delay,
                    task.needs,
                    task.priority,
                    task.cache,
                )
                for task in reply.tasks
            )
            if any(task.call >= len(calls) for task in tasks):
                raise ProtocolError("a new task that calls what was not sent")
            if any(task.retry_delay and task.retry_delay.fault() for task in tasks):
                raise ProtocolError("a new task whose attempts are delayed by no number of seconds")
            if any(task.needs and task.needs.fault() for task in tasks):
                raise ProtocolError("a new task that needs what cannot be")
            outputs = deal.value(reply.outputs, len(tasks))
            return More(calls, tasks, outputs, reply.files, reply.passed)
        assert type(reply) is ErrRecord
        error = None if reply.error is None else deal.value(reply.error)
        return Err(
            reply.type_name,
            reply.message,
            reply.text,
            reply.where,
            error,
            _printable(reply.host),
            reply.pid,
            reply.final,
            reply.inputs,
        )

    def _call(self, label: str, body: Encoded) -> Call:
        key = (label, tuple(payload.head for payload in body))
        known = self._calls.get(key)
        if known is None or any(payload.buffers for payload in body):
            known = self._calls[key] = Call(label, body)
        return known
