"""Results as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from benchmarks.peers import ALL
from benchmarks.workloads import Figures, Measure

__all__ = ["Cells", "markdown", "rows_of", "written"]

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


def rows_of(
    runs: dict[str, list[Figures]], measures: Sequence[Measure], n: int, *, speed_up: bool = False
) -> tuple[Cells, list[Cells]]:
    """Return the heading and a row for each contender.

    Args:
        runs: By contender, the figures of each repeat.
        measures: The columns.
        n: The workload's size.
        speed_up: Whether to compare our backends with serial, and not peers with ours.
    """
    main = next(measure for measure in measures if measure.ratio)
    middle = {name: _medians(figures) for name, figures in runs.items() if figures}
    last = "speed-up over serial" if speed_up else "against ours"
    table: list[Cells] = [
        ["contender", "workers are", *(m.title for m in measures), "from - to", last]
    ]
    for name, figures in runs.items():
        kind = ALL[name].kind if name in ALL else "-"
        if name not in middle:
            table.append([name, kind, *("failed" for _ in measures), "-", "-"])
            continue
        cells = [
            written(middle[name][m.key], m.form, n) if m.key in middle[name] else "-"
            for m in measures
        ]
        values = [f[main.key] for f in figures]
        spread = f"{written(min(values), main.form, n)} - {written(max(values), main.form, n)}"
        base = "serial" if speed_up else _ours_of_kind(name, middle)
        ratio = "-"
        if base in middle:
            pair = middle[name][main.key], middle[base][main.key]
            above, below = reversed(pair) if speed_up else pair
            ratio = f"{above / below:.2f}" if below > 0 else "-"
        table.append([_shown(name), kind, *cells, spread, ratio])
    # What nobody has anything to say in is left out.
    said = [any(row[i] != "-" for row in table[1:]) for i in range(len(table[0]))]
    table = [[cell for cell, keep in zip(row, said, strict=True) if keep] for row in table]
    return table[0], table[1:]


def _medians(figures: Sequence[Figures]) -> Figures:
    keys = {key for one in figures for key in one}
    return {key: median(one[key] for one in figures if key in one) for key in keys}


def _shown(name: str) -> str:
    return f"**{name}**" if name in ALL and ALL[name].ours else name


def _ours_of_kind(name: str, middle: Mapping[str, Figures]) -> str:
    """Return our backend with the same kind of workers; empty if it was not measured."""
    if name not in ALL:
        return ""
    same = (other for other in middle if ALL[other].ours and ALL[other].kind == ALL[name].kind)
    return next(same, "")


def markdown(heading: Cells, rows: Sequence[Cells]) -> str:
    """Return a Markdown table with its columns in line."""
    widths = [max(len(row[i]) for row in (heading, *rows)) for i in range(len(heading))]
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
