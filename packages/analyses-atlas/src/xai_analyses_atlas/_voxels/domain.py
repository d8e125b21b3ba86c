"""Which voxels of a person are compared."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from xai_core import InputError
from xai_core.schemas import did_you_mean

from .._grids import Grid
from .._voxel_params import brain_from
from .cases import path_in
from .features import NotUsableError, feature_on, mask_on, moved_to
from .prepare import Preparation

if TYPE_CHECKING:
    from .._atlases import Atlas
    from .._voxel_params import VoxelOptions

__all__ = ["Domain"]

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


class Domain:
    """The brain, a mask, the regions of an atlas: where all of them that are given meet.

    Args:
        options: See ``MapSimilarity``.

    Raises:
        InputError: The atlas does not exist or has no such region, or a file is missing.
    """

    def __init__(self, options: VoxelOptions) -> None:
        self._options = options
        self._brain = brain_from(options)
        self.atlas, self._wanted = _regions(options)
        self._shared: dict[tuple[Any, ...], Mask] = {}

    @property
    def in_words(self) -> str:
        """Return what is compared, for captions and sidecars."""
        options = self._options
        parts = [] if self._brain == "none" else [f"brain ({self._brain})"]
        parts += [] if options.within is None else [f"within {Path(options.within).name}"]
        parts += [] if options.within_map is None else [f"within each person's {options.within_map}"]
        if self._wanted:
            parts.append(f"within {', '.join(options.regions or ())} of the atlas")
        return ", ".join(parts) or "whole field of view"

    def of(self, row: Mapping[str, Any], grid: Grid, moved: Array | None) -> Mask:
        """Return the voxels bool [D, H, W] of ``grid`` that are compared in a scan.

        Args:
            row: The scan's row of ``tested_people``.
            grid: Of the comparison.
            moved: 4 x 4, scan to MNI (mm) where ``grid`` is in MNI space and the scan was registered within the run.

        Raises:
            InputError: A mask cannot be read.
            NotUsableError: This person's masks are missing, or nothing is left.
        """
        inside = self._of_everybody(grid, moved, row).copy()
        if self._brain == "person":
            inside &= mask_on(_file(row, "mask", "its brain mask"), grid, moved)
        if self._options.within_map is not None:
            inside &= self._own_part(row, grid, moved)
        if not inside.any():
            raise NotUsableError(f"no voxel of its grid lies in what is compared ({self.in_words})")
        return inside

    def _own_part(self, row: Mapping[str, Any], grid: Grid, moved: Array | None) -> Mask:
        path = _file(row, self._options.within_map or "", "within_map")
        everywhere = np.ones(grid.shape, dtype=bool)
        labels = self._options.within_labels
        steps = Preparation(threshold=None if labels is None else 0.5)
        return feature_on(path, grid, everywhere, steps, labels, moved, covering=False).values >= 0.5

    def _of_everybody(self, grid: Grid, moved: Array | None, row: Mapping[str, Any]) -> Mask:
        """Return what does not depend on the person, but for a person's own atlas; the last grid's is kept."""
        own = self.atlas is not None and bool(self._wanted) and self.atlas.frame != "mni"
        key = (grid.shape, grid.affine.tobytes(), row["scan_id"] if own else None)
        if key not in self._shared:
            inside = np.ones(grid.shape, dtype=bool)
            if self._brain == "mni":
                inside &= _mni_brain(grid)
            if self._options.within is not None:
                inside &= mask_on(Path(self._options.within), grid)
            if self.atlas is not None and self._wanted:
                inside &= self._in_regions(self.atlas, grid, moved, row)
            self._shared = {key: inside}
        return self._shared[key]

    def _in_regions(self, atlas: Atlas, grid: Grid, moved: Array | None, row: Mapping[str, Any]) -> Mask:
        if atlas.frame != "mni" and moved is not None:
            grid = Grid(grid.shape, np.linalg.inv(moved) @ grid.affine)
        if atlas.frame == "subject":
            _require_own_atlas(atlas, row)
        placed = atlas.on(grid, row)
        inside = np.zeros(grid.shape, dtype=bool)
        for k, region in enumerate(placed.regions):
            if region.index in self._wanted:
                inside |= placed.mask(k)
        return inside


def _require_own_atlas(atlas: Atlas, row: Mapping[str, Any]) -> None:
    try:
        atlas.file_for(row)
    except InputError as error:
        raise NotUsableError(f"its own atlas: {error}") from error


def _file(row: Mapping[str, Any], name: str, what: str) -> Path:
    path = path_in(row, name)
    if path is None:
        raise NotUsableError(f"{what} is missing: subjects.tsv names no file in its column {name!r}")
    return path


def _mni_brain(grid: Grid) -> Mask:
    data, found = _template_mask()
    return moved_to(data, found, grid) >= 0.5


@lru_cache(maxsize=1)
def _template_mask() -> tuple[Array, Grid]:
    from nilearn.datasets import load_mni152_brain_mask

    image = load_mni152_brain_mask(resolution=1)
    data = np.asarray(image.dataobj, dtype=np.float64)
    shape = (int(data.shape[0]), int(data.shape[1]), int(data.shape[2]))
    return data, Grid(shape, np.asarray(image.affine, dtype=np.float64))


def _regions(options: VoxelOptions) -> tuple[Atlas | None, set[int]]:
    if options.atlas is None:
        return None, set()
    from .._atlases import load_atlas

    atlas = load_atlas(options.atlas)
    if options.space == "scan" and atlas.frame == "mni":
        raise InputError(f"atlas: {atlas.name} is in MNI space, but space is scan. Give an atlas of the scans' space.")
    names = {region.name for region in atlas.regions} | {region.structure for region in atlas.regions}
    unknown = [name for name in options.regions or () if name not in names]
    if unknown:
        hints = "".join(did_you_mean(name, sorted(names)) for name in unknown)
        raise InputError(
            f"regions: {atlas.name} has no region {', '.join(map(repr, unknown))}.{hints} "
            f"It has: {', '.join(region.name for region in atlas.regions)}."
        )
    chosen = set(options.regions or ())
    return atlas, {region.index for region in atlas.regions if chosen & {region.name, region.structure}}
