"""Random changes of training scans, from TorchIO. Validation and test scans never see them.

Parameters are ranges as in TorchIO: for most, ``x`` draws from ``(-x, x)`` (scales: ``(1 - x, 1 + x)``; standard
deviations: ``(0, x)``) for each axis; two numbers are a range for all axes, six are a range for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from xai_core import ConfigError, Transform

from ._schema import INTERPOLATION, PROBABILITY, count3, number_or_range, parameters

if TYPE_CHECKING:
    import torchio as tio

__all__ = [
    "RandomAffine", "RandomBiasField", "RandomBlur", "RandomElasticDeformation", "RandomFlip", "RandomGamma",
    "RandomNoise", "RandomShift",
]  # fmt: skip

_Range = float | Sequence[float]

# TorchIO's name of each axis that a user gives.
_FLIPPED: Mapping[int | str, int | str] = {
    0: 0, 1: 1, 2: 2, "left-right": "Left", "anterior-posterior": "Anterior", "inferior-superior": "Inferior",
}  # fmt: skip


class RandomFlip(Transform):
    """Mirrors training scans.

    A left-right flip teaches the network that the side does not matter. It does in stroke, temporal lobe epilepsy,
    semantic dementia and wherever one hemisphere is hit first: leave the flip out there, or the relevance says no more
    which side the decision rests on. A front-back or top-bottom flip makes heads that do not exist.
    """

    config_schema = parameters(
        {
            "axes": {
                "anyOf": [
                    {"enum": [*_FLIPPED]},
                    {
                        "type": "array",
                        "items": {"enum": [*_FLIPPED]},
                        "minItems": 1,
                        "maxItems": 3,
                        "uniqueItems": True,
                    },
                ],
                "default": "left-right",
                "description": "Axes that may be mirrored: by anatomy, whatever the order of the axes, or by number "
                "(0, 1, 2; after to-canonical 0 is left-right). left-right makes the network blind to the side of a "
                "disease.",
            },
            "flip_probability": {
                "type": "number",
                "minimum": 0,
                "maximum": 1,
                "default": 0.5,
                "description": "Probability for each of the axes.",
            },
            "p": PROBABILITY,
        }
    )

    def __init__(
        self, *, axes: int | str | Sequence[int | str] = "left-right", flip_probability: float = 0.5, p: float = 1
    ) -> None:
        chosen = [axes] if isinstance(axes, int | str) else list(axes)
        if len({type(axis) for axis in chosen}) > 1:
            raise ConfigError("random-flip: axes: give names or numbers, not both.")
        self.axes = chosen
        self.flip_probability = flip_probability
        self.p = p

    def build(self) -> tio.Transform:
        """Return TorchIO's ``RandomFlip``."""
        from ._torchio import transform

        return transform("random-flip", "RandomFlip", **{**vars(self), "axes": [_FLIPPED[axis] for axis in self.axes]})


class RandomShift(Transform):
    """Moves training scans by whole voxels, without interpolation; what comes in from outside is 0."""

    config_schema = parameters(
        {
            "max_shift": {
                **count3("Largest number of voxels, for all axes or for each of them.", minimum=0), "default": 4,
            },
            "p": PROBABILITY,
        }
    )  # fmt: skip

    def __init__(self, *, max_shift: int | Sequence[int] = 4, p: float = 1) -> None:
        self.max_shift = max_shift
        self.p = p

    def build(self) -> tio.Transform:
        """Return the transform."""
        from ._torchio import transform

        return transform("random-shift", "RandomScanShift", **vars(self))


class RandomAffine(Transform):
    """Scales, turns and moves training scans."""

    config_schema = parameters(
        {
            "scales": number_or_range("Factors; x draws from (1 - x, 1 + x).", 0.1),
            "degrees": number_or_range("Angles in degrees.", 10),
            "translation": number_or_range("Shifts in mm.", 0),
            "isotropic": {"type": "boolean", "default": False, "description": "One factor for all axes."},
            "default_pad_value": {
                "anyOf": [{"type": "number"}, {"enum": ["minimum", "mean", "otsu"]}],
                "default": 0,
                "description": "Value of voxels that come from outside of the scan. 0 is the background of a scan, "
                "also after z-normalization; minimum (TorchIO's default) is not.",
            },
            "image_interpolation": INTERPOLATION,
            "p": PROBABILITY,
        }
    )

    def __init__(
        self,
        *,
        scales: _Range = 0.1,
        degrees: _Range = 10,
        translation: _Range = 0,
        isotropic: bool = False,
        default_pad_value: float | str = 0,
        image_interpolation: str = "linear",
        p: float = 1,
    ) -> None:
        self.scales = scales
        self.degrees = degrees
        self.translation = translation
        self.isotropic = isotropic
        self.default_pad_value = default_pad_value
        self.image_interpolation = image_interpolation
        self.p = p

    def build(self) -> tio.Transform:
        """Return TorchIO's ``RandomAffine``."""
        from ._torchio import transform

        return transform("random-affine", "RandomAffine", **vars(self))


