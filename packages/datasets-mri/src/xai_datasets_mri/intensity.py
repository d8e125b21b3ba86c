"""Transforms that change the values of a scan and leave its grid alone. Masks and other maps are not touched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xai_core import ConfigError, Transform

from ._schema import parameters, spacing3

if TYPE_CHECKING:
    import torchio as tio

__all__ = [
    "Blur", "Clamp", "HistogramStandardization", "MniBrain", "PercentileClip", "RescaleIntensity", "Smooth",
    "ZNormalization",
]  # fmt: skip

_KEEP_BACKGROUND: Mapping[str, Any] = {
    "type": "boolean",
    "default": True,
    "description": "Voxels that are exactly 0 stay exactly 0.",
}


def _masking(default: str | None) -> Mapping[str, Any]:
    return {
        "enum": ["nonzero", "mean", None],
        "default": default,
        "description": "Voxels that the statistics are taken from: those that are not 0 (the brain of a "
        "skull-stripped scan), those above the mean (most of a head), or all (null).",
    }


def _pair(description: str, default: Sequence[float] | None, **limits: float) -> Mapping[str, Any]:
    kind = "array" if default is not None else ["array", "null"]
    item = {"type": "number", **limits}
    return {
        "type": kind, "items": item, "minItems": 2, "maxItems": 2, "default": default, "description": description,
    }  # fmt: skip


def _check_rising(step: str, name: str, pair: Sequence[float]) -> None:
    if pair[0] >= pair[1]:
        raise ConfigError(f"{step}: {name}: the first value must be below the second.")


class ZNormalization(Transform):
    """Subtracts the mean of the brain and divides by its standard deviation; the background stays 0.

    A background that is exactly 0 gets no relevance from rules that weigh by the input, and a padded voxel equals one
    that was there. TorchIO's transform of that name moves it to some negative value, which a network can read.
    """

    config_schema = parameters(
        {
            "masking": _masking("nonzero"),
            "keep_background": _KEEP_BACKGROUND,
        }
    )

    def __init__(self, *, masking: str | None = "nonzero", keep_background: bool = True) -> None:
        self.masking = masking
        self.keep_background = keep_background

    def build(self) -> tio.Transform:
        """Return the transform; it raises InputError for a scan whose values are all equal."""
        from ._torchio import transform

        return transform(
            "z-normalization", "ScanZNormalization", masking=self.masking, keep_background=self.keep_background
        )


class RescaleIntensity(Transform):
    """Clips at percentiles and maps a range of values linearly to another, channel by channel."""

    config_schema = parameters(
        {
            "out_min_max": _pair("Range of the result.", (0, 1)),
            "percentiles": _pair("Percentiles at which the input is clipped.", (0, 100), minimum=0, maximum=100),
            "masking": _masking(None),
            "in_min_max": _pair("Range that becomes out_min_max; null: the values at the percentiles.", None),
        }
    )

    def __init__(
        self,
        *,
        out_min_max: Sequence[float] = (0, 1),
        percentiles: Sequence[float] = (0, 100),
        masking: str | None = None,
        in_min_max: Sequence[float] | None = None,
    ) -> None:
        pairs = {"out_min_max": out_min_max, "percentiles": percentiles, "in_min_max": in_min_max}
        wrong = [name for name, pair in pairs.items() if pair is not None and pair[0] >= pair[1]]
        if wrong:
            raise ConfigError(
                [f"rescale-intensity: {name}: the first value must be below the second." for name in wrong]
            )
        self.out_min_max = out_min_max
        self.percentiles = percentiles
        self.masking = masking
        self.in_min_max = in_min_max

    def build(self) -> tio.Transform:
        """Return the transform; it raises InputError for a scan whose values are all equal."""
        from ._torchio import transform

        return transform(
            "rescale-intensity",
            "ScanRescale",
            out_min_max=self.out_min_max,
            percentiles=self.percentiles,
            masking=self.masking,
            in_min_max=self.in_min_max,
        )


class Clamp(Transform):
    """Sets values below a lower and above an upper bound to the bound."""

    config_schema = parameters(
        {
            "out_min": {"type": ["number", "null"], "default": None, "description": "Lower bound; null: none."},
            "out_max": {"type": ["number", "null"], "default": None, "description": "Upper bound; null: none."},
        }
    )

    def __init__(self, *, out_min: float | None = None, out_max: float | None = None) -> None:
        if out_min is None and out_max is None:
            raise ConfigError("clamp: give out_min, out_max or both.")
        if out_min is not None and out_max is not None and out_min >= out_max:
            raise ConfigError(f"clamp: out_min ({out_min}) must be below out_max ({out_max}).")
        self.out_min = out_min
        self.out_max = out_max

    def build(self) -> tio.Transform:
        """Return the transform."""
        from ._torchio import transform

        return transform("clamp", "ScanClamp", out_min=self.out_min, out_max=self.out_max)


class PercentileClip(Transform):
    """Sets values beyond two percentiles to the values at these, channel by channel."""

    config_schema = parameters(
        {
            "percentiles": _pair("Percentiles at which values are clipped.", (0.5, 99.5), minimum=0, maximum=100),
            "masking": _masking("nonzero"),
            "keep_background": _KEEP_BACKGROUND,
        }
    )

    def __init__(
        self,
        *,
        percentiles: Sequence[float] = (0.5, 99.5),
        masking: str | None = "nonzero",
        keep_background: bool = True,
    ) -> None:
        _check_rising("percentile-clip", "percentiles", percentiles)
        self.percentiles = percentiles
        self.masking = masking
        self.keep_background = keep_background

    def build(self) -> tio.Transform:
        """Return the transform; it raises InputError for a scan whose values are all equal."""
        from ._torchio import transform

        return transform("percentile-clip", "ScanPercentileClip", **vars(self))


class HistogramStandardization(Transform):
    """Maps every scan's deciles to the mean ones of the training part, channel by channel.

    Between the deciles the map is linear. The landmarks are learnt on the training part of each fold and saved with
    it. Source: Nyul, Udupa & Zhang 2000, doi:10.1109/42.836373.
    """

    config_schema = parameters(
        {
            "cutoff": _pair(
                "First and last percentile that are landmarks; they become 0 and 100.", (1, 99), minimum=0, maximum=100
            ),
            "masking": _masking("nonzero"),
            "keep_background": _KEEP_BACKGROUND,
        }
    )

    def __init__(
        self, *, cutoff: Sequence[float] = (1, 99), masking: str | None = "nonzero", keep_background: bool = True
    ) -> None:
        if not cutoff[0] < 10 or not cutoff[1] > 90:
            raise ConfigError("histogram-standardization: cutoff must lie outside of the deciles: below 10, above 90.")
        self.cutoff = cutoff
        self.masking = masking
        self.keep_background = keep_background

    def build(self) -> tio.Transform:
        """Return the transform, to be fitted to the training part."""
        from ._histogram import ScanHistogramStandardization

        return ScanHistogramStandardization(
            (self.cutoff[0], self.cutoff[1]), self.masking, keep_background=self.keep_background
        )


class Smooth(Transform):
    """Smooths with a Gaussian of a full width at half maximum, inside the brain from the brain alone."""

    config_schema = parameters(
        {
            "fwhm": spacing3("Full width at half maximum in mm, for all axes or for each of them."),
            "keep_background": {
                **_KEEP_BACKGROUND,
                "description": "Voxels that are exactly 0 stay 0 and do not darken their neighbours: smoothed values "
                "are divided by the smoothed mask.",
            },
        }
    )

    def __init__(self, *, fwhm: float | Sequence[float], keep_background: bool = True) -> None:
        self.fwhm = fwhm
        self.keep_background = keep_background

    def build(self) -> tio.Transform:
        """Return the transform."""
        from ._torchio import transform

        fwhm = [self.fwhm] * 3 if isinstance(self.fwhm, int | float) else list(self.fwhm)
        return transform("smooth", "ScanSmooth", fwhm=fwhm, keep_background=self.keep_background)


class Blur(Transform):
    """Smooths with a Gaussian of a standard deviation, background and all; ``smooth`` minds the brain's edge."""

    config_schema = parameters({"std": spacing3("Standard deviation in mm, for all axes or for each of them.")})

    def __init__(self, *, std: float | Sequence[float]) -> None:
        self.std = std

    def build(self) -> tio.Transform:
        """Return the transform."""
        from ._torchio import transform

        std = [self.std] * 3 if isinstance(self.std, int | float) else list(self.std)
        return transform("blur", "ScanBlur", std=std)


class MniBrain(Transform):
    """Sets everything outside of the ICBM152 brain to exactly 0; scans must be in MNI space or registered to it."""

    config_schema = parameters(
        {
            "dilation": {
                "type": "number",
                "minimum": 0,
                "maximum": 40,
                "default": 0,
                "description": "Keep also voxels at most this far (mm) from the brain's surface.",
            }
        }
    )

    def __init__(self, *, dilation: float = 0) -> None:
        self.dilation = dilation

    def build(self) -> tio.Transform:
        """Return the transform; it raises InputError for a scan that does not meet the MNI brain."""
        from ._torchio import transform

        return transform("mni-brain", "MniBrain", dilation=self.dilation)
