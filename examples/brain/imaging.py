"""Image analysis in plain numpy: what the tasks of the pipeline call.

Volumes are indexed `[z, y, x]`: upwards, forwards, to the right of the person in the
scanner. So `volume[k]` is one axial slice, contiguous in memory. No function changes its
input, because on the serial and thread backends several tasks share one array.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]
Labels = NDArray[np.int32]


@dataclass(frozen=True)
class Region:
    """A connected set of voxels: its bounding box begins at `start` and `shape` fills it."""

    kind: str
    start: tuple[int, int, int]
    shape: Mask

    @property
    def box(self) -> tuple[slice, slice, slice]:
        """The part of a volume that holds the region."""
        z, y, x = (slice(a, a + n) for a, n in zip(self.start, self.shape.shape, strict=True))
        return z, y, x


def noise_level(volume: Image) -> float:
    """Standard deviation of the noise, from what a second difference in the plane leaves.

    Anatomy leaves something too, so this is an upper estimate; the median keeps edges out.
    """
    second = volume[:, :, 2:] - 2 * volume[:, :, 1:-1] + volume[:, :, :-2]
    mixed = second[:, 2:] - 2 * second[:, 1:-1] + second[:, :-2]
    inside = volume[:, 1:-1, 1:-1] > volume.mean(dtype=np.float64)
    if not inside.any():
        return 0.0
    # 36 is the sum of the squared weights of the stencil, 0.6745 the median of |N(0, 1)|.
    return float(np.median(np.abs(mixed[inside]))) / 0.6745 / 6.0


def denoise(slab: Image, middle: int, strength: float, search: int = 10) -> Image:
    """Non-local means: plane `middle` of `slab`, each voxel an average of voxels like it.

    Every voxel within `search` steps in the plane, in every plane of the slab, counts with
    the weight `exp(-d / strength**2)`, where `d` is the mean squared difference of the two
    3x3 neighbourhoods (Buades, Coll and Morel 2005).
    """
    plane: Image = slab[middle]
    if strength <= 0:
        return plane.copy()
    rows, columns = plane.shape
    count, border = 2 * search + 1, search + 1
    padded = np.pad(slab, ((0, 0), (border, border), (border, border)), mode="edge")
    here = np.pad(plane, 1, mode="edge")
    total, weights = np.zeros_like(plane), np.zeros_like(plane)
    scale = np.float32(-1.0 / (9.0 * strength**2))
    # One column of shifts at a time, into the same memory: arrays small enough for the
    # cache, and large enough that threads seldom meet at the interpreter lock.
    square = np.empty((count, rows + 2, columns + 2), dtype=np.float32)
    tall = np.empty((count, rows, columns + 2), dtype=np.float32)
    weight = np.empty((count, rows, columns), dtype=np.float32)
    for other, dx in product(padded, range(count)):
        strip = other[:, dx : dx + columns + 2]
        shifted = np.moveaxis(sliding_window_view(strip, rows + 2, axis=0), 2, 1)
        np.subtract(here, shifted, out=square)
        np.multiply(square, square, out=square)
        np.add(square[:, :-2], square[:, 1:-1], out=tall)
        np.add(tall, square[:, 2:], out=tall)
        np.add(tall[:, :, :-2], tall[:, :, 1:-1], out=weight)
        np.add(weight, tall[:, :, 2:], out=weight)
        np.multiply(weight, scale, out=weight)
        np.exp(weight, out=weight)
        weights += weight.sum(axis=0)
        np.multiply(weight, shifted[:, 1:-1, 1:-1], out=weight)
        total += weight.sum(axis=0)
    result: Image = total / weights
    return result


def otsu(counts: NDArray[np.int64], classes: int = 2) -> list[int]:
    """Where to cut a histogram into `classes` so that they differ most (Otsu 1979).

    Returns `classes - 1` bins, each the first of the next class. The optimum is exact for
    any number of classes: the best cut of the first `j` bins into `c` classes extends the
    best cut of some first `i` bins into `c - 1`.
    """
    bins = len(counts)
    weight = np.concatenate([[0.0], np.cumsum(counts, dtype=np.float64)])
    moment = np.concatenate([[0.0], np.cumsum(counts * np.arange(bins, dtype=np.float64))])
    mass = weight[None, :] - weight[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = np.square(moment[None, :] - moment[:, None]) / mass
    # A class holds at least one voxel; entry [i, j] is a class of the bins i to j - 1.
    gain[~(mass > 0)] = -np.inf
    best = gain[0]
    came_from = []
    for _ in range(classes - 1):
        candidates = best[:, None] + gain
        came_from.append(candidates.argmax(axis=0))
        best = candidates.max(axis=0)
    if not np.isfinite(best[-1]):
        raise ValueError(
            f"a histogram with {np.count_nonzero(counts)} used bins "
            f"cannot be cut into {classes} classes"
        )
    cuts = [bins]
    for origin in reversed(came_from):
        cuts.append(int(origin[cuts[-1]]))
    return cuts[:0:-1]


def histogram(values: Image, top: float, bins: int = 256) -> NDArray[np.int64]:
    """How often the values fall into each of `bins` equal steps from 0 to `top`."""
    return np.histogram(values, bins=bins, range=(0.0, max(top, 1e-6)))[0]


def thresholds(values: Image, classes: int = 2, bins: int = 256) -> list[float]:
    """The intensities that part `values` into `classes`, by Otsu's method."""
    counts, edges = np.histogram(values, bins=bins)
    return [float(edges[cut]) for cut in otsu(counts, classes)]


