"""Brain extraction: everything outside of a mask becomes exactly 0."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import nibabel as nib
import numpy as np
import numpy.typing as npt
import torch
import torchio as tio

from xai_core.errors import InputError

from ._scan import InputOnly, check_values, input_image, named

__all__ = ["ScanBrainExtraction", "deepbet_mask"]

Mask = npt.NDArray[np.bool_]

# Brains of adults have 900 to 2100 ml with their fluid; what is far beyond is not a head, or not in mm.
_VOLUMES_ML = (400, 3000)


@lru_cache(maxsize=1)
def _networks() -> Any:
    from deepbet import BrainExtraction

    # On the CPU: forked workers cannot use a GPU, and the same scan gives the same mask on every machine.
    return BrainExtraction(no_gpu=True)


def deepbet_mask(values: npt.NDArray[np.float32], affine: npt.NDArray[np.float64], threshold: float) -> Mask:
    """Return the brain that deepbet sees (Fisch et al. 2024, doi:10.1016/j.compbiomed.2024.108845).

    Args:
        values: T1-weighted image of a whole head [D, H, W].
        affine: Voxel to world (mm, RAS), [4, 4]; deepbet turns the head upright by it.
        threshold: Probability (0 to 1) from which a voxel is brain.

    Returns:
        bool [D, H, W]: the largest connected part, its holes filled.
    """
    _, mask, _ = _networks().run(nib.Nifti1Image(values, affine), threshold=threshold)
    return np.asarray(mask.dataobj) > 0


class ScanBrainExtraction(InputOnly):
    """Sets the voxels of every channel outside of the brain to exactly 0.

    Args:
        method: ``"deepbet"``, or ``"mask"``: the image ``mask`` of the subject says where the brain is.
        threshold: As for :func:`deepbet_mask`.
        dilation: Distance in mm by which the mask is widened; a negative one narrows it.
        channel: Index of the T1-weighted channel.
        **kwargs: As for ``torchio.Transform``.
    """

    def __init__(self, method: str, threshold: float, dilation: float, channel: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.method = method
        self.threshold = threshold
        self.dilation = dilation
        self.channel = channel
        self.args_names = ["method", "threshold", "dilation", "channel"]

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        """Set the background of the network's input to 0."""
        image = input_image(subject)
        check_values("brain-extraction", subject, image)
        brain = self._found(subject, image) if self.method == "deepbet" else _given(subject, image)
        if self.dilation:
            brain = _widened(brain, image, self.dilation)
        if not brain.any():
            raise InputError(f"brain-extraction: no brain is left of {named(subject, image)}.")
        inside = torch.from_numpy(brain)
        # Not a product: 0 times a negative value is -0.0.
        image.set_data(torch.where(inside, image.data, torch.zeros((), dtype=image.data.dtype)))
        return subject

    def _found(self, subject: tio.Subject, image: tio.ScalarImage) -> Mask:
        if self.channel >= image.num_channels:
            raise InputError(
                f"brain-extraction: {named(subject, image)} has no channel {self.channel} (it has "
                f"{image.num_channels}, counted from 0)."
            )
        values = image.data[self.channel].float().numpy()
        try:
            with np.errstate(all="ignore"):
                brain = deepbet_mask(values, np.asarray(image.affine, dtype=np.float64), self.threshold)
        except (AssertionError, ValueError, IndexError) as error:  # deepbet's ways to say that there is no foreground
            raise InputError(
                f"brain-extraction: deepbet finds no brain in {named(subject, image)} ({error}). It needs a "
                "T1-weighted image of a whole head."
            ) from error
        volume = float(brain.sum() * abs(np.linalg.det(image.affine[:3, :3])) / 1000)
        if not _VOLUMES_ML[0] <= volume <= _VOLUMES_ML[1]:
            raise InputError(
                f"brain-extraction: deepbet finds a brain of {volume:.0f} ml in {named(subject, image)}, where "
                f"{_VOLUMES_ML[0]} to {_VOLUMES_ML[1]} are believable. It needs a T1-weighted image of a whole head, "
                "with its voxel size in mm."
            )
        return brain


def _given(subject: tio.Subject, image: tio.Image) -> Mask:
    mask = subject.get("mask")
    if not isinstance(mask, tio.Image):
        images = ", ".join(subject.get_images_dict(intensity_only=False))
        raise InputError(
            f"brain-extraction: {named(subject, image)} comes without a mask (its images: {images}). Let the dataset "
            "give every scan one under the name mask, or take method: deepbet."
        )
    if mask.spatial_shape != image.spatial_shape or not np.allclose(mask.affine, image.affine, atol=1e-2):
        raise InputError(
            f"brain-extraction: the mask of {named(subject, image)} is on another grid ({mask.spatial_shape}) than the "
            f"image ({image.spatial_shape})."
        )
    brain: Mask = (mask.data > 0).any(dim=0).numpy()
    if not brain.any():
        raise InputError(f"brain-extraction: the mask of {named(subject, image)} is empty.")
    return brain


def _widened(brain: Mask, image: tio.Image, distance: float) -> Mask:
    from scipy import ndimage

    outwards = distance > 0
    away = ndimage.distance_transform_edt(~brain if outwards else brain, sampling=image.spacing)
    return cast(Mask, away <= distance if outwards else away > -distance)
