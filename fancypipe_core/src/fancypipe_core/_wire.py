"""Jobs and events as frames: typed records in msgpack, payloads passed through unread.

A channel sends what is to be called once, and afterwards its number.  The
common job and the common result are small: one payload without buffers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from fancypipe_core._backoff import Backoff
from fancypipe_core._channel import Frame
from fancypipe_core._msgpack import pack, unpacker
from fancypipe_core._parts import LARGE, parts_of
from fancypipe_core.backend import (
    Call,
    Certificate,
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
    Slots,
    Started,
)
from fancypipe_core.errors import ProtocolError

__all__ = [
    "Cancel",
    "FromWorker",
    "GiveBack",
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

_Hole = tuple[int, str | None]


class _Payload(msgspec.Struct, array_like=True, gc=False):
    head: bytes
    buffers: int
    holes: tuple[_Hole, ...]
    names: tuple[str, ...] | None
    parts: int = 0  # of its head, if that is large: the buffers before its own


_Value = tuple[_Payload, ...]


class _Call(msgspec.Struct, array_like=True, gc=False):
    number: int
    label: str
    body: _Value


class _Job(msgspec.Struct, array_like=True, gc=False):
    task: int
    attempt: int
    call: int
    head: bytes
    inputs: _Value | None
    time_limit: float | None
    alone: bool


class Setup(msgspec.Struct, tag="setup"):
    """What a worker must know before its first job.

    Attributes:
        path: The client's `sys.path`.
        argv: The client's `sys.argv`.
        main: Kind and value of the main script, or None.
        directory: The session's folder for temporary files.
    """

    path: list[str]
    argv: list[str]
    main: tuple[str, str] | None
    directory: str


class Jobs(msgspec.Struct, tag="jobs"):
    """Jobs to run, and what they call if that was not sent before."""

    calls: list[_Call]
    jobs: list[_Job]


class Cancel(msgspec.Struct, tag="cancel"):
    """These jobs are not wanted any more."""

    ids: list[JobId]


class Recall(msgspec.Struct, tag="recall"):
    """These jobs are wanted back, as far as they have not begun."""

    ids: list[JobId]


class GiveBack(msgspec.Struct, tag="give back"):
    """Report what is done, and return the jobs that have not begun."""


class Stop(msgspec.Struct, tag="stop"):
    """End when what is running has ended, or when so many seconds are over."""

    grace: float = 0.0


_Command = Setup | Jobs | Cancel | Recall | GiveBack | Stop


class _Ok(msgspec.Struct, tag="ok", array_like=True, gc=False):
    outputs: _Value
    files: tuple[str, ...]


class _NewTask(msgspec.Struct, array_like=True, gc=False):
    call: int
    retries: int
    timeout: float | None
    is_module: bool
    inputs: _Payload
    where: str
    retry_delay: Backoff | None = None


class _More(msgspec.Struct, tag="more", array_like=True, gc=False):
    calls: tuple[_Call, ...]
    tasks: tuple[_NewTask, ...]
    outputs: _Value
    files: tuple[str, ...]
    passed: tuple[str, ...]


class _Err(msgspec.Struct, tag="err", array_like=True, gc=False):
    type_name: str
    message: str
    text: str
    where: str
    error: _Value | None
    host: str
    pid: int
    final: bool


class _Done(msgspec.Struct, array_like=True, gc=False):
    task: int
    attempt: int
    seconds: float
    head: bytes
    reply: _Ok | _More | _Err | None
    folder: str


class _Note(msgspec.Struct, array_like=True, gc=False):
    id: JobId | None
    stream: str
    text: str
    name: str


class _Started(msgspec.Struct, tag="started", array_like=True, gc=False):
    task: int
    attempt: int
    where: str


class _Lost(msgspec.Struct, tag="lost", array_like=True, gc=False):
    task: int
    attempt: int
    why: Certificate


class _Slots(msgspec.Struct, tag="slots", array_like=True, gc=False):
    count: int
    ahead: int


class _Report(msgspec.Struct, array_like=True):
    done: list[_Done]
    notes: list[_Note]
    returned: list[JobId] | None
    rare: list[_Started | _Lost | _Slots]


_decode_command = unpacker(_Command)
_decode_report = unpacker(_Report)


def encode_command(command: _Command) -> bytes:
    """Return a command as the head of a frame."""
    return pack(command)


def decode_command(frame: Frame) -> _Command:
    """Return the command in a frame.

    Raises:
        ProtocolError: It is none.
    """
    try:
        command: _Command = _decode_command(frame[0])
        return command
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"not a command: {error}") from error


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

    def value(self, value: _Value) -> Encoded:
        return tuple(Payload(self._head(p), self.take(p.buffers), p.holes, p.names) for p in value)

    def _head(self, payload: _Payload) -> bytes:
        return b"".join(self.take(payload.parts)) if payload.parts else payload.head


def _written(value: Iterable[Payload], buffers: list[Any]) -> _Value:
    made = []
    for payload in value:
        head, parts = payload.head, 0
        if len(head) >= LARGE:
            cut = list(parts_of(head))
            buffers.extend(cut)
            head, parts = b"", len(cut)
        buffers.extend(payload.buffers)
        made.append(_Payload(head, len(payload.buffers), payload.holes, payload.names, parts))
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

    def jobs(self, jobs: Sequence[Job]) -> Frame:
        """Return a frame with these jobs."""
        calls: list[_Call] = []
        made: list[_Job] = []
        buffers: list[Any] = []
        numbers = self._numbers
        for job in jobs:
            call = job.call
            number = numbers.get(call)
            if number is None:
                number = numbers[call] = len(numbers)
                assert not isinstance(call.body, Live)
                calls.append(_Call(number, call.label, _written(call.body, buffers)))
        for job in jobs:
            task, attempt = job.id
            inputs = job.inputs
            assert type(inputs) is tuple, "live values cannot be sent"
            number = numbers[job.call]
            limit, alone = job.time_limit, job.alone
            if _is_small(inputs):
                made.append(_Job(task, attempt, number, inputs[0].head, None, limit, alone))
            else:
                value = _written(inputs, buffers)
                made.append(_Job(task, attempt, number, b"", value, limit, alone))
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
            self._calls[call.number] = Call(call.label, deal.value(call.body))
        made = []
        for job in command.jobs:
            inputs = (Payload(job.head),) if job.inputs is None else deal.value(job.inputs)
            called = self._calls.get(job.call)
            if called is None:
                raise ProtocolError(f"job {job.task} calls {job.call}, which was never sent")
            id = (job.task, job.attempt)
            made.append(Job(id, called, inputs, job.time_limit, job.alone))
        return made


def encode_report(events: Sequence[Event], returned: Sequence[JobId] | None = None) -> Frame:
    """Return a frame with a worker's events, and the jobs that it gives back if it was asked."""
    done: list[_Done] = []
    notes: list[_Note] = []
    rare: list[_Started | _Lost | _Slots] = []
    buffers: list[Any] = []
    for event in events:
        if type(event) is Done:
            task, attempt = event.id
            reply = event.reply
            if type(reply) is Ok and not reply.files and _is_small(reply.outputs):  # type: ignore[arg-type]
                head = reply.outputs[0].head  # type: ignore[index]
                done.append(_Done(task, attempt, event.seconds, head, None, event.folder))
            else:
                wired = _wired(reply, buffers)
                done.append(_Done(task, attempt, event.seconds, b"", wired, event.folder))
        elif type(event) is Note:
            notes.append(_Note(event.id, event.stream, event.text, event.name))
        elif type(event) is Started:
            rare.append(_Started(*event.id, event.where))
        elif type(event) is Lost:
            rare.append(_Lost(*event.id, event.why))
        elif type(event) is Slots:
            rare.append(_Slots(event.count, event.ahead))
    back = None if returned is None else list(returned)
    return pack(_Report(done, notes, back, rare)), buffers


