"""Scores of relevance against the mask of the truth."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from xai_core import InputError
from xai_core.engine.background import background_value

from ._checks import Row, check_relevance

__all__ = ["evaluate"]

_NEEDING_MASK = (
    "density_inside", "density_outside", "density_ratio", "mass_accuracy", "rank_accuracy", "pointing_game",
    "auc", "chance",
)  # fmt: skip


def evaluate(
    volumes: Tensor,
    relevance: Tensor,
    masks: Tensor | None,
    *,
    sign: Literal["positive", "absolute"],
    region: Literal["brain", "volume"],
) -> list[Row]:
    """Return one row for each volume; see ``plugin.GroundTruth``.

    Args:
        volumes: [N, C, D, H, W].
        relevance: [N, C, D, H, W].
        masks: bool [N, 1, D, H, W], or None.
        sign: Which relevance counts.
        region: Where outside ends.

    Raises:
        InputError: Shapes do not fit together, or the relevance is not finite.
    """
    _check(volumes, relevance, masks)
    # Float64: the sum over a whole volume in float32 loses what a small mask holds.
    summed = relevance.detach().double().sum(1)
    strength = summed.abs() if sign == "absolute" else summed.clamp(min=0)
    brain = (volumes != background_value(volumes)).any(1)
    rows = []
    for index in range(len(volumes)):
        row = _row(strength[index], brain[index], None if masks is None else masks[index, 0].bool(), region)
        rows.append(row)
    return rows


def _row(strength: Tensor, brain: Tensor, mask: Tensor | None, region: Literal["brain", "volume"]) -> Row:
    """Return the scores of one map; all arguments [D, H, W]."""
    if mask is not None:
        brain = brain | mask
    background = _ratio(float(strength[~brain].sum()), float(strength.sum()))
    scores: Row = dict.fromkeys(_NEEDING_MASK)
    if mask is not None:
        outside = ~mask & brain if region == "brain" else ~mask
        if bool(mask.any()) and bool(outside.any()):
            scores = _against_mask(strength[mask], strength[outside])
    return {**scores, "background_share": background}


def _against_mask(inside: Tensor, outside: Tensor) -> Row:
    """Return the scores of the strengths of the voxels inside and outside, each 1-D and not empty."""
    both = torch.cat([inside, outside])
    return {
        "density_inside": float(inside.mean()),
        "density_outside": float(outside.mean()),
        "density_ratio": _ratio(float(inside.mean()), float(outside.mean())),
        "mass_accuracy": _ratio(float(inside.sum()), float(both.sum())),
        "rank_accuracy": _share_of_top(inside, both, len(inside)),
        "pointing_game": _share_of_top(inside, both, 1),
        "auc": _auc(inside, outside),
        "chance": len(inside) / len(both),
    }


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None


def _share_of_top(inside: Tensor, both: Tensor, count: int) -> float:
    """Return the share of the ``count`` greatest of ``both`` that is inside, the mean over orders of ties."""
    threshold = both.topk(count).values[-1]
    above = int((both > threshold).sum())
    inside_above, inside_tied = int((inside > threshold).sum()), int((inside == threshold).sum())
    tied = int((both == threshold).sum())
    return (inside_above + (count - above) * inside_tied / tied) / count


def _auc(inside: Tensor, outside: Tensor) -> float:
    """Return P(inside > outside) + P(inside = outside) / 2 (Mann and Whitney's U, scaled)."""
    ordered = outside.sort().values
    below = torch.searchsorted(ordered, inside, right=False)
    not_above = torch.searchsorted(ordered, inside, right=True)
    return float((below + not_above).double().sum() / 2 / len(inside) / len(outside))


def _check(volumes: Tensor, relevance: Tensor, masks: Tensor | None) -> None:
    check_relevance(volumes, relevance)
    wanted = (len(volumes), 1, *volumes.shape[2:])
    if masks is not None and masks.shape != wanted:
        raise InputError(
            f"The masks of the truth are {list(masks.shape)}, but {list(wanted)} is needed: one mask for each "
            "volume, on its grid."
        )
