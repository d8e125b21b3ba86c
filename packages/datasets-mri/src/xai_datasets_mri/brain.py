"""Transforms for raw scans of whole heads: brain extraction, bias-field correction, a box around the brain."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from xai_core import InputError, Transform

from ._schema import count3, parameters

if TYPE_CHECKING:
    import torchio as tio

__all__ = ["BrainExtraction", "CropToBrain", "N4BiasCorrection"]


class BrainExtraction(Transform):
    """Sets everything outside of the brain to exactly 0.

    By deepbet, a network for T1-weighted images of adults' heads whose weights come with its package, on the CPU; or by
    the mask that the dataset gives to every scan.

    Source: Fisch et al. 2024, doi:10.1016/j.compbiomed.2024.108845.
    """

    config_schema = parameters(
        {
            "method": {
                "enum": ["deepbet", "mask"],
                "default": "deepbet",
                "description": "deepbet (pip install 'xai-datasets-mri[brain-extraction]'), or mask: the image named "
                "mask that the dataset carries along.",
            },
            "threshold": {
                "type": "number",
                "exclusiveMinimum": 0,
                "exclusiveMaximum": 1,
                "default": 0.5,
                "description": "deepbet: probability above which a voxel is brain.",
            },
            "dilation": {
                "type": "number",
                "default": 0,
                "description": "Distance in mm by which the mask is widened, or narrowed if negative.",
            },
            "channel": {
                "type": "integer",
                "minimum": 0,
                "default": 0,
                "description": "deepbet: the T1-weighted channel; all channels are masked alike.",
            },
        }
    )

    def __init__(
        self, *, method: str = "deepbet", threshold: float = 0.5, dilation: float = 0, channel: int = 0
    ) -> None:
        self.method = method
        self.threshold = threshold
        self.dilation = dilation
        self.channel = channel

    def build(self) -> tio.Transform:
        """Return the transform; it raises InputError for a scan without a believable brain.

        Raises:
            InputError: deepbet is asked for and not installed.
        """
        if self.method == "deepbet" and find_spec("deepbet") is None:
            raise InputError(
                "brain-extraction: deepbet is not installed. pip install 'xai-datasets-mri[brain-extraction]', or let "
                "the dataset carry a mask for every scan and take method: mask."
            )
        from ._brain import ScanBrainExtraction

        return ScanBrainExtraction(**vars(self))


class N4BiasCorrection(Transform):
    """Removes the slow change of brightness that an uneven coil leaves (N4).

    Source: Tustison et al. 2010, doi:10.1109/TMI.2010.2046908; computed by SimpleITK.
    """

    config_schema = parameters(
        {
            "shrink_factor": {
                "type": "integer",
                "minimum": 1,
                "default": 4,
                "description": "The field is estimated from every so-maniest voxel along each axis.",
            },
            "iterations": {
                "type": "array",
                "items": {"type": "integer", "minimum": 1},
                "minItems": 1,
                "maxItems": 8,
                "default": [50, 50, 50, 50],
                "description": "Largest number of iterations at each level; every level halves the field's mesh.",
            },
            "convergence": {
                "type": "number",
                "exclusiveMinimum": 0,
                "default": 0.001,
                "description": "Change of the field at which a level ends.",
            },
            "masking": {
                "enum": ["otsu", "nonzero"],
                "default": "otsu",
                "description": "Voxels that the field is estimated from: above Otsu's threshold (a whole head), or "
                "above 0 (after brain-extraction).",
            },
        }
    )

    def __init__(
        self,
        *,
        shrink_factor: int = 4,
        iterations: Sequence[int] = (50, 50, 50, 50),
        convergence: float = 0.001,
        masking: str = "otsu",
    ) -> None:
        self.shrink_factor = shrink_factor
        self.iterations = iterations
        self.convergence = convergence
        self.masking = masking

    def build(self) -> tio.Transform:
        """Return the transform; it raises InputError for a constant scan and for one with negative values."""
        from ._n4 import ScanN4

        return ScanN4(self.shrink_factor, tuple(self.iterations), self.convergence, self.masking)


class CropToBrain(Transform):
    """Crops to the box that holds the brains of the training part.

    Found on the training part of each fold and saved with it: voxels that are not 0, so brain-extraction or mni-brain
    comes before. All scans must be on grids of one size and orientation. By whole voxels: a relevance map returns to
    exactly the voxels of the scan's grid that it belongs to. Where a test person's brain reaches beyond the box, a
    warning says so.
    """

    config_schema = parameters(
        {
            "margin": {
                "type": "integer",
                "minimum": 0,
                "default": 2,
                "description": "Voxels to keep around the box, where the grid has them.",
            },
            "multiple_of": {
                **count3(
                    "The box's sides become multiples of this, along all axes or each of them: what a network that "
                    "halves its input needs.",
                    minimum=1,
                ),
                "default": 1,
            },
        }
    )

    def __init__(self, *, margin: int = 2, multiple_of: int | Sequence[int] = 1) -> None:
        self.margin = margin
        self.multiple_of = multiple_of

    def build(self) -> tio.Transform:
        """Return the transform, to be fitted to the training part."""
        from ._box import ScanBrainBox

        sides = self.multiple_of
        return ScanBrainBox(self.margin, sides if isinstance(sides, int) else (sides[0], sides[1], sides[2]))
