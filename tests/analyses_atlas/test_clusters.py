"""Clusters of a map against nilearn, by hand, and on grids that are stored from the right or lie aslant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn.reporting import get_clusters_table
from scipy import ndimage

from xai_analyses_atlas._contrasts.clusters import CLUSTER_COLUMNS, cluster_table
from xai_analyses_atlas._grids import Grid
from xai_core import InputError

SHAPE = (20, 24, 18)
RAS = np.array([[4.0, 0, 0, -40], [0, 4, 0, -48], [0, 0, 4, -36], [0, 0, 0, 1]])


def rotated(degrees: float) -> Any:
    """Return RAS turned about z and x, so that no axis runs along the world's."""
    a, b = np.radians([degrees, degrees / 2])
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ RAS[:3, :3]
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    return affine


def smooth(seed: int) -> Any:
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 1.5)
    return field / field.std()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("least", [0, 5])
def test_peaks_and_sizes_are_those_of_nilearn(seed: int, least: int) -> None:
    volume, threshold = smooth(seed), 1.7
    mine = cluster_table(volume, Grid(SHAPE, RAS), threshold, minimal_size=least * 64)
    image = nib.Nifti1Image(volume, RAS)
    theirs = get_clusters_table(image, threshold, cluster_threshold=least, two_sided=True)
    whole = theirs[theirs["Cluster Size (mm3)"] != ""]
    assert len(mine) == len(whole) > 5
    assert mine["peak"].to_numpy() == pytest.approx(whole["Peak Stat"].to_numpy(float), rel=1e-6)
    for axis in "xyz":
        np.testing.assert_allclose(mine[f"peak_{axis}"], whole[axis.upper()].to_numpy(float), atol=1e-3)
    np.testing.assert_allclose(mine["size"], whole["Cluster Size (mm3)"].to_numpy(float))
    subpeaks = [float(text.split(" at ")[0]) for row in mine["subpeaks"].dropna() for text in row.split("; ")]
    assert subpeaks == pytest.approx(theirs[theirs["Cluster Size (mm3)"] == ""]["Peak Stat"].tolist(), rel=1e-3)
    assert subpeaks


def blob(affine: Any, centre: tuple[float, float, float]) -> Any:
    """Return a map that falls off from one place in the world, more slowly to the right, so that it is no mirror."""
    index = np.moveaxis(np.indices(SHAPE), 0, -1)
    world = nib.affines.apply_affine(affine, index) - np.array(centre)
    slope = np.where(world[..., 0] > 0, 0.05, 0.1)
    distance = slope * np.abs(world[..., 0]) + 0.1 * np.abs(world[..., 1]) + 0.1 * np.abs(world[..., 2])
    return np.maximum(5 - distance, 0)


MIRROR = np.diag([-1.0, 1, 1, 1])
MIRROR[0, 3] = SHAPE[0] - 1
SWAPPED = RAS[:, [1, 0, 2, 3]]


@pytest.mark.parametrize(
    "affine", [RAS, RAS @ MIRROR, rotated(20), rotated(20) @ MIRROR], ids=["RAS", "LAS", "oblique", "oblique LAS"]
)
@pytest.mark.parametrize(("centre", "side"), [((-20.0, 8.0, 4.0), "L"), ((20.0, 8.0, 4.0), "R")])
def test_left_is_left_however_the_axes_are_stored(affine: Any, centre: tuple[float, float, float], side: str) -> None:
    volume = blob(affine, centre)
    table = cluster_table(volume, Grid(SHAPE, affine), 3.5)
    assert len(table) == 1
    row = table.iloc[0]
    assert row["hemisphere"] == side
    place = np.array([row["peak_x"], row["peak_y"], row["peak_z"]])
    # The centre of the blob lies within half a voxel's diagonal of the nearest voxel.
    assert np.linalg.norm(place - centre) <= 2 * np.sqrt(3) + 1e-9
    assert row["size"] == pytest.approx((volume > 3.5).sum() * 64)


def test_the_table_does_not_depend_on_the_order_of_the_axes() -> None:
    """Two clusters; the same voxels stored from the right and with the first two axes swapped."""
    volume = smooth(0)
    straight = cluster_table(volume, Grid(SHAPE, RAS), 1.5)
    mirrored = cluster_table(volume[::-1], Grid(SHAPE, RAS @ MIRROR), 1.5)
    swapped = cluster_table(volume.transpose(1, 0, 2), Grid((SHAPE[1], SHAPE[0], SHAPE[2]), SWAPPED), 1.5)
    pd.testing.assert_frame_equal(straight, mirrored)
    pd.testing.assert_frame_equal(straight, swapped)


