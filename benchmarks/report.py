"""What a run leaves: JSON with every figure, a page with the tables, and a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.machine import described
from benchmarks.measure import Measured
from benchmarks.plot import draw
from benchmarks.ratios import Result, judged, line_table
from benchmarks.table import figure_table
from benchmarks.targets import LINES
from benchmarks.workloads import WORKLOADS

__all__ = ["from_json", "headed", "to_json", "write"]

_PAGE = """\
# Figures

<!-- Written by `python -m benchmarks --table`; do not edit. -->

How to read them, and how to make them: [Benchmarks](README.md).

{machine}.

## Ratios

{ratios}

{reached}

## Every workload

{figures}
"""

_QUICK = ".\n\n**Only a quick look**, with small sizes and without who starts slowly"


def write(folder: Path, machine: dict[str, Any], measured: Sequence[Measured]) -> list[Path]:
    """Write all into a folder; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    results = judged(LINES, measured)
    data, page = folder / "figures.json", folder / "figures.md"
    data.write_text(to_json(machine, measured), "utf-8")
    text = _PAGE.format(
        machine=described(machine) + (_QUICK if machine.get("quick") else ""),
        ratios=line_table(results),
        reached=reached(results),
        figures="\n\n".join(headed(one, "###") for one in measured),
    )
    page.write_text(text, "utf-8")
    return [data, page, *draw(results, folder)]


def reached(results: Sequence[Result]) -> str:
    """Return how many lines have reached what they must."""
    seen = [one for one in results if one.rounds]
    must = sum(one.verdict != "not reached" for one in seen)
    goal = sum(one.verdict == "goal reached" for one in seen)
    text = f"Of {len(seen)} lines {must} have reached what they must, {goal} of them the goal."
    left = len(results) - len(seen)
    return f"{text} {left} could not be measured." if left else text


def headed(one: Measured, marks: str) -> str:
    """Return the table of a workload under its title."""
    title = WORKLOADS[one.workload].title.format(n=max(one.sizes.values(), default=0))
    return f"{marks} {one.workload}: {title}\n\n{figure_table(one)}\n\nLoad {one.load:.1f} before."


def to_json(machine: dict[str, Any], measured: Sequence[Measured]) -> str:
    """Return every figure, and the lines that they were held against."""
    lines = [
        {
            **one.line._asdict(),
            "value": one.value if one.rounds else None,
            "rounds": list(one.rounds),
            "verdict": one.verdict,
        }
        for one in judged(LINES, measured)
    ]
    content = {"machine": machine, "lines": lines, "measured": [asdict(one) for one in measured]}
    return json.dumps(content, indent=1) + "\n"


def from_json(text: str) -> tuple[dict[str, Any], list[Measured]]:
    """Return what `to_json` was given."""
    content = json.loads(text)
    return content["machine"], [Measured(**one) for one in content["measured"]]
