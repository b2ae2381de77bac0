"""The rules of `fancypipe_core.backend`, by number, through the contract itself."""

from __future__ import annotations

import gc
import hashlib
import os
import shutil
import tempfile
import threading
import tracemalloc
import weakref
from pathlib import Path
from typing import Any

import pytest

from fancypipe_core.backend import Call, Certificate, Done, Err, Job, Live, Lost, Ok, Payload
from fancypipe_core.testing import _jobs as j
from fancypipe_core.testing._leaks import holdings
from fancypipe_core.testing._pace import slowdown
from fancypipe_core.testing._rig import Gate, Rig, certificate, short
from fancypipe_core.testing._rules import broken
from fancypipe_core.testing.conformance.conftest import Bench

# ---- 1: start ----


def test_rule_01_slots_come_after_start(bench: Bench) -> None:
    """`start` brings `Slots`, with no more than was asked for, and no other news."""
    with bench.rig() as rig:
        for slots in rig.recorder.slots:
            assert slots.count <= bench.workers, broken(
                1, f"{slots}, where {bench.workers} workers were asked for"
            )
        ends = rig.recorder.ends
        assert not ends, broken(3, f"{len(ends)} jobs ended, none was submitted")


def test_rule_01_each_session_starts_afresh(bench: Bench) -> None:
    """A second session works after a first, and two work side by side."""
    with bench.rig() as one:
        assert one.run(j.same(1)) == [1]
        with bench.rig() as two:
            assert two.run(j.same(2)) == [2]
        assert one.run(j.same(3)) == [3]
    with bench.rig() as three:
        assert three.run(j.same(4)) == [4]


# ---- 2: submit ----


def test_rule_02_submit_does_not_wait_for_jobs(rig: Rig, gate: Gate) -> None:
    """The gate is opened only when `submit` is back."""
    ids = rig.submit(*[gate.job(rig.limit / 4) for _ in range(rig.slots.count)], j.same(7))
    gate.open()
    *waited, _ = rig.end(*ids)
    for end in waited:
        assert isinstance(end, Done), short(end)
        assert isinstance(end.reply, Ok), broken(
            2, f"submit() came back when the job had given up waiting: {short(end)}"
        )


def test_rule_02_submit_does_not_raise_for_bad_jobs(rig: Rig) -> None:
    """What cannot be read or called is an answer like others, and does no harm."""
    rig.submit()
    good = rig.job(j.same(1))
    body: Any = Live(None) if rig.plugin.shares_memory else (Payload(b"no pickle"),)
    bad = [
        Job((1001, 1), Call("not callable", body), good.inputs),
        Job((1002, 1), good.call, body),
        rig.job(j.fails("on purpose")),
    ]
    if not rig.plugin.shares_memory:
        bad.append(rig.job(j.same(j.RaisesWhenRead())))
    *ends, last = rig.end(*rig.submit(*bad, good))
    for end in ends:
        assert isinstance(end, Done), broken(2, f"a bad job ended with {short(end)}")
        assert isinstance(end.reply, Err), broken(2, f"a bad job ended with {short(end)}")
    assert rig.value(last) == 1


# ---- 3: one end ----


def test_rule_03_exactly_one_end(rig: Rig) -> None:
    """Hundreds of jobs of all kinds, in batches of all sizes: each ends once."""
    jobs: list[Any] = []
    for number in range(300):
        kind = number % 5
        jobs.append(j.fails("on purpose") if kind == 3 else j.same((number, "x" * number * kind)))
    ids = []
    while jobs:
        batch = [jobs.pop() for _ in range(min(len(jobs), 1 + len(jobs) % 17))]
        ids += rig.submit(*batch)
    ends = rig.end(*ids)
    failed = sum(isinstance(end, Done) and isinstance(end.reply, Err) for end in ends)
    assert failed == 60, broken(3, f"{failed} of 300 jobs failed, 60 should have")
    rig.run(j.same(None))


def test_rule_03_attempts_are_jobs_of_their_own(rig: Rig) -> None:
    """The same task may be tried again, and the answer belongs to the attempt."""
    job = rig.job(j.same("x"))
    for attempt in (1, 2, 3):
        (end,) = rig.end(*rig.submit(Job((job.id[0], attempt), job.call, job.inputs)))
        assert end.id == (job.id[0], attempt)
        assert rig.value(end) == "x"


def test_rule_03_results_are_of_their_own_jobs(rig: Rig) -> None:
    """Nobody gets the result of a neighbour."""
    results = rig.feed([j.same(number) for number in range(1000)])
    assert results == list(range(1000)), broken(3, "a job's id came with another job's result")


