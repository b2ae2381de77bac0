"""Results as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from benchmarks.measure import Measured
from benchmarks.peers import ALL
from benchmarks.workloads import WORKLOADS

__all__ = ["Cells", "figure_table", "markdown", "written"]

Cells = Sequence[str]


def written(value: float, form: str, n: int) -> str:
    """Return a number with its unit, three digits of it."""
    if form == "rate":
        return f"{_digits(n / value)}"
    if form == "bytes":
        for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
            if value >= size:
                return f"{_digits(value / size)} {unit}"
        return f"{value:.0f} B"
    if form == "times":
        return f"{value:.2f}x"
    if form == "percent":
        return f"{value * 100:.1f} %"
    if form == "count":
        return f"{value:,.0f}"
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{_digits(value / size)} {unit}"
    return f"{_digits(value * 1e6)} µs"


def _digits(value: float) -> str:
    if value >= 100:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def figure_table(found: Measured) -> str:
    """Return what was measured of a workload, a row for each contender."""
    workload = WORKLOADS[found.workload]
    main, *others = workload.measures
    runs = {label: [one for one in all_ if one] for label, all_ in found.runs.items()}
    heading = ["contender", "workers are", "n", main.title, "from - to"]
    rows: list[Cells] = []
    for label, figures in runs.items():
        n = found.sizes[label]
        values = [one[main.key] for one in figures]
        rows.append(
            [
                label,
                ALL[label.split(" @ ")[0]].kind,
                f"{n:,}",
                f"**{written(median(values), main.form, n)}**",
                f"{written(min(values), main.form, n)} - {written(max(values), main.form, n)}",
                *(
                    written(median(one[other.key] for one in figures), other.form, n)
                    for other in others
                ),
            ]
        )
    text = markdown([*heading, *(other.title for other in others)], rows)
    lacks = "".join(f"\n- {label}: {why}" for label, why in found.lacks.items())
    return text + (f"\n\nNot measured:\n{lacks}" if lacks else "")


def markdown(heading: Cells, rows: Sequence[Cells]) -> str:
    """Return a Markdown table with its columns in line."""
    widths = [max(2, *(len(row[i]) for row in (heading, *rows))) for i in range(len(heading))]
    texts = [
        not any(row[i].lstrip("*-")[:1].isdigit() for row in rows) for i in range(len(heading))
    ]

    def line(cells: Cells) -> str:
        columns = zip(cells, widths, texts, strict=True)
        return " | ".join(c.ljust(width) if text else c.rjust(width) for c, width, text in columns)

    rules = [
        "-" * width if text else "-" * (width - 1) + ":"
        for width, text in zip(widths, texts, strict=True)
    ]
    return "\n".join(f"| {row} |" for row in (line(heading), " | ".join(rules), *map(line, rows)))
