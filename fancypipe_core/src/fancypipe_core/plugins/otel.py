"""Spans of OpenTelemetry: a trace for each run, a span for each attempt at a task.

The parent of a span is that of the module, or task, that made the task.  What the program
has set up for OpenTelemetry is used; where it has set up nothing, spans go where the
standard variables say, such as `OTEL_EXPORTER_OTLP_ENDPOINT`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from time import time
from typing import Any, NamedTuple

from fancypipe_core.errors import ConfigError
from fancypipe_core.hooks import EventKind, Outcome, RunInfo, TaskEvent, Wants, hookimpl

__all__ = ["Spans"]

_FLUSH = 5_000  # milliseconds for what is still to be sent at a run's end
_INSTALL = "pip install 'fancypipe-core[otel]'"


class _Task(NamedTuple):
    """A task that has not ended: its name, who made it, where, and when it was met."""

    name: str
    parent: int
    where: str
    at: float


class Spans:
    """The observer.

    Args:
        provider: A `TracerProvider`; None for that of the program.

    Raises:
        ConfigError: OpenTelemetry is not installed.
    """

    def __init__(self, provider: Any = None) -> None:
        try:
            from opentelemetry import propagate, trace
        except ImportError as error:
            raise ConfigError(f"-otel needs OpenTelemetry: {_INSTALL}") from error
        self._trace: Any = trace
        self._extract: Any = propagate.extract
        self._provider = provider or _provider(trace)
        self._tracer: Any = self._provider.get_tracer("fancypipe")
        self._run: Any = None
        self._tasks: dict[int, _Task] = {}
        self._open: dict[int, Any] = {}  # spans of tasks whose children have ended before them

    @hookimpl
    def fancypipe_wants(self) -> Wants:
        """The ends of attempts, and what was made by which."""
        kinds: tuple[EventKind, ...] = (
            "added",
            "retried",
            "lost",
            "done",
            "failed",
            "skipped",
            "cancelled",
        )
        return Wants(kinds, ("path", "inputs", "where", "usage", "bytes", "traceback"))

    @hookimpl
    def fancypipe_run_started(self, run: RunInfo) -> None:
        """Begin the run's span; it belongs to the trace that `TRACEPARENT` names, if one does."""
        names = {"traceparent": "TRACEPARENT", "tracestate": "TRACESTATE"}
        carrier = {key: os.environ[name] for key, name in names.items() if name in os.environ}
        about = {
            "fancypipe.run": run.id,
            "fancypipe.backend": run.backend,
            "fancypipe.workers": run.workers,
            "host.name": run.host,
            "process.pid": run.pid,
        }
        self._run = self._tracer.start_span(
            f"run {run.target}", self._extract(carrier), attributes=about, start_time=_ns(run.began)
        )

    @hookimpl
    def fancypipe_task_events(self, events: Sequence[TaskEvent]) -> None:
        """Make spans of what has ended."""
        for event in events:
            if event.kind == "added":
                self._tasks[event.task] = _Task(event.name, event.parent, event.where, event.clock)
            elif self._run is not None:
                self._ended(event)

    def _ended(self, event: TaskEvent) -> None:
        last = event.kind not in ("retried", "lost")
        span = self._open.pop(event.task, None) if last else None
        if span is None and event.seconds is None and event.kind in ("skipped", "cancelled"):
            self._tasks.pop(event.task, None)
            return  # it never began
        if span is None:
            span = self._begun(event.task, event.name, event.clock - (event.seconds or 0.0))
        about = {
            "fancypipe.task": event.path,
            "fancypipe.attempt": event.attempt,
            "fancypipe.inputs": event.inputs,
            "fancypipe.worker": event.worker,
            "fancypipe.cpu_seconds": event.cpu,
            "fancypipe.peak_memory": event.memory or None,
            "fancypipe.bytes_in": event.bytes_in,
            "fancypipe.bytes_out": event.bytes_out,
        }
        span.set_attributes({k: v for k, v in about.items() if v not in (None, "")})
        if event.kind != "done":
            why = {
                "exception.type": event.error or event.kind,
                "exception.message": event.message,
                "exception.stacktrace": event.traceback or event.certificate,
            }
            span.add_event("exception", why, _ns(event.clock))
            span.set_status(self._trace.StatusCode.ERROR, event.message or event.kind)
        span.end(_ns(event.clock))
        if last:
            self._tasks.pop(event.task, None)

    def _begun(self, task: int, name: str, at: float) -> Any:
        """Begin a span; those of the tasks around it are begun with it, if they were not."""
        about = self._tasks.get(task)
        outer = self._run
        if about is not None and about.parent in self._tasks:
            outer = self._open.get(about.parent)
            if outer is None:
                made = self._tasks[about.parent]
                outer = self._open[about.parent] = self._begun(about.parent, made.name, made.at)
        where = {"code.location": about.where} if about is not None and about.where else {}
        context = self._trace.set_span_in_context(outer)
        return self._tracer.start_span(name, context, attributes=where, start_time=_ns(at))

    @hookimpl
    def fancypipe_run_over(self, run: RunInfo, outcome: Outcome) -> None:
        """End the run's span, and send what was not sent."""
        if self._run is None:
            return
        for span in (*self._open.values(), self._run):
            if not outcome.ok:
                span.set_status(self._trace.StatusCode.ERROR, outcome.message)
            span.end(_ns(time()))
        self._run = None
        self._open.clear()
        self._tasks.clear()
        if hasattr(self._provider, "force_flush"):
            self._provider.force_flush(_FLUSH)


def _ns(at: float) -> int:
    return int(at * 1e9)


def _provider(trace: Any) -> Any:
    """Return what the program has set up; else set up what sends spans."""
    known = trace.get_tracer_provider()
    return _sending() if isinstance(known, trace.ProxyTracerProvider) else known


@cache
def _sending() -> Any:
    """Return what sends spans; it has a thread, so there is one for all sessions."""
    try:
        exporters: Any = import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ConfigError(f"-otel needs OpenTelemetry's SDK and exporter: {_INSTALL}") from error
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "fancypipe"}
    made = TracerProvider(resource=Resource.create(named))
    made.add_span_processor(BatchSpanProcessor(exporters.OTLPSpanExporter()))
    return made
