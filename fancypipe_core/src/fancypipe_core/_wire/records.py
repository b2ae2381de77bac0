"""What goes over a channel, field by field: commands, and the records of the contract.

A record has the name of its twin in `fancypipe_core.backend`, with `Record` behind it.  The other
end may be a machine that lies: what cannot be is refused here, by the type of the field.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from fancypipe_core._base.backoff import Backoff
from fancypipe_core.backend import Certificate, JobId, Natural, Needs, Usage

__all__ = [
    "Adapt",
    "ByBytes",
    "CallRecord",
    "Cancel",
    "Command",
    "CutRecord",
    "DoneRecord",
    "ErrRecord",
    "HandleRecord",
    "JobRecord",
    "Jobs",
    "LostRecord",
    "MoreRecord",
    "NewTaskRecord",
    "NoteRecord",
    "OkRecord",
    "PayloadRecord",
    "Recall",
    "ReportRecord",
    "Setup",
    "SlotsRecord",
    "StartedRecord",
    "Stop",
    "ValueRecord",
]

_Seconds = Annotated[float, Meta(ge=0, le=1e10)]
_Limit = Annotated[float, Meta(gt=0)]  # seconds; infinite, if somebody likes to say it so
_Slot = Annotated[int, Meta(ge=0, le=1_000_000)]
_Hole = tuple[Natural, str | None]


class HandleRecord(msgspec.Struct, array_like=True, gc=False):
    place: Natural  # 0 is the head of the payload, n its n-th buffer
    segment: Natural  # which of the frame's buffers
    offset: Natural
    size: Natural


class PayloadRecord(msgspec.Struct, array_like=True, gc=False):
    head: bytes
    buffers: Natural
    holes: tuple[_Hole, ...]
    names: tuple[str, ...] | None
    parts: Natural = 0  # of its head, if that is large: the buffers before its own
    handles: tuple[HandleRecord, ...] = ()  # in shared memory: not among the other buffers


ValueRecord = Annotated[tuple[PayloadRecord, ...], Meta(min_length=1)]


class CallRecord(msgspec.Struct, array_like=True, gc=False):
    number: Natural
    label: str
    body: ValueRecord


class JobRecord(msgspec.Struct, array_like=True, gc=False):
    task: Natural
    attempt: Natural
    call: Natural
    head: bytes
    inputs: ValueRecord | None
    time_limit: _Limit | None
    alone: bool
    after: tuple[JobId, ...] = ()
    needs: Needs | None = None
    devices: tuple[str, ...] = ()


class Adapt(msgspec.Struct, tag="adapt"):
    """What jobs are to find from now on: variables, set or unset, and the current folder."""

    variables: dict[str, str | None]
    folder: str


class Setup(msgspec.Struct, tag="setup"):
    """What a worker must know before its first job.

    Attributes:
        path: The client's `sys.path`.
        argv: The client's `sys.argv`.
        main: Kind and value of the main script, or None.
        directory: The session's folder for temporary files.
        adapt: What jobs are to find; None if there is another way to say so.
        measures: Whether it is to tell what jobs use.
        pictures: Whether it is to tell small pictures among what jobs return.
        apart: Whether the client does not see the folder: files go with their content.
        proof: What is in a file of the folder by which a worker knows that it sees it; empty if
            it does in any case.
    """

    path: list[str]
    argv: list[str]
    main: tuple[str, str] | None
    directory: str
    adapt: Adapt | None = None
    measures: bool = False
    apart: bool = False
    pictures: bool = False
    proof: str = ""


class Jobs(msgspec.Struct, tag="jobs"):
    """Jobs to run, and what they call if that was not sent before."""

    calls: list[CallRecord]
    jobs: list[JobRecord]


class Cancel(msgspec.Struct, tag="cancel"):
    """These jobs are not wanted any more."""

    ids: list[JobId]


class Recall(msgspec.Struct, tag="recall"):
    """These jobs are not to begin; each that has not is reported as lost."""

    ids: list[JobId]


class Stop(msgspec.Struct, tag="stop"):
    """End when what is running has ended, or when so many seconds are over."""

    grace: _Seconds = 0.0


class ByBytes(msgspec.Struct, tag="bytes"):
    """Let no more results go through the passage: what came there could not be read."""


Command = Setup | Adapt | Jobs | Cancel | Recall | Stop | ByBytes


class OkRecord(msgspec.Struct, tag="ok", array_like=True, gc=False):
    outputs: ValueRecord
    files: tuple[str, ...]


class NewTaskRecord(msgspec.Struct, array_like=True, gc=False):
    call: Natural
    retries: Natural
    timeout: _Limit | None
    is_module: bool
    inputs: PayloadRecord
    where: str
    retry_delay: Backoff | None = None
    needs: Needs | None = None
    priority: Annotated[int, Meta(ge=-1_000_000, le=1_000_000)] = 0
    cache: bool = True


class MoreRecord(msgspec.Struct, tag="more", array_like=True, gc=False):
    calls: tuple[CallRecord, ...]
    tasks: tuple[NewTaskRecord, ...]
    outputs: ValueRecord
    files: tuple[str, ...]
    passed: tuple[str, ...]


class ErrRecord(msgspec.Struct, tag="err", array_like=True, gc=False):
    type_name: str
    message: str
    text: str
    where: str
    error: ValueRecord | None
    host: str
    pid: Natural
    final: bool
    inputs: str


class CutRecord(msgspec.Struct, tag="cut", array_like=True, gc=False):
    at: Natural
    done: OkRecord | MoreRecord | None
    why: ErrRecord | None


class DoneRecord(msgspec.Struct, array_like=True, gc=False):
    task: Natural
    attempt: Natural
    seconds: _Seconds
    head: bytes
    reply: OkRecord | MoreRecord | ErrRecord | CutRecord | None
    folder: str
    usage: Usage | bool | None = None  # true: what the one before has used


class NoteRecord(msgspec.Struct, array_like=True, gc=False):
    id: JobId | None
    stream: str
    text: str
    name: str


class StartedRecord(msgspec.Struct, tag="started", array_like=True, gc=False):
    task: Natural
    attempt: Natural
    where: str


class LostRecord(msgspec.Struct, tag="lost", array_like=True, gc=False):
    task: Natural
    attempt: Natural
    why: Certificate


class SlotsRecord(msgspec.Struct, tag="slots", array_like=True, gc=False):
    count: _Slot
    ahead: _Slot


class ReportRecord(msgspec.Struct, array_like=True):
    done: list[DoneRecord]
    notes: list[NoteRecord]
    rare: list[StartedRecord | LostRecord | SlotsRecord]
    each_time: list[JobId] = []  # those of `done` that are not to be kept for later runs
