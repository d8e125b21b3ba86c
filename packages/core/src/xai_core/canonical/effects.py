"""What an operation does besides returning a tensor: it may read voxels as numbers, or write into a tensor."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .graph import holds_tensor

__all__ = ["overlap", "reads_values", "version"]

# What they tell of a tensor, its values do not decide.
_OF_THE_FORM = frozenset((
    "__get__", "getattr", "size", "dim", "ndimension", "numel", "nelement", "stride", "storage_offset", "len",
    "__len__", "element_size", "get_device", "type", "is_floating_point", "is_complex", "is_signed", "is_contiguous",
    "is_pinned", "is_shared", "is_inference", "is_same_size", "is_tensor", "is_conj", "is_neg", "has_names",
    "result_type", "register_hook", "retain_grad", "__hash__", "__dir__", "__repr__", "__format__", "__reversed__",
))  # fmt: skip


def reads_values(name: str, result: Any) -> bool:
    """Whether an operation on tensors has made something else of their values: a number, a branch, an array."""
    return result is not None and not holds_tensor(result) and name not in _OF_THE_FORM


def version(tensor: Tensor) -> int:
    """Return the number of changes made to a tensor's memory in place, as far as they are counted."""
    return 0 if tensor.is_inference() else tensor._version


def overlap(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors share an element in memory; halves of one tensor share the memory, but no element."""
    memory = first.untyped_storage()
    if memory.data_ptr() != second.untyped_storage().data_ptr() or not first.numel() or not second.numel():
        return False
    if first.dtype != second.dtype:
        return True
    used = torch.zeros(memory.nbytes() // first.element_size(), dtype=torch.bool, device=first.device)
    used.as_strided(first.shape, first.stride(), first.storage_offset()).fill_(True)
    return bool(used.as_strided(second.shape, second.stride(), second.storage_offset()).any())
