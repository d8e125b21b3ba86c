"""The components of this package, by class."""

from __future__ import annotations

from .augmentation import (
    RandomAffine,
    RandomBiasField,
    RandomBlur,
    RandomElasticDeformation,
    RandomFlip,
    RandomGamma,
    RandomNoise,
)
from .geometry import Crop, CropOrPad, MniGrid, Pad, Resample, Resize, ToCanonical, ToOrientation
from .intensity import Blur, Clamp, MniBrain, RescaleIntensity, ZNormalization
from .participants import Participants
from .splitters import Holdout, SklearnStratifiedKFold, StratifiedKFold

__all__ = [
    "Participants",
    "Crop", "CropOrPad", "MniGrid", "Pad", "Resample", "Resize", "ToCanonical", "ToOrientation",
    "Blur", "Clamp", "MniBrain", "RescaleIntensity", "ZNormalization",
    "RandomAffine", "RandomBiasField", "RandomBlur", "RandomElasticDeformation", "RandomFlip", "RandomGamma",
    "RandomNoise",
    "Holdout", "SklearnStratifiedKFold", "StratifiedKFold",
]  # fmt: skip
