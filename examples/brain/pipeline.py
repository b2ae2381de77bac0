"""Find and measure regions in a 4-D brain image, and draw them.

Run `python pipeline.py --help`, or see the README beside this file. Here is the outermost
module, which checks and opens the image; what is done with it stands in `study.py`.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from fancypipe_core import File, module, task
from scan import Scan, read_scan, sample_image
from study import study


@module
def brain(
    image: File | None = None,
    out: Path = Path("brain-report"),
    volumes: int | None = None,
    strength: float = 1.0,
    search: int = 15,
    smallest: float = 0.5,
    quick: bool = False,
) -> Any:
    """Find the dark and the bright regions deep in a brain, measure them, draw them.

    Args:
        image: A brain image (NIfTI, 3-D or 4-D); by default the one that comes with nibabel.
        out: The folder for regions.json, regions.csv and montage.png; made if not there.
        volumes: Use only the first so many volumes of the image; by default all.
        strength: How strongly to denoise, in units of the noise in the image; 0 turns it off.
        search: How many voxels far to look for similar neighbourhoods when denoising.
        smallest: The smallest region to report, in millilitres.
        quick: One volume and a narrow search: a look within seconds.
    """
    if volumes is not None and volumes < 1:
        raise ValueError(f"volumes must be 1 or more, not {volumes}")
    if search < 1:
        raise ValueError(f"search must be 1 or more, not {search}")
    if quick:
        volumes, search = 1, min(search, 3)
    scan = read_header(verify(image or sample_image()))
    # A whole path: a worker may stand in another working directory than the user.
    return study(scan, Path(out).resolve(), volumes, strength, search, smallest)


@task(name="gzip -t")
def verify(path: File) -> File:
    """Let gzip check the length and checksum of a compressed file; hand it on.

    A download that broke off then fails here and at once, in words, and not as an odd
    picture at the end.
    """
    if path.suffix != ".gz":
        return path
    try:
        subprocess.run(["gzip", "-t", str(path)], check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise RuntimeError(
            "the program gzip was not found; install it, or give an uncompressed image (.nii)"
        ) from None
    except subprocess.CalledProcessError as failure:
        said = failure.stderr.strip() or f"exit code {failure.returncode}"
        raise ValueError(f"the image file is damaged; {said}") from None
    return path


@task(name="read header")
def read_header(path: File) -> Scan:
    """What the image file holds."""
    return read_scan(path)


if __name__ == "__main__":
    brain.cli()
