"""p values corrected for all tests that one method makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .._statistics import Block, CorrelationMethod, adjusted, freedman_lane
from .samples import Sample
from .testing import Outcome

if TYPE_CHECKING:
    from ..region_features import Method, RegionFeatures

__all__ = ["Tested", "corrected"]


@dataclass(frozen=True)
class Tested:
    """A sample and what a method says of its pairs."""

    sample: Sample
    outcomes: Sequence[Outcome]

    @property
    def made(self) -> list[Outcome]:
        """The pairs that have a result."""
        return [one for one in self.outcomes if one.values]


def corrected(method: Method, tested: Sequence[Tested], options: RegionFeatures) -> list[npt.NDArray[Any]]:
    """Return the corrected p values of the made tests of each sample; all of them are one family."""
    if options.correction == "max-t":
        return _by_permutation(method, tested, options)
    p = np.array([one.values["p"] for part in tested for one in part.made], dtype=np.float64)
    whole = adjusted(p, options.correction)
    return np.split(whole, np.cumsum([len(part.made) for part in tested])[:-1])


def _by_permutation(method: Method, tested: Sequence[Tested], options: RegionFeatures) -> list[npt.NDArray[Any]]:
    kind: CorrelationMethod = "spearman" if method.endswith("spearman") else "pearson"
    found: list[npt.NDArray[Any]] = [np.zeros(0) for _ in tested]
    places = [place for place, part in enumerate(tested) if part.made]
    blocks = []
    for place in places:
        sample = tested[place].sample
        adjusts = method.startswith("partial-") or method == "ols"
        covariates = sample.adjusting(ranks=kind == "spearman")[0] if adjusts else None
        pairs = sample.pairs[[one.pair for one in tested[place].made]]
        blocks.append(Block(sample.rows, sample.y, sample.x, covariates, pairs, kind))
    results = freedman_lane(blocks, options.permutations, np.random.default_rng(options.seed)) if blocks else []
    for place, p in zip(places, results, strict=True):
        found[place] = p
    return found
