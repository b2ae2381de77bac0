"""The contract between the engine and a backend, and nothing else.

What enters: `Job`s, through `Backend.submit`; wishes, through `cancel`, `recall` and what a
backend may have besides.  What leaves: `Event`s, through the sink.  The rules stand in
`protocols`; what helps to write a backend is in `fancypipe_core.toolkit`.
"""

from __future__ import annotations

from fancypipe_core._base.declarations import Command, setting
from fancypipe_core.backend.plugin import BackendOptions, BackendPlugin
from fancypipe_core.backend.protocols import (
    API_VERSION,
    Adapting,
    Backend,
    Driven,
    Environment,
    Forked,
    JobRunner,
    Patient,
    Watched,
)
from fancypipe_core.backend.records import (
    NOT_BEGUN,
    Call,
    Certificate,
    Done,
    Encoded,
    Err,
    Event,
    Hole,
    Job,
    JobId,
    Live,
    Lost,
    More,
    Natural,
    NewTask,
    Note,
    Ok,
    Payload,
    Reply,
    Sink,
    Slots,
    Started,
)

__all__ = [
    "API_VERSION",
    "NOT_BEGUN",
    "Adapting",
    "Backend",
    "BackendOptions",
    "BackendPlugin",
    "Call",
    "Certificate",
    "Command",
    "Done",
    "Driven",
    "Encoded",
    "Environment",
    "Err",
    "Event",
    "Forked",
    "Hole",
    "Job",
    "JobId",
    "JobRunner",
    "Live",
    "Lost",
    "More",
    "Natural",
    "NewTask",
    "Note",
    "Ok",
    "Patient",
    "Payload",
    "Reply",
    "Sink",
    "Slots",
    "Started",
    "Watched",
    "setting",
]
