"""The numbers of the report, as a table for programs and for spreadsheets."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from scan import Scan

MIDLINE_MM = 6.0
"""A region whose centre is closer to the middle of the brain has no side."""

_COLUMNS = (
    "region", "kind", "side", "voxels", "ml", "x_mm", "y_mm", "z_mm",
    "volume", "mean", "sd", "p05", "median", "p95",
)  # fmt: skip


def tabulate(scan: Scan, volumes: list[dict[str, float]], found: dict[str, Any]) -> dict[str, Any]:
    """All numbers, rounded to what they are worth.

    Regions are named D1, D2, ... (dark) and B1, B2, ... (bright), the largest first.
    """
    return {
        "image": scan.path.name,
        "voxels": scan.shape[0] * scan.shape[1] * scan.shape[2],
        "shape": list(scan.shape[::-1]),
        "voxel_mm": [round(step, 3) for step in scan.spacing[::-1]],
        "volumes": [
            {"volume": number, **_rounded(numbers, 2)} for number, numbers in enumerate(volumes)
        ],
        "class_limits": [round(cut, 4) for cut in found["cuts"]],
        "regions": [
            _row(f"{kind[0].upper()}{number}", kind, one, found["middle_mm"])
            for kind in ("dark", "bright")
            for number, one in enumerate(found[kind], 1)
        ],
    }


def _row(name: str, kind: str, one: dict[str, Any], middle: float) -> dict[str, Any]:
    place = one["place"]
    x, y, z = (round(value, 1) for value in place["centre_mm"])
    off = place["centre_mm"][0] - middle
    side = "midline" if abs(off) < MIDLINE_MM else "right" if off > 0 else "left"
    return {
        "region": name,
        "kind": kind,
        "side": side,
        "voxels": place["voxels"],
        "ml": round(place["ml"], 2),
        "x_mm": x,
        "y_mm": y,
        "z_mm": z,
        "signal": [_rounded(numbers, 2) for numbers in one["signal"]],
    }


def _rounded(numbers: dict[str, float], digits: int) -> dict[str, float]:
    return {name: round(value, digits) for name, value in numbers.items()}


def as_json(table: dict[str, Any]) -> bytes:
    """The whole table."""
    return (json.dumps(table, indent=2) + "\n").encode()


def as_csv(table: dict[str, Any]) -> bytes:
    """One line for each region and volume."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for region in table["regions"]:
        fixed = {name: value for name, value in region.items() if name != "signal"}
        for volume, numbers in enumerate(region["signal"]):
            writer.writerow({**fixed, "volume": volume, **numbers})
    return text.getvalue().encode()


def summary(table: dict[str, Any]) -> dict[str, Any]:
    """The few numbers that the run itself returns."""
    return {
        "image": table["image"],
        "voxels": table["voxels"],
        "volumes": len(table["volumes"]),
        "brain_ml": [volume["brain_ml"] for volume in table["volumes"]],
        "regions": {
            region["region"]: {
                "side": region["side"],
                "ml": region["ml"],
                "mean": [numbers["mean"] for numbers in region["signal"]],
            }
            for region in table["regions"]
        },
    }
