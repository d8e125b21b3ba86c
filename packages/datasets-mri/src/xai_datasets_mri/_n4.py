"""N4 bias-field correction by SimpleITK."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813 - its usual name
import torch
import torchio as tio

from xai_core.errors import InputError

from ._itk import one_thread
from ._scan import InputOnly, check_values, named

__all__ = ["ScanN4", "n4_corrected"]

Volume = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

# Share of negative voxels from which a scan is no longer one of intensities: interpolation undershoots in fewer.
_NEGATIVE = 0.05


def n4_corrected(
    values: Volume,
    mask: Mask,
    spacing: tuple[float, float, float],
    shrink_factor: int,
    iterations: tuple[int, ...],
    convergence: float,
) -> Volume:
    """Divide a volume by the smooth field that N4 finds (Tustison et al. 2010, doi:10.1109/TMI.2010.2046908).

    Args:
        values: float32 [D, H, W].
        mask: bool [D, H, W], voxels that the field is estimated from; their values must be above 0.
        spacing: Size of the voxels in mm.
        shrink_factor: The field is estimated from every so-maniest voxel along each axis.
        iterations: Largest number of iterations at each level; the mesh of the field gets twice as fine from one
            level to the next.
        convergence: Change of the field at which a level ends.

    Returns:
        float32 [D, H, W]; voxels that were 0 are 0.
    """
    image, inside = (sitk.GetImageFromArray(part.T) for part in (values, mask.astype(np.uint8)))
    for part in (image, inside):
        part.SetSpacing([float(size) for size in spacing])
    # An axis of few voxels (thick slices) is not thinned out further.
    factors = [max(1, min(shrink_factor, size // 8)) for size in values.shape]
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations([int(n) for n in iterations])
    n4.SetConvergenceThreshold(convergence)
    n4.Execute(sitk.Shrink(image, factors), sitk.Shrink(inside, factors))
    field = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image)).T
    return np.ascontiguousarray(values / np.exp(field), dtype=np.float32)


class ScanN4(InputOnly):
    """Removes the bias field from each channel.

    Args:
        shrink_factor: As for :func:`n4_corrected`.
        iterations: As for :func:`n4_corrected`.
        convergence: As for :func:`n4_corrected`.
        masking: Voxels that the field is estimated from: ``"nonzero"``, or ``"otsu"`` (above Otsu's threshold).
        **kwargs: As for ``torchio.Transform``.
    """

    def __init__(
        self, shrink_factor: int, iterations: tuple[int, ...], convergence: float, masking: str, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.shrink_factor = shrink_factor
        self.iterations = iterations
        self.convergence = convergence
        self.masking = masking
        self.args_names = ["shrink_factor", "iterations", "convergence", "masking"]

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        """Correct the network's input."""
        for image in self.get_images(subject):
            check_values("n4-bias-correction", subject, image)
            channels = [self._corrected(subject, image, channel) for channel in image.data.float().numpy()]
            image.set_data(torch.from_numpy(np.stack(channels)))
        return subject

    def _corrected(self, subject: tio.Subject, image: tio.Image, values: Volume) -> Volume:
        negative = float((values < 0).mean())
        if negative > _NEGATIVE:
            raise InputError(
                f"n4-bias-correction: {100 * negative:.0f} % of the voxels of {named(subject, image)} are negative. "
                "The field multiplies intensities: put it before z-normalization and the like."
            )
        mask = values > (0 if self.masking == "nonzero" else _otsu(values))
        with np.errstate(all="ignore"), one_thread():
            return n4_corrected(values, mask, image.spacing, self.shrink_factor, self.iterations, self.convergence)


def _otsu(values: Volume) -> float:
    threshold = sitk.OtsuThresholdImageFilter()
    threshold.Execute(sitk.GetImageFromArray(values))
    return max(0.0, float(threshold.GetThreshold()))
