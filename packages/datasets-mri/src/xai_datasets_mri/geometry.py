"""Transforms that change the grid of a scan, always together with its affine.

Images are interpolated, ground-truth masks take the nearest voxel. Put these before the intensity transforms: the
voxels that they add are 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_core import ConfigError, Transform

from ._schema import INTERPOLATION, count3, parameters, spacing3

if TYPE_CHECKING:
    import torchio as tio

__all__ = ["Crop", "CropOrPad", "MniGrid", "Pad", "Resample", "Resize", "ToCanonical", "ToOrientation"]

_AXES = {"R": "sagittal", "L": "sagittal", "A": "coronal", "P": "coronal", "S": "axial", "I": "axial"}


_ANTIALIAS: Mapping[str, Any] = {
    "type": "boolean",
    "default": True,
    "description": "Smooth first along the axes whose voxels grow (Cardoso et al. 2015), so that detail too fine for "
    "the new grid does not come back as a false pattern.",
}


class ToCanonical(Transform):
    """Reorders the voxels to right, anterior, superior (RAS+); no value changes."""

    def build(self) -> tio.Transform:
        """Return TorchIO's ``ToCanonical``."""
        from ._torchio import transform

        return transform("to-canonical", "ToCanonical")


class ToOrientation(Transform):
    """Reorders the voxels so that the axes run as asked for; no value changes.

    Needed by networks that were trained on arrays in another order: one whose arrays were made from RAS+ files by
    ``np.flip(np.transpose(img, (2, 0, 1)))`` wants ``ILP``.
    """

    config_schema = parameters(
        {
            "orientation": {
                "type": "string",
                "pattern": "^[RLAPIS]{3}$",
                "description": "Where the first, second and third axis run to: three of R or L, A or P, S or I.",
            }
        }
    )

    def __init__(self, *, orientation: str) -> None:
        if len({_AXES[letter] for letter in orientation}) < 3:
            raise ConfigError(
                f"to-orientation: {orientation!r} names one axis twice; give one of R and L, one of A and P, and one "
                "of S and I."
            )
        self.orientation = orientation

    def build(self) -> tio.Transform:
        """Return TorchIO's ``ToOrientation``."""
        from ._torchio import transform

        return transform("to-orientation", "ToOrientation", orientation=self.orientation)


class Resample(Transform):
    """Resamples to a spacing, or onto the grid of a reference image."""

    config_schema = parameters(
        {
            "target": spacing3("Spacing in mm, for all axes or for each of them.", default=1),
            "reference": {
                "type": ["string", "null"],
                "format": "path",
                "default": None,
                "description": "Image whose grid is taken, in place of target. Scans must be in its space already.",
            },
            "image_interpolation": INTERPOLATION,
            "antialias": _ANTIALIAS,
        }
    )

    def __init__(
        self,
        *,
        target: float | Sequence[float] = 1,
        reference: str | None = None,
        image_interpolation: str = "linear",
        antialias: bool = True,
    ) -> None:
        self.target = target
        self.reference = reference
        self.image_interpolation = image_interpolation
        self.antialias = antialias

    def build(self) -> tio.Transform:
        """Return the transform.

        Raises:
            InputError: The reference image is missing or unreadable.
        """
        from ._resample import reference_grid
        from ._torchio import transform

        return transform(
            "resample",
            "ScanResample",
            target=self.target if self.reference is None else reference_grid(Path(self.reference)),
            image_interpolation=self.image_interpolation,
            smooth_first=self.antialias,
        )


class Resize(Transform):
    """Resamples the same field of view to a number of voxels, whatever their size becomes."""

    config_schema = parameters(
        {
            "target_shape": count3("Voxels, for all axes or for each of them.", minimum=2),
            "image_interpolation": INTERPOLATION,
            "antialias": _ANTIALIAS,
        }
    )

    def __init__(
        self, *, target_shape: int | Sequence[int], image_interpolation: str = "linear", antialias: bool = True
    ) -> None:
        self.target_shape = target_shape
        self.image_interpolation = image_interpolation
        self.antialias = antialias

    def build(self) -> tio.Transform:
        """Return the transform."""
        from ._torchio import transform

        return transform(
            "resize",
            "ScanResize",
            target_shape=self.target_shape,
            image_interpolation=self.image_interpolation,
            smooth_first=self.antialias,
        )


class CropOrPad(Transform):
    """Crops or pads with 0, evenly on both sides, to a number of voxels."""

    config_schema = parameters({"target_shape": count3("Voxels, for all axes or for each of them.", minimum=1)})

    def __init__(self, *, target_shape: int | Sequence[int]) -> None:
        self.target_shape = target_shape

    def build(self) -> tio.Transform:
        """Return TorchIO's ``CropOrPad``."""
        from ._torchio import transform

        return transform("crop-or-pad", "CropOrPad", target_shape=self.target_shape)


class Crop(Transform):
    """Removes voxels at the borders."""

    config_schema = parameters(
        {
            "cropping": count3(
                "Voxels to remove: at every border, at both borders of each axis (three numbers), or at each border "
                "(six: first axis low and high, second, third).",
                minimum=0,
                lengths=(3, 6),
            )
        }
    )

    def __init__(self, *, cropping: int | Sequence[int]) -> None:
        self.cropping = cropping

    def build(self) -> tio.Transform:
        """Return TorchIO's ``Crop``."""
        from ._torchio import transform

        return transform("crop", "Crop", cropping=self.cropping)


class Pad(Transform):
    """Adds voxels that are 0 at the borders."""

    config_schema = parameters(
        {
            "padding": count3(
                "Voxels to add: at every border, at both borders of each axis (three numbers), or at each border "
                "(six: first axis low and high, second, third).",
                minimum=0,
                lengths=(3, 6),
            )
        }
    )

    def __init__(self, *, padding: int | Sequence[int]) -> None:
        self.padding = padding

    def build(self) -> tio.Transform:
        """Return TorchIO's ``Pad``."""
        from ._torchio import transform

        return transform("pad", "Pad", padding=self.padding)


class MniGrid(Transform):
    """Resamples scans in MNI space, or registered to it, onto one fixed grid around the brain.

    The grid depends on the parameters only: RAS, voxel centres at multiples of ``spacing``, from the bounding box of
    the ICBM152 brain and ``margin`` on all sides. Every scan ends with the same shape and affine, whatever its own.
    """

    config_schema = parameters(
        {
            "spacing": {
                "type": "number",
                "exclusiveMinimum": 0,
                "default": 4,
                "description": "Spacing in mm. Scans with smaller voxels are smoothed first.",
            },
            "margin": {
                "type": "number",
                "minimum": 0,
                "default": 4,
                "description": "Distance in mm from the brain's outermost voxels to the outermost voxels of the grid.",
            },
        }
    )

    def __init__(self, *, spacing: float = 4, margin: float = 4) -> None:
        self.spacing = spacing
        self.margin = margin

    def build(self) -> tio.Transform:
        """Return the transform; it raises InputError for a scan that does not meet the MNI brain."""
        from ._torchio import transform

        return transform("mni-grid", "MniGrid", spacing=self.spacing, margin=self.margin)
