"""The report for people: every slice with what was found, how it was found, what it measures.

Drawn with Pillow alone, in its own font: the same picture, bit for bit, wherever the same
Pillow is installed. Drawing a few tiles and bars did not seem worth all of matplotlib.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw, ImageFilter

import charts
from charts import BACKGROUND, DIM, FAINT, TEXT, colour_of, font, mix
from imaging import Image, Mask, Region, erode
from scan import Scan

OUTLINE = "#7ee787"
TILE = (212, 276)
"""Pixels that a slice may take."""
COLUMNS, MOST = 6, 24
MARGIN, TOP, GAP, SIDE = 36, 132, 10, 470
FINE = 2
"""Slices are drawn so many times larger, then reduced: smooth lines."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class View:
    """Which part of a slice is shown and how large: the brain, the same for every slice."""

    rows: slice
    columns: slice
    size: tuple[int, int]
    pixels_per_mm: float
    window: tuple[float, float]
    """The signal that is drawn black and that drawn white, the same for every slice."""

    def enlarge(self, plane: NDArray[Any], low: float, high: float) -> Picture.Image:
        """A slice in grey, forwards up, from black at `low` to white at `high`."""
        part = np.ascontiguousarray(plane[self.rows, self.columns][::-1], dtype=np.float32)
        fine = (self.size[0] * FINE, self.size[1] * FINE)
        large = np.asarray(Picture.fromarray(part).resize(fine, Picture.Resampling.BICUBIC))
        grey = np.clip((large - low) / (high - low) * 255, 0, 255)
        return Picture.fromarray(grey.astype(np.uint8))

    def shape(self, plane: Mask) -> Mask:
        """A mask, smooth at its border."""
        soft = self.enlarge(plane, 0.0, 1.0).filter(ImageFilter.GaussianBlur(FINE))
        return np.asarray(soft) > 127

    def spot(self, y: float, x: float) -> tuple[float, float]:
        """Where in the picture of a slice a voxel is."""
        width, height = self.columns.stop - self.columns.start, self.rows.stop - self.rows.start
        return (
            (x - self.columns.start + 0.5) / width * self.size[0],
            (self.rows.stop - 0.5 - y) / height * self.size[1],
        )


@dataclass(frozen=True)
class Spot:
    """What is seen of a region in one slice; `labelled` in the slice where it is widest."""

    name: str
    shape: Mask
    labelled: bool


def frame(scan: Scan, clean: Image, mask: Mask) -> View:
    """The view that shows the whole brain."""
    rows = np.flatnonzero(mask.any(axis=(0, 2)))
    columns = np.flatnonzero(mask.any(axis=(0, 1)))
    border = 4
    y = slice(max(int(rows[0]) - border, 0), min(int(rows[-1]) + 1 + border, mask.shape[1]))
    x = slice(max(int(columns[0]) - border, 0), min(int(columns[-1]) + 1 + border, mask.shape[2]))
    height, width = (y.stop - y.start) * scan.spacing[1], (x.stop - x.start) * scan.spacing[2]
    scale = min(TILE[0] / width, TILE[1] / height)
    size = (round(width * scale), round(height * scale))
    low, high = np.percentile(clean[mask], [0.5, 99.0])
    return View(y, x, size, scale, (float(low), float(high)))


def spots(regions: dict[str, Region], number: int, shape: tuple[int, ...]) -> list[Spot]:
    """The regions that a slice cuts."""
    found = []
    for name, region in regions.items():
        z, y, x = region.box
        if z.start <= number < z.stop:
            plane = np.zeros(shape, dtype=np.bool_)
            plane[y, x] = region.shape[number - z.start]
            widest = z.start + int(region.shape.sum(axis=(1, 2)).argmax())
            found.append(Spot(name, plane, number == widest))
    return found


def slices(mask: Mask) -> list[int]:
    """The slices to show: all that hold brain, or some of them at equal steps."""
    brain = np.flatnonzero(mask.any(axis=(1, 2)))
    chosen = np.linspace(0, len(brain) - 1, min(MOST, len(brain))).round().astype(int)
    return [int(brain[index]) for index in chosen]


def tile(view: View, title: str, clean: Image, mask: Mask, inside: list[Spot]) -> Pixels:
    """One slice with the outline of the brain and the regions in it."""
    picture = view.enlarge(clean, *view.window).convert("RGB")
    for spot in inside:
        shape = view.shape(spot.shape)
        _paint(picture, colour_of(spot.name), shape, 0.4)
        _paint(picture, colour_of(spot.name), shape & ~_shrunk(shape), 1.0)
    brain = view.shape(mask)
    _paint(picture, OUTLINE, brain & ~_shrunk(brain), 0.6)
    picture = picture.reduce(FINE)
    pen = ImageDraw.Draw(picture)
    width, height = view.size
    pen.text((4, 2), title, DIM, font(17))
    pen.text((4, height - 4), "L", FAINT, font(16), anchor="ld")
    pen.text((width - 4, height - 4), "R", FAINT, font(16), anchor="rd")
    for spot in inside:
        if spot.labelled:
            y, x = np.nonzero(spot.shape)
            at = view.spot(float(y[x.argmax()]), float(x.max()) + 1.0)
            light = mix(colour_of(spot.name), "#ffffff", 0.4)
            pen.text(at, spot.name, light, font(17), "lm", stroke_width=3, stroke_fill=BACKGROUND)
    return np.array(picture)


def _paint(picture: Picture.Image, colour: str, where: Mask, share: float) -> None:
    opacity = Picture.fromarray(where.astype(np.uint8) * np.uint8(round(255 * share)))
    picture.paste(Picture.new("RGB", picture.size, colour), mask=opacity)


