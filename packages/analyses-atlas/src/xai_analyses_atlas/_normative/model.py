"""Linear models of controls, and how far a person lies from what they expect."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

__all__ = ["NormModel", "Scores", "fit"]

Array = npt.NDArray[np.float64]

# Residuals below this share of the feature's size are rounding: it is constant, or a combination of the covariates.
_EXACT = 1e-10


@dataclass(frozen=True)
class Scores:
    """How far people lie from what is expected, each [n].

    Attributes:
        expected: The model's prediction, in the unit of the feature.
        w: (observed - expected) / SD of the controls' residuals.
        t: ``w`` / sqrt(1 + leverage): also counts that the line itself is uncertain.
        p: Two-sided, of ``t`` with ``n - p`` degrees of freedom.
    """

    expected: Array
    w: Array
    t: Array
    p: Array


@dataclass(frozen=True)
class NormModel:
    """Ordinary least squares of a feature among controls.

    Attributes:
        coefficients: [p].
        sd: Of the residuals: sqrt(sum of squares / (n - p)), the unit of w-scores.
        n: Controls.
        r2: Share of the feature's variance among the controls that the covariates explain.
        root: [p, p], with leverage = sum of squares of ``x @ root``.
    """

    coefficients: Array
    sd: float
    n: int
    r2: float
    root: Array

    @property
    def df(self) -> int:
        """Degrees of freedom of the residuals."""
        return self.n - len(self.coefficients)

    def scores(self, design: Array, observed: Array) -> Scores:
        """Return w-scores of people.

        w: La Joie et al., Region-specific hierarchy between atrophy, hypometabolism, and beta-amyloid load in
        Alzheimer's disease dementia, Journal of Neuroscience 2012; Jack et al., Medial temporal atrophy on MRI in
        normal aging and very mild Alzheimer's disease, Neurology 1997. t and p: Crawford & Garthwaite, Comparing
        patients' predicted test scores from a regression equation with their obtained scores, Neuropsychology 2006.

        Args:
            design: [n, p], coded as the controls' was.
            observed: [n], in the unit of the feature.
        """
        expected = design @ self.coefficients
        w = (observed - expected) / self.sd
        t = w / np.sqrt(1 + ((design @ self.root) ** 2).sum(axis=1))
        return Scores(expected, w, t, 2 * student.sf(np.abs(t), self.df))


def fit(design: Array, values: Array) -> NormModel | str:
    """Fit a feature of controls.

    Args:
        design: [n, p], a column of ones first.
        values: [n], finite.

    Returns:
        The model, or why there is none: too few controls, covariates that repeat each other, a feature without
        variation.
    """
    n, p = design.shape
    if n <= p:
        return f"{n} controls for a model of {p} coefficients"
    if np.linalg.matrix_rank(design) < p:
        return f"the covariates repeat each other among the {n} controls"
    if values.min() == values.max():
        return f"it is {values[0]:.6g} for all {n} controls"
    q, r = np.linalg.qr(design)
    coefficients = np.linalg.solve(r, q.T @ values)
    squares = float(((values - design @ coefficients) ** 2).sum())
    sd = float(np.sqrt(squares / (n - p)))
    if sd <= _EXACT * float(np.abs(values).max()):
        return f"it is the same as a combination of the covariates for all {n} controls"
    total = float(((values - values.mean()) ** 2).sum())
    return NormModel(coefficients, sd, n, 1 - squares / total, np.linalg.inv(r))
