"""What the figures are held against: one line for each, and no code."""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["LINES", "Kind", "Line"]

Kind = Literal["rate", "time", "growth", "over", "bytes", "ms"]


class Line(NamedTuple):
    """A comparison with what it has to reach.

    Attributes:
        workload: Its name.
        ours: The contender that is judged.
        peer: Who it is compared with; empty where a figure counts as it is.
        kind: What is compared, and thereby which way is better.
            `rate`: how many times as fast as the peer, more is better;
            `time`: how many times the peer's time, less is better;
            `growth`: how many times the data memory grows by;
            `over`: the part of the ideal time by which it is over it;
            `bytes`: for each task; `ms`: milliseconds.
        before: The figure when the targets were set; None if there was none.
        must: What has to be reached.
        goal: What we go for.
    """

    workload: str
    ours: str
    peer: str
    kind: Kind
    before: float | None
    must: float
    goal: float


LINES = [
    Line("noop", "threads", "ThreadPoolExecutor", "rate", 1.5, 2.5, 4),
    Line("noop", "procs", "ProcessPoolExecutor", "rate", 7, 12, 20),
    Line("noop", "procs", "Pool", "rate", 2.8, 5, 6),
    Line("noop", "remote", "distributed", "rate", 9, 25, 50),
    Line("noop", "remote", "ray", "rate", 9, 25, 50),
    Line("noop-cpu", "procs-journal", "procs", "time", 1.8, 1.15, 1.08),
    Line("map", "procs", "joblib", "rate", None, 2, 4),
    Line("map", "procs", "Pool", "rate", None, 0.5, 1),
    Line("roundtrip", "threads", "ThreadPoolExecutor", "time", 6.2, 3, 2),
    Line("roundtrip", "procs", "ProcessPoolExecutor", "time", 1.8, 0.9, 0.5),
    Line("roundtrip", "remote", "ray", "time", 1.6, 0.4, 0.15),
    Line("roundtrip", "remote", "manager queue", "time", 11.7, 3, 1.2),
    Line("chain", "threads", "dask-threads", "time", 1.15, 0.3, 0.1),
    Line("chain", "procs", "threads", "time", 2.7, 2, 1),
    Line("chain", "remote", "ray", "time", 0.9, 0.05, 0.02),
    Line("tree", "threads", "ThreadPoolExecutor", "time", 1.3, 0.8, 0.3),
    Line("tree", "remote", "distributed", "time", 0.13, 0.05, 0.03),
    Line("layers", "threads", "ThreadPoolExecutor", "time", 2.4, 1.2, 0.5),
    Line("layers", "procs", "dask-processes", "time", 1.1, 0.3, 0.12),
    Line("array", "procs", "ThreadPoolExecutor", "time", 23, 2.5, 1.2),
    Line("array-memory", "procs", "", "growth", 4.0, 1.3, 1.1),
    Line("array", "remote", "distributed", "time", 18, 1, 0.5),
    Line("results", "procs", "Pool", "rate", 0.42, 1.5, 2),
    Line("results", "remote", "ray", "rate", 0.29, 1, 1.2),
    Line("mixed", "procs", "", "over", 0.08, 0.03, 0.01),
    Line("mixed", "remote", "", "over", 0.15, 0.05, 0.02),
    Line("sleeps", "remote", "", "over", 0.56, 0.06, 0.03),
    Line("sleeps", "remote-far", "", "over", None, 0.15, 0.08),
    Line("memory", "serial", "", "bytes", 943, 700, 600),
    Line("memory", "threads", "", "bytes", 943, 700, 600),
    Line("memory", "procs", "", "bytes", 1117, 700, 600),
    Line("start", "serial", "", "ms", 156, 90, 60),
    Line("start", "threads", "", "ms", 143, 90, 60),
    Line("start", "procs", "", "ms", 360, 200, 110),
    Line("start", "remote", "", "ms", 763, 350, 180),
]
