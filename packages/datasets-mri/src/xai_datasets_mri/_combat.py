"""The computation of ComBat: location and scale of each site, shrunk towards those of all voxels.

Johnson, Li & Rabinovic 2007 (doi:10.1093/biostatistics/kxj037); for images Fortin et al. 2018
(doi:10.1016/j.neuroimage.2017.11.024). Voxels stand in the place of genes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from xai_core.errors import InputError

__all__ = ["Estimates", "Moments", "Shrinkage", "estimates"]

Array = npt.NDArray[np.float64]
Shrinkage = Literal["location-scale", "location", "none"]

# Change of an estimate, relative to its size, below which it is final.
_CONVERGED = 1e-8
_MOST_STEPS = 1000


@dataclass(frozen=True)
class Moments:
    """What ComBat needs to know of the standardised voxels of one site.

    Attributes:
        count: People of the site.
        location: Mean over them [M].
        squares: Sum of their squared distances from it [M].
    """

    count: int
    location: Array
    squares: Array

    @property
    def scale(self) -> Array:
        """Variance [M] (divided by N - 1); 1 where the site's people do not differ, as in neuroCombat."""
        variance = self.squares / (self.count - 1)
        return np.where(variance == 0, 1.0, variance)


@dataclass(frozen=True)
class Estimates:
    """How a site differs: its standardised values are ``location + sqrt(scale) x`` those of an average site [M]."""

    location: Array
    scale: Array


def estimates(site: Moments, shrinkage: Shrinkage) -> Estimates:
    """Return a site's location and scale.

    Args:
        site: Moments of its standardised voxels.
        shrinkage: ``"location-scale"``: empirical Bayes for both; ``"location"``: the scale is left alone;
            ``"none"``: the moments themselves.
    """
    if shrinkage == "none":
        return Estimates(site.location, site.scale)
    if len(site.location) < 2:
        raise InputError("empirical Bayes needs at least two voxels that differ between people.")
    prior = float(site.location.mean()), float(site.location.var(ddof=1))
    if shrinkage == "location":
        ones = np.ones_like(site.location)
        return Estimates(_location(site.location, prior, 1, ones), ones)
    return _both(site, prior)


def _location(observed: Array, prior: tuple[float, float], count: int, scale: Array) -> Array:
    """Return the posterior mean of the location, given the scale; ``prior`` is normal: mean and variance."""
    mean, variance = prior
    result: Array = (variance * count * observed + scale * mean) / (variance * count + scale)
    return result


def _both(site: Moments, prior: tuple[float, float]) -> Estimates:
    """Return posterior location and scale, each given the other, in turns until neither changes."""
    shape, rate = _inverse_gamma(site.scale)
    location, scale = site.location, site.scale
    unit = np.sqrt(prior[1])
    for _ in range(_MOST_STEPS):
        new_location = _location(site.location, prior, site.count, scale)
        squares = site.squares + site.count * (site.location - new_location) ** 2
        new_scale = (0.5 * squares + rate) / (site.count / 2 + shape - 1)
        moved = np.abs(new_location - location) / (np.abs(location) + unit + 1e-300)
        grown = np.abs(new_scale - scale) / scale
        location, scale = new_location, new_scale
        if max(moved.max(), grown.max()) <= _CONVERGED:
            return Estimates(location, scale)
    raise InputError(
        f"the empirical Bayes estimates of a site have not settled after {_MOST_STEPS} steps. Look at its scans for "
        "extreme values, or write empirical_bayes: false."
    )


def _inverse_gamma(scale: Array) -> tuple[float, float]:
    """Return shape and rate of the inverse gamma prior whose mean and variance are those of the voxels' scales."""
    mean, variance = float(scale.mean()), float(scale.var(ddof=1))
    # Equal scales everywhere: a prior that is as narrow as float64 can tell.
    variance = max(variance, 1e-12 * mean**2)
    return (2 * variance + mean**2) / variance, (mean * variance + mean**3) / variance
