"""Intensity transforms that say what is wrong with a scan instead of warning, and keep the background at 0."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torchio as tio
from scipy import ndimage
from torch import Tensor

from xai_core.errors import InputError

from ._resample import where
from ._scan import FLAT, MASKS, InputOnly

__all__ = ["ScanBlur", "ScanClamp", "ScanPercentileClip", "ScanRescale", "ScanSmooth", "ScanZNormalization"]

Array = npt.NDArray[np.float64]

# Standard deviation of a Gaussian, over its full width at half maximum.
_FWHM = 2 * np.sqrt(2 * np.log(2))


def _masked(image: tio.Image, data: Tensor, masking: str | None, step: str) -> Tensor:
    """Return the values (float64) that the statistics are taken from.

    Raises:
        InputError: There are none, all are equal, or some are NaN.
    """
    values = data[MASKS[masking](data)].double()
    if not len(values):
        kind = "is 0 everywhere" if masking == "nonzero" else "has no voxel above its mean"
        raise InputError(f"{step}: {where(image)} {kind}, so it cannot be normalised. Look at the image.")
    if not bool(values.isfinite().all()):
        raise InputError(f"{step}: {where(image)} has NaN or infinite voxels. Look at the image.")
    if values.max() - values.min() <= FLAT * values.abs().max():
        raise InputError(
            f"{step}: {where(image)} is constant ({values[0]:g}) in the voxels that count "
            f"(masking: {masking or 'null'}), so it cannot be normalised. Look at the image."
        )
    return values


def _bounds(
    image: tio.Image, channel: Tensor, masking: str | None, percentiles: tuple[float, float], step: str
) -> tuple[float, float]:
    """Return a channel's values at two percentiles.

    Raises:
        InputError: There are no voxels, or they are constant, or the percentiles have the same value.
    """
    values = _masked(image, channel, masking, step)
    low, high = (float(value) for value in np.percentile(values.numpy(), percentiles))
    if high - low <= FLAT * max(abs(low), abs(high)):
        raise InputError(
            f"{step}: {where(image)} has the same value ({low:g}) at the percentiles {percentiles[0]} and "
            f"{percentiles[1]}. Take percentiles further apart, or masking: nonzero."
        )
    return low, high


class ScanZNormalization(InputOnly):
    """Subtracts the mean and divides by the standard deviation of each channel (N - 1, as TorchIO does).

    Args:
        masking: Voxels that the statistics are taken from: None (all), ``"nonzero"`` or ``"mean"`` (above the mean).
        keep_background: Whether voxels that are exactly 0 stay exactly 0.
        **kwargs: As for ``torchio.Transform``.
    """

    def __init__(self, masking: str | None, keep_background: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.masking = masking
        self.keep_background = keep_background
        self.args_names = ["masking", "keep_background"]

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        """Normalise the scalar images."""
        for image in self.get_images(subject):
            image.set_data(torch.stack([self._normalised(image, channel) for channel in image.data]))
        return subject

    def _normalised(self, image: tio.Image, channel: Tensor) -> Tensor:
        values = _masked(image, channel, self.masking, "z-normalization")
        normalised = ((channel.double() - values.mean()) / values.std()).float()
        return torch.where(channel == 0, 0.0, normalised) if self.keep_background else normalised


class ScanRescale(InputOnly):
    """Clips each channel at percentiles and maps a range linearly to another, as TorchIO's ``RescaleIntensity`` does.

    TorchIO takes one range for all channels of an image, so that the units of one decide what is left of another.

    Args:
        out_min_max: Range of the result.
        percentiles: Percentiles of the input at which it is clipped.
        masking: Voxels that the percentiles are taken from: None (all), ``"nonzero"`` or ``"mean"`` (above the mean).
        in_min_max: Range of the input that becomes ``out_min_max``; None: the values at the percentiles.
        **kwargs: As for ``torchio.Transform``.
    """

    def __init__(
        self,
        out_min_max: tuple[float, float],
        percentiles: tuple[float, float],
        masking: str | None,
        in_min_max: tuple[float, float] | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.out_min_max = out_min_max
        self.percentiles = percentiles
        self.masking = masking
        self.in_min_max = in_min_max
        self.args_names = ["out_min_max", "percentiles", "masking", "in_min_max"]

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        """Rescale the scalar images."""
        for image in self.get_images(subject):
            image.set_data(torch.stack([self._rescaled(image, channel) for channel in image.data]))
        return subject

    def _rescaled(self, image: tio.Image, channel: Tensor) -> Tensor:
        low, high = _bounds(image, channel, self.masking, self.percentiles, "rescale-intensity")
        start, end = self.in_min_max or (low, high)
        out_start, out_end = self.out_min_max
        clipped = channel.double().clamp(low, high)
        return ((clipped - start) / (end - start) * (out_end - out_start) + out_start).float()


class ScanBlur(InputOnly, tio.Blur):
    """TorchIO's ``Blur`` of float32 images: that of an image of integers would be rounded."""

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        """Blur the scalar images."""
        for image in self.get_images(subject):
            image.set_data(image.data.float())
        return super().apply_transform(subject)


