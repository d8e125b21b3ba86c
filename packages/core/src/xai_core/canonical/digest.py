"""A digest of a tensor's bytes that takes about as long as reading them."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["digest"]

_CHUNK = 1 << 20  # of 8 bytes


def digest(tensor: Tensor) -> tuple[tuple[int, ...], str, int]:
    """Return shape, data type and a 64-bit digest of the values, in which the place of each counts.

    Multilinear hashing modulo 2**64 with fixed random factors: two tensors that are not made to deceive agree with a
    probability of about 2**-60. No copy of a network's weights has to be kept to see that they have changed.
    """
    data = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    words = F.pad(data, (0, -len(data) % 8)).view(torch.int64)
    total = 0
    for chunk in words.split(_CHUNK):
        part = int((chunk * _factors(tensor.device)[: len(chunk)]).sum())  # wraps, as is meant
        total = (total * 6364136223846793005 + part) % 2**64
    return tuple(tensor.shape), str(tensor.dtype), total


@cache
def _factors(device: torch.device) -> Tensor:
    generator = torch.Generator().manual_seed(20261121)
    limit = 2**62
    return (2 * torch.randint(-limit, limit, (_CHUNK,), generator=generator, dtype=torch.int64) + 1).to(device)
