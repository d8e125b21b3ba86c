"""The canonical form of a user's network, checked against the network and kept while it does not change."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..engine.batching import is_out_of_memory
from ..engine.requests import check_volumes, full_precision, logits, unwrapped
from .agreement import check_gradient, check_outputs
from .canonize import Canonical, canonize
from .digest import Digest, digests
from .isolation import isolated_copy
from .settings import settings_of

__all__ = ["canonical_form"]

_KEPT = 2  # forms for each network: its batches and the last, smaller one


@dataclass(frozen=True)
class _Kept:
    """A form with all that it was made from."""

    tensors: Mapping[str, Any]
    settings: list[Any]
    canonical: Canonical


_forms: weakref.WeakKeyDictionary[nn.Module, dict[Any, _Kept]] = weakref.WeakKeyDictionary()


def canonical_form(
    model: nn.Module, volumes: Tensor, passed: Sequence[str] = (), merge_norms: bool = True
) -> Canonical:
    """Return the canonical form of a network, for volumes of this size, in evaluation mode.

    The network is neither run in training mode nor changed. A second call for the same network, weights and size of
    volumes returns the same form again: treat it as read-only.

    Args:
        model: Maps [N, C, D, H, W] to [N, outputs].
        volumes: Floating point [N, C, D, H, W], finite.
        passed: Patterns (as of ``fnmatch``) of names of modules without a rule that relevance is to pass unchanged.
        merge_norms: Whether batch normalisation becomes part of the layer beside it where it can; else each is a module
            of its own, ``Part.AFFINE``.

    Raises:
        InputError: The volumes, or what the network returns for them, cannot be explained; it cannot be copied or
            followed; some of its operations have no rule (the message names each, its place and what can be done);
            or its form computes something else.
    """
    check_volumes(volumes)
    model = unwrapped(model)
    device = next(model.parameters(), volumes).device
    key = (tuple(volumes.shape), volumes.dtype, device, tuple(passed), merge_norms)
    drawing = [device] if device.type == "cuda" else []  # PyTorch's layers draw weights when they are made
    with (
        torch.inference_mode(False), torch.no_grad(), full_precision(device), torch.random.fork_rng(devices=drawing),
    ):  # fmt: skip
        kept = _forms.get(model, {}).get(key)
        if kept is not None and _is_current(kept, model):
            return kept.canonical
        return _make(model, volumes, passed, merge_norms, key)


def _make(model: nn.Module, volumes: Tensor, passed: Sequence[str], merge_norms: bool, key: Any) -> Canonical:
    settings = settings_of(model)
    tensors = _digests(model)
    copy = isolated_copy(model)
    inputs = volumes.detach().to(next(copy.parameters(), volumes).device, precision(copy)).clone()
    trials = [(inputs, logits(copy, inputs))]
    # What the form misses may not show at these volumes: a bound that none of their voxels reaches, say.
    others = 3 * inputs.std(correction=0) - 5 * inputs.flip(2, 3, 4)
    try:
        trials.append((others, logits(copy, others)))
    except Exception as error:  # whatever a network raises that wants other values (a crop to what is above zero)
        if is_out_of_memory(error):
            raise
    canonical = canonize(copy, inputs, passed, merge_norms)
    if len(trials) == 1:
        canonical = replace(canonical, depends_on_data=True)
    for given, outputs in trials[:1] if canonical.depends_on_data else trials:
        check_outputs(canonical, model, given, outputs, passed)
    if canonical.depends_on_data:
        check_gradient(model, inputs, passed)
    if canonical.depends_on_data or settings is None:
        return canonical
    forms = _forms.setdefault(model, {})
    forms.pop(key, None)
    while len(forms) >= _KEPT:
        del forms[next(iter(forms))]
    forms[key] = _Kept(tensors, settings, canonical)
    return canonical


def precision(model: nn.Module) -> torch.dtype:
    """Return the data type in which an isolated copy computes."""
    wide = any(tensor.dtype == torch.float64 for tensor in model.parameters())
    return torch.float64 if wide else torch.float32


def _digests(model: nn.Module) -> dict[str, Digest]:
    return digests(dict((*model.named_parameters(), *model.named_buffers())))


def _is_current(kept: _Kept, model: nn.Module) -> bool:
    return kept.settings == settings_of(model) and kept.tensors == _digests(model)
