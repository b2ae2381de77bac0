"""The brain example: its functions alone, then the whole pipeline on every backend."""

from __future__ import annotations

import csv
import gzip
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Picture

from fancypipe_core import run

BRAIN = Path(__file__).resolve().parents[2] / "examples" / "brain"
SMALL = {"volumes": 2, "search": 2}
FILES = ["regions.json", "regions.csv", "montage.png"]


@pytest.fixture(scope="module", autouse=True)
def _example_on_path() -> Iterator[None]:
    """The modules of the example can be imported, and are gone again for other tests."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BRAIN))
        yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(BRAIN)):
            del sys.modules[name]


# --- plain functions ------------------------------------------------------------------


def _between_class_variance(counts: NDArray[np.int64], cuts: tuple[int, ...]) -> float:
    """What Otsu's method maximises, from its definition."""
    centres = np.arange(len(counts))
    mean = np.average(centres, weights=counts)
    parts = zip((0, *cuts), (*cuts, len(counts)), strict=True)
    total = 0.0
    for first, last in parts:
        weight = counts[first:last].sum()
        if weight:
            inside = np.average(centres[first:last], weights=counts[first:last])
            total += weight * (inside - mean) ** 2
    return total / float(counts.sum())


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("seed", range(5))
def test_otsu_is_as_good_as_the_best_of_all_cuts(classes: int, seed: int) -> None:
    import imaging

    counts = np.random.default_rng(seed).integers(0, 50, 18) ** 2 // 40
    best = max(
        _between_class_variance(counts, cuts)
        for cuts in combinations(range(1, len(counts)), classes - 1)
    )
    cuts = imaging.otsu(counts, classes)
    assert len(cuts) == classes - 1
    assert _between_class_variance(counts, tuple(cuts)) == pytest.approx(best, rel=1e-12)


def test_otsu_refuses_more_classes_than_there_are_values() -> None:
    import imaging

    with pytest.raises(ValueError, match="2 used bins cannot be cut into 3 classes"):
        imaging.otsu(np.array([5, 0, 0, 7]), 3)


def _flood(mask: NDArray[np.bool_]) -> list[set[tuple[int, ...]]]:
    """Connected parts, the slow and obvious way."""
    left = {tuple(int(i) for i in index) for index in np.argwhere(mask)}
    parts = []
    while left:
        edge = [left.pop()]
        part = set(edge)
        while edge:
            here = edge.pop()
            for axis in range(mask.ndim):
                for step in (-1, 1):
                    there = (*here[:axis], here[axis] + step, *here[axis + 1 :])
                    if there in left:
                        left.remove(there)
                        part.add(there)
                        edge.append(there)
        parts.append(part)
    return parts


@pytest.mark.parametrize("density", [0.02, 0.3, 0.5, 0.9])
def test_components_are_those_of_a_flood_fill(density: float) -> None:
    import imaging

    mask = np.random.default_rng(7).random((7, 9, 11)) < density
    labels, count = imaging.components(mask)
    expected = _flood(mask)
    assert count == len(expected)
    assert np.array_equal(labels > 0, mask)
    found = [{tuple(map(int, i)) for i in np.argwhere(labels == n + 1)} for n in range(count)]
    assert sorted(map(sorted, found)) == sorted(map(sorted, expected))


def test_components_follow_a_winding_path() -> None:
    import imaging

    mask = np.zeros((41, 41), dtype=np.bool_)
    mask[::2] = True
    mask[1::4, -1] = True
    mask[3::4, 0] = True
    labels, count = imaging.components(mask)
    assert count == 1
    mask[20, 20] = False
    assert imaging.components(mask)[1] == 2
    assert labels.max() == 1


def test_components_of_nothing() -> None:
    import imaging

    labels, count = imaging.components(np.zeros((3, 4, 5), dtype=np.bool_))
    assert count == 0
    assert not labels.any()


def test_only_holes_without_a_way_out_are_filled() -> None:
    import imaging

    mask = np.zeros((7, 9), dtype=np.bool_)
    mask[1:6, 1:4] = mask[1:6, 5:8] = True
    mask[3, 2] = mask[3, 6] = False  # two holes ...
    mask[3, 7] = False  # ... one of which is open
    filled = imaging.fill_holes(mask)
    assert filled[3, 2]
    assert not filled[3, 6]
    assert np.count_nonzero(filled) == np.count_nonzero(mask) + 1


