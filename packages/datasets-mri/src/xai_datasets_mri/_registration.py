"""Registration of a scan to MNI space, such that its affine still tells where every voxel is in the scan."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torchio as tio

from xai_core.errors import InputError

from ._engines import ENGINES, similarity_to_template
from ._itk import one_thread
from ._mni import REGISTERED, mni_grid_in_scan
from ._resample import ScanResample
from ._scan import check_values, input_image, named

__all__ = ["RegisterToMni"]

_STEP = "register-to-mni"

# Mutual information (nats) with the template, around its brain. Colin's T1 reaches 0.49 to 0.59, noise and slopes 0.1
# at the most, a head that is upside down 0.15.
_SIMILAR = 0.2
# Factors by which an adult's brain may differ from the template's along an axis.
_FACTORS = (0.6, 1.6)


class RegisterToMni(tio.transforms.SpatialTransform):
    """Resamples a scan onto the grid around the MNI brain, turned (and scaled and sheared) to where its own brain is.

    The grid's affine is that of the MNI grid followed by the way from MNI space to the scan: the voxels of different
    people match, and each person's affine still says where the voxel is in that person's scan, in its own world. A map
    on this grid is laid over the scan by the affines alone. The way back, from the scan's world to MNI space, is the
    subject's ``to_mni``; ``mni-brain`` and ``mni-grid`` mind it.

    Args:
        engine: ``"simpleitk"`` or ``"ants"``.
        kind: ``"rigid"`` (6 degrees of freedom), ``"similarity"`` (7) or ``"affine"`` (12).
        spacing: As for ``mni_grid``.
        margin: As for ``mni_grid``.
        image_interpolation: As for ``ScanResample``.
        channel: Index of the channel that is registered.
        **kwargs: As for ``torchio.Transform``.
    """

    def __init__(
        self, engine: str, kind: str, spacing: float, margin: float, image_interpolation: str, channel: int,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.engine = engine
        self.kind = kind
        self.spacing = spacing
        self.margin = margin
        self.image_interpolation = image_interpolation
        self.channel = channel
        self.args_names = ["engine", "kind", "spacing", "margin", "image_interpolation", "channel"]

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        """Register the network's input and resample all images of the subject."""
        image = input_image(subject)
        check_values(_STEP, subject, image)
        if self.channel >= image.num_channels:
            raise InputError(
                f"{_STEP}: {named(subject, image)} has no channel {self.channel} (it has {image.num_channels}, counted "
                "from 0)."
            )
        to_scan = self._registered(subject, image)
        subject[REGISTERED] = np.linalg.inv(to_scan).tolist()
        grid = mni_grid_in_scan(subject, self.spacing, self.margin)
        return ScanResample(grid, self.image_interpolation).apply_transform(subject)

    def _registered(self, subject: tio.Subject, image: tio.ScalarImage) -> npt.NDArray[np.float64]:
        values = image.data[self.channel].float().numpy()
        affine = np.array(image.affine, dtype=np.float64)
        if _sheared(affine):
            raise InputError(
                f"{_STEP}: the axes of {named(subject, image)} are not at right angles. Resample it first, or leave a "
                "second registration out."
            )
        try:
            with np.errstate(all="ignore"), one_thread():
                to_scan = ENGINES[self.engine](values, affine, self.kind)
                similarity = similarity_to_template(values, affine, to_scan)
        except RuntimeError as error:  # what ITK raises
            reason = " ".join(str(error).split())[-150:]
            raise InputError(f"{_STEP}: {named(subject, image)} cannot be registered ({reason}).") from error
        factors = np.linalg.svd(to_scan[:3, :3], compute_uv=False)
        if similarity < _SIMILAR or factors.min() < _FACTORS[0] or factors.max() > _FACTORS[1]:
            raise InputError(
                f"{_STEP}: {named(subject, image)} does not match the MNI brain (mutual information {similarity:.2f}, "
                f"where a head reaches {_SIMILAR} or more; scaled by {factors.min():.2f} to {factors.max():.2f}). Look "
                "at the image and at its header's orientation; brain-extraction before it helps."
            )
        return to_scan


def _sheared(affine: npt.NDArray[np.float64]) -> bool:
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return not np.allclose(axes.T @ axes, np.eye(3), atol=1e-3)
