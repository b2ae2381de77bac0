"""What a task needs: how it is written, checked, changed on an instance, and carried."""

from __future__ import annotations

import re
from typing import Any

import pytest

from fancypipe_core import Backoff, Ref, Task, module, run, task
from fancypipe_core._base.needs import Needs, bytes_of, in_units, needs_of
from fancypipe_core._wire.messages import (
    FromWorker,
    Reports,
    ToWorker,
    decode_command,
    encode_report,
)
from fancypipe_core.backend import Call, Done, Job, More, NewTask, Payload
from fancypipe_core.errors import GraphError, ProtocolError

GIB = 1 << 30


@task(needs={"cpus": 4, "memory": "8G", "gpu": 1}, priority=3)
def fit(value: int) -> int:
    return value + 1


class Smooth(Task, needs={"memory": "500M"}, retries=2):
    def main(self, value: int) -> int:
        return value + int(self.width)

    width = 1


def options(instance: Any) -> Any:
    return instance._definition.options


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        ({}, None),
        ({"cpus": 1}, None),
        ({"cpus": 1, "memory": 0, "gpu": 0}, None),
        ({"cpus": 4}, Needs(4)),
        ({"memory": 1000}, Needs(1, 1000)),
        ({"memory": "8G", "gpu": 2}, Needs(1, 8 * GIB, 2)),
        (Needs(2), Needs(2)),
    ],
)
def test_needs_are_what_is_more_than_one_core(given: Any, expected: Needs | None) -> None:
    assert needs_of(given) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8G", 8 * GIB),
        ("8g", 8 * GIB),
        ("8GB", 8 * GIB),
        ("8 GiB", 8 * GIB),
        ("1.5K", 1536),
        ("12", 12),
        ("12B", 12),
        ("1T", 1024 * GIB),
        ("8X", None),
        ("G", None),
        ("", None),
        ("-1G", None),
        ("nan", None),
        ("inf", None),
        ("8GG", None),
    ],
)
def test_bytes_are_read_with_their_unit(text: str, expected: int | None) -> None:
    assert bytes_of(text) == expected


def test_needs_are_told_as_they_are_written() -> None:
    assert str(Needs(4, 8 * GIB, 1)) == "4 cpus, 8G of memory and 1 gpu"
    assert str(Needs(1, 1536)) == "1.5K of memory"
    assert str(Needs(1)) == "1 cpu"
    assert in_units(900) == "900 bytes"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"cpus": 0}, "needs: cpus must be a whole number from 1, not 0"),
        ({"cpus": 1.5}, "needs: cpus must be a whole number from 1, not 1.5"),
        ({"gpu": -1}, "needs: gpu must be a whole number from 0, not -1"),
        ({"gpu": True}, "needs: gpu must be a whole number from 0, not True"),
        ({"memory": "8X"}, 'needs: memory must be bytes, or a text such as "500M" or "8G"'),
        ({"memory": -5}, "needs: memory must be bytes"),
        ({"gpus": 1}, "needs: there is no 'gpus', did you mean 'gpu'? (cpus, memory, gpu)"),
        ({"disk": 1}, "needs: there is no 'disk' (cpus, memory, gpu)"),
        ("4", "needs must be a dict such as"),
    ],
)
def test_bad_needs_name_the_task_and_its_line(wrong: Any, said: str) -> None:
    def work() -> None: ...

    line = work.__code__.co_firstlineno
    with pytest.raises(GraphError, match=re.escape(f"task work: {said}")) as found:
        task(needs=wrong)(work)
    assert str(found.value).endswith(f"test_needs.py:{line})")
    with pytest.raises(GraphError, match=re.escape(said)) as found:
        fit(1).with_options(needs=wrong)
    assert "test_needs.py:" in str(found.value)
    with pytest.raises(GraphError, match=re.escape(f"task Bad: {said}")) as found:

        class Bad(Task, needs=wrong):
            def main(self) -> None: ...

    assert "test_needs.py:" in str(found.value)


@pytest.mark.parametrize("wrong", [1.5, "1", None, True])
def test_a_priority_is_a_whole_number(wrong: Any) -> None:
    with pytest.raises(GraphError, match="task work: priority must be a whole number"):

        @task(priority=wrong)
        def work() -> None: ...


def test_an_instance_can_have_other_options() -> None:
    before = fit(1)
    after = before.with_options(needs={"cpus": 2}, timeout=5, retries=1, retry_delay=Backoff(1.0))
    assert after is not before
    assert options(before).needs == Needs(4, 8 * GIB, 1)
    delay = Backoff(1.0)
    assert options(after)[1:6] == (1, 5, delay, Needs(2), 3)
    again = after.with_options(needs=None, timeout=None)
    assert options(again)[1:6] == (1, None, delay, None, 3)
    assert after._site() == before._site()
    assert options(fit(1).with_options(priority=1)) is options(fit(2).with_options(priority=1))
    assert fit(1).with_options(priority=3)._definition is fit(2)._definition
    assert run([again, fit(3).with_options(needs=None)], backend="serial") == [2, 4]


def test_an_instance_of_a_class_keeps_what_was_set_on_it() -> None:
    made = Smooth(1)
    made.width = 5
    other = made.with_options(needs=None)
    assert type(other) is Smooth
    assert options(other).retries == 2
    made.width = 7
    assert run([made, other], backend="serial") == [8, 6]


def test_the_elements_of_a_map_have_its_options() -> None:
    made = fit.map([1, 2, 3]).with_options(needs=None, priority=0)
    element = made._origin()._definition.element
    assert element is not None
    assert element.options.needs is None
    assert element.origin is fit(1)._definition
    assert run(made, backend="serial") == [2, 3, 4]


def test_a_module_has_no_options() -> None:
    @module
    def compose() -> Ref[int]:
        return fit(1)

    with pytest.raises(GraphError, match="module compose runs in the client and has no such"):
        compose().with_options(priority=1)


def test_needs_travel_to_workers_and_back() -> None:
    needs = Needs(2, 5, 1)
    call = Call("work", (Payload(b"N."),))
    job = Job((1, 1), call, (Payload(b"N."),), needs=needs, devices=("3",))
    frame = ToWorker().jobs([job])
    command: Any = decode_command(frame)
    (read,) = FromWorker().jobs(command, frame[1])
    assert (read.needs, read.devices) == (needs, ("3",))
    new = NewTask(0, 0, None, False, Payload(b"N."), "here", None, needs, -7)
    done = Done((1, 1), More((call,), (new,), (Payload(b"N.", holes=((0, None),)),)), 0.0)
    (event,) = Reports().read(encode_report([done]))
    assert isinstance(event, Done)
    assert isinstance(event.reply, More)
    assert (event.reply.tasks[0].needs, event.reply.tasks[0].priority) == (needs, -7)


@pytest.mark.parametrize("needs", [Needs(0), Needs(1, -1), Needs(1, 0, -2), Needs(1 << 40)])
def test_needs_that_cannot_be_are_refused_on_the_channel(needs: Needs) -> None:
    call = Call("work", (Payload(b"N."),))
    frame = ToWorker().jobs([Job((1, 1), call, (Payload(b"N."),), needs=needs)])
    command: Any = decode_command(frame)
    with pytest.raises(ProtocolError, match="needs what cannot be"):
        FromWorker().jobs(command, frame[1])
    new = NewTask(0, 0, None, False, Payload(b"N."), "here", None, needs)
    done = Done((1, 1), More((call,), (new,), (Payload(b"N."),)), 0.0)
    with pytest.raises(ProtocolError, match="needs what cannot be"):
        Reports().read(encode_report([done]))
