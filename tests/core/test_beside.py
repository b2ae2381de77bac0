"""What looks on at a run and tells others: a command at its end, a trace, spans, metrics."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families

from fancypipe_core import Session, errors, module, run, task
from fancypipe_core.hooks import EventKind, TaskEvent
from fancypipe_core.plugins import on_end, otel, prometheus
from fancypipe_core.plugins.otel import Spans
from fancypipe_core.plugins.prometheus import Metrics
from fancypipe_core.plugins.runs import find_runs
from fancypipe_core.plugins.trace import trace_of, write_trace


@task
def half(x: float) -> float:
    return x / 2


@task(retries=1)
def fails(x: float) -> float:
    raise ValueError("no way")


@task
def grows(x: float) -> Any:
    return half(x)


@module
def study(x: float) -> Any:
    return half(grows(x))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ---- a command at the end ----


@pytest.mark.parametrize("fine", [True, False])
def test_a_command_is_told_how_it_was(here: Path, fine: bool) -> None:
    command = "env | grep ^RUN_ | sort > told"
    target = [study(8.0), half(1.0)] if fine else [half(1.0), fails(1.0), half(fails(2.0))]
    try:
        run(target, backend="serial", journal=True, on_end=command, keep_going=True)
    except errors.RunFailed:
        assert not fine
    told = dict(line.split("=", 1) for line in Path("told").read_text().splitlines())
    (folder,) = find_runs(".fancypipe/runs")
    assert told.pop("RUN_FOLDER") == str(folder.absolute())
    assert told.pop("RUN_ID") == folder.name.rpartition("-")[2]
    assert float(told.pop("RUN_SECONDS")) >= 0
    state, message = ("done", "") if fine else ("failed", told["RUN_MESSAGE"])
    assert told == {
        "RUN_STATE": state,
        "RUN_MESSAGE": message,
        "RUN_TARGET": "2 targets" if fine else "3 targets",
        "RUN_BACKEND": "serial",
        "RUN_DONE": "5" if fine else "1",
        "RUN_FAILED": "0" if fine else "2",
        "RUN_SKIPPED": "0" if fine else "1",
        "RUN_CANCELLED": "0",
    }
    assert fine or message.startswith("2 of the tasks failed")


@pytest.mark.parametrize(
    ("command", "said"),
    [("exit 3", "ended with exit code 3"), ("kill -TERM $$", "was ended by SIGTERM")],
)
def test_a_command_that_fails_changes_nothing(
    command: str, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(half(1.0), backend="serial", on_end=f"echo out; {command}") == 0.5
    out, error = capfd.readouterr()
    assert out == ""
    assert error == f"out\nfancypipe: the command of -on-end {said}; the run is as it was\n"


def test_a_command_that_hangs_is_ended_with_all_that_it_started(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(on_end, "LIMIT", 0.2)
    os.mkfifo("held")
    # Who reads the other end sees when the last process that has it is gone.
    reader = os.open("held", os.O_RDONLY | os.O_NONBLOCK)
    command = "exec 5>held; sleep 600 & sleep 600"
    assert run(half(1.0), backend="serial", on_end=command) == 0.5
    os.set_blocking(reader, True)
    assert os.read(reader, 1) == b""
    os.close(reader)
    assert "was ended, since it took more than 0.2 seconds" in capfd.readouterr().err


# ---- a trace ----


def traced(here: Path, backend: str, target: Any, **settings: Any) -> list[dict[str, Any]]:
    with suppress(errors.RunFailed):
        run(target, backend=backend, workers=2, journal=True, keep_going=True, **settings)
    (folder,) = find_runs(".fancypipe/runs")
    file = write_trace(folder)
    assert file == folder / "trace.json"
    events: list[dict[str, Any]] = json.loads(file.read_text())["traceEvents"]
    return events


@pytest.mark.parametrize("backend", ["serial", "procs"])
def test_a_trace_has_each_attempt_once(here: Path, backend: str) -> None:
    events = traced(here, backend, [study(8.0), fails(1.0)])
    slices = [event for event in events if event["ph"] == "X"]
    ran = sorted((one["name"], one["cat"], one["args"].get("attempt", 0)) for one in slices)
    assert ran == [
        ("fails", "failed", 2),
        ("fails", "retried", 1),
        ("grows", "unfolded", 1),
        ("half", "done", 1),
        ("half", "done", 1),
        ("study", "unfolded", 1),
    ]
    rows = {(one["pid"], one["tid"]) for one in slices}
    named = {(one["pid"], one["tid"]) for one in events if one["name"] == "thread_name"}
    assert rows == named
    for process, thread in rows:  # in a row nothing overlaps
        mine = [one for one in slices if (one["pid"], one["tid"]) == (process, thread)]
        mine.sort(key=lambda one: one["ts"])
        for one, other in pairwise(mine):
            assert one["ts"] + one["dur"] <= other["ts"] + 0.2
    (failed,) = [one for one in slices if one["cat"] == "failed"]
    assert failed["args"]["message"] == "ValueError: no way"
    arrows = [event for event in events if event["ph"] in "sf"]
    assert len(arrows) == 2


def test_short_tasks_that_are_told_together_are_each_in_it(here: Path) -> None:
    events = traced(here, "procs", [half(float(x)) for x in range(2000)], page=False)
    slices = [event for event in events if event["ph"] == "X"]
    assert sorted(one["args"]["task"] for one in slices) == list(range(2, 2002))
    assert {one["name"] for one in slices} == {"half"}


def test_a_worker_with_several_slots_has_several_rows(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [{"kind": "run", "journal": 1, "at": 100.0}]
    added = {"kind": "added", "at": 100.0, "name": "t"}
    lines += [{**added, "task": number} for number in (1, 2)]
    done = {"kind": "done", "seconds": 1.0, "worker": "node 7", "attempt": 1}
    lines += [{**done, "task": number, "at": 101.0 + number / 10} for number in (1, 2)]
    lost = {"kind": "lost", "at": 103.0, "task": 3, "name": "d", "worker": "node 8", "attempt": 1}
    lines += [{"kind": "started", "at": 102.0, "task": 3, "attempt": 1}, lost]
    (tmp_path / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    events = list(trace_of(tmp_path))
    slices = [one for one in events if one["ph"] == "X"]
    assert [(one["ts"], one["dur"], one["tid"]) for one in slices] == [
        (100_000.0, 1e6, 1),
        (200_000.0, 1e6, 2),
        (2e6, 1e6, 3),
    ]
    names = [one["args"]["name"] for one in events if one["ph"] == "M"]
    assert names == ["node", "node 7", "node 7 (2)", "node 8"]


def test_the_command_writes_it_where_one_wants(here: Path) -> None:
    run(half(1.0), backend="serial", journal=True)
    (folder,) = find_runs(".fancypipe/runs")
    command = [sys.executable, "-m", "fancypipe_core.cli", "trace"]
    for words, code, out in (
        ([folder.name, "--file", "mine.json"], 0, "mine.json\n"),
        (["nothing"], 2, ""),
        ([folder.name, "--file", "no/mine.json"], 1, ""),
    ):
        over = subprocess.run(
            [*command, *words], capture_output=True, text=True, check=False, timeout=60
        )
        assert (over.returncode, over.stdout) == (code, out), over.stderr
        assert len(over.stderr.splitlines()) == (code > 0)
    assert json.loads(Path("mine.json").read_text())["traceEvents"]


# ---- spans ----


def spans_of(target: Any, backend: str = "serial") -> list[ReadableSpan]:
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    with (
        Session(backend, 2, observers=[Spans(provider)], keep_going=True) as session,
        suppress(errors.RunFailed),
    ):
        session.run(target)
    return list(kept.get_finished_spans())


@pytest.mark.parametrize("backend", ["serial", "procs"])
def test_spans_nest_as_tasks_do(backend: str) -> None:
    spans = spans_of([study(8.0), fails(1.0)], backend)
    by_id = {span.context.span_id: span for span in spans if span.context}
    assert len({span.context.trace_id for span in spans if span.context}) == 1

    def outer(span: ReadableSpan) -> str:
        return by_id[span.parent.span_id].name if span.parent else ""

    assert sorted((span.name, outer(span)) for span in spans) == [
        ("fails", "run 2 targets"),
        ("fails", "run 2 targets"),
        ("grows", "study"),
        ("half", "grows"),
        ("half", "study"),
        ("run 2 targets", ""),
        ("study", "run 2 targets"),
    ]
    for span in spans:
        assert span.start_time is not None
        assert span.end_time is not None
        assert span.start_time <= span.end_time
        if span.parent:
            around = by_id[span.parent.span_id]
            assert around.start_time is not None
            assert around.start_time <= span.start_time + 20_000_000  # two clocks
    failed = [span for span in spans if span.name == "fails"]
    assert [span.attributes and span.attributes["fancypipe.attempt"] for span in failed] == [1, 2]
    for span in failed:
        assert span.status.status_code.name == "ERROR"
        (event,) = span.events
        assert event.attributes
        assert event.attributes["exception.type"] == "ValueError"
        assert "no way" in str(event.attributes["exception.stacktrace"])


def test_a_trace_goes_on_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEPARENT", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    spans = spans_of(half(1.0))
    traces = {f"{span.context.trace_id:x}" for span in spans if span.context}
    assert traces == {"af7651916cd43dd8448eb211c80319c"}


def test_where_nothing_is_set_up_one_exporter_is_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = InMemorySpanExporter()
    exporters = SimpleNamespace(OTLPSpanExporter=lambda: kept)
    name = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    monkeypatch.setitem(sys.modules, name, exporters)
    otel._sending.cache_clear()
    before = threading.active_count()
    try:
        for x in (1.0, 2.0):
            run(half(x), backend="serial", otel=True)
            assert threading.active_count() <= before + 1
        assert [span.name for span in kept.get_finished_spans()] == ["half", "run half"] * 2
    finally:
        otel._sending().shutdown()
        otel._sending.cache_clear()


@pytest.mark.parametrize(
    ("setting", "package", "extra"),
    [
        ({"otel": True}, "opentelemetry", "otel"),
        ({"metrics_file": "m.prom"}, "prometheus_client", "prometheus"),
    ],
)
def test_what_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, setting: dict[str, Any], package: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(errors.ConfigError, match=rf"pip install 'fancypipe-core\[{extra}\]'"):
        run(half(1.0), backend="serial", **setting)


# ---- metrics ----


def metrics_in(file: Path) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(file.read_text())
    return {
        (sample.name, *(sample.labels[key] for key in ("task", "state") if key in sample.labels)): (
            sample.value
        )
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


@pytest.mark.parametrize("backend", ["serial", "procs"])
def test_metrics_count_what_ended(here: Path, backend: str) -> None:
    file = here / "fancypipe.prom"
    many = [half(float(x)) for x in range(300)]
    with pytest.raises(errors.RunFailed):
        run(
            [study(8.0), fails(1.0), half(fails(2.0)), *many],
            backend=backend,
            keep_going=True,
            metrics_file=str(file),
        )
    told = metrics_in(file)
    assert told["fancypipe_tasks_total", "half", "done"] == 302
    assert told["fancypipe_tasks_total", "half", "skipped"] == 1
    assert told["fancypipe_tasks_total", "study", "done"] == 1
    assert told["fancypipe_tasks_total", "fails", "failed"] == 2
    assert told["fancypipe_tasks_total", "fails", "retried"] == 2
    assert told["fancypipe_task_seconds_count", "half"] == 302
    assert told["fancypipe_task_seconds_count", "fails"] == 4
    for gauge in ("running", "queued"):
        assert told[f"fancypipe_tasks_{gauge}", "half"] == 0
    assert told["fancypipe_run_active",] == told["fancypipe_run_success",] == 0


def test_metrics_tell_what_waits_and_runs(here: Path) -> None:
    file = here / "fancypipe.prom"

    @task
    def looks(x: int) -> str:
        return file.read_text()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prometheus, "_PAUSE", -1.0)  # each time
        texts = run([looks(x) for x in range(3)], backend="threads", workers=1,
                    metrics_file=str(file))  # fmt: skip
    file.write_text(texts[-1])
    told = metrics_in(file)
    assert told["fancypipe_run_active",] == 1
    waits, runs = (
        told.get((f"fancypipe_tasks_{what}", "looks"), 0) for what in ("queued", "running")
    )
    assert waits + runs >= 1


def test_what_is_tried_again_waits_once(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "_PAUSE", -1.0)  # each time
    file = here / "fancypipe.prom"
    metrics = Metrics(str(file))
    kinds: list[EventKind] = ["added", "submitted", "lost", "retried", "submitted", "unfolded"]
    told = []
    for kind in [*kinds, "done"]:
        metrics.fancypipe_task_events([TaskEvent(kind, "t", 1, attempt=1)])
        found = metrics_in(file)
        told.append(tuple(found[f"fancypipe_tasks_{what}", "t"] for what in ("queued", "running")))
    assert told == [(1, 0), (0, 1), (1, 0), (1, 0), (0, 1), (1, 0), (0, 0)]


def test_a_folder_that_is_not_there_is_said_before_anything_runs(here: Path) -> None:
    with pytest.raises(errors.ConfigError, match=r"-metrics-file: the folder .*/no cannot be"):
        run(half(1.0), backend="serial", metrics_file="no/file.prom")
