"""What is done with a scan: modules that say what depends on what, and their tasks.

    study > volume > plane              as deep as the data: volumes, slices
    segment > islands > describe        as wide as what was found: classes, regions, volumes
    montage                             as wide as the brain: slices

The tasks call the plain functions of `imaging.py`, `report.py` and `picture.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import charts
import imaging
import picture
import report
from fancypipe_core import module, task
from imaging import Image, Mask, Region
from picture import Pixels, Spot, View
from scan import Scan, read_volume

REACH = 2
"""A slice is denoised with so many slices above and below it."""
BLUR_MM = 1.4
"""Width of the smoothing before voxels are told apart by their intensity."""
SHADING_MM = 28.0
"""A trend as wide as this is shading by the receive coil, not anatomy."""
DEPTH_MM = 20.0
"""Regions are sought this far inside; nearer the surface, the folds of the cortex all touch."""
CLASSES = 5
"""Intensity classes in the brain; the darkest and the brightest are looked at."""


@module
def study(
    scan: Scan, out: Path, volumes: int | None, strength: float, search: int, smallest: float
) -> Any:
    """The whole scan: as many modules `volume` as its header says it has."""
    count = min(volumes or scan.volumes, scan.volumes)
    raw = [load(scan, number) for number in range(count)]
    each = [volume(scan, voxels, strength, search) for voxels in raw]
    clean = [one["clean"] for one in each]
    mask = common([one["mask"] for one in each])
    flat = even_out(scan, [one["smooth"] for one in each], mask)
    found = segment(scan, flat, mask, clean, smallest)
    table = tabulate(scan, [one["quality"] for one in each], found)
    drawing = montage(scan, raw[0], clean[0], flat, mask, found, table)
    files = {"regions.json": as_json(table), "regions.csv": as_csv(table), "montage.png": drawing}
    return save(out, files, table)


@module
def volume(scan: Scan, raw: Image, strength: float, search: int) -> Any:
    """One volume: its slices apart, then what needs them all, then the slices apart again."""
    noise = noise_level(raw)
    brightest = float(raw.max())
    planes = []
    for number in range(len(raw)):
        first = max(number - REACH, 0)
        slab = raw[first : number + REACH + 1]
        planes.append(plane(slab, number - first, noise * strength, search, brightest))
    clean = stack([one["clean"] for one in planes])
    # The threshold needs the histograms of the slices, not the slices.
    level = otsu_level([one["counts"] for one in planes], brightest)
    mask = brain_mask(clean, level)
    blurred = [smooth_slice(scan, one["clean"], mask[number]) for number, one in enumerate(planes)]
    return {
        "clean": clean,
        "mask": mask,
        "smooth": stack(blurred),
        "quality": quality(scan, noise, clean, level, mask),
    }


@module
def plane(slab: Image, middle: int, strength: float, search: int, brightest: float) -> Any:
    """One slice of one volume."""
    clean = denoise(slab, middle, strength, search)
    return {"clean": clean, "counts": histogram(clean, brightest)}


@task(name="load volume")
def load(scan: Scan, number: int) -> Image:
    """The voxels of one volume."""
    return read_volume(scan, number)


@task(name="noise level")
def noise_level(raw: Image) -> float:
    """Standard deviation of the noise in a volume."""
    return imaging.noise_level(raw)


@task
def denoise(slab: Image, middle: int, strength: float, search: int) -> Image:
    """One slice by non-local means; nearly all time of the pipeline is spent here."""
    return imaging.denoise(slab, middle, strength, search)


@task
def histogram(clean: Image, brightest: float) -> NDArray[np.int64]:
    """How often each intensity occurs in a slice."""
    return imaging.histogram(clean, brightest)


@task(name="otsu")
def otsu_level(counts: list[NDArray[np.int64]], brightest: float) -> float:
    """The intensity that parts the brain from the dark around it."""
    total = np.sum(counts, axis=0)
    return imaging.otsu(total)[0] * brightest / len(total)


@task(name="brain mask")
def brain_mask(clean: Image, level: float) -> Mask:
    """The voxels of the brain."""
    return imaging.brain_mask(clean, level)


@task(name="smooth")
def smooth_slice(scan: Scan, clean: Image, mask: Mask) -> Image:
    """A slice smoothed among the voxels of the brain."""
    return imaging.smooth(clean, mask, scan.widths(BLUR_MM)[1:])


@task
def stack(planes: list[Image]) -> Image:
    """Slices to a volume."""
    return np.stack(planes)


@task
def quality(scan: Scan, noise: float, clean: Image, level: float, mask: Mask) -> dict[str, float]:
    """What there is to say about a whole volume."""
    return {
        "noise": noise,
        "noise_left": imaging.noise_level(clean),
        "otsu_level": level,
        "brain_voxels": int(np.count_nonzero(mask)),
        "brain_ml": float(np.count_nonzero(mask) * scan.voxel_ml),
    }


@task(name="common mask")
def common(masks: list[Mask]) -> Mask:
    """The voxels that are brain in every volume."""
    shared = masks[0]
    for mask in masks[1:]:
        shared = shared & mask
    return shared


@task(name="remove shading")
def even_out(scan: Scan, smooth: list[Image], mask: Mask) -> Image:
    """The mean of all volumes without the shading; 1 is the brightness of the surroundings."""
    mean: Image = np.stack(smooth).mean(axis=0)
    return imaging.flatten(mean, mask, scan.widths(SHADING_MM))


@task
def segment(
    scan: Scan, flat: Image, mask: Mask, clean: list[Image], smallest: float
) -> dict[str, Any]:
    """Part the brain by intensity, then look for islands in the darkest and brightest part.

    A task, not a module: the work is done on a worker, and what it returns are references
    to further tasks, whose number nobody could know before.
    """
    core = imaging.erode(mask, round(scan.widths(DEPTH_MM)[1]))
    if not core.any():
        raise ValueError(f"this brain is too small: nothing lies {DEPTH_MM:g} mm below its surface")
    cuts = imaging.thresholds(flat[core], CLASSES)
    return {
        "cuts": cuts,
        "middle_mm": scan.position(*imaging.centre(mask))[0],
        "dark": islands(scan, "dark", core & (flat < cuts[0]), clean, smallest),
        "bright": islands(scan, "bright", core & (flat >= cuts[-1]), clean, smallest),
    }


@task
def islands(scan: Scan, kind: str, where: Mask, clean: list[Image], smallest: float) -> list[Any]:
    """A description of each connected region: more tasks, again as many as were found."""
    found = imaging.regions(where, kind, smallest / scan.voxel_ml)
    return [describe(scan, region, [one[region.box] for one in clean]) for region in found]


@module
def describe(scan: Scan, region: Region, values: list[Image]) -> dict[str, Any]:
    """One region: where it is, and its intensity in every volume."""
    return {
        "region": region,
        "place": place(scan, region),
        "signal": [signal(region, inside) for inside in values],
    }


@task
def place(scan: Scan, region: Region) -> dict[str, Any]:
    """Size and place of a region."""
    voxels = int(np.count_nonzero(region.shape))
    return {
        "voxels": voxels,
        "ml": voxels * scan.voxel_ml,
        "centre_mm": scan.position(*imaging.centre(region.shape, region.start)),
    }


@task
def signal(region: Region, inside: Image) -> dict[str, float]:
    """The intensity of a region in one volume."""
    return imaging.statistics(inside[region.shape])


@task
def tabulate(scan: Scan, volumes: list[dict[str, float]], found: dict[str, Any]) -> dict[str, Any]:
    """All numbers of the report."""
    return report.tabulate(scan, volumes, found)


@task(name="write JSON")
def as_json(table: dict[str, Any]) -> bytes:
    """The report for programs."""
    return report.as_json(table)


@task(name="write CSV")
def as_csv(table: dict[str, Any]) -> bytes:
    """The regions for spreadsheets."""
    return report.as_csv(table)


@module
def montage(
    scan: Scan,
    raw: Image,
    clean: Image,
    flat: Image,
    mask: Mask,
    found: dict[str, Any],
    table: dict[str, Any],
) -> Any:
    """The report for people: one task for each slice that holds brain, one to join them."""
    view = picture.frame(scan, clean, mask)
    every = [one["region"] for kind in ("dark", "bright") for one in found[kind]]
    named = {row["region"]: region for row, region in zip(table["regions"], every, strict=True)}
    inside = {n: picture.spots(named, n, mask[n].shape) for n in picture.slices(mask)}
    tiles = [
        draw_tile(view, f"{scan.height(n):+.0f} mm", clean[n], mask[n], cut)
        for n, cut in inside.items()
    ]
    middle = scan.shape[0] // 2
    n = max(inside, key=lambda number: (len(inside[number]), -abs(number - middle)))
    steps = draw_steps(view, raw[n], clean[n], flat[n], mask[n], found["cuts"])
    return draw_page(view, tiles, steps, charts.count(flat[mask]), table)


@task(name="draw slice")
def draw_tile(view: View, title: str, clean: Image, mask: Mask, inside: list[Spot]) -> Pixels:
    """A slice and what was found in it."""
    return picture.tile(view, title, clean, mask, inside)


@task(name="draw steps")
def draw_steps(
    view: View, raw: Image, clean: Image, flat: Image, mask: Mask, cuts: list[float]
) -> dict[str, Pixels]:
    """A slice after each step."""
    return picture.steps(view, raw, clean, flat, mask, cuts)


@task(name="draw page")
def draw_page(
    view: View,
    tiles: list[Pixels],
    steps: dict[str, Pixels],
    bars: charts.Bars,
    table: dict[str, Any],
) -> bytes:
    """The whole picture as a PNG file."""
    return picture.montage(view, tiles, steps, bars, table)


@task(cache=False)  # files that were removed are written again
def save(out: Path, files: dict[str, bytes], table: dict[str, Any]) -> dict[str, Any]:
    """Write the files; return what the user sees first."""
    out.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (out / name).write_bytes(content)
    return {"folder": str(out), "files": list(files), **report.summary(table)}
