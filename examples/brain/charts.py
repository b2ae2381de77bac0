"""The charts beside the slices, and the colours and letters that all parts share."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import ImageColor, ImageDraw, ImageFont

from imaging import Image

BACKGROUND = "#000000"
TEXT, DIM, FAINT, GRID = "#eef1f6", "#9aa3b5", "#5b6475", "#252b38"
DARK = ("#4aa8ff", "#2dd4d4", "#8f8bff", "#5fd0ff", "#6d8cff", "#3fb8a8")
BRIGHT = ("#ffb347", "#ff7a5c", "#ffe066", "#ff6fa8", "#ffa07a", "#e8c15a")

Box = tuple[int, int, int, int]
"""Left, top, width, height."""


@lru_cache(maxsize=16)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font that comes with Pillow: no other is on every machine."""
    return ImageFont.load_default(size)


def rgb(colour: str) -> tuple[int, int, int]:
    """A colour as numbers."""
    red, green, blue = ImageColor.getrgb(colour)[:3]
    return red, green, blue


def mix(one: str, other: str, share: float) -> str:
    """A colour between two: `share` of the other."""
    parts = (round(a + (b - a) * share) for a, b in zip(rgb(one), rgb(other), strict=True))
    return "#{:02x}{:02x}{:02x}".format(*parts)


def colour_of(name: str) -> str:
    """The colour of a region: cold for D1, D2, ..., warm for B1, B2, ..."""
    family = DARK if name.startswith("D") else BRIGHT
    return family[(int(name[1:]) - 1) % len(family)]


def class_colours(count: int) -> list[str]:
    """From cold, the darkest, over greys to warm, the brightest."""
    greys = [mix("#3a4254", "#b8bfcc", i / max(count - 3, 1)) for i in range(count - 2)]
    return [DARK[0], *greys, BRIGHT[0]]


@dataclass(frozen=True)
class Bars:
    """A histogram of `counts` between `low` and `high`."""

    counts: list[int]
    low: float
    high: float


def count(values: Image) -> Bars:
    """The histogram of brightness; 1 is the brightness of the surroundings."""
    low, high = 0.5, 1.6
    return Bars(np.histogram(values, bins=110, range=(low, high))[0].tolist(), low, high)


def histogram(pen: ImageDraw.ImageDraw, bars: Bars, cuts: list[float], box: Box) -> None:
    """How bright the voxels of the brain are, and where the classes part."""
    x, y, width, height = box
    pen.text((x, y), "brightness in the brain, shading removed", TEXT, font(18))
    floor, room = y + height - 24, height - 60
    step = width / len(bars.counts)
    scale = width / (bars.high - bars.low)
    colours = class_colours(len(cuts) + 1)
    for index, count in enumerate(bars.counts):
        middle = bars.low + (index + 0.5) * step / scale
        left, tall = x + index * step, count / max(*bars.counts, 1) * room
        colour = colours[bisect_right(cuts, middle)]
        pen.rectangle((left, floor - tall, left + step - 1, floor), fill=colour)
    for cut in cuts:
        at = x + (cut - bars.low) * scale
        pen.line((at, floor - room - 4, at, floor), BACKGROUND, 3)
        pen.line((at, floor - room - 4, at, floor), DIM, 1)
    pen.line((x, floor + 1, x + width, floor + 1), FAINT, 1)
    for tick in (0.6, 0.8, 1.0, 1.2, 1.4):
        pen.text(
            (x + (tick - bars.low) * scale, floor + 6), f"{tick:.1f}", DIM, font(16), anchor="ma"
        )


_ROW = 30


def region_chart_height(count: int) -> int:
    """Pixels that the chart of so many regions needs."""
    return 30 + _ROW * max(count, 1) + 30


def region_chart(pen: ImageDraw.ImageDraw, table: dict[str, Any], box: Box) -> None:
    """Each region: name, side, size, and its signal in every volume."""
    x, y, width, height = box
    regions = table["regions"]
    pen.text((x, y), "signal of the regions", TEXT, font(18))
    pen.text((x + width, y + 2), "mean in each volume, 5 to 95 %", DIM, font(16), anchor="ra")
    if not regions:
        pen.text((x, y + 34), "no region was found that is large enough", DIM, font(17))
        return
    left, right = x + 196, x + width - 8
    everything = [n[key] for r in regions for n in r["signal"] for key in ("p05", "p95")]
    low, high = _round_out(min(everything), max(everything))
    scale = (right - left) / (high - low)
    first, last = y + 32, y + height - 28
    for tick in _ticks(low, high):
        at = left + (tick - low) * scale
        pen.line((at, first, at, last), GRID, 1)
        pen.text((at, last + 4), f"{tick:g}", DIM, font(16), anchor="ma")
    for index, region in enumerate(regions):
        middle = first + index * _ROW + _ROW // 2
        colour = colour_of(region["region"])
        pen.text((x, middle), region["region"], colour, font(18), anchor="lm")
        pen.text((x + 36, middle), region["side"], TEXT, font(17), anchor="lm")
        pen.text((left - 20, middle), f"{region['ml']:.1f} ml", DIM, font(17), anchor="rm")
        spread = 12 / len(region["signal"])
        for volume, numbers in enumerate(region["signal"]):
            line = middle + (volume - (len(region["signal"]) - 1) / 2) * spread
            ends = [left + (numbers[key] - low) * scale for key in ("p05", "p95")]
            pen.line((ends[0], line, ends[1], line), mix(colour, BACKGROUND, 0.45), 2)
            at = left + (numbers["mean"] - low) * scale
            pen.ellipse((at - 4, line - 4, at + 4, line + 4), fill=colour)


def _ticks(low: float, high: float) -> list[float]:
    step = _step(high - low)
    return [step * n for n in range(round(low / step), round(high / step) + 1)]


def _round_out(low: float, high: float) -> tuple[float, float]:
    """The ends of an axis that holds both."""
    high = high if high > low else low + 1
    step = _step(high - low)
    return float(np.floor(low / step) * step), float(np.ceil(high / step) * step)


def _step(span: float) -> float:
    """1, 2 or 5 times a power of ten, so that 3 to 7 of them make the span."""
    power = 10.0 ** np.floor(np.log10(span / 4))
    return float(next(power * n for n in (1, 2, 5, 10) if span / (power * n) <= 6.5))