def gaussian(image: Image, widths: Sequence[float]) -> Image:
    """Gaussian smoothing with one width (standard deviation, in voxels) for each axis."""
    for axis, width in enumerate(widths):
        if width <= 0:
            continue
        radius = max(1, math.ceil(3 * width))
        kernel = np.exp(-0.5 * np.square(np.arange(-radius, radius + 1) / width))
        kernel = (kernel / kernel.sum()).astype(np.float32)
        border = [(radius, radius) if a == axis else (0, 0) for a in range(image.ndim)]
        padded = np.moveaxis(np.pad(image, border, mode="edge"), axis, 0)
        length = image.shape[axis]
        smooth = sum(k * padded[i : i + length] for i, k in enumerate(kernel))
        image = np.ascontiguousarray(np.moveaxis(smooth, 0, axis))
    return image


def smooth(image: Image, mask: Mask, widths: Sequence[float]) -> Image:
    """Gaussian smoothing among the voxels of the mask only; zero outside.

    What is outside does not bleed in: a constant stays constant up to the edge of the mask.
    """
    weight = gaussian(mask.astype(np.float32), widths)
    blurred = gaussian(np.where(mask, image, np.float32(0)), widths)
    return np.where(mask, blurred / np.maximum(weight, np.float32(1e-6)), np.float32(0))


def flatten(volume: Image, mask: Mask, widths: Sequence[float]) -> Image:
    """The volume over its own slow trend: the shading of the receive coil divided out."""
    trend = smooth(volume, mask, widths)
    return np.where(mask, volume / np.maximum(trend, np.float32(1e-6)), np.float32(0))


def components(mask: Mask) -> tuple[Labels, int]:
    """Number the connected parts of a mask of any dimension from 1; voxels that share a face.

    The numbers follow the first voxel of each part. Neighbours hook on to the smaller root
    and paths are halved, so that a handful of sweeps does, however winding the part.
    """
    index = np.full(mask.shape, -1, dtype=np.int64)
    index[mask] = np.arange(np.count_nonzero(mask))
    first, second = [], []
    for axis in range(mask.ndim):
        here = np.moveaxis(index, axis, 0)
        one, next_one = here[:-1].ravel(), here[1:].ravel()
        joined = (one >= 0) & (next_one >= 0)
        first.append(one[joined])
        second.append(next_one[joined])
    a, b = np.concatenate(first), np.concatenate(second)
    root: NDArray[np.int64] = np.arange(np.count_nonzero(mask))
    while True:
        ra, rb = root[a], root[b]
        if np.array_equal(ra, rb):
            break
        np.minimum.at(root, np.maximum(ra, rb), np.minimum(ra, rb))
        while not np.array_equal(root, root[root]):
            root = root[root]
    names, numbers = np.unique(root, return_inverse=True)
    labels = np.zeros(mask.shape, dtype=np.int32)
    labels[mask] = numbers + 1
    return labels, len(names)


def largest(mask: Mask) -> Mask:
    """The largest connected part of a mask."""
    labels, count = components(mask)
    if count == 0:
        return mask.copy()
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    chosen: Mask = labels == sizes.argmax()
    return chosen


def fill_holes(mask: Mask) -> Mask:
    """The mask with every hole closed that has no way out to the border."""
    labels, _ = components(~np.pad(mask, 1))
    inside: Mask = labels != labels[(0,) * mask.ndim]
    return inside[(slice(1, -1),) * mask.ndim]


def erode(mask: Mask, steps: int) -> Mask:
    """What remains when the border voxels of each slice are taken away `steps` times."""
    for _ in range(steps):
        wide = np.pad(mask, ((0, 0), (1, 1), (1, 1)))
        mask = (
            mask & wide[:, :-2, 1:-1] & wide[:, 2:, 1:-1] & wide[:, 1:-1, :-2] & wide[:, 1:-1, 2:]
        )
    return mask


def brain_mask(volume: Image, level: float) -> Mask:
    """The brain: brighter than `level`, in one piece, without holes in any slice."""
    body = largest(volume > level)
    return np.stack([fill_holes(plane) for plane in body])


def regions(mask: Mask, kind: str, smallest: float) -> Iterator[Region]:
    """The connected parts of a mask with at least `smallest` voxels, the largest first."""
    labels, _ = components(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    for label in np.argsort(-sizes, kind="stable"):
        if sizes[label] < max(smallest, 1):
            return
        where = labels == label
        start, stop = [], []
        for axis in range(3):
            others = tuple(a for a in range(3) if a != axis)
            hit = np.flatnonzero(where.any(axis=others))
            start.append(int(hit[0]))
            stop.append(int(hit[-1]) + 1)
        box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        yield Region(kind, (start[0], start[1], start[2]), where[box].copy())


def centre(mask: Mask, start: Sequence[int] = (0, 0, 0)) -> tuple[float, float, float]:
    """The middle of the voxels of a mask that begins at `start`, as an index of the volume."""
    z, y, x = (float(index.mean() + a) for index, a in zip(np.nonzero(mask), start, strict=True))
    return z, y, x


def statistics(values: Image) -> dict[str, float]:
    """Mean, standard deviation, and the 5th, 50th and 95th percentile."""
    low, median, high = np.percentile(values, [5, 50, 95])
    return {
        "mean": float(values.mean(dtype=np.float64)),
        "sd": float(values.std(dtype=np.float64)),
        "p05": float(low),
        "median": float(median),
        "p95": float(high),
    }
