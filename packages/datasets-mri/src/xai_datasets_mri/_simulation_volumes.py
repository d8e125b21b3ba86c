"""How large the structures of a simulated person are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ._simulation_anatomy import AMYGDALA, ENTORHINAL, HIPPOCAMPUS, Piece, union, within

__all__ = ["STRUCTURES", "structure_volumes"]

Floats = npt.NDArray[np.floating[Any]]

# FreeSurfer's names, which atlases and tools know.
_PIECES: Mapping[tuple[str, str], tuple[Piece, ...]] = {
    ("Left-Hippocampus", "Right-Hippocampus"): HIPPOCAMPUS,
    ("Left-Amygdala", "Right-Amygdala"): AMYGDALA,
    ("ctx-lh-entorhinal", "ctx-rh-entorhinal"): ENTORHINAL,
}
_VENTRICLES = ("Left-Lateral-Ventricle", "Right-Lateral-Ventricle")

STRUCTURES = (*(name for pair in _PIECES for name in pair), *_VENTRICLES)
"""Names of ``structure_volumes``."""


def structure_volumes(points: Floats, kept: Floats, ventricles: Floats) -> dict[str, float]:
    """Return how many points belong to each structure on each side.

    Args:
        points: What is seen at each point, in standard space, mm [3, N].
        kept: Fraction of each point that is brain and that no fluid has filled [N].
        ventricles: Fraction of lateral ventricle [N].
    """
    left = points[0] < 0
    folded = np.stack([np.abs(points[0]), points[1], points[2]])
    found: dict[str, float] = {}
    for names, pieces in _PIECES.items():
        near = within(pieces, folded)
        member = kept[near] * union(pieces, folded[:, near])
        found |= _by_side(names, member, left[near])
    return found | _by_side(_VENTRICLES, ventricles, left)


def _by_side(names: tuple[str, str], values: Floats, left: npt.NDArray[np.bool_]) -> dict[str, float]:
    sides = (float(values[chosen].sum(dtype=np.float64)) for chosen in (left, ~left))
    return dict(zip(names, sides, strict=True))
