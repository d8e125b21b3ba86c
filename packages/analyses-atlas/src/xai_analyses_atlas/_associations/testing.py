"""One method on the tests of a sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import numpy.typing as npt

from .._statistics import (
    CorrelationMethod,
    ModelFit,
    bootstrap_intervals,
    correlation,
    correlations,
    linear_model,
    mixed_model,
    partial_correlation,
    standardised_slopes,
)
from ..region_features import WITH_COVARIATES

if TYPE_CHECKING:
    from ..region_features import Method, RegionFeatures
    from .samples import Sample

__all__ = ["Outcome", "outcomes"]

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

# Pairs whose resamples are in memory at the same time: 160 MB with 2,000 resamples.
_AT_ONCE = 10_000


@dataclass(frozen=True)
class Outcome:
    """What a method says of one pair.

    Attributes:
        pair: Its number in the sample.
        values: Columns of ``associations.tsv``; empty where there is no result.
        reason: Why there is none, or an empty string.
    """

    pair: int
    values: dict[str, Any]
    reason: str = ""


def outcomes(method: Method, sample: Sample, options: RegionFeatures, people: npt.NDArray[Any]) -> list[Outcome]:
    """Return an outcome for each pair of a sample.

    Args:
        method: Kind of statistic.
        sample: The tests.
        options: Confidence, bootstrap and seed.
        people: [n], who each row of the sample is.
    """
    adjusts = method in WITH_COVARIATES
    names = sample.adjusting()[1] if adjusts else []
    least = len(names) + 4
    if len(sample.rows) < least:
        why = f"{len(sample.rows)} rows are too few: an intercept, the variable and {len(names)} columns need {least}"
        return [Outcome(pair, {}, why) for pair in range(len(sample.pairs))]
    if method in ("ols", "hc3", "rlm", "mixed"):
        found = _models(method, sample, options, people)
    else:
        found = _correlations(method, sample, options)
    about = {"n": len(sample.rows), "people": len(np.unique(people)), "covariates": ", ".join(names) or None}
    return [Outcome(one.pair, about | one.values if one.values else {}, one.reason) for one in found]


def _correlations(method: Method, sample: Sample, options: RegionFeatures) -> list[Outcome]:
    kind = cast(CorrelationMethod, method.removeprefix("partial-"))
    partial = method.startswith("partial-")
    ranks = kind == "spearman"

    def adjusting(rows: Rows | None = None) -> Array | None:
        return sample.adjusting(rows, ranks=ranks)[0] if partial else None

    if partial:
        given = cast(Literal["pearson", "spearman"], kind)
        matrix = sample.adjusting(ranks=ranks)[0]
        result = partial_correlation(sample.y, sample.x, matrix, given, confidence=options.confidence)
    else:
        result = correlation(sample.y, sample.x, kind, confidence=options.confidence)

    def resampled(rows: Rows) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            return correlations(sample.y[rows], sample.x[rows], adjusting(rows), kind)

    low, high = _bootstrap(resampled, sample, options)
    found = []
    for pair, (region, variable) in enumerate(sample.pairs):
        if np.isnan(result.estimate[region, variable]):
            found.append(Outcome(pair, {}, _why(sample, region, variable, kind)))
            continue
        values = {
            "estimate": result.estimate[region, variable],
            "ci_low": result.low[region, variable], "ci_high": result.high[region, variable],
            "bootstrap_low": low[pair], "bootstrap_high": high[pair],
            "statistic": result.statistic[region, variable], "distribution": "t", "df": result.df,
            "p": result.p[region, variable],
        }  # fmt: skip
        found.append(Outcome(pair, values | {"note": _note(values, options)}))
    return found


def _models(
    method: Literal["ols", "hc3", "rlm", "mixed"], sample: Sample, options: RegionFeatures, people: npt.NDArray[Any]
) -> list[Outcome]:
    matrix = sample.adjusting()[0]
    low = high = np.full(len(sample.pairs), np.nan)
    if method in ("ols", "hc3"):

        def resampled(rows: Rows) -> Array:
            with np.errstate(invalid="ignore", divide="ignore"):
                return standardised_slopes(sample.y[rows], sample.x[rows], sample.adjusting(rows)[0])

        low, high = _bootstrap(resampled, sample, options)
    found = []
    for pair, (region, variable) in enumerate(sample.pairs):
        y, x = sample.y[:, region], sample.x[:, variable]
        try:
            if method == "mixed":
                fit = mixed_model(y, x, people, matrix, confidence=options.confidence)
            else:
                fit = linear_model(y, x, matrix, method, confidence=options.confidence)
        except ValueError as error:
            found.append(Outcome(pair, {}, str(error)))
            continue
        values = _row(fit) | {"bootstrap_low": low[pair], "bootstrap_high": high[pair]}
        notes = [fit.note, _note(values, options) if method in ("ols", "hc3") else ""]
        found.append(Outcome(pair, values | {"note": "; ".join(note for note in notes if note) or None}))
    return found


def _row(fit: ModelFit) -> dict[str, Any]:
    return {
        "estimate": fit.beta, "ci_low": fit.beta_low, "ci_high": fit.beta_high, "slope": fit.slope,
        "slope_error": fit.error, "statistic": fit.statistic, "distribution": "z" if fit.df is None else "t",
        "df": fit.df, "p": fit.p, "partial_r_squared": fit.partial_r_squared,
    }  # fmt: skip


def _bootstrap(resampled: Callable[[Rows], Array], sample: Sample, options: RegionFeatures) -> tuple[Array, Array]:
    """Return the ends [P] of the bootstrap intervals; NaN where there are none."""
    if not options.bootstrap:
        none = np.full(len(sample.pairs), np.nan)
        return none, none
    parts = []
    for start in range(0, len(sample.pairs), _AT_ONCE):
        left, right = sample.pairs[start : start + _AT_ONCE].T

        def some(rows: Rows, left: Rows = left, right: Rows = right) -> Array:
            return resampled(rows)[left, right]

        # The same seed: all pairs share the draws, however they are divided.
        generator = np.random.default_rng(options.seed)
        found = bootstrap_intervals(
            some, len(sample.rows), options.bootstrap, generator, options.interval, confidence=options.confidence
        )
        parts.append((found.low, found.high))
    lows, highs = zip(*parts, strict=True)
    return np.concatenate(lows), np.concatenate(highs)


def _note(values: dict[str, Any], options: RegionFeatures) -> str | None:
    if options.bootstrap and not np.isfinite(values["bootstrap_low"]):
        return "no bootstrap interval: too many resamples without variation, or all on one side of the estimate"
    return None


def _why(sample: Sample, region: int, variable: int, kind: str) -> str:
    y, x = sample.y[:, region], sample.x[:, variable]
    constant = [what for what, column in (("relevance", y), ("the variable", x)) if column.max() == column.min()]
    if constant:
        return f"{' and '.join(constant)} is the same for all {len(x)}"
    if kind == "percentage-bend":
        return "most values of the relevance or of the variable are the same, so there is nothing to bend"
    return "the covariates explain all of the relevance or of the variable"
