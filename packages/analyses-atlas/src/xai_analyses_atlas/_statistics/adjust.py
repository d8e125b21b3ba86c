"""p values corrected for how many were looked at."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

__all__ = ["ADJUSTMENTS", "Adjustment", "adjusted"]

Adjustment = Literal["fdr-bh", "fdr-by", "holm", "bonferroni", "none"]
ADJUSTMENTS: tuple[Adjustment, ...] = get_args(Adjustment)


def adjusted(p_values: npt.ArrayLike, method: Adjustment) -> npt.NDArray[np.float64]:
    """Return corrected p values.

    Args:
        p_values: Any shape, in [0, 1]; NaN is a test that was not made: it does not count and stays NaN.
        method: False discovery rate of Benjamini and Hochberg 1995 (``"fdr-bh"``) or of Benjamini and Yekutieli 2001
            (``"fdr-by"``, under any dependence); family-wise error of Holm 1979 or Bonferroni; or ``"none"``.

    Returns:
        float64 of the same shape, in [0, 1]: the smallest level at which each test would be rejected.

    Raises:
        ValueError: The method is another one, or a value lies outside of [0, 1].
    """
    p = np.asarray(p_values, dtype=np.float64)
    if method not in ADJUSTMENTS:
        raise ValueError(f"method is {method!r}, but must be one of {', '.join(ADJUSTMENTS)}")
    made = ~np.isnan(p)
    values = p[made]
    if ((values < 0) | (values > 1)).any():
        raise ValueError("a p value lies outside of [0, 1]")
    result = np.full(p.shape, np.nan)
    if values.size:
        result[made] = values if method == "none" else np.minimum(_corrected(values, method), 1.0)
    return result


def _corrected(p: npt.NDArray[np.float64], method: Adjustment) -> npt.NDArray[np.float64]:
    count = p.size
    if method == "bonferroni":
        return p * count
    order = np.argsort(p, kind="stable")
    rank = np.arange(1, count + 1)
    steps: npt.NDArray[Any]
    if method == "holm":
        steps = np.maximum.accumulate(p[order] * (count - rank + 1))
    else:
        factor = (1 / rank).sum() if method == "fdr-by" else 1.0
        steps = np.minimum.accumulate((p[order] * count * factor / rank)[::-1])[::-1]
    result = np.empty(count)
    result[order] = steps
    return result