def test_rule_03_exits_of_tasks_are_ends_like_others(rig: Rig) -> None:
    """A task that exits or interrupts does not take its worker with it."""
    ids = rig.submit(j.leaves(3), j.interrupts(), j.same(1))
    left, interrupted, good = rig.end(*ids)
    for end, name in ((left, "SystemExit"), (interrupted, "KeyboardInterrupt")):
        assert isinstance(end, Done), broken(3, f"a task that raised {name}: {short(end)}")
        assert isinstance(end.reply, Err), broken(3, f"a task that raised {name}: {short(end)}")
        assert end.reply.type_name == name
    assert rig.value(good) == 1


# ---- 4: the sink ----


def test_rule_04_what_the_sink_is_given_stays_as_it_is(rig: Rig) -> None:
    """The engine reads a sequence of events later, in its own thread."""
    rig.feed([j.same(number) for number in range(200)])
    rig.recorder.check()


def test_rule_04_submit_and_cancel_from_a_thread_that_got_news(bench: Bench) -> None:
    """A backend that calls the sink holds no lock that `submit` and `cancel` need."""
    if bench.rig().drive is not None:
        pytest.skip(f"{bench.plugin.name} is driven: it is called from one thread only")
    rig = bench.rig()
    entered, leave = threading.Event(), threading.Event()
    record = rig.recorder.sink

    def slow(events: Any) -> None:
        if any(isinstance(event, Done) for event in events) and not entered.is_set():
            entered.set()
            leave.wait(bench.limit)  # the engine's thread takes its time with the queue
        record(events)

    rig.recorder.sink = slow  # type: ignore[method-assign]
    with rig:
        ids = rig.submit(j.same(0))
        assert entered.wait(bench.limit), broken(3, "no Done")
        done = threading.Event()

        def use() -> None:
            ids.extend(rig.submit(j.same(1)))
            rig.cancel([(10_000, 1)])
            done.set()

        threading.Thread(target=use, name="kit-engine", daemon=True).start()
        came_back = done.wait(rig.limit / 4)
        leave.set()
        assert came_back, broken(
            4, "submit() or cancel() does not come back while another thread is in the sink"
        )
        assert [rig.value(end) for end in rig.end(*ids)] == [0, 1]


# ---- 5: cancel ----


def test_rule_05_unknown_ids_are_ignored(rig: Rig) -> None:
    """Ids that never were, or that have ended."""
    rig.cancel([])
    rig.cancel([(999, 1), (1000, 7)])
    ids = rig.submit(j.same(1))
    rig.end(*ids)
    rig.cancel(ids)
    rig.cancel(ids)
    assert rig.run(j.same(2)) == [2]


def test_rule_05_cancelled_jobs_end_once(rig: Rig, bench: Bench, gate: Gate) -> None:
    """Jobs that wait behind busy workers are cancelled, twice: each ends, the others run."""
    busy = rig.submit(*[gate.job(30.0) for _ in range(rig.slots.count)])
    if not bench.traits.inline:
        rig.wait(gate.reached, 7, f"fewer than {len(busy)} jobs began")
    waiting = rig.submit(*[j.same(number) for number in range(40)])
    unwanted = waiting[::2]
    rig.cancel(unwanted)
    rig.cancel([*unwanted, (12345, 1)])
    gate.open()
    for end in rig.end(*unwanted, rule=5):
        if isinstance(end, Lost):
            assert not end.why.guilty, broken(
                5, f"a cancelled job counts as guilty of its worker's death: {short(end)}"
            )
    assert [rig.value(end) for end in rig.end(*waiting[1::2], rule=5)] == list(range(1, 40, 2))
    assert all(rig.value(end) for end in rig.end(*busy))


def test_rule_05_running_jobs_may_be_cancelled(rig: Rig, bench: Bench, gate: Gate) -> None:
    """It is killed, or it runs to its end: in any case it ends once, and others go on."""
    bench.needs_another_thread("none can be cancelled while one runs")
    (running,) = rig.submit(gate.job(60.0))
    rig.wait(gate.reached, 3, "the job did not begin")
    rig.cancel([running])
    # Who cannot kill it must see it end by itself.
    opener = threading.Timer(rig.limit / 8, gate.open)
    opener.start()
    (end,) = rig.end(running, rule=5)
    opener.cancel()
    if isinstance(end, Lost):
        assert not end.why.guilty, broken(5, f"the engine wanted it to end: {short(end)}")
    assert rig.run(j.same(1), j.same(2)) == [1, 2]


