"""The atlas of a table as an image of labels, for viewers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pandas as pd

from .._grids import mni_grid

if TYPE_CHECKING:
    from .._atlases import Atlas

__all__ = ["write_labels"]

_SPACING = 1.0  # mm


def write_labels(atlas: Atlas, output: Path) -> None:
    """Write ``atlas_dseg.nii.gz`` (label of the region that a voxel of 1 mm belongs to most) and ``atlas_dseg.tsv``.

    As BIDS names them. Only of an atlas in MNI space; one in each person's own space has no common image.
    """
    if atlas.frame != "mni":
        return
    grid = mni_grid(_SPACING)
    winners = atlas.on(grid).winners
    numbers = np.array([region.index for region in atlas.regions], dtype=np.int32)
    labels = np.where(winners >= 0, numbers[winners], 0).astype(np.int32)
    image = nib.Nifti1Image(labels, grid.affine)
    image.set_sform(grid.affine, "mni")
    image.set_qform(grid.affine, "mni")
    image.header.set_xyzt_units("mm")
    nib.save(image, output / "atlas_dseg.nii.gz")
    table = pd.DataFrame({"index": numbers, "name": [region.name for region in atlas.regions]})
    text = str(table.to_csv(sep="\t", index=False, lineterminator="\n"))
    (output / "atlas_dseg.tsv").write_text(text, encoding="utf-8", newline="")
