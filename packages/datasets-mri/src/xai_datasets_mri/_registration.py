"""Registration of a scan to MNI space, such that its affine still tells where every voxel is in the scan."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torchio as tio

from xai_core.errors import InputError

from ._engines import ENGINES, mirrored, similarity_to_template
from ._itk import one_thread
from ._mni import REGISTERED, mni_grid_in_scan
from ._resample import ScanResample
from ._scan import check_values, input_image, named

__all__ = ["RegisterToMni"]

Affine: TypeAlias = npt.NDArray[np.float64]
Volume: TypeAlias = npt.NDArray[np.float32]

_STEP = "register-to-mni"

# Mutual information (nats) with the template: of Colin's T1 0.49 to 0.6, 0.25 under heavy noise; of noise alone 0.02.
_SIMILAR = 0.1
# A brain that lies the wrong way round fills the template's outline, too. So the match must be this many times better
# than with the brain mirrored front to back or top to bottom: where it was right it was 2.3 to 4.0 times (also other
# contrasts, noise, whole heads), where a header was wrong by 90 or 180 degrees 1.4 times at the most.
_DISTINCT = 1.75
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

    def _registered(self, subject: tio.Subject, image: tio.ScalarImage) -> Affine:
        values = image.data[self.channel].float().numpy()
        affine = np.array(image.affine, dtype=np.float64)
        if _sheared(affine):
            raise InputError(
                f"{_STEP}: the axes of {named(subject, image)} are not at right angles. Resample it first, or leave a "
                "second registration out."
            )
        who = named(subject, image)
        try:
            with np.errstate(all="ignore"), one_thread():
                to_scan = ENGINES[self.engine](values, affine, self.kind)
                _check_match(who, values, affine, to_scan)
        except RuntimeError as error:  # what ITK raises
            reason = " ".join(str(error).split())[-150:]
            raise InputError(f"{_STEP}: {who} cannot be registered ({reason}).") from error
        return to_scan


def _check_match(who: str, values: Volume, affine: Affine, to_scan: Affine) -> None:
    similarity = similarity_to_template(values, affine, to_scan)
    wrong = max(similarity_to_template(values, affine, mirrored(to_scan, axis)) for axis in (1, 2))
    factors = np.linalg.svd(to_scan[:3, :3], compute_uv=False)
    if similarity < max(_SIMILAR, _DISTINCT * wrong) or factors.min() < _FACTORS[0] or factors.max() > _FACTORS[1]:
        raise InputError(
            f"{_STEP}: {who} does not match the MNI brain (mutual information {similarity:.2f}, {wrong:.2f} if "
            f"mirrored; scaled by {factors.min():.2f} to {factors.max():.2f}). Look at the image and at its header's "
            "orientation; brain-extraction before it helps."
        )


def _sheared(affine: Affine) -> bool:
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return not np.allclose(axes.T @ axes, np.eye(3), atol=1e-3)