def test_smoothing_keeps_a_constant_up_to_the_edge_of_the_mask() -> None:
    import imaging

    mask = np.random.default_rng(3).random((20, 30)) < 0.6
    image = np.where(mask, 7.0, 1e6).astype(np.float32)
    smooth = imaging.smooth(image, mask, (1.5, 2.0))
    assert smooth[mask] == pytest.approx(7.0, rel=1e-5)
    assert not smooth[~mask].any()


def test_smoothing_has_the_width_that_was_asked_for() -> None:
    import imaging

    image = np.zeros((1, 41, 61), dtype=np.float32)
    image[0, 20, 30] = 1.0
    smooth = imaging.gaussian(image, (0.0, 2.0, 3.0))[0]
    assert smooth.sum() == pytest.approx(1.0, rel=1e-5)
    for axis, width in ((1, 2.0), (0, 3.0)):
        profile = smooth.sum(axis=axis)
        at = np.arange(len(profile)) - len(profile) // 2
        assert np.sqrt((profile * at**2).sum()) == pytest.approx(width, rel=0.02)


def _denoise_by_the_book(
    slab: NDArray[np.float32], middle: int, strength: float, search: int, y: int, x: int
) -> float:
    """Non-local means for one voxel that is far from the border."""
    patch = slab[middle, y - 1 : y + 2, x - 1 : x + 2].astype(np.float64)
    total = weights = 0.0
    for plane in slab.astype(np.float64):
        for v in range(y - search, y + search + 1):
            for u in range(x - search, x + search + 1):
                distance = np.mean((plane[v - 1 : v + 2, u - 1 : u + 2] - patch) ** 2)
                weight = np.exp(-distance / strength**2)
                total += weight * plane[v, u]
                weights += weight
    return float(total / weights)


def test_denoising_is_non_local_means() -> None:
    import imaging

    slab = np.random.default_rng(5).normal(100, 10, (3, 14, 17)).astype(np.float32)
    clean = imaging.denoise(slab, 1, 12.0, 3)
    for y, x in ((5, 6), (7, 11), (9, 8)):
        expected = _denoise_by_the_book(slab, 1, 12.0, 3, y, x)
        assert clean[y, x] == pytest.approx(expected, rel=1e-5)


def test_denoising_removes_noise_and_keeps_an_edge() -> None:
    import imaging

    truth = np.full((5, 40, 40), 200.0, dtype=np.float32)
    truth[:, :, 20:] = 600.0
    noisy = truth + np.random.default_rng(1).normal(0, 12, truth.shape).astype(np.float32)
    clean = imaging.denoise(noisy, 2, 12.0, 8)
    assert np.std(clean - truth[2]) < 4.0
    assert clean[:, 19].max() < 230
    assert clean[:, 20].min() > 570
    assert np.array_equal(imaging.denoise(noisy, 2, 0.0), noisy[2])


def test_the_noise_level_is_found() -> None:
    import imaging

    noise = np.random.default_rng(2).normal(0, 15, (6, 60, 60))
    ramp = np.linspace(300, 900, 60)  # a slope is not noise
    volume = (noise + ramp).astype(np.float32)
    assert imaging.noise_level(volume) == pytest.approx(15, rel=0.05)


def test_regions_come_by_size_and_fit_their_boxes() -> None:
    import imaging

    mask = np.zeros((5, 12, 12), dtype=np.bool_)
    mask[1:3, 2:4, 2:5] = True  # 12 voxels
    mask[0:4, 6:9, 6:9] = True  # 36
    mask[4, 11, 11] = True  # too small
    large, small = imaging.regions(mask, "dark", 2)
    assert (large.start, large.shape.shape) == ((0, 6, 6), (4, 3, 3))
    assert (small.start, small.shape.shape) == ((1, 2, 2), (2, 2, 3))
    assert mask[small.box].all()
    assert imaging.centre(small.shape, small.start) == (1.5, 2.5, 3.0)


# --- the pipeline ---------------------------------------------------------------------