def _shrunk(shape: Mask) -> Mask:
    inner: Mask = erode(shape[None], FINE)[0]
    return inner


def montage(
    view: View,
    tiles: list[Pixels],
    steps: dict[str, Pixels],
    histogram: charts.Bars,
    table: dict[str, Any],
) -> bytes:
    """The whole picture, as the content of a PNG file."""
    columns = min(COLUMNS, len(tiles))
    width, height = view.size
    grid_width = columns * (width + GAP) - GAP
    side = MARGIN + grid_width + 44
    grid_bottom = TOP + -(-len(tiles) // columns) * (height + GAP)
    chart_height = charts.region_chart_height(len(table["regions"]))
    chart_top = TOP + 2 * (height + 42) + 236
    bottom = max(grid_bottom + 84, chart_top + chart_height + MARGIN)
    page = Picture.new("RGB", (side + SIDE + MARGIN, bottom), BACKGROUND)
    pen = ImageDraw.Draw(page)
    _header(pen, table)
    for index, pixels in enumerate(tiles):
        x, y = index % columns * (width + GAP), index // columns * (height + GAP)
        page.paste(Picture.fromarray(pixels), (MARGIN + x, TOP + y))
    _legend(page, view, MARGIN, grid_bottom + 18, grid_width)
    for index, (title, pixels) in enumerate(steps.items()):
        x, y = index % 2 * (SIDE - width), index // 2 * (height + 42)
        page.paste(Picture.fromarray(pixels), (side + x, TOP + y + 28))
        pen.text((side + x, TOP + y), title, TEXT, font(18))
    charts.histogram(pen, histogram, table["class_limits"], (side, chart_top - 236, SIDE, 190))
    charts.region_chart(pen, table, (side, chart_top, SIDE, chart_height))
    file = io.BytesIO()
    page.save(file, "PNG")
    return file.getvalue()


def _header(pen: ImageDraw.ImageDraw, table: dict[str, Any]) -> None:
    pen.text((MARGIN, 30), "Dark and bright regions deep in the brain", TEXT, font(38))
    first = table["volumes"][0]
    size = " x ".join(str(n) for n in table["shape"])
    step = " x ".join(f"{mm:.1f}" for mm in table["voxel_mm"])
    count = len(table["volumes"])
    parts = [
        table["image"],
        f"{size} voxels of {step} mm",
        f"{count} volume{'s' if count > 1 else ''}",
        f"brain {first['brain_ml']:.0f} ml",
        f"noise {first['noise']:.1f}, after denoising {first['noise_left']:.1f}",
        f"{len(table['regions'])} regions",
    ]
    pen.text((MARGIN, 84), "   ·   ".join(parts), DIM, font(21))


def _legend(page: Picture.Image, view: View, x: int, y: int, width: int) -> None:
    """Grey scale, scale bar and colours, below the slices."""
    pen = ImageDraw.Draw(page)
    bar = Picture.linear_gradient("L").rotate(90).resize((180, 16))
    page.paste(bar.convert("RGB"), (x, y))
    pen.rectangle((x - 1, y - 1, x + 180, y + 16), outline=FAINT)
    low, high = view.window
    pen.text((x, y + 21), f"{low:.0f}", DIM, font(16))
    pen.text((x + 90, y + 21), "signal", DIM, font(16), anchor="ma")
    pen.text((x + 180, y + 21), f"{high:.0f}", DIM, font(16), anchor="ra")
    length = round(50 * view.pixels_per_mm)
    pen.line((x + 230, y + 8, x + 230 + length, y + 8), TEXT, 3)
    pen.text((x + 230 + length / 2, y + 21), "50 mm", DIM, font(16), anchor="ma")
    at = x + 270 + length
    labels = {"brain mask": OUTLINE, "dark": colour_of("D1"), "bright": colour_of("B1")}
    for label, colour in labels.items():
        chip = (at, y, at + 16, y + 16)
        pen.rounded_rectangle(chip, 4, mix(colour, BACKGROUND, 0.5), colour, 2)
        pen.text((at + 25, y + 8), label, TEXT, font(18), anchor="lm")
        at += 55 + round(font(18).getlength(label))
    words = "axial slices from below upwards, seen from above"
    pen.text((x + width, y + 8), words, DIM, font(18), anchor="rm")


def steps(
    view: View, raw: Image, clean: Image, flat: Image, mask: Mask, cuts: list[float]
) -> dict[str, Pixels]:
    """One slice as it goes through the pipeline."""
    removed = raw - clean
    limit = max(4 * float(np.std(removed[mask], dtype=np.float64)), 1e-6)
    noise = np.where(mask, removed, np.float32(-limit))
    pictures = {
        "measured": view.enlarge(raw, *view.window),
        "denoised": view.enlarge(clean, *view.window),
        f"removed (-{limit:.0f} to {limit:.0f})": view.enlarge(noise, -limit, limit),
        f"{len(cuts) + 1} classes of brightness": _classes(view, flat, mask, cuts),
    }
    return {
        title: np.array(picture.convert("RGB").reduce(FINE)) for title, picture in pictures.items()
    }


def _classes(view: View, flat: Image, mask: Mask, cuts: list[float]) -> Picture.Image:
    large = np.asarray(view.enlarge(flat, 0.4, 1.8), dtype=np.float32) / 255 * 1.4 + 0.4
    colours = np.array([charts.rgb(c) for c in charts.class_colours(len(cuts) + 1)], np.uint8)
    painted = colours[np.digitize(large, cuts)]
    painted[~view.shape(mask)] = charts.rgb(BACKGROUND)
    return Picture.fromarray(painted)
