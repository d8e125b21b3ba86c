"""Computes the relevance of a batch of volumes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from xai_core import Attribution, InputError
from xai_core.canonical import canonical_form
from xai_core.engine.requests import differentiating, full_precision, resolve_target

from ._ledger import Ledger
from ._propagate import Propagation
from ._settings import Settings, passed_layers, rules_of
from ._start import start_of

__all__ = ["attribute", "check_model"]


def attribute(model: nn.Module, volumes: Tensor, target: Tensor | None, settings: Settings) -> Attribution:
    """Return what ``plugin.LRP.explain`` promises."""
    canonical = canonical_form(model, volumes, passed_layers(settings))
    first = next(canonical.network.parameters(), volumes)
    # A caller's no_grad, inference_mode or autocast must not reach the backward pass.
    with torch.inference_mode(False), torch.enable_grad(), full_precision(first.device):
        leaf = volumes.detach().to(first.device, first.dtype, copy=True).requires_grad_()
        ledger = Ledger(len(volumes), settings.layer_sums)
        outputs = Propagation(canonical, rules_of(canonical, settings), ledger).run(leaf)
        indices = resolve_target(outputs, target)
        start = start_of(outputs.detach(), indices, settings)
        with differentiating("the volumes"):
            (relevance,) = torch.autograd.grad(outputs, leaf, grad_outputs=start)
    _check_finite(relevance)
    if not ledger.is_by_volume():
        return _one_by_one(model, volumes, indices.to(volumes.device), settings)
    explained = outputs.detach().gather(1, indices[:, None])[:, 0]
    begun = start.double().sum(1).tolist()
    return Attribution(
        relevance=relevance.detach().to(device=volumes.device, dtype=torch.float32),
        output=explained.to(device=volumes.device, dtype=torch.float32),
        target=indices.to(volumes.device),
        details=[_details(ledger, i, relevance[i], begun[i], float(explained[i])) for i in range(len(volumes))],
    )


def check_model(model: nn.Module, volumes: Tensor, settings: Settings) -> None:
    """Refuse a network that cannot be explained with these settings, without explaining it.

    Raises:
        InputError: Why not.
    """
    canonical = canonical_form(model, volumes, passed_layers(settings))
    rules = rules_of(canonical, settings)
    first = next(canonical.network.parameters(), volumes)
    with torch.no_grad():
        outputs = Propagation(canonical, rules, Ledger(len(volumes), False)).run(volumes.to(first.device, first.dtype))
    other = settings.contrast + 1 if isinstance(settings.contrast, int) else 0  # any but the one to contrast with
    start_of(outputs, torch.full((len(outputs),), other % outputs.shape[1], device=outputs.device), settings)


def _one_by_one(model: nn.Module, volumes: Tensor, target: Tensor, settings: Settings) -> Attribution:
    found = [attribute(model, volumes[i : i + 1], target[i : i + 1], settings) for i in range(len(volumes))]
    return Attribution(
        relevance=torch.cat([each.relevance for each in found]),
        output=torch.cat([each.output for each in found]),
        target=target,
        details=[detail for each in found for detail in each.details or ()],
    )


def _check_finite(relevance: Tensor) -> None:
    if not bool(torch.isfinite(relevance).all()):
        raise InputError(
            "LRP: the relevance overflows: a denominator is too near to zero. Raise epsilon, or choose the "
            "composite epsilon-plus."
        )


def _details(ledger: Ledger, index: int, relevance: Tensor, start: float, output: float) -> dict[str, Any]:
    total = float(relevance.double().sum())
    bias, epsilon = ledger.stayed("bias", index), ledger.stayed("epsilon", index)
    unexplained = start - total - bias - epsilon
    found: dict[str, Any] = {
        "sum_of_relevance": total,
        "output": output,
        "start": start,
        "ratio": total / start if start != 0 else None,
        "absorbed_by_biases": bias,
        "absorbed_by_epsilon": epsilon,
        "unexplained": unexplained,
        "unexplained_share": unexplained / start if start != 0 else None,
    }
    if ledger.layers:
        found["layers"] = ledger.of_layers(index)
    return {"conservation": found}
