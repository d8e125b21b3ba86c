"""Intensity transforms that say what is wrong with a scan instead of warning, and keep the background at 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torchio as tio
from torch import Tensor

from xai_core.errors import InputError

from ._resample import where

__all__ = ["ScanBlur", "ScanRescale", "ScanZNormalization"]

# A spread below this part of the largest value is rounding, not contrast.
_FLAT = 1e-6


def _all(data: Tensor) -> Tensor:
    return torch.ones_like(data, dtype=torch.bool)


def _nonzero(data: Tensor) -> Tensor:
    return data != 0


def _above_mean(data: Tensor) -> Tensor:
    return data > data.double().mean()


_MASKS: dict[str | None, Callable[[Tensor], Tensor]] = {None: _all, "nonzero": _nonzero, "mean": _above_mean}


def _masked(image: tio.Image, data: Tensor, masking: str | None, step: str) -> Tensor:
    """Return the values (float64) that the statistics are taken from.

    Raises:
        InputError: There are none, or all are equal.
    """
    values = data[_MASKS[masking](data)].double()
    if not len(values):
        kind = "is 0 everywhere" if masking == "nonzero" else "has no voxel above its mean"
        raise InputError(f"{step}: {where(image)} {kind}, so it cannot be normalised. Look at the image.")
    if values.max() - values.min() <= _FLAT * values.abs().max():
        raise InputError(
            f"{step}: {where(image)} is constant ({values[0]:g}) in the voxels that count "
            f"(masking: {masking or 'null'}), so it cannot be normalised. Look at the image."
        )
    return values


class ScanZNormalization(tio.transforms.IntensityTransform):
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


class ScanRescale(tio.transforms.IntensityTransform):
    """Clips at percentiles and maps a range linearly to another, as TorchIO's ``RescaleIntensity`` does.

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
            image.set_data(self._rescaled(image))
        return subject

    def _rescaled(self, image: tio.Image) -> Tensor:
        values = _masked(image, image.data, self.masking, "rescale-intensity")
        low, high = (float(value) for value in np.percentile(values.numpy(), self.percentiles))
        if high - low <= _FLAT * max(abs(low), abs(high)):
            raise InputError(
                f"rescale-intensity: {where(image)} has the same value ({low:g}) at the percentiles "
                f"{self.percentiles[0]} and {self.percentiles[1]}. Take percentiles further apart, or masking: nonzero."
            )
        start, end = self.in_min_max or (low, high)
        out_start, out_end = self.out_min_max
        clipped = image.data.double().clamp(low, high)
        return ((clipped - start) / (end - start) * (out_end - out_start) + out_start).float()


class ScanBlur(tio.transforms.Blur):
    """TorchIO's ``Blur`` of float32 images: that of an image of integers would be rounded."""

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        """Blur the scalar images."""
        for image in self.get_images(subject):
            image.set_data(image.data.float())
        return super().apply_transform(subject)
