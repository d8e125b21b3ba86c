"""Statistics across people, on plain arrays. The names here are what other modules use."""

from __future__ import annotations

from .adjust import ADJUSTMENTS, Adjustment, adjusted
from .bootstrap import BootstrapIntervals, bootstrap_intervals
from .correlate import (
    CORRELATIONS,
    CorrelationMethod,
    Correlations,
    correlation,
    correlations,
    partial_correlation,
    residuals,
)
from .design import Covariate, Design, independent, is_number
from .mixed import mixed_model
from .models import LINEAR_MODELS, LinearModel, ModelFit, linear_model, standardised_slopes
from .permute import Block, freedman_lane

__all__ = [
    "ADJUSTMENTS", "CORRELATIONS", "LINEAR_MODELS", "Adjustment", "Block", "BootstrapIntervals", "CorrelationMethod",
    "Correlations", "Covariate", "Design", "LinearModel", "ModelFit", "adjusted", "bootstrap_intervals", "correlation",
    "correlations", "freedman_lane", "independent", "is_number", "linear_model", "mixed_model", "partial_correlation",
    "residuals",
    "standardised_slopes",
]  # fmt: skip
