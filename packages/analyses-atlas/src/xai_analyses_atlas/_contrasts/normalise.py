"""What is done to each map before maps of people are compared."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from xai_core.engine.results import MapRecord

__all__ = ["MEANING", "NORMALISATIONS", "Normalisation", "divisor"]

Array = npt.NDArray[Any]
Normalisation = Literal["none", "sum", "maximum", "output"]
NORMALISATIONS: tuple[Normalisation, ...] = get_args(Normalisation)

MEANING = {
    "none": "relevance as it is: a person whose output is larger weighs more",
    "sum": "share of the map's absolute relevance: where it lies, whatever there is of it",
    "maximum": "relative to the map's largest absolute value: one voxel decides the scale",
    "output": "relative to the absolute value of the explained output",
}
"""What a map's values are after each."""


def divisor(data: Array, record: MapRecord, how: Normalisation) -> tuple[float, str | None]:
    """Return the number by which a map is divided.

    Args:
        data: The whole map [D, H, W], finite.
        record: Whose sidecar holds the explained output.
        how: ``"none"``, ``"sum"`` (of absolute values), ``"maximum"`` (absolute) or ``"output"`` (absolute, so that
            relevance for the output stays above zero).

    Returns:
        The number, above 0, and None; or 1 and the reason why the map has none.
    """
    if how == "none":
        return 1.0, None
    if how == "output":
        output = record.sidecar.get("output")
        if isinstance(output, (int, float)) and math.isfinite(output) and output != 0:
            return abs(float(output)), None
        return 1.0, f"the explained output is {output}"
    strength = np.abs(data)
    size = float(strength.sum() if how == "sum" else strength.max())
    return (size, None) if size > 0 else (1.0, "the map is zero everywhere")