class ScanClamp(InputOnly, tio.Clamp):
    """TorchIO's ``Clamp``, of the network's input alone."""


class ScanPercentileClip(InputOnly):
    """Sets the values of each channel beyond two percentiles to the values at these.

    Args:
        percentiles: Percentiles at which the values are clipped.
        masking: Voxels that the percentiles are taken from: None (all), ``"nonzero"`` or ``"mean"`` (above the mean).
        keep_background: Whether voxels that are exactly 0 stay exactly 0.
        **kwargs: As for ``torchio.Transform``.
    """

    def __init__(
        self, percentiles: tuple[float, float], masking: str | None, keep_background: bool, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.percentiles = percentiles
        self.masking = masking
        self.keep_background = keep_background
        self.args_names = ["percentiles", "masking", "keep_background"]

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        """Clip the scalar images."""
        for image in self.get_images(subject):
            image.set_data(torch.stack([self._clipped(image, channel) for channel in image.data]))
        return subject

    def _clipped(self, image: tio.Image, channel: Tensor) -> Tensor:
        low, high = _bounds(image, channel, self.masking, self.percentiles, "percentile-clip")
        clipped = channel.double().clamp(low, high).float()
        return torch.where(channel == 0, 0.0, clipped) if self.keep_background else clipped


class ScanSmooth(InputOnly):
    """Smooths each channel with a Gaussian, inside the brain from the brain alone.

    Within the voxels that are not 0 the result is the Gaussian mean of these voxels: smooth(x) / smooth(mask). Without
    this the brain's edge is mixed with the background and darkens, and the background is 0 no longer.

    Args:
        fwhm: Full width at half maximum of the Gaussian in mm, along each axis.
        keep_background: Whether voxels that are exactly 0 stay so and do not count.
        **kwargs: As for ``torchio.Transform``.
    """

    def __init__(self, fwhm: tuple[float, float, float], keep_background: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fwhm = fwhm
        self.keep_background = keep_background
        self.args_names = ["fwhm", "keep_background"]

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        """Smooth the scalar images."""
        for image in self.get_images(subject):
            sigma = np.asarray(self.fwhm) / _FWHM / np.asarray(image.spacing)
            image.set_data(torch.stack([self._smoothed(channel.double().numpy(), sigma) for channel in image.data]))
        return subject

    def _smoothed(self, values: Array, sigma: Array) -> Tensor:
        inside = values != 0 if self.keep_background else np.ones_like(values, dtype=bool)
        weight = ndimage.gaussian_filter(inside.astype(np.float64), sigma, mode="constant")
        total = ndimage.gaussian_filter(values, sigma, mode="constant")
        smooth = np.divide(total, weight, out=np.zeros_like(total), where=inside)
        return torch.from_numpy(smooth.astype(np.float32))
