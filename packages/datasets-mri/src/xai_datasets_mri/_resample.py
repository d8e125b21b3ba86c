"""Resampling that smooths before it makes voxels larger and leaves an exact background exact."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch
import torchio as tio
from scipy import ndimage
from torch import Tensor

from xai_core.errors import InputError

__all__ = ["Grid", "ScanResample", "ScanResize", "reference_grid", "where"]

Affine: TypeAlias = npt.NDArray[np.float64]
Grid: TypeAlias = tuple[tuple[int, int, int], Affine]
Spacing: TypeAlias = float | tuple[float, float, float]

# Voxels that grow by less than this factor are not worth smoothing: rounding of affines, not a coarser grid.
_SAME = 1.01
# Share of the largest value below which a resampled value is rounding.
_DUST = 1e-7
# Standard deviation of a Gaussian, over its full width at half maximum.
_FWHM = 2 * np.sqrt(2 * np.log(2))


def where(image: tio.Image) -> str:
    """Return how to name an image in a message."""
    return str(image.path) if image.path is not None else "an image that was not read from a file"


def reference_grid(path: Path) -> Grid:
    """Return shape (D, H, W) and affine of the image at ``path``.

    Raises:
        InputError: It is missing or unreadable.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"resample: the reference image {path} {what}. Give the path of an image.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one reader's complaint before another is tried
            image = tio.ScalarImage(path)
            return image.spatial_shape, np.array(image.affine)
    except Exception as error:  # the readers behind TorchIO raise many kinds
        raise InputError(f"resample: the reference image {path} cannot be read: {error}") from error


class ScanResample(tio.Resample):
    """TorchIO's ``Resample`` of float32 images, with anti-aliasing by a Gaussian of finite width.

    The recursive filter behind TorchIO's ``antialias`` has a response without end: it leaves tiny values all over a
    background that was 0, which a mask of nonzero voxels then takes for brain. The standard deviation here is the
    same (Cardoso et al., MICCAI 2015): the old voxel's point spread, smoothed, has the new voxel's full width.

    Args:
        target: Spacing in mm, for all axes or each of them, or (shape, affine) of a grid.
        image_interpolation: TorchIO's name of the interpolation of images; label maps take the nearest voxel.
        smooth_first: Whether images are smoothed along the axes whose voxels grow.
        **kwargs: As for ``torchio.Transform``.
    """

    def __init__(
        self,
        target: float | tuple[float, float, float] | Grid,
        image_interpolation: str = "linear",
        smooth_first: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(target=target, image_interpolation=image_interpolation, **kwargs)
        self.smooth_first = smooth_first
        self.args_names = ["target", "image_interpolation", "smooth_first"]

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        """Resample every image that is not on the target's grid already."""
        grid = cast(Grid, self.target) if isinstance(self.target, tuple) and len(self.target) == 2 else None
        images = self.get_images(subject)
        kept: dict[int, tuple[Tensor, Affine]] = {}
        for image in images:
            if isinstance(image, tio.ScalarImage):
                image.set_data(image.data.float())
            if self._fits(image, grid):
                # Resampling onto the same grid would only spread a rounding error over the edges of the background.
                kept[id(image)] = image.data, image.affine
            elif self.smooth_first and isinstance(image, tio.ScalarImage):
                image.set_data(_smoothed(image, _spacing_along(image, cast(Spacing, self.target), grid)))
        resampled = super().apply_transform(subject)
        for image in images:
            if id(image) in kept:
                data, affine = kept[id(image)]
                image.set_data(data)
                image.affine = affine
            elif isinstance(image, tio.ScalarImage):
                # Rounding of a voxel's position leaves 1e-13 of its neighbour's value in the background, which a mask
                # of nonzero voxels would take for brain.
                dust = image.data.abs() <= _DUST * image.data.abs().max()
                image.set_data(image.data.masked_fill(dust, 0))
            if grid is not None:
                image.affine = grid[1]  # without the rounding of the way through another library
        return resampled

    def _fits(self, image: tio.Image, grid: Grid | None) -> bool:
        if grid is None:
            return bool(np.allclose(image.spacing, cast(Spacing, self.target), rtol=1e-4))
        return image.spatial_shape == grid[0] and bool(np.allclose(image.affine, grid[1], atol=1e-3))


class ScanResize(tio.transforms.SpatialTransform):
    """Resamples to a number of voxels over the same field of view.

    TorchIO's ``Resize`` loses a voxel to rounding at times and pads it with zeros again.

    Args:
        target_shape: Voxels, for all axes or for each of them.
        image_interpolation: As for :class:`ScanResample`.
        smooth_first: As for :class:`ScanResample`.
        **kwargs: As for ``torchio.Transform``.
    """

    def __init__(
        self,
        target_shape: int | tuple[int, int, int],
        image_interpolation: str = "linear",
        smooth_first: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.target_shape = target_shape
        self.image_interpolation = image_interpolation
        self.smooth_first = smooth_first
        self.args_names = ["target_shape", "image_interpolation", "smooth_first"]

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        """Resample every image onto the grid that divides the first one's field of view."""
        first = self.get_images(subject)[0]
        x, y, z = (int(n) for n in np.broadcast_to(self.target_shape, (3,)))
        factor = np.asarray(first.spatial_shape) / (x, y, z)
        affine = first.affine @ np.diag([*factor, 1.0])
        affine[:3, 3] += first.affine[:3, :3] @ (factor / 2 - 0.5)  # outer faces, not centres, stay where they are
        target = (x, y, z), affine
        return ScanResample(target, self.image_interpolation, self.smooth_first).apply_transform(subject)


def _spacing_along(image: tio.Image, target: Spacing, grid: Grid | None) -> Affine:
    """Return the new voxels' size (mm) along each axis of the image's own grid."""
    if grid is None:
        return np.broadcast_to(np.asarray(target, dtype=np.float64), (3,))
    new = grid[1][:3, :3]
    size = np.linalg.norm(new, axis=0)
    old = image.affine[:3, :3] / np.asarray(image.spacing)
    nearest = np.abs(old.T @ (new / size)).argmax(axis=1)
    return cast(Affine, size[nearest])


def _smoothed(image: tio.ScalarImage, spacing: Affine) -> Tensor:
    factor = spacing / np.asarray(image.spacing)
    sigma = np.where(factor > _SAME, np.sqrt(np.maximum(factor**2 - 1, 0)) / _FWHM, 0)
    channels = [ndimage.gaussian_filter(channel.numpy(), sigma, mode="nearest") for channel in image.data.float()]
    return torch.from_numpy(np.stack(channels))
