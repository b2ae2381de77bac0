"""Reading an image file: what it holds, and its volumes in one known orientation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from imaging import Image


@dataclass(frozen=True)
class Scan:
    """What the header of an image says, once the axes point up, forwards and to the right."""

    path: Path
    shape: tuple[int, int, int]
    """Slices, rows, columns."""
    spacing: tuple[float, float, float]
    """Millimetres from one slice, row, column to the next."""
    volumes: int
    affine: tuple[tuple[float, ...], ...]

    @property
    def voxel_ml(self) -> float:
        """Size of a voxel in millilitres."""
        return self.spacing[0] * self.spacing[1] * self.spacing[2] / 1000

    def position(self, z: float, y: float, x: float) -> tuple[float, float, float]:
        """Where a voxel lies in the scanner: millimetres to the right, forwards, upwards."""
        right, forwards, upwards = (
            row[0] * x + row[1] * y + row[2] * z + row[3] for row in self.affine[:3]
        )
        return right, forwards, upwards

    def height(self, z: int) -> float:
        """How far up a slice lies, in its middle, in millimetres."""
        return self.position(z, (self.shape[1] - 1) / 2, (self.shape[2] - 1) / 2)[2]

    def widths(self, mm: float) -> tuple[float, float, float]:
        """A length in voxels of each axis."""
        z, y, x = (mm / step for step in self.spacing)
        return z, y, x


def sample_image() -> Path:
    """The 4-D brain image that comes with nibabel: two volumes of echo-planar imaging."""
    return Path(nibabel.__file__).parent / "tests" / "data" / "example4d.nii.gz"


def read_scan(path: Path) -> Scan:
    """Read the header of an image; the voxels stay where they are."""
    image: Any = nibabel.load(path)
    if len(image.shape) not in (3, 4):
        raise ValueError(f"{path} has {len(image.shape)} dimensions; a brain image has 3 or 4")
    first = _canonical(image, 0)
    x, y, z = first.shape
    dx, dy, dz = (float(step) for step in first.header.get_zooms()[:3])
    return Scan(
        path=Path(path),
        shape=(z, y, x),
        spacing=(dz, dy, dx),
        volumes=image.shape[3] if len(image.shape) == 4 else 1,
        affine=tuple(tuple(float(v) for v in row) for row in first.affine),
    )


def read_volume(scan: Scan, volume: int) -> Image:
    """One volume as an array `[z, y, x]`."""
    voxels = np.asanyarray(_canonical(nibabel.load(scan.path), volume).dataobj)
    # Some programs write NaN where there is no head.
    return np.nan_to_num(np.ascontiguousarray(voxels.T, dtype=np.float32))


def _canonical(image: Any, volume: int) -> Any:
    """One volume with its axes to the right, forwards and upwards; only it is read."""
    single = image.slicer[..., volume] if len(image.shape) == 4 else image
    canonical: Any = nibabel.as_closest_canonical  # nibabel has types, but not here
    return canonical(single)