def test_rule_05_recalled_jobs_come_back_and_what_runs_goes_on(
    rig: Rig, bench: Bench, gate: Gate
) -> None:
    """After a Ctrl-C what has not begun does not begin, and what runs may finish."""
    busy = rig.submit(*[gate.job(rig.limit * 2) for _ in range(rig.slots.count)])
    if not bench.traits.inline:
        rig.wait(gate.reached, 7, f"fewer than {len(busy)} jobs began")
    waiting = rig.submit(*[j.same(number) for number in range(40)])
    for _ in range(2):
        rig.backend.recall([*busy, *waiting, (12345, 1)])
    ends = rig.recorder.ends
    # All workers are busy.  A pool may have put some at a worker, and cannot recall those.
    rig.wait(
        lambda: sum(id in ends for id in waiting) > len(waiting) / 2,
        5,
        "most of the jobs that were recalled, and had not begun, did not come back",
    )
    if not bench.traits.inline:
        assert not any(id in ends for id in busy), broken(5, "recall() ended a job that ran")
    for id in waiting:
        # One that begins more than it says had nothing to wait for.
        if id in ends and not (isinstance(ends[id], Done) and not bench.traits.inline):
            why = certificate(ends[id])
            innocent = not why.started and not why.guilty
            assert innocent, broken(5, f"it had not begun: {why!r}")
    gate.open()
    for end in rig.end(*busy, *waiting, rule=5):
        if isinstance(end, Done):
            rig.value(end)
    assert rig.run(j.same(1), j.same(2)) == [1, 2]


# ---- 6: deaths ----


def test_rule_06_a_death_costs_its_own_job_only(rig: Rig, bench: Bench) -> None:
    """One job kills its worker among many that do not."""
    bench.needs_isolation("a worker cannot die alone")
    good = [j.same(number) for number in range(20)]
    ends = rig.settle(*good, j.dies("kill"), *good)
    why: Certificate = certificate(ends.pop(len(good)))
    assert why.guilty, broken(6, f"the job killed its worker, and guilty is False: {why!r}")
    assert why.started, broken(6, f"the job killed its worker, and started is False: {why!r}")
    if bench.plugin.certificates == "exact":
        assert "SIGKILL" in why.detail, broken(6, f"killed by SIGKILL, it says {why!r}")
        assert why.pid > 0, broken(6, f"the certificate names no process: {why!r}")
    assert why.detail, broken(6, f"the certificate does not say what is known: {why!r}")
    for end in ends:
        assert isinstance(end, Done), broken(6, f"a neighbour ended with {short(end)}")


def test_rule_06_what_runs_beside_a_death_is_not_blamed(rig: Rig, bench: Bench, gate: Gate) -> None:
    """All workers but one are busy when that one dies: their jobs end well, sooner or later."""
    bench.needs_isolation("a worker cannot die alone")
    busy = [rig.job(gate.job(60.0)) for _ in range(rig.slots.count - 1)]
    ids = rig.submit(*busy)
    rig.wait(gate.reached, 7, f"fewer than {len(busy)} jobs began")
    deadly = [rig.job(one) for one in (j.dies("kill"), *[j.same(n) for n in range(5)])]
    ids += rig.submit(*deadly)
    rig.end(ids[len(busy)], rule=6)
    gate.open()
    ends = rig.settled([*busy, *deadly], ids)
    certificate(ends.pop(len(busy)))
    for end in ends:
        assert isinstance(end, Done), broken(
            6, f"a job in another worker, or behind the deadly one, ended with {short(end)}"
        )


def test_rule_06_the_capacity_comes_back_or_is_reported(
    rig: Rig, bench: Bench, tmp_path: Path
) -> None:
    """After deaths of all workers, as many jobs run at once as `Slots` says."""
    bench.needs_isolation("a worker cannot die alone")
    for end in rig.settle(*[j.dies("kill") for _ in range(rig.slots.count * 2)]):
        certificate(end)
    rig.wait(lambda: rig.slots.count > 0, 6, "no worker is left, and none comes back")
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    count = rig.slots.count
    jobs = [j.meet(str(meeting), count, rig.limit / 4) for _ in range(count)]
    for end in rig.end(*rig.submit(*jobs)):
        assert isinstance(end, Done), short(end)
        assert isinstance(end.reply, Ok), broken(
            6,
            f"Slots says {count} at the same time, but after the deaths of workers "
            f"{len(os.listdir(meeting))} ran: {short(end)}",
        )


