"""Where relevance begins: at the network's outputs."""

from __future__ import annotations

import torch
from torch import Tensor

from xai_core import InputError

from ._settings import Settings

__all__ = ["start_of"]


def start_of(outputs: Tensor, target: Tensor, settings: Settings) -> Tensor:
    """Return the relevance of the outputs, [N, outputs].

    Args:
        outputs: [N, outputs].
        target: int64 [N], the outputs to explain.
        settings: ``start``, ``contrast`` and ``reference`` are used.

    Raises:
        InputError: There is one output where several are needed, or the other way round, or no such output to contrast
            with.
    """
    count = outputs.shape[1]
    if count == 1 and (settings.start == "probability" or settings.contrast is not None):
        what = "contrast" if settings.contrast is not None else "start: probability"
        raise InputError(f"LRP: {what} is for networks with several classes; this one has one output.")
    if count > 1 and settings.reference is not None:
        raise InputError(f"LRP: reference is for a regression, which has one output; this network has {count}.")
    chosen = torch.zeros_like(outputs).scatter(1, target[:, None], 1)
    if settings.contrast is not None:
        return outputs * (chosen - _contrasted(chosen, target, settings.contrast))
    if settings.start == "one":
        return chosen
    if settings.start == "probability":
        return chosen * outputs.softmax(1)
    return chosen * (outputs if settings.reference is None else outputs - settings.reference)


def _contrasted(chosen: Tensor, target: Tensor, contrast: int | str) -> Tensor:
    """Return the weights of the outputs that are subtracted, [N, outputs]."""
    count = chosen.shape[1]
    if isinstance(contrast, str):
        return (1 - chosen) / (count - 1)
    if not 0 <= contrast < count:
        raise InputError(f"LRP: contrast {contrast} does not exist; the network has the outputs 0 to {count - 1}.")
    if bool((target == contrast).any()):
        raise InputError(
            f"LRP: output {contrast} cannot be contrasted with itself. Explain another output, or give contrast: rest."
        )
    return torch.zeros_like(chosen).index_fill(1, torch.tensor([contrast], device=chosen.device), 1)
