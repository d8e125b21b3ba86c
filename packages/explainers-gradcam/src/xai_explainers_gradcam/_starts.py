"""What a gradient is multiplied by at the output that it begins with."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from xai_core import InputError
from xai_core.engine.batching import run_batched
from xai_core.engine.requests import Explained

__all__ = ["Start", "start_details", "starting_values", "starts_of"]

Start = Literal["logit", "one", "probability"]


def starting_values(outputs: Tensor, target: Tensor, start: Start) -> Tensor:
    """Return what the gradient of each explained output is multiplied by, [N].

    Args:
        outputs: [N, outputs].
        target: int64 [N].
        start: ``"one"``: the gradient itself; ``"logit"``: the explained output; ``"probability"``: its softmax.

    Raises:
        InputError: A probability is asked for of a network with one output.
    """
    if start == "probability" and outputs.shape[1] == 1:
        raise InputError(
            "start: probability is for networks with several classes; this one has one output. Use start: one or logit."
        )
    begun = outputs.softmax(1) if start == "probability" else outputs
    values = begun.detach().gather(1, target[:, None])[:, 0]
    return torch.ones_like(values) if start == "one" else values


def starts_of(explained: Explained, start: Start, max_batch: int) -> Tensor:
    """Return the starting value of each volume [N]; see ``starting_values``."""
    if start != "probability":
        return torch.ones_like(explained.output) if start == "one" else explained.output
    with torch.no_grad():
        outputs = torch.cat(run_batched(explained.forward, explained.volumes.detach(), max_batch))
    return starting_values(outputs, explained.target, start)


def start_details(starts: Tensor, start: Start) -> list[dict[str, float]]:
    """Return for each volume what ``details`` say of the start: its value, nothing where it is 1."""
    return [{} if start == "one" else {"start_value": float(value)} for value in starts]
