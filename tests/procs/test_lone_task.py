"""What a lone task passes through is counted: on a busy machine a time says nothing."""

from __future__ import annotations

from benchmarks import lone_task
from fancypipe_core import Session
from fancypipe_core.toolkit import boot_clock

# What stands between these and the figures of decision 0022 is for other versions of Python.
# Four files came with parts that got a module of their own: the listener, the folder, what a
# session is equipped with, and who drives its loop.
_CALLS, _FILES, _CALLS_OF_MANY = 260, 51, 14


def test_a_lone_task_passes_through_little() -> None:
    with Session("procs", 2) as session:
        session.run([lone_task.noop(number) for number in range(100)])
        session.run(lone_task.noop(0))
        alone, together = lone_task.lone(session), lone_task.many(session)
    assert alone.calls <= _CALLS, alone
    assert len(alone.files) <= _FILES, alone
    assert together.calls <= _CALLS_OF_MANY, together


def test_the_count_sees_calls() -> None:
    def called() -> int:
        return 1

    assert lone_task.counted(lambda: [called() for _ in range(20)], 20).calls >= 1
    assert lone_task.counted(boot_clock, 1).files == {"fancypipe_core/_base/strays.py": 1}
