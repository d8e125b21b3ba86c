"""Several files of one grid as the channels of one image."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torchio as tio

from xai_core.errors import InputError

__all__ = ["StackedImage"]

# Share of a voxel that two headers may differ by: rounding, not a shift.
_TOLERANCE = 0.1


class StackedImage(tio.ScalarImage):
    """A ``torchio.ScalarImage`` of several files [C, D, H, W], whose grid is known without reading their voxels.

    TorchIO reads a list of files whole as soon as somebody asks for their shape, and only warns where they lie at
    different places. Here the grid is that of the first file, and reading refuses files that do not lie on it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(C, D, H, W)."""
        if self._is_read:
            channels, *sides = self.data.shape
        else:
            channels, sides = len(self._files), list(tio.ScalarImage(self._files[0]).spatial_shape)
        return channels, sides[0], sides[1], sides[2]

    @property
    def affine(self) -> npt.NDArray[np.float64]:
        """4 x 4, voxel to world (mm), of the first file."""
        found = super().affine if self._is_read else tio.ScalarImage(self._files[0]).affine
        return np.asarray(found, dtype=np.float64)

    @affine.setter
    def affine(self, matrix: object) -> None:
        self["affine"] = self._parse_affine(matrix)  # type: ignore[arg-type]

    @property
    def _is_read(self) -> bool:
        return bool(self._loaded) or not isinstance(self.path, list | tuple)

    @property
    def _files(self) -> list[Path]:
        assert isinstance(self.path, list | tuple)
        return [Path(path) for path in self.path]

    def load(self) -> None:
        """Read all files.

        Raises:
            InputError: One of them lies on another grid than the first.
        """
        if not self._is_read:
            first, *others = (tio.ScalarImage(path) for path in self._files)
            for other in others:
                _check_grid(first, other)
        with warnings.catch_warnings():
            # Of affines that differ in the last digits.
            warnings.filterwarnings("ignore", "Files have different affine matrices", RuntimeWarning)
            super().load()


def _check_grid(first: tio.ScalarImage, other: tio.ScalarImage) -> None:
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=np.float64)
    corners[:, :3] *= np.asarray(first.spatial_shape) - 1
    distance = float(np.linalg.norm(corners @ (first.affine - other.affine).T, axis=1).max())
    if first.spatial_shape == other.spatial_shape and distance <= _TOLERANCE * min(first.spacing):
        return
    shapes = [" x ".join(map(str, image.spatial_shape)) for image in (first, other)]
    how = f"{shapes[1]} voxels, not {shapes[0]}" if shapes[0] != shapes[1] else f"shifted by up to {distance:.1f} mm"
    raise InputError(
        f"The channels {first.path} and {other.path} do not lie on one grid ({how}). Register and resample them to one "
        "first (to the T1w image, say), or choose files of one space with 'entities'."
    )
