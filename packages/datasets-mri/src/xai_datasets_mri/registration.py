"""The transform ``register-to-mni``."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from xai_core import InputError, Transform

from ._schema import INTERPOLATION, parameters

if TYPE_CHECKING:
    import torchio as tio

__all__ = ["RegisterToMni"]


class RegisterToMni(Transform):
    """Registers scans to the ICBM152 brain and resamples them onto one grid in MNI space.

    Linear only: the way back to the scan is kept in the image's affine, and a relevance map returns through it.
    Afterwards the scans' affines still lie in the world of the scan; ``mni-brain`` and ``mni-grid`` know the way from
    there to MNI space.
    """

    config_schema = parameters(
        {
            "engine": {
                "enum": ["simpleitk", "ants"],
                "default": "simpleitk",
                "description": "What registers. ants needs pip install 'xai-datasets-mri[ants]'.",
            },
            "kind": {
                "type": "string",
                "pattern": "^(rigid|similarity|affine)$",
                "default": "affine",
                "description": "rigid (turned and moved), similarity (also scaled) or affine (also sheared). Nonlinear "
                "registration is not offered: a relevance map finds its way back to the scan through an affine, which "
                "cannot hold a warp. Warp scans before the study (with fMRIPrep, CAT12 or ANTs); maps are then in MNI "
                "space.",
            },
            "spacing": {
                "type": "number",
                "exclusiveMinimum": 0,
                "default": 1,
                "description": "Spacing of the grid in mm. Scans with smaller voxels are smoothed first.",
            },
            "margin": {
                "type": "number",
                "minimum": 0,
                "default": 4,
                "description": "Distance in mm from the brain's outermost voxels to the outermost voxels of the grid.",
            },
            "image_interpolation": INTERPOLATION,
            "channel": {
                "type": "integer",
                "minimum": 0,
                "default": 0,
                "description": "Channel that is registered; the others and the masks follow.",
            },
        }
    )

    def __init__(
        self,
        *,
        engine: str = "simpleitk",
        kind: str = "affine",
        spacing: float = 1,
        margin: float = 4,
        image_interpolation: str = "linear",
        channel: int = 0,
    ) -> None:
        self.engine = engine
        self.kind = kind
        self.spacing = spacing
        self.margin = margin
        self.image_interpolation = image_interpolation
        self.channel = channel

    def build(self) -> tio.Transform:
        """Return the transform; it raises InputError for a scan that does not come to match the MNI brain.

        Raises:
            InputError: ANTs is asked for and not installed.
        """
        if self.engine == "ants" and find_spec("ants") is None:
            raise InputError(
                "register-to-mni: engine ants needs antspyx, which is not installed. pip install "
                "'xai-datasets-mri[ants]', or take engine: simpleitk."
            )
        from ._registration import RegisterToMni as Registered

        return Registered(**vars(self))
