"""One picture of the ratios: how many times better than the peer, and what must be."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.ratios import Result

__all__ = ["draw"]

_COLOURS = {"threads": "#3b6fb6", "procs": "#c9632c", "remote": "#3a8f5c"}
_TITLES = {
    "noop": "no-ops",
    "map": "map of no-ops",
    "roundtrip": "round trip",
    "array": "large array to eight",
    "results": "1 MB results",
}
_GREY = "#8a8a8a"


def draw(results: Sequence[Result], folder: Path) -> list[Path]:
    """Draw what has a peer; write SVG and PNG, and return where.  None without matplotlib."""
    shown = [one for one in results if one.rounds and one.line.peer]
    if not shown or find_spec("matplotlib") is None:
        return []
    matplotlib: Any = import_module("matplotlib")
    matplotlib.use("agg")
    # Text stays text, and the same figures give the same file.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "ratios"})
    pyplot: Any = import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(figsize=(9, 0.27 * len(shown) + 1.6), layout="constrained")
    for place, one in enumerate(reversed(shown)):
        _row(axes, place, one)
    axes.set_xscale("log")
    axes.axvline(1, color="#444444", linewidth=1)
    axes.set_yticks(
        range(len(shown)),
        [
            f"{_TITLES.get(r.line.workload, r.line.workload)}: {r.line.ours} / {r.line.peer}"
            for r in reversed(shown)
        ],
        fontsize=8,
    )
    axes.xaxis.set_major_formatter(lambda value, _place: f"{value:g}x")
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_ylim(-0.7, len(shown) - 0.3)
    axes.set_xlabel("as good as the peer is 1x; further right is better", fontsize=8)
    _legend(axes)
    made = []
    for kind in ("svg", "png"):
        path = folder / f"ratios.{kind}"
        made_by = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(path, dpi=130, metadata=made_by)
        made.append(path)
    pyplot.close(figure)
    svg = made[0]  # matplotlib leaves blanks at the ends of lines
    lines = svg.read_text("utf-8").splitlines()
    svg.write_text("".join(f"{line.rstrip()}\n" for line in lines), "utf-8")
    return made


def better(value: float, kind: str) -> float:
    """Return how many times as good as the peer that is."""
    return value if kind == "rate" else 1 / value


def _row(axes: Any, place: int, one: Result) -> None:
    colour = _COLOURS.get(one.line.ours, _GREY)
    value = better(one.value, one.line.kind)
    ends = sorted(better(end, one.line.kind) for end in (min(one.rounds), max(one.rounds)))
    axes.barh(place, value - 1, left=1, height=0.62, color=colour, alpha=0.85)
    axes.plot(ends, [place, place], color="#222222", linewidth=1)
    must = better(one.line.must, one.line.kind)
    axes.plot([must], [place], marker="|", markersize=11, markeredgewidth=2, color="#111111")
    axes.annotate(
        f"{value:.2g}x" if value < 100 else f"{value:.0f}x",
        (1.01, place),
        xycoords=("axes fraction", "data"),
        va="center",
        fontsize=8,
    )


def _legend(axes: Any) -> None:
    patches: Any = import_module("matplotlib.patches")
    lines: Any = import_module("matplotlib.lines")
    signs = [patches.Patch(color=colour, label=name) for name, colour in _COLOURS.items()]
    signs.append(
        lines.Line2D(
            [], [], marker="|", color="#111111", linestyle="", markersize=11, markeredgewidth=2,
            label="what must be reached",
        )
    )  # fmt: skip
    axes.legend(
        handles=signs, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False,
        fontsize=8,
    )  # fmt: skip
