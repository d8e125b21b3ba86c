"""Histogram standardisation with landmarks of the training part (Nyul, Udupa & Zhang 2000, doi:10.1109/42.836373)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torchio as tio
from torch import Tensor

from xai_core.errors import InputError

from ._scan import FLAT, MASKS, InputOnly, Stateful, check_values, input_image, named, whose

__all__ = ["ScanHistogramStandardization", "average_landmarks", "standardised"]

Array = npt.NDArray[np.float64]

_STEP = "histogram-standardization"
_SCALE = (0.0, 100.0)
_DECILES = tuple(range(10, 100, 10))


def average_landmarks(percentiles: Array) -> Array:
    """Return the landmarks of the standard scale.

    Each image's percentiles are mapped linearly, so that its first becomes 0 and its last 100; their mean over the
    images is the standard.

    Args:
        percentiles: Values [images, landmarks], rising from left to right.
    """
    first, last = percentiles[:, :1], percentiles[:, -1:]
    low, high = _SCALE
    mean: Array = (low + (percentiles - first) / (last - first) * (high - low)).mean(axis=0)
    return mean


def standardised(values: Array, percentiles: Array, landmarks: Array) -> Array:
    """Map values piecewise linearly, each percentile to its landmark; the outer pieces go on beyond the ends.

    Args:
        values: Values of any shape.
        percentiles: The image's own percentiles [landmarks]. Equal ones (an image of few integers) count once, with
            the mean of their landmarks.
        landmarks: The standard's [landmarks].
    """
    knots, group = np.unique(percentiles, return_inverse=True)
    heights = np.bincount(group, landmarks) / np.bincount(group)
    slopes = np.diff(heights) / np.diff(knots)
    piece = np.clip(np.searchsorted(knots, values, side="right") - 1, 0, len(slopes) - 1)
    result: Array = heights[piece] + slopes[piece] * (values - knots[piece])
    return result


class ScanHistogramStandardization(Stateful, InputOnly):
    """Brings every scan's histogram to the mean one of the training part, channel by channel.

    Args:
        cutoff: First and last percentile that count; the deciles lie between them.
        masking: Voxels that the percentiles are taken from: None (all), ``"nonzero"`` or ``"mean"`` (above the mean).
        keep_background: Whether voxels that are exactly 0 stay exactly 0.
        **kwargs: As for ``torchio.Transform``.
    """

    learnt = ("landmarks",)

    def __init__(self, cutoff: tuple[float, float], masking: str | None, keep_background: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cutoff = cutoff
        self.masking = masking
        self.keep_background = keep_background
        self.landmarks: Tensor | None = None
        self.args_names = ["cutoff", "masking", "keep_background"]

    def fit(self, subjects: Sequence[tio.Subject]) -> None:
        """Learn the landmarks, float64 [channels, 11].

        Raises:
            InputError: A scan is constant, or they differ in the number of their channels.
        """
        rows = []
        for subject in subjects:
            image = input_image(subject)
            try:
                check_values(_STEP, subject, image)
                rows.append([self._percentiles(named(subject, image), channel) for channel in image.data])
            except InputError as error:
                raise InputError(f"{whose(subject)}{error}") from error
        if not rows:
            raise InputError(f"{_STEP}: there is no scan to learn from.")
        counts = {len(row) for row in rows}
        if len(counts) > 1:
            raise InputError(f"{_STEP}: the scans of the training part have {sorted(counts)} channels, not one number.")
        table = np.asarray(rows)
        self.landmarks = torch.from_numpy(
            np.stack([average_landmarks(table[:, channel]) for channel in range(table.shape[1])])
        )

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        """Standardise the network's input."""
        self.check_fitted(_STEP)
        assert self.landmarks is not None
        image = input_image(subject)
        check_values(_STEP, subject, image)
        if image.num_channels != len(self.landmarks):
            raise InputError(
                f"{_STEP}: {named(subject, image)} has {image.num_channels} channels; it was learnt from scans with "
                f"{len(self.landmarks)}."
            )
        name, pairs = named(subject, image), zip(image.data, self.landmarks, strict=True)
        image.set_data(torch.stack([self._standardised(name, *pair) for pair in pairs]))
        return subject

    def _percentiles(self, name: str, channel: Tensor) -> Array:
        values = channel[MASKS[self.masking](channel)].double().numpy()
        first, last = self.cutoff
        found: Array = np.percentile(values, (first, *_DECILES, last)) if len(values) else np.zeros(1)
        if found[-1] - found[0] <= FLAT * max(abs(found[0]), abs(found[-1])):
            raise InputError(
                f"{_STEP}: {name} has the same value ({found[0]:g}) at the percentiles {first} and {last} of the "
                f"voxels that count (masking: {self.masking or 'null'}). Look at the image."
            )
        return found

    def _standardised(self, name: str, channel: Tensor, landmarks: Tensor) -> Tensor:
        mapped = standardised(channel.double().numpy(), self._percentiles(name, channel), landmarks.double().numpy())
        result = torch.from_numpy(mapped.astype(np.float32))
        return torch.where(channel == 0, 0.0, result) if self.keep_background else result
