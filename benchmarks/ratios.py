"""From figures to ratios: what was measured beside what it has to reach.

A ratio is taken within a round, where both had the same machine; the median of the
rounds counts, and the smallest and the largest are shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.measure import Measured
from benchmarks.peers import missing
from benchmarks.table import markdown
from benchmarks.targets import Kind, Line
from benchmarks.workloads import WORKLOADS

__all__ = ["Change", "Result", "change_table", "changes", "judged", "line_table", "shown"]

_SAME = 0.03  # a smaller change than this is not called one
_UNITS: Mapping[Kind, tuple[float, str]] = {
    "rate": (1, "x"),
    "time": (1, "x"),
    "growth": (1, "x"),
    "over": (100, " %"),
    "bytes": (1, " B"),
    "ms": (1, " ms"),
}


@dataclass(frozen=True)
class Result:
    """A line with what was measured.

    Attributes:
        line: The comparison.
        rounds: Its figure in each round in which both were measured.
        lack: Why there is none; empty if there is.
    """

    line: Line
    rounds: Sequence[float]
    lack: str = ""

    @property
    def value(self) -> float:
        """The figure that counts."""
        return median(self.rounds)

    @property
    def verdict(self) -> str:
        """What was reached."""
        if not self.rounds:
            return f"not measured: {self.lack}"
        more = self.line.kind == "rate"

        def reached(target: float) -> bool:
            return self.value >= target if more else self.value <= target

        if reached(self.line.goal):
            return "goal reached"
        return "reached" if reached(self.line.must) else "not reached"


def judged(lines: Sequence[Line], measured: Sequence[Measured]) -> list[Result]:
    """Hold lines against what was measured; leave out those whose workload was not run."""
    by_name = {one.workload: one for one in measured}
    return [_judged(line, by_name[line.workload]) for line in lines if line.workload in by_name]


def _judged(line: Line, found: Measured) -> Result:
    for name in filter(None, (line.ours, line.peer)):
        if name not in found.runs:
            return Result(line, (), f"{name}: {_lack(name, found)}")
    ours = _main(found, line.ours)
    if not line.peer:
        scale = 1e3 if line.kind == "ms" else 1
        rounds = [value * scale for value in ours if value is not None]
    else:
        pairs = zip(ours, _main(found, line.peer), strict=True)
        both = [(own, other) for own, other in pairs if own is not None and other is not None]
        rounds = [other / own if line.kind == "rate" else own / other for own, other in both]
    return Result(line, rounds, "" if rounds else "all rounds failed")


def _lack(name: str, found: Measured) -> str:
    return found.lacks.get(name) or missing(name) or "left out of this run"


def _main(found: Measured, label: str) -> list[float | None]:
    """Return the main figure of each round, for each task if sizes differ."""
    workload = WORKLOADS[found.workload]
    key, n = workload.measures[0].key, found.sizes[label] if workload.each_alike else 1
    return [one[key] / n if one else None for one in found.runs[label]]


def _time(found: Measured, label: str) -> list[float | None]:
    """Return the seconds of each round, or the main figure of what counts no time."""
    key = WORKLOADS[found.workload].measures[0].key
    return [one.get("seconds", one[key]) if one else None for one in found.runs[label]]


def shown(value: float | None, kind: Kind) -> str:
    """Return a figure with its unit."""
    if value is None:
        return "-"
    scale, unit = _UNITS[kind]
    value *= scale
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    text = f"{value:,.{digits}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text}{unit}"


def line_table(results: Sequence[Result]) -> str:
    """Return the lines as Markdown."""
    rows = []
    for result in results:
        line = result.line
        values = result.rounds
        rows.append(
            [
                line.workload,
                line.ours,
                line.peer or "-",
                "more" if line.kind == "rate" else "less",
                shown(line.before, line.kind),
                f"**{shown(result.value, line.kind)}**" if values else "-",
                " - ".join(shown(end, line.kind) for end in (min(values), max(values)))
                if values
                else "-",
                shown(line.must, line.kind),
                shown(line.goal, line.kind),
                result.verdict,
            ]
        )
    heading = ["workload", "ours", "against", "better is", "before", "now", "from - to", "must"]
    return markdown([*heading, "go for", "verdict"], rows)


@dataclass(frozen=True)
class Change:
    """What became of a contender between two checkouts.

    Attributes:
        workload: What was run.
        contender: Who ran it.
        rounds: In each round, this checkout's time or memory by the other's; less is better.
    """

    workload: str
    contender: str
    rounds: Sequence[float]

    @property
    def verdict(self) -> str:
        """What it is if nearly all rounds say so, else that it is noise."""
        ordered = sorted(self.rounds)
        kept = ordered[1:-1] if len(ordered) >= 5 else ordered  # one stray round each way
        if kept[0] > 1 and median(ordered) > 1 + _SAME:
            return "worse"
        if kept[-1] < 1 and median(ordered) < 1 - _SAME:
            return "better"
        return "the same within noise"


def changes(found: Measured, pairs: Mapping[str, str]) -> list[Change]:
    """Compare contenders of two checkouts.

    Args:
        found: What was measured.
        pairs: The label of the other checkout's, by that of this one's.
    """
    made = []
    for own, other in pairs.items():
        if own in found.runs and other in found.runs:
            both = zip(_time(found, own), _time(found, other), strict=True)
            rounds = [now / then for now, then in both if now is not None and then]
            if rounds:
                made.append(Change(found.workload, own, rounds))
    return made


def change_table(found: Sequence[Change]) -> str:
    """Return the changes as Markdown."""
    rows = [
        [
            one.workload,
            one.contender,
            f"**{median(one.rounds):.2f}**",
            f"{min(one.rounds):.2f} - {max(one.rounds):.2f}",
            one.verdict,
        ]
        for one in found
    ]
    return markdown(["workload", "ours", "this / other", "from - to", "verdict"], rows)
