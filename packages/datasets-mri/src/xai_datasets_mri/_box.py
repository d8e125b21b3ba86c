"""Crops to the box that holds the brains of the training part, by whole voxels, so that maps find back exactly."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import torch
import torchio as tio
from torch import Tensor

from xai_core.errors import InputError

from ._scan import Stateful, check_values, input_image, named, whose

__all__ = ["ScanBrainBox", "cohort_box", "window"]

_log = logging.getLogger("xai")
_STEP = "crop-to-brain"

Corner = npt.NDArray[np.int64]


def _extent(data: Tensor) -> tuple[Corner, Corner]:
    """Return the first voxel that is not 0 in some channel and the first beyond the last, along each axis."""
    brain = (data != 0).any(dim=0)
    places = [torch.nonzero(brain.movedim(axis, 0).flatten(1).any(dim=1))[:, 0] for axis in range(3)]
    low, high = ([int(place[end]) for place in places] for end in (0, -1))
    return np.array(low), np.array(high) + 1


def cohort_box(low: Corner, high: Corner, size: Corner, margin: int, multiples: Corner) -> tuple[Corner, Corner]:
    """Return a box around a smaller one.

    Args:
        low: First voxel of the brains, along each axis.
        high: First voxel beyond them.
        size: Voxels of the grid.
        margin: Voxels to keep on all sides where the grid has them.
        multiples: The box's sides are multiples of these. It is widened to both sides, inside the grid while that
            suffices, beyond it otherwise.
    """
    low, high = np.maximum(low - margin, 0), np.minimum(high + margin, size)
    sides = -(-(high - low) // multiples) * multiples
    low = low - (sides - (high - low)) // 2
    low = np.where(sides <= size, np.clip(low, 0, np.maximum(size - sides, 0)), low)
    return low, low + sides


def window(image: tio.Image, low: Corner, high: Corner) -> None:
    """Replace an image by a box of its grid, 0 beyond the grid; its affine keeps every voxel where it is in the world.

    Args:
        image: Image [C, D, H, W]; changed.
        low: First voxel of the box, along each axis; may be negative.
        high: First voxel beyond it; may be larger than the grid.
    """
    size = np.array(image.spatial_shape)
    start, end = np.maximum(low, 0), np.minimum(high, size)
    result = torch.zeros((image.num_channels, *(int(n) for n in high - low)), dtype=image.data.dtype)
    inner = tuple(slice(int(a), int(b)) for a, b in zip(start - low, end - low, strict=True))
    outer = tuple(slice(int(a), int(b)) for a, b in zip(start, end, strict=True))
    result[(slice(None), *inner)] = image.data[(slice(None), *outer)]
    affine = np.array(image.affine, dtype=np.float64)
    affine[:3, 3] += affine[:3, :3] @ low
    image.set_data(result)
    image.affine = affine


class ScanBrainBox(Stateful, tio.transforms.SpatialTransform):
    """Crops every image to the box that holds all voxels of the training part that are not 0.

    Args:
        margin: Voxels to keep around the box.
        multiple_of: Number, or three, of which the box's sides are multiples.
        **kwargs: As for ``torchio.Transform``.
    """

    learnt = ("box", "grid", "orientation")

    def __init__(self, margin: int, multiple_of: int | tuple[int, int, int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.margin = margin
        self.multiple_of = multiple_of
        self.box: list[list[int]] | None = None
        self.grid: list[int] | None = None
        self.orientation: str | None = None
        self._told: set[str] = set()
        self.args_names = ["margin", "multiple_of"]

    def fit(self, subjects: Sequence[tio.Subject]) -> None:
        """Find the box.

        Raises:
            InputError: A scan is empty, or the scans are not on grids of one size and orientation.
        """
        grids: dict[tuple[tuple[int, ...], str], str] = {}
        lows, highs = [], []
        for subject in subjects:
            image = input_image(subject)
            try:
                check_values(_STEP, subject, image)
            except InputError as error:
                raise InputError(f"{whose(subject)}{error}") from error
            grids.setdefault((image.spatial_shape, _orientation(image)), named(subject, image))
            low, high = _extent(image.data)
            lows.append(low)
            highs.append(high)
        if not grids:
            raise InputError(f"{_STEP}: there is no scan to learn from.")
        if len(grids) > 1:
            listed = "; ".join(f"{name}: {_grid(*grid)}" for grid, name in list(grids.items())[:4])
            raise InputError(
                f"{_STEP}: the scans of the training part are on grids of {len(grids)} kinds ({listed}). Put "
                "to-canonical and resample with crop-or-pad, or register-to-mni, before it."
            )
        ((shape, self.orientation),) = grids
        size = np.array(shape)
        low, high = np.min(lows, axis=0), np.max(highs, axis=0)
        if (low == 0).all() and (high == size).all():
            _log.warning(
                "%s removes nothing: some scan has voxels that are not 0 at every border. Put brain-extraction first.",
                _STEP,
            )
        box = cohort_box(low, high, size, self.margin, np.broadcast_to(self.multiple_of, (3,)).astype(np.int64))
        self.box, self.grid = [corner.tolist() for corner in box], list(shape)

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        """Crop the image and all that lies on its grid; images on other grids stay as they are."""
        self.check_fitted(_STEP)
        assert self.box is not None
        low, high = (np.array(corner) for corner in self.box)
        image = input_image(subject)
        self._check_grid(subject, image)
        self._tell_what_is_lost(subject, image, low, high)
        shape, affine = image.spatial_shape, np.array(image.affine)
        for part in self.get_images(subject):
            if part.spatial_shape == shape and np.allclose(part.affine, affine, atol=1e-2):
                window(part, low, high)
        return subject

    def _check_grid(self, subject: tio.Subject, image: tio.Image) -> None:
        assert self.grid is not None
        assert self.orientation is not None
        if list(image.spatial_shape) != self.grid or _orientation(image) != self.orientation:
            raise InputError(
                f"{_STEP}: {named(subject, image)} is on a grid of {_grid(image.spatial_shape, _orientation(image))}; "
                f"the box was found on grids of {_grid(self.grid, self.orientation)}. Bring all to one grid first."
            )

    def _tell_what_is_lost(self, subject: tio.Subject, image: tio.Image, low: Corner, high: Corner) -> None:
        brain = (image.data != 0).any(dim=0)
        inside = brain[tuple(slice(max(int(a), 0), int(b)) for a, b in zip(low, high, strict=True))]
        total, lost = int(brain.sum()), int(brain.sum() - inside.sum())
        name = str(subject.get("subject_id", named(subject, image)))
        if lost and name not in self._told:
            self._told.add(name)
            _log.warning(
                "%s: %s: %d of %d voxels of the brain (%.2g %%) lie outside of the training part's box and are cut "
                "off. A larger margin keeps them.",
                name, _STEP, lost, total, 100 * lost / total,
            )  # fmt: skip


def _orientation(image: tio.Image) -> str:
    return "".join(str(code) for code in nib.aff2axcodes(np.asarray(image.affine)))


def _grid(shape: Sequence[int], orientation: str) -> str:
    return f"{' x '.join(map(str, shape))} voxels, {orientation}"