# ---- 7: capacity ----


def test_rule_07_as_many_at_once_as_it_said(rig: Rig, tmp_path: Path) -> None:
    """`Slots.count` jobs wait for each other; they can only end if all of them run."""
    count = rig.slots.count
    for number in range(3):
        meeting = tmp_path / f"meeting-{number}"
        meeting.mkdir()
        jobs = [j.meet(str(meeting), count, rig.limit / 4) for _ in range(count)]
        for end in rig.end(*rig.submit(*jobs)):
            assert isinstance(end, Done), short(end)
            assert isinstance(end.reply, Ok), broken(
                7,
                f"Slots said {count} at the same time, but {len(os.listdir(meeting))} "
                f"ran: {short(end)}",
            )


def test_rule_07_never_more_at_once_than_it_said(rig: Rig) -> None:
    """Jobs tell when they ran."""
    spans = rig.feed([j.span(0.003) for _ in range(60)])
    marks = sorted([(begin, 1) for begin, _ in spans] + [(end, -1) for _, end in spans])
    now = most = 0
    for _, step in marks:
        now += step
        most = max(most, now)
    said = max(slots.count for slots in rig.recorder.slots)
    assert most <= said, broken(7, f"{most} jobs ran at the same time, Slots said {said}")


def test_rule_07_count_and_ahead_are_enough(rig: Rig) -> None:
    """With never more than `count + ahead` jobs at the backend, thousands get through."""
    assert rig.feed([j.same(number) for number in range(3000)]) == list(range(3000))
    for slots in rig.recorder.slots:
        assert slots.count >= 0, broken(7, f"{slots}")
        assert slots.ahead >= 0, broken(7, f"{slots}")


# ---- 8: values ----


def test_rule_08_buffers_arrive_bit_identical(rig: Rig) -> None:
    """There and back, alone and several in a value."""
    for size in (0, 1, 1000, 65_537, 3_000_001):
        blocks = [j.Block(os.urandom(size)) for _ in range(3)]
        expected = [(size, hashlib.sha256(block).hexdigest()) for block in blocks]
        seen = rig.run(*[j.digest(block) for block in blocks])
        assert seen == expected, broken(8, f"a buffer of {size} bytes arrived changed")
        (back,) = rig.run(j.same({"all": blocks}))
        returned = [bytes(block) for block in back["all"]]
        assert returned == [bytes(block) for block in blocks], broken(
            8, f"a buffer of {size} bytes came back changed"
        )


def test_rule_08_nothing_is_kept_after_the_end(rig: Rig, tmp_path: Path) -> None:
    """The inputs of a job that has ended are gone when every worker has had another job."""
    blocks = [j.Block(os.urandom(100_000)) for _ in range(20)]
    watched = [weakref.ref(block) for block in blocks]
    jobs = [rig.job(j.digest(block)) for block in blocks]
    rig.end(*rig.submit(*jobs))
    jobs.clear()
    blocks.clear()
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    count = rig.slots.count
    rig.run(*[j.meet(str(meeting), count, rig.limit / 4) for _ in range(count)])
    rig.recorder.forget()
    gc.collect()
    alive = sum(ref() is not None for ref in watched)
    assert not alive, broken(8, f"the inputs of {alive} of 20 jobs that have ended are kept")


def test_rule_08_no_value_is_kept_for_ever(rig: Rig) -> None:
    """Results that nobody has any more take no memory of the client."""
    size = 1_000_000
    rig.run(j.block(size))  # what is kept of the first is there once and for all
    rig.recorder.forget()
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(30):
            assert len(rig.run(j.block(size))[0]) == size
            rig.recorder.forget()
        rig.run(*[j.same(number) for number in range(50)])
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 10 * size, broken(
        8, f"30 results of 1 MB have come and gone, and {kept / 1e6:.0f} MB are kept"
    )


# ---- 9: stop ----