def test_the_peak_of_a_plateau_does_not_depend_on_the_order_of_the_axes() -> None:
    """A plateau of two voxels has two that are next to its centre, and a block of eight has eight."""
    volume = np.zeros(SHAPE)
    volume[3:5, 4, 4] = 2.0
    volume[9:11, 10:12, 8:10] = 3.0
    straight = cluster_table(volume, Grid(SHAPE, RAS), 1.0)
    mirrored = cluster_table(volume[::-1], Grid(SHAPE, RAS @ MIRROR), 1.0)
    swapped = cluster_table(volume.transpose(1, 0, 2), Grid((SHAPE[1], SHAPE[0], SHAPE[2]), SWAPPED), 1.0)
    pd.testing.assert_frame_equal(straight, mirrored)
    pd.testing.assert_frame_equal(straight, swapped)
    lowest = Grid(SHAPE, RAS).world((9, 10, 8))
    assert straight.loc[0, ["peak_x", "peak_y", "peak_z"]].tolist() == list(lowest)


def test_regions_are_named_with_their_share(tmp_path: Path) -> None:
    from xai_analyses_atlas._atlases import load_atlas

    labels = np.zeros(SHAPE, dtype=np.int16)
    labels[:10, :12], labels[10:, :12] = 1, 2
    nib.save(nib.Nifti1Image(labels, RAS), tmp_path / "atlas.nii.gz")
    table = tmp_path / "atlas.tsv"
    table.write_text("index\tname\n1\tLeft-Back\n2\tRight-Back\n")
    volume = np.zeros(SHAPE)
    volume[8, 8:16, 5] = 2.0  # four of eight voxels behind, all on the left
    volume[8, 9, 5] = 3.0
    volume[14, 3, 3] = -4.0
    atlas = load_atlas(tmp_path / "atlas.nii.gz", table)
    found = cluster_table(volume, Grid(SHAPE, RAS), 1.0, atlas=atlas)
    assert found["region"].tolist() == ["Left-Back", "Right-Back"]
    assert found["regions"].tolist() == ["Left-Back 50 %; (outside of the atlas) 50 %", "Right-Back 100 %"]
    assert found["hemisphere"].tolist() == ["L", "R"]
    assert found["sign"].tolist() == [1, -1]
    placed = atlas.on(Grid(SHAPE, RAS))
    pd.testing.assert_frame_equal(found, cluster_table(volume, Grid(SHAPE, RAS), 1.0, atlas=placed))


def test_size_connectivity_and_sides() -> None:
    volume = np.zeros(SHAPE)
    volume[5, 5, 5] = volume[6, 6, 5] = volume[7, 7, 6] = 2.0  # touch by an edge, then by a corner
    volume[12, 12, 12] = -9.0
    grid = Grid(SHAPE, RAS)
    assert cluster_table(volume, grid, 1.0)["voxels"].tolist() == [1, 1, 1, 1]
    assert cluster_table(volume, grid, 1.0, connectivity=18)["voxels"].tolist() == [2, 1, 1]
    assert cluster_table(volume, grid, 1.0, connectivity=26)["voxels"].tolist() == [3, 1]
    assert cluster_table(volume, grid, 1.0, connectivity=26, two_sided=False)["peak"].tolist() == [2.0]
    assert cluster_table(volume, grid, 1.0, connectivity=26, minimal_size=65)["size"].tolist() == [192.0]
    assert cluster_table(volume, grid, 2.0)["peak"].tolist() == [-9.0]  # strictly above


def test_a_plateau_has_its_peak_in_its_middle() -> None:
    volume = np.zeros(SHAPE)
    volume[4:9, 6, 7] = 2.0
    row = cluster_table(volume, Grid(SHAPE, RAS), 1.0).iloc[0]
    assert (row["peak_x"], row["peak_y"], row["peak_z"]) == tuple(nib.affines.apply_affine(RAS, (6, 6, 7)))


def test_nothing_above_the_threshold_is_an_empty_table() -> None:
    table = cluster_table(np.zeros(SHAPE), Grid(SHAPE, RAS), 1.0)
    assert table.empty
    assert list(table.columns) == CLUSTER_COLUMNS


def test_what_makes_no_sense_is_refused() -> None:
    volume = np.zeros(SHAPE)
    grid = Grid(SHAPE, RAS)
    for more, message in (({"connectivity": 8}, "connectivity: 8"), ({"threshold": -1.0}, "below 0")):
        with pytest.raises(InputError, match=message):
            cluster_table(volume, grid, **{"threshold": 1.0, **more})
    volume[0, 0, 0] = np.nan
    with pytest.raises(InputError, match="1 voxels that are NaN"):
        cluster_table(volume, grid, 1.0)