def _wired(reply: Ok | More | Err, buffers: list[Any]) -> _Ok | _More | _Err:
    if type(reply) is Ok:
        return _Ok(_written(_encoded(reply.outputs), buffers), reply.files)
    if type(reply) is More:
        calls = {call: _Call(n, call.label, ()) for n, call in enumerate(reply.calls)}
        for call, wired in calls.items():
            wired.body = _written(_encoded(call.body), buffers)
        tasks = tuple(
            _NewTask(
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
        return _More(tuple(calls.values()), tasks, outputs, reply.files, reply.passed)
    assert type(reply) is Err
    error = reply.error
    value = None if error is None else _written(_encoded(error), buffers)
    return _Err(
        reply.type_name,
        reply.message,
        reply.text,
        reply.where,
        value,
        reply.host,
        reply.pid,
        reply.final,
    )


def _encoded(value: Encoded | Live) -> Encoded:
    assert not isinstance(value, Live), "live values cannot be sent"
    return value


class Reports:
    """Reads the reports of one worker."""

    def __init__(self) -> None:
        # A definition is one call for the whole session, whichever task sends it.
        self._calls: dict[tuple[str, tuple[bytes, ...]], Call] = {}

    def read(self, frame: Frame) -> tuple[list[Event], list[JobId] | None]:
        """Return the events of a frame, and the jobs that are given back (None: not asked).

        What is told of a job comes before its end.

        Raises:
            ProtocolError: It is no report.
        """
        head, buffers = frame
        try:
            report = _decode_report(head)
        except msgspec.MsgspecError as error:
            raise ProtocolError(f"not a report: {error}") from error
        deal = _Buffers(buffers)
        events: list[Event] = [
            Started((one.task, one.attempt), one.where)
            for one in report.rare
            if isinstance(one, _Started)
        ]
        events += [Note(note.id, note.stream, note.text, note.name) for note in report.notes]
        for done in report.done:
            reply = done.reply
            made = Ok((Payload(done.head),)) if reply is None else self._reply(reply, deal)
            events.append(Done((done.task, done.attempt), made, done.seconds, done.folder))
        for one in report.rare:
            if isinstance(one, _Lost):
                events.append(Lost((one.task, one.attempt), one.why))
            elif isinstance(one, _Slots):
                events.append(Slots(one.count, one.ahead))
        return events, report.returned

    def _reply(self, reply: _Ok | _More | _Err, deal: _Buffers) -> Ok | More | Err:
        if type(reply) is _Ok:
            return Ok(deal.value(reply.outputs), reply.files)
        if type(reply) is _More:
            calls = tuple(self._call(call.label, deal.value(call.body)) for call in reply.calls)
            tasks = tuple(
                NewTask(
                    task.call,
                    task.retries,
                    task.timeout,
                    task.is_module,
                    deal.value((task.inputs,))[0],
                    task.where,
                    task.retry_delay,
                )
                for task in reply.tasks
            )
            if any(task.call >= len(calls) for task in tasks):
                raise ProtocolError("a new task that calls what was not sent")
            if any(task.retry_delay and task.retry_delay.fault() for task in tasks):
                raise ProtocolError("a new task whose attempts are delayed by no number of seconds")
            return More(calls, tasks, deal.value(reply.outputs), reply.files, reply.passed)
        assert type(reply) is _Err
        error = None if reply.error is None else deal.value(reply.error)
        return Err(
            reply.type_name,
            reply.message,
            reply.text,
            reply.where,
            error,
            reply.host,
            reply.pid,
            reply.final,
        )

    def _call(self, label: str, body: Encoded) -> Call:
        key = (label, tuple(payload.head for payload in body))
        known = self._calls.get(key)
        if known is None or any(payload.buffers for payload in body):
            known = self._calls[key] = Call(label, body)
        return known