def _brain(**inputs: Any) -> Any:
    import pipeline

    return pipeline.brain(**inputs)


def _contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What the serial backend makes of the image."""
    folder = tmp_path_factory.mktemp("reference")
    return run(_brain(out=folder, **SMALL), backend="serial"), _contents(folder)


@pytest.mark.parametrize("backend", ["serial", "threads", "procs"])
def test_all_backends_write_the_same(
    backend: str, tmp_path: Path, reference: tuple[dict[str, Any], dict[str, bytes]]
) -> None:
    result = run(_brain(out=tmp_path / "new" / "folder", **SMALL), backend=backend, workers=2)
    expected, files = reference
    assert {**result, "folder": ""} == {**expected, "folder": ""}
    written = _contents(tmp_path / "new" / "folder")
    assert sorted(written) == sorted(FILES)
    for name in FILES:
        assert written[name] == files[name], f"{name} differs from the one by serial"


def test_the_table_agrees_with_the_image(
    reference: tuple[dict[str, Any], dict[str, bytes]],
) -> None:
    import scan

    result, files = reference
    table = json.loads(files["regions.json"])
    image: Any = nibabel.load(scan.sample_image())
    voxels = np.asarray(image.dataobj)
    assert result["files"] == FILES
    assert result["voxels"] == table["voxels"] == voxels[..., 0].size
    assert (table["shape"], table["voxel_mm"]) == ([128, 96, 24], [2.0, 2.0, 2.2])
    for row in table["volumes"]:
        # The head fills the voxels that are not dark; the mask must be about as large.
        bright = np.count_nonzero(voxels[..., row["volume"]] > 200)
        assert row["brain_voxels"] == pytest.approx(bright, rel=0.03)
        assert row["brain_ml"] == pytest.approx(row["brain_voxels"] * 0.0088, rel=1e-3)
        assert row["noise_left"] < row["noise"]
        counts, edges = np.histogram(voxels[..., row["volume"]], bins=128)
        cut = max(range(1, 128), key=lambda n: _between_class_variance(counts, (n,)))
        assert row["otsu_level"] == pytest.approx(edges[cut], rel=0.05)


def test_the_regions_are_those_of_a_brain(
    reference: tuple[dict[str, Any], dict[str, bytes]],
) -> None:
    table = json.loads(reference[1]["regions.json"])
    regions = {region["region"]: region for region in table["regions"]}
    means = {name: region["signal"][0]["mean"] for name, region in regions.items()}
    dark = [mean for name, mean in means.items() if name.startswith("D")]
    bright = [mean for name, mean in means.items() if name.startswith("B")]
    assert max(dark) < 350
    assert min(bright) > 500
    ventricles = regions["B1"]
    assert ventricles["side"] == "midline"
    assert 15 < ventricles["ml"] < 30
    # The globus pallidus: a pair, as high and as far to the front, on both sides.
    pairs = [
        (left, right)
        for left in regions.values()
        for right in regions.values()
        if (left["side"], right["side"]) == ("left", "right")
        and left["kind"] == right["kind"] == "dark"
        and abs(left["y_mm"] - right["y_mm"]) < 3
        and abs(left["z_mm"] - right["z_mm"]) < 3
    ]
    ((left, right),) = pairs
    assert 20 < right["x_mm"] - left["x_mm"] < 50
    # Two volumes two seconds apart show the same brain.
    for region in table["regions"]:
        first, second = (numbers["mean"] for numbers in region["signal"])
        assert second == pytest.approx(first, rel=0.05)


def test_the_csv_says_what_the_json_says(
    reference: tuple[dict[str, Any], dict[str, bytes]],
) -> None:
    files = reference[1]
    lines = list(csv.DictReader(io.StringIO(files["regions.csv"].decode())))
    table = json.loads(files["regions.json"])
    assert len(lines) == sum(len(region["signal"]) for region in table["regions"])
    for line in lines:
        (region,) = (one for one in table["regions"] if one["region"] == line["region"])
        assert float(line["mean"]) == region["signal"][int(line["volume"])]["mean"]
        assert int(line["voxels"]) == region["voxels"]
        assert line["side"] == region["side"]


def test_the_montage_shows_slices_and_regions(
    reference: tuple[dict[str, Any], dict[str, bytes]],
) -> None:
    import charts

    with Picture.open(io.BytesIO(reference[1]["montage.png"])) as picture:
        assert picture.format == "PNG"
        assert picture.mode == "RGB"
        pixels = np.asarray(picture)
    height, width = pixels.shape[:2]
    assert 1700 < width < 2100
    assert 1200 < height < 1700
    for name in ("B1", "D1"):
        # The dot in the chart, the letters and the rim of the region have its pure colour.
        assert np.count_nonzero((pixels == charts.rgb(charts.colour_of(name))).all(axis=-1)) > 200
    corners = pixels[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners == charts.rgb(charts.BACKGROUND)).all()


# --- images made for the purpose ------------------------------------------------------


def _phantom(path: Path, *, left_first: bool) -> Path:
    """An egg of 500 with a dark ball of 250 on the left and a bright one of 800 on the right."""
    x, y, z = np.mgrid[-72:73:2, -80:81:2, -24:25:2].astype(np.float64)
    voxels = np.random.default_rng(4).normal(0, 8, x.shape)
    voxels += 500.0 * ((x / 62) ** 2 + (y / 70) ** 2 + (z / 60) ** 2 < 1)
    voxels[(x + 24) ** 2 + y**2 + z**2 < 9**2] -= 250
    voxels[(x - 20) ** 2 + (y - 16) ** 2 + z**2 < 11**2] += 300
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -72, -80, -24
    if left_first:
        voxels, affine[0, 0], affine[0, 3] = voxels[::-1], -2.0, 72
    make: Any = nibabel.Nifti1Image  # nibabel has types, but not here
    make(voxels.astype(np.float32), affine).to_filename(path)
    return path


@pytest.mark.parametrize("left_first", [False, True])
def test_balls_are_found_where_they_were_put(tmp_path: Path, left_first: bool) -> None:
    image = _phantom(tmp_path / "egg.nii", left_first=left_first)
    out = tmp_path / "out"
    result = run(_brain(image=image, out=out, search=2), backend="serial")
    table = json.loads((out / "regions.json").read_bytes())
    dark, bright = table["regions"]
    assert (dark["region"], dark["side"]) == ("D1", "left")
    assert (bright["region"], bright["side"]) == ("B1", "right")
    assert (dark["x_mm"], dark["y_mm"], dark["z_mm"]) == pytest.approx((-24, 0, 0), abs=0.5)
    assert (bright["x_mm"], bright["y_mm"], bright["z_mm"]) == pytest.approx((20, 16, 0), abs=0.5)
    # The voxels at the border of a ball may fall into the class between.
    for ball, radius in ((dark, 9), (bright, 11)):
        assert (750 * ball["ml"] / np.pi) ** (1 / 3) == pytest.approx(radius, abs=1.5)
    assert bright["signal"][0]["median"] == pytest.approx(800, rel=0.02)
    assert result["volumes"] == 1


def test_a_slice_is_drawn_with_left_on_the_left_and_the_front_on_top() -> None:
    import charts
    import picture

    clean = np.full((40, 50), 500, dtype=np.float32)
    mask = np.ones((40, 50), dtype=np.bool_)
    left_front = np.zeros((40, 50), dtype=np.bool_)
    left_front[28:36, 5:15] = True  # high y is the front, low x is left
    view = picture.View(slice(0, 40), slice(0, 50), (200, 160), 2.0, (0.0, 1000.0))
    tile = picture.tile(view, "", clean, mask, [picture.Spot("B1", left_front, False)])
    assert tile.shape == (160, 200, 3)
    rows, columns = np.nonzero((tile == charts.rgb(charts.colour_of("B1"))).all(axis=-1))
    assert (rows.min(), rows.max()) == pytest.approx((16, 47), abs=3)
    assert (columns.min(), columns.max()) == pytest.approx((20, 59), abs=3)
    assert view.spot(27.5, 4.5) == pytest.approx((20, 48))


def test_the_way_an_image_is_stored_does_not_matter(tmp_path: Path) -> None:
    import scan

    stored = [_phantom(tmp_path / f"{left}.nii", left_first=left) for left in (False, True)]
    one, other = (scan.read_volume(scan.read_scan(path), 0) for path in stored)
    assert np.array_equal(one, other)
    z, y, x = (int(index.mean()) for index in np.nonzero(one > 700))
    assert (z, y) == pytest.approx((12, 48), abs=1)
    assert x > one.shape[2] / 2  # the bright ball is on the right
    assert scan.read_scan(stored[1]).position(z, y, x) == pytest.approx((20, 16, 0), abs=2)


def test_volumes_are_read_apart() -> None:
    import scan

    header = scan.read_scan(scan.sample_image())
    image: Any = nibabel.load(scan.sample_image())
    voxels = np.asarray(image.dataobj)
    for number in range(2):
        # In the file, x runs to the left.
        expected = voxels[::-1, :, :, number].T.astype(np.float32)
        assert np.array_equal(scan.read_volume(header, number), expected)


def test_an_image_without_regions_gives_a_report_without_regions(tmp_path: Path) -> None:
    image = _phantom(tmp_path / "egg.nii", left_first=False)
    result = run(
        _brain(image=image, out=tmp_path / "out", search=1, smallest=500.0), backend="serial"
    )
    assert result["regions"] == {}
    written = _contents(tmp_path / "out")
    assert written["regions.csv"].decode().splitlines()[0].startswith("region,kind,side")
    assert len(written["regions.csv"].splitlines()) == 1
    with Picture.open(io.BytesIO(written["montage.png"])) as picture:
        picture.verify()


def test_a_damaged_archive_is_named_before_any_work(tmp_path: Path) -> None:
    import scan

    image = tmp_path / "broken.nii.gz"
    image.write_bytes(scan.sample_image().read_bytes()[:200_000])
    with pytest.raises(ValueError, match=r"image file is damaged; .*broken\.nii\.gz"):
        run(_brain(image=image, out=tmp_path / "out", **SMALL), backend="serial")
    assert not (tmp_path / "out").exists()


def test_a_missing_gzip_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pipeline

    whole = tmp_path / "whole.nii.gz"
    whole.write_bytes(gzip.compress(b"anything"))
    assert pipeline.verify.main(whole) == whole
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="program gzip was not found"):
        pipeline.verify.main(whole)
    plain = tmp_path / "plain.nii"
    assert pipeline.verify.main(plain) == plain


@pytest.mark.parametrize("name", ["volumes", "search"])
def test_less_than_one_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{name} must be 1 or more, not 0"):
        run(_brain(out=tmp_path, **{name: 0}), backend="serial")


def test_a_brain_without_depth_is_refused(tmp_path: Path) -> None:
    image = tmp_path / "small.nii"
    voxels = np.full((30, 30, 6), np.nan, dtype=np.float32)
    voxels[8:22, 8:22, 1:5] = 100.0
    make: Any = nibabel.Nifti1Image
    make(voxels, np.diag([2.0, 2.0, 2.0, 1.0])).to_filename(image)
    with pytest.raises(ValueError, match="too small: nothing lies 20 mm below its surface"):
        run(_brain(image=image, out=tmp_path, search=1), backend="serial")


# --- as a script ----------------------------------------------------------------------


SCRIPT = [sys.executable, str(BRAIN / "pipeline.py")]
COMMAND = [str(Path(sys.executable).with_name("fancypipe")), str(BRAIN / "pipeline.py")]


@pytest.mark.parametrize(
    ("start", "backend"),
    [(SCRIPT, "S"), (SCRIPT, "T"), (SCRIPT, "P"), (COMMAND, "P")],
    ids=["script-S", "script-T", "script-P", "command-P"],
)
def test_it_starts_from_anywhere(start: list[str], backend: str, tmp_path: Path) -> None:
    inputs = [f"-workertype={backend}", "--quick", "--out", "here", "--search=1"]
    done = subprocess.run(
        [*start, *inputs], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["folder"] == str(tmp_path.resolve() / "here")
    assert result["regions"]["B1"]["side"] == "midline"
    assert sorted(_contents(tmp_path / "here")) == sorted(FILES)


def test_compare_finds_no_difference(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(BRAIN / "compare.py"), "--quick", "--workers=2"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "equal on all, byte for byte" in done.stdout
    for backend in ("serial", "threads", "procs"):
        assert f"\n{backend} " in done.stdout