class RandomElasticDeformation(Transform):
    """Deforms training scans smoothly by B-splines."""

    config_schema = parameters(
        {
            "num_control_points": count3("Control points along all axes, or along each of them.", minimum=4)
            | {"default": 7},
            "max_displacement": {
                "anyOf": [
                    {"type": "number", "minimum": 0},
                    {"type": "array", "items": {"type": "number", "minimum": 0}, "minItems": 3, "maxItems": 3},
                ],
                "default": 7.5,
                "description": "Largest displacement of a control point in mm, for all axes or for each of them.",
            },
            "locked_borders": {
                "enum": [0, 1, 2],
                "default": 2,
                "description": "Layers of control points at the borders that do not move.",
            },
            "image_interpolation": INTERPOLATION,
            "p": PROBABILITY,
        }
    )

    def __init__(
        self,
        *,
        num_control_points: int | Sequence[int] = 7,
        max_displacement: float | Sequence[float] = 7.5,
        locked_borders: int = 2,
        image_interpolation: str = "linear",
        p: float = 1,
    ) -> None:
        self.num_control_points = num_control_points
        self.max_displacement = max_displacement
        self.locked_borders = locked_borders
        self.image_interpolation = image_interpolation
        self.p = p

    def build(self) -> tio.Transform:
        """Return TorchIO's ``RandomElasticDeformation``."""
        from ._torchio import transform

        return transform("random-elastic-deformation", "RandomElasticDeformation", **vars(self))


class RandomNoise(Transform):
    """Adds Gaussian noise to training scans."""

    config_schema = parameters(
        {
            "mean": number_or_range("Mean of the noise.", 0, (2,)),
            "std": number_or_range(
                "Standard deviation of the noise, in units of the scan; the default suits normalised scans.",
                (0, 0.25),
                (2,),
            ),
            "p": PROBABILITY,
        }
    )

    def __init__(self, *, mean: _Range = 0, std: _Range = (0, 0.25), p: float = 1) -> None:
        self.mean = mean
        self.std = std
        self.p = p

    def build(self) -> tio.Transform:
        """Return TorchIO's ``RandomNoise``."""
        from ._torchio import transform

        return transform("random-noise", "RandomNoise", **vars(self))


class RandomBiasField(Transform):
    """Multiplies training scans by a smooth field, as an uneven coil does."""

    config_schema = parameters(
        {
            "coefficients": number_or_range("Largest coefficient of the polynomial in the exponent.", 0.5, (2,)),
            "order": {"type": "integer", "minimum": 0, "default": 3, "description": "Order of the polynomial."},
            "p": PROBABILITY,
        }
    )

    def __init__(self, *, coefficients: _Range = 0.5, order: int = 3, p: float = 1) -> None:
        self.coefficients = coefficients
        self.order = order
        self.p = p

    def build(self) -> tio.Transform:
        """Return TorchIO's ``RandomBiasField``."""
        from ._torchio import transform

        return transform("random-bias-field", "RandomBiasField", **vars(self))


class RandomBlur(Transform):
    """Smooths training scans with a Gaussian."""

    config_schema = parameters(
        {"std": number_or_range("Standard deviation in mm; x draws from (0, x).", (0, 2)), "p": PROBABILITY}
    )

    def __init__(self, *, std: _Range = (0, 2), p: float = 1) -> None:
        self.std = std
        self.p = p

    def build(self) -> tio.Transform:
        """Return TorchIO's ``RandomBlur``."""
        from ._torchio import transform

        return transform("random-blur", "RandomBlur", **vars(self))


class RandomGamma(Transform):
    """Changes the contrast of training scans by a power of their values."""

    config_schema = parameters(
        {
            "log_gamma": number_or_range("Logarithm of the exponent; x draws from (-x, x).", (-0.3, 0.3), (2,)),
            "p": PROBABILITY,
        }
    )

    def __init__(self, *, log_gamma: _Range = (-0.3, 0.3), p: float = 1) -> None:
        self.log_gamma = log_gamma
        self.p = p

    def build(self) -> tio.Transform:
        """Return TorchIO's ``RandomGamma``."""
        from ._torchio import transform

        return transform("random-gamma", "RandomGamma", **vars(self))
