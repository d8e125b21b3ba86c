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
    RandomShift,
)
from .brain import BrainExtraction, CropToBrain, N4BiasCorrection
from .geometry import Crop, CropOrPad, MniGrid, Pad, Resample, Resize, ToCanonical, ToOrientation
from .intensity import (
    Blur,
    Clamp,
    HistogramStandardization,
    MniBrain,
    PercentileClip,
    RescaleIntensity,
    Smooth,
    ZNormalization,
)
from .participants import Participants
from .registration import RegisterToMni
from .splitters import Holdout, SklearnStratifiedKFold, StratifiedKFold

__all__ = [
    "Participants",
    "Crop", "CropOrPad", "MniGrid", "Pad", "Resample", "Resize", "ToCanonical", "ToOrientation",
    "BrainExtraction", "CropToBrain", "N4BiasCorrection", "RegisterToMni",
    "Blur", "Clamp", "HistogramStandardization", "MniBrain", "PercentileClip", "RescaleIntensity", "Smooth",
    "ZNormalization",
    "RandomAffine", "RandomBiasField", "RandomBlur", "RandomElasticDeformation", "RandomFlip", "RandomGamma",
    "RandomNoise", "RandomShift",
    "Holdout", "SklearnStratifiedKFold", "StratifiedKFold",
]  # fmt: skip
