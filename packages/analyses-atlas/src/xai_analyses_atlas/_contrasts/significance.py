"""Which voxels count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from .._statistics.adjust import adjusted
from .inference import Inference
from .models import Estimates

__all__ = ["Significance", "Threshold", "significant"]

Array = npt.NDArray[np.float64]
Threshold = Literal["fwe", "fdr", "p", "t", "top"]


@dataclass(frozen=True)
class Significance:
    """Voxels above a threshold.

    Attributes:
        p_fdr: [V], corrected after Benjamini and Hochberg 1995 over the voxels that were tested; 1 elsewhere.
        counts: bool [V], what is above the threshold.
        least_t: The smallest |t| that is above it, or None where nothing is. With TFCE some voxels of a larger |t| may
            be below it.
    """

    p_fdr: Array
    counts: npt.NDArray[np.bool_]
    least_t: float | None


def significant(
    found: Estimates, test: Inference | None, threshold: Threshold, level: float, *, two_sided: bool
) -> Significance:
    """Return which voxels are above a threshold.

    Args:
        found: [V].
        test: Permutation test; needed for ``"fwe"``.
        threshold: See ``group-contrasts``.
        level: See ``group-contrasts``.
        two_sided: Whether t below zero counts, too.
    """
    p_fdr = np.ones(found.p.shape)
    p_fdr[found.tested] = adjusted(found.p[found.tested], "fdr-bh")
    strength = np.abs(found.t) if two_sided else found.t
    if threshold == "fwe":
        if test is None:
            raise ValueError("the family-wise error needs a permutation test")
        counts = test.p <= level
    elif threshold == "fdr":
        counts = p_fdr <= level
    elif threshold == "p":
        counts = found.p <= level
    elif threshold == "t":
        counts = strength >= level
    else:
        counts = _top(strength, found.tested, level)
    counts = counts & found.tested & (strength > 0)
    return Significance(p_fdr, counts, float(strength[counts].min()) if counts.any() else None)


def _top(strength: Array, tested: npt.NDArray[np.bool_], percent: float) -> npt.NDArray[np.bool_]:
    values = strength[tested]
    if not values.size:
        return tested
    number = max(1, round(values.size * percent / 100))
    above: npt.NDArray[np.bool_] = strength >= np.partition(values, values.size - number)[values.size - number]
    return above
