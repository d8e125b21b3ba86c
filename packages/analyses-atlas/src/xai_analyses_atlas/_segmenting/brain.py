"""Where the brain of a scan is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from xai_core import InputError

from .._grids import Grid, resampled_labels
from .._maps import read_image, require_finite

if TYPE_CHECKING:
    from .scans import Scan

__all__ = ["brain_mask", "check_extraction"]

Array = npt.NDArray[Any]

# A scan whose voxels are nearly all other than 0 has a background: it was not brain-extracted.
_MOST_NONZERO = 0.7


def brain_mask(scan: Scan, values: Array, grid: Grid) -> npt.NDArray[np.bool_]:
    """Return the brain of a scan, bool [D, H, W] on its grid.

    Args:
        scan: Whose ``mask`` says how it is found: a file (above 0.5 is brain), ``"nonzero"`` or ``"extract"``.
        values: Of the first image.
        grid: Of the first image.

    Raises:
        InputError: The mask cannot be read, is empty or lies elsewhere, or the scan was not brain-extracted.
    """
    if isinstance(scan.mask, Path):
        return _from_file(scan.mask, grid)
    found = _extracted(scan.images[0], grid) if scan.mask == "extract" else values != 0
    share = float(found.mean())
    if scan.mask == "nonzero" and share > _MOST_NONZERO:
        raise InputError(
            f"{share:.0%} of the voxels of {scan.images[0]} are not 0: it was not brain-extracted. Give a brain mask "
            "(--mask), or --mask extract."
        )
    if not found.any():
        raise InputError(f"{scan.images[0]}: no brain was found ({scan.mask}).")
    return np.asarray(ndimage.binary_fill_holes(found))


def _from_file(path: Path, grid: Grid) -> npt.NDArray[np.bool_]:
    values, own = read_image(path)
    if values.ndim != 3:
        raise InputError(f"{path} has the shape {values.shape}; a mask of one volume is needed.")
    require_finite(values, str(path))
    found = resampled_labels((values > 0.5).astype(np.uint8), own, grid) > 0
    if not found.any():
        why = "is empty" if not (values > 0.5).any() else f"lies elsewhere: {own}, while the scan has {grid}"
        raise InputError(f"The brain mask {path} {why}.")
    return found


def check_extraction() -> None:
    """Refuse to extract brains where the transform or deepbet is not installed.

    Raises:
        XaiError: The message says what to install.
    """
    from xai_core import registry

    registry.create("transform", "brain-extraction").build()


def _extracted(path: Path, grid: Grid) -> npt.NDArray[np.bool_]:
    """Return deepbet's brain, by the transform brain-extraction of xai-datasets-mri."""
    import torchio as tio

    from xai_core import registry

    step = registry.create("transform", "brain-extraction").build()
    image = step(tio.Subject(image=tio.ScalarImage(path)))["image"]
    if tuple(image.spatial_shape) != grid.shape:
        raise InputError(f"{path}: brain-extraction gave another grid.")
    return np.asarray(image.data[0].numpy() != 0)
