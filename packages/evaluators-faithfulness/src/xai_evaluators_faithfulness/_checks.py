"""What every evaluator of this package asks of its input."""

from __future__ import annotations

import torch
from torch import Tensor

from xai_core import InputError

__all__ = ["Row", "check_relevance"]

Row = dict[str, float | None]


def check_relevance(volumes: Tensor, relevance: Tensor) -> None:
    """Refuse relevance that cannot be that of the volumes.

    Raises:
        InputError: Shapes do not fit together, or the relevance is not finite.
    """
    if volumes.ndim != 5:
        raise InputError(f"volumes must be [N, C, D, H, W], not {list(volumes.shape)}.")
    if relevance.shape != volumes.shape:
        raise InputError(
            f"The relevance is {list(relevance.shape)}, but the volumes that it explains are "
            f"{list(volumes.shape)}. They must have one shape."
        )
    wrong = ~torch.isfinite(relevance).flatten(1).all(1)
    if bool(wrong.any()):
        raise InputError(f"The relevance of volumes[{int(wrong.nonzero()[0])}] is not finite, so it has no score.")
