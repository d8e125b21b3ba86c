"""The models in words, for the JSON beside the tables and the captions of figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..region_features import Correction, Method, RegionFeatures

__all__ = ["CORRECTED", "METHOD", "in_words", "method_words"]

METHOD: Mapping[Method, str] = {
    "pearson": "Pearson correlation; interval by Fisher's z, p by Student's t",
    "spearman": "Spearman rank correlation; interval by Fisher's z with the standard error of Bonett and Wright, p by "
    "Student's t",
    "percentage-bend": "percentage-bend correlation (Wilcox 1994, 20 %); p by Student's t, no analytic interval",
    "partial-pearson": "partial Pearson correlation given the covariates; interval by Fisher's z, p by Student's t",
    "partial-spearman": "partial Spearman rank correlation given the covariates, numbers among them as ranks; interval "
    "by Fisher's z with the standard error of Bonett and Wright, p by Student's t",
    "ols": "linear model, least squares; estimate is the standardised slope, p by Student's t",
    "hc3": "linear model, least squares with HC3 standard errors; estimate is the standardised slope, p by Student's t",
    "rlm": "robust linear model, Huber's M-estimator (k = 1.345, MAD); estimate is the standardised slope, p from the "
    "normal distribution (asymptotic)",
    "mixed": "linear mixed model with a random intercept for each person, REML, every visit a row; estimate is the "
    "standardised slope, p by Wald's z (asymptotic: too small for few people)",
}
CORRECTED: Mapping[Correction, str] = {
    "fdr-bh": "false discovery rate, Benjamini and Hochberg",
    "fdr-by": "false discovery rate, Benjamini and Yekutieli",
    "holm": "family-wise error, Holm",
    "bonferroni": "family-wise error, Bonferroni",
    "max-t": "family-wise error, permutation of the largest |t|, Freedman and Lane",
    "none": "not corrected",
}
_SHORT: Mapping[Method, str] = {
    "pearson": "Pearson correlation",
    "spearman": "Spearman rank correlation",
    "percentage-bend": "percentage-bend correlation",
    "partial-pearson": "partial Pearson correlation",
    "partial-spearman": "partial Spearman rank correlation",
    "ols": "linear model (least squares)",
    "hc3": "linear model (least squares, HC3 errors)",
    "rlm": "robust linear model (Huber)",
    "mixed": "linear mixed model (random intercept by person)",
}


def method_words(method: Method, covariates: str | None) -> str:
    """Return a method for a caption, with what was adjusted for."""
    return _SHORT[method] + (f" given {covariates}" if covariates else "")


def in_words(method: Method, options: RegionFeatures, tests: int) -> str:
    """Return what was done as a sentence."""
    from ..region_features import WITH_COVARIATES

    wanted = [one if isinstance(one, str) else _described(one) for one in options.covariates]
    model = f"{options.measure} of a region's relevance ~ variable"
    if method in WITH_COVARIATES and wanted:
        model += " + " + " + ".join(wanted)
    correction = CORRECTED[options.correction]
    if options.correction == "max-t":
        correction += f", {options.permutations} permutations of people"
    return f"{model}: {METHOD[method]}. {tests} tests are one family ({correction})."


def _described(covariate: Mapping[str, object]) -> str:
    degree = covariate.get("degree", 1)
    powers = "" if degree == 1 else f" (powers up to {degree})"
    return f"{covariate['column']}{powers}"
