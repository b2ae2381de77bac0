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
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import msgspec

from fancypipe_core._base.msgpack import pack, unpacker
from fancypipe_core._wire.channel import Frame
from fancypipe_core._wire.parts import LARGE, parts_of
from fancypipe_core._wire.records import (
    Adapt,
    CallRecord,
    Cancel,
    Command,
    DoneRecord,
    ErrRecord,
    JobRecord,
    Jobs,
    LostRecord,
    MoreRecord,
    NewTaskRecord,
    NoteRecord,
    OkRecord,
    PayloadRecord,
    Recall,
    ReportRecord,
    Setup,
    SlotsRecord,
    StartedRecord,
    Stop,
    ValueRecord,
)
from fancypipe_core.backend import (
    Call,
    Done,
    Encoded,
    Err,
    Event,
    Job,
    Live,
    Lost,
    More,
    NewTask,
    Note,
    Ok,
    Payload,
    Slots,
    Started,
)
from fancypipe_core.errors import ProtocolError

__all__ = [
    "Adapt",
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


class _Buffers:
    """Deals out the buffers of a frame in the order in which they were written."""

    def __init__(self, buffers: Sequence[Any]) -> None:
        self._buffers = buffers
        self._next = 0

    def take(self, count: int) -> tuple[Any, ...]:
        begin, self._next = self._next, self._next + count
        if self._next > len(self._buffers):
            raise ProtocolError("a frame with too few buffers")
        return tuple(self._buffers[begin : self._next])

    def value(self, value: ValueRecord, given: int = 0) -> Encoded:
        """Return a value, whose holes point into so many others and then into itself."""
        made = []
        for at, payload in enumerate(value, given):
            head, holes, names = self._head(payload), payload.holes, payload.names
            if holes and max(index for index, _ in holes) >= at:
                raise ProtocolError("a value with a hole that nothing fills")
            if not (head or holes) or (names is not None and len(names) != len(holes)):
                raise ProtocolError("a value of nothing")
            made.append(Payload(head, self.take(payload.buffers), holes, names))
        return tuple(made)

    def _head(self, payload: PayloadRecord) -> bytes:
        return b"".join(self.take(payload.parts)) if payload.parts else payload.head


def _written(value: Iterable[Payload], buffers: list[Any]) -> ValueRecord:
    made = []
    for payload in value:
        head, parts = payload.head, 0
        if len(head) >= LARGE:
            cut = list(parts_of(head))
            buffers.extend(cut)
            head, parts = b"", len(cut)
        buffers.extend(payload.buffers)
        made.append(PayloadRecord(head, len(payload.buffers), payload.holes, payload.names, parts))
    return tuple(made)


def _is_small(value: Encoded) -> bool:
    if len(value) != 1:
        return False
    payload = value[0]
    return (
        not payload.buffers
        and not payload.holes
        and payload.names is None
        and len(payload.head) < LARGE
    )


class ToWorker:
    """Writes jobs for one worker, and remembers which calls it knows."""

    def __init__(self) -> None:
        self._numbers: dict[Call, int] = {}

    def jobs(self, jobs: Sequence[Job], *, whole: bool = False) -> Frame:
        """Return a frame with these jobs; `whole`: it says all that they call, also what is known.

        For whoever cannot tell which worker will read it.
        """
        calls: list[CallRecord] = []
        said: set[int] = set()
        made: list[JobRecord] = []
        buffers: list[Any] = []
        numbers = self._numbers
        for job in jobs:
            call = job.call
            number = numbers.get(call)
            if number is None or (whole and number not in said):
                number = numbers.setdefault(call, len(numbers))
                said.add(number)
                assert not isinstance(call.body, Live)
                calls.append(CallRecord(number, call.label, _written(call.body, buffers)))
        for job in jobs:
            task, attempt = job.id
            inputs = job.inputs
            assert type(inputs) is tuple, "live values cannot be sent"
            number = numbers[job.call]
            limit, alone = job.time_limit, job.alone
            if _is_small(inputs):
                made.append(JobRecord(task, attempt, number, inputs[0].head, None, limit, alone))
            else:
                value = _written(inputs, buffers)
                made.append(JobRecord(task, attempt, number, b"", value, limit, alone))
        return pack(Jobs(calls, made)), buffers


class FromWorker:
    """Reads commands in a worker, and writes its reports."""

    def __init__(self) -> None:
        self._calls: dict[int, Call] = {}

    def jobs(self, command: Jobs, buffers: Sequence[Any]) -> list[Job]:
        """Return the jobs of a command.

        Raises:
            ProtocolError: They call what was never sent.
        """
        deal = _Buffers(buffers)
        for call in command.calls:
            # What was sent before stays the same call.
            self._calls.setdefault(call.number, Call(call.label, deal.value(call.body)))
        made = []
        for job in command.jobs:
            inputs = (Payload(job.head),) if job.inputs is None else deal.value(job.inputs)
            called = self._calls.get(job.call)
            if called is None:
                raise ProtocolError(f"job {job.task} calls {job.call}, which was never sent")
            id = (job.task, job.attempt)
            made.append(Job(id, called, inputs, job.time_limit, job.alone))
        return made


def encode_report(events: Sequence[Event]) -> Frame:
    """Return a frame with a worker's events."""
    done: list[DoneRecord] = []
    notes: list[NoteRecord] = []
    rare: list[StartedRecord | LostRecord | SlotsRecord] = []
    buffers: list[Any] = []
    for event in events:
        if type(event) is Done:
            task, attempt = event.id
            reply = event.reply
            if type(reply) is Ok and not reply.files and _is_small(reply.outputs):  # type: ignore[arg-type]
                head = reply.outputs[0].head  # type: ignore[index]
                done.append(DoneRecord(task, attempt, event.seconds, head, None, event.folder))
            else:
                wired = _wired(reply, buffers)
                done.append(DoneRecord(task, attempt, event.seconds, b"", wired, event.folder))
        elif type(event) is Note:
            notes.append(NoteRecord(event.id, event.stream, event.text, event.name))
        elif type(event) is Started:
            rare.append(StartedRecord(*event.id, event.where))
        elif type(event) is Lost:
            rare.append(LostRecord(*event.id, event.why))
        elif type(event) is Slots:
            rare.append(SlotsRecord(event.count, event.ahead))
    return pack(ReportRecord(done, notes, rare)), buffers


def _wired(reply: Ok | More | Err, buffers: list[Any]) -> OkRecord | MoreRecord | ErrRecord:
    if type(reply) is Ok:
        return OkRecord(_written(_encoded(reply.outputs), buffers), reply.files)
    if type(reply) is More:
        calls = {call: CallRecord(n, call.label, ()) for n, call in enumerate(reply.calls)}
        for call, wired in calls.items():
            wired.body = _written(_encoded(call.body), buffers)
        tasks = tuple(
            NewTaskRecord(
                task.call,
                task.retries,
                task.timeout,
                task.is_module,
                _written((task.inputs,), buffers)[0],
                task.where,
                task.retry_delay,
            )
            for task in reply.tasks
        )
        outputs = _written(_encoded(reply.outputs), buffers)
        return MoreRecord(tuple(calls.values()), tasks, outputs, reply.files, reply.passed)
    assert type(reply) is Err
    error = reply.error
    value = None if error is None else _written(_encoded(error), buffers)
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
    """Reads the reports of one worker."""

    def __init__(self) -> None:
        # A definition is one call for the whole session, whichever task sends it.
        self._calls: dict[tuple[str, tuple[bytes, ...]], Call] = {}

    def read(self, frame: Frame) -> list[Event]:
        """Return the events of a frame; a job's notes come before its end.

        Raises:
            ProtocolError: It is no report.
        """
        head, buffers = frame
        report = _read(_decode_report, head, "report")
        deal = _Buffers(buffers)
        events: list[Event] = [
            Started((one.task, one.attempt), _printable(one.where))
            for one in report.rare
            if isinstance(one, StartedRecord)
        ]
        events += [Note(note.id, note.stream, note.text, note.name) for note in report.notes]
        for done in report.done:
            reply = done.reply
            own = f"-{done.task}.{done.attempt}"
            if done.folder and not os.path.basename(done.folder).endswith(own):
                raise ProtocolError(f"a folder that is not of task {done.task}: {done.folder!r}")
            if reply is not None:
                made = self._reply(reply, deal)
            elif done.head:
                made = Ok((Payload(done.head),))
            else:
                raise ProtocolError("a value of nothing")
            events.append(Done((done.task, done.attempt), made, done.seconds, done.folder))
        for one in report.rare:
            if isinstance(one, LostRecord):
                why = msgspec.structs.replace(one.why, host=_printable(one.why.host))
                events.append(Lost((one.task, one.attempt), why))
            elif isinstance(one, SlotsRecord):
                events.append(Slots(one.count, one.ahead))
        return events

    def _reply(self, reply: OkRecord | MoreRecord | ErrRecord, deal: _Buffers) -> Ok | More | Err:
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
                )
                for task in reply.tasks
            )
            if any(task.call >= len(calls) for task in tasks):
                raise ProtocolError("a new task that calls what was not sent")
            if any(task.retry_delay and task.retry_delay.fault() for task in tasks):
                raise ProtocolError("a new task whose attempts are delayed by no number of seconds")
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