def test_rule_09_no_file_is_left_anywhere(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor outside of the session's folder: where temporary files go, and in the current one."""
    places = [tempfile.mkdtemp(prefix="kit-") for _ in range(2)]  # short, for sockets
    try:
        monkeypatch.setenv("TMPDIR", places[0])
        monkeypatch.setattr(tempfile, "tempdir", None)
        monkeypatch.chdir(places[1])
        with bench.rig() as rig:
            rig.feed([j.same(number) for number in range(20)])
            rig.run(j.same(j.Block(bytes(1_000_000))))
        left = [os.path.join(place, name) for place in places for name in os.listdir(place)]
    finally:
        monkeypatch.undo()
        for place in places:
            shutil.rmtree(place, ignore_errors=True)
    assert not left, broken(9, f"files are left: {', '.join(left)}")


def test_rule_09_nothing_is_left_after_stop(bench: Bench) -> None:
    """No thread, child process, descriptor or file."""
    before = holdings()
    rig = bench.rig()
    with rig:
        rig.feed([j.same(number) for number in range(100)])
    left = bench.left(before)
    assert not left, broken(9, f"left are: {', '.join(left)}")
    assert not rig.left_files, broken(9, f"files are left: {rig.left_files}")


def test_rule_09_nothing_is_left_after_deaths(bench: Bench) -> None:
    """Nor of workers that died."""
    bench.needs_isolation("a worker cannot die alone")
    before = holdings()
    with bench.rig() as rig:
        for end in rig.settle(*[j.dies("kill") for _ in range(rig.slots.count)]):
            certificate(end)
    left = bench.left(before)
    assert not left, broken(9, f"left are: {', '.join(left)}")
    assert not rig.left_files, broken(9, f"files are left: {rig.left_files}")


def test_rule_09_stop_with_jobs_that_wait(bench: Bench, gate: Gate) -> None:
    """Jobs that were not begun are dropped; what runs may finish within the grace time."""
    before = holdings()
    rig = bench.rig().start()
    rig.submit(*[gate.job(30.0) for _ in range(rig.slots.count)])
    if not bench.traits.inline:
        rig.wait(gate.reached, 7, "not all jobs began")
    rig.submit(*[j.same(number) for number in range(50)])
    opener = threading.Timer(0.2, gate.open)
    opener.start()
    rig.stop(bench.limit)
    opener.join()
    rig.recorder.check()
    left = bench.left(before)
    assert not left, broken(9, f"left are: {', '.join(left)}")


def test_rule_09_no_event_after_stop(bench: Bench, gate: Gate) -> None:
    """Also not from a job that could not be killed and ends later."""
    bench.needs_another_thread("none runs when stop() is called")
    before = holdings()
    rig = bench.rig().start()
    rig.submit(gate.job(30.0))
    rig.wait(gate.reached, 3, "the job did not begin")
    rig.stop(0.0)
    gate.open()
    # What could not be killed must end by itself, and say nothing.
    j.wait_for(lambda: not holdings().threads - before.threads, bench.limit, "the threads' end")
    rig.recorder.check()
    left = bench.left(before)
    assert not left, broken(9, f"left are: {', '.join(left)}")


def test_rule_09_stop_right_after_start(bench: Bench) -> None:
    """There need not have been any job."""
    before = holdings()
    bench.rig().start().stop()
    left = bench.left(before)
    assert not left, broken(9, f"left are: {', '.join(left)}")


# ---- 10: time limits ----


def test_rule_10_limits_are_enforced_or_it_says_so_once(rig: Rig, bench: Bench, gate: Gate) -> None:
    """A job over its limit is killed; or there is one warning, and it runs to its end."""
    fine = rig.submit(*[rig.job(j.same(number), 30.0) for number in range(5)])
    # Where nobody can kill it, it must end by itself.
    task = gate.job(bench.limit / 4) if bench.traits.isolates else j.span(0.5)
    (slow,) = rig.submit(rig.job(task, 0.3))
    (end,) = rig.end(slow)
    assert [rig.value(one) for one in rig.end(*fine)] == list(range(5))
    rig.run(rig.job(j.same(None), 30.0))
    warnings = rig.recorder.warnings()
    if isinstance(end, Lost):
        assert end.why.reason == "timeout", broken(10, f"it was killed, and says {end.why!r}")
        if bench.traits.isolates:
            assert not warnings, broken(10, f"it kills, and says: {warnings[0]}")
        else:
            assert len(warnings) == 1, broken(
                10, f"it abandons a job in this process, and says so {len(warnings)} times"
            )
    else:
        assert len(warnings) == 1, broken(
            10, f"a job ran past its limit of 0.3 s, and there were {len(warnings)} warnings"
        )


def test_rule_10_a_limit_is_of_the_job_not_of_its_wait(rig: Rig, bench: Bench) -> None:
    """Jobs with limits that wait behind others are not killed for it."""
    limit = 1.0 * slowdown()
    jobs = [rig.job(j.span(0.05), limit) for _ in range(30 * bench.workers)]
    for end in rig.end(*rig.submit(*jobs)):
        assert isinstance(end, Done), broken(
            10, f"a job of 0.05 s, limit {limit:.3g} s: {short(end)}"
        )
