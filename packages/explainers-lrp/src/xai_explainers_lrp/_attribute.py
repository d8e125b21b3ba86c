"""Computes the relevance of a batch of volumes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from xai_core import Attribution, InputError
from xai_core.canonical import Canonical, canonical_form
from xai_core.engine.requests import (
    check_initialised,
    check_volumes,
    differentiating,
    full_precision,
    resolve_target,
)

from ._innvestigate import OriginalPropagation, original_rules
from ._ledger import Ledger
from ._propagate import Propagation
from ._settings import Settings, passed_layers, rules_of
from ._start import start_of

__all__ = ["attribute", "check_model"]


def attribute(model: nn.Module, volumes: Tensor, target: Tensor | None, settings: Settings) -> Attribution:
    """Return what ``plugin.LRP.explain`` promises.

    One volume after another: memory stays bounded, and what stays in a layer belongs to one volume, whatever a network
    makes of the axis of the batch.
    """
    check_volumes(volumes)
    check_initialised(model)
    targets: list[Tensor | None] = [target]
    if len(volumes) > 1:
        checked = None if target is None else _checked_target(model, volumes, target, settings)
        targets = [None] * len(volumes) if checked is None else list(checked.split(1))
    found = [_one(model, volumes[i : i + 1], one, settings) for i, one in enumerate(targets)]
    return Attribution(
        relevance=torch.cat([each.relevance for each in found]),
        output=torch.cat([each.output for each in found]),
        target=torch.cat([each.target for each in found]),
        details=[detail for each in found for detail in each.details or ()],
    )


def _checked_target(model: nn.Module, volumes: Tensor, target: Tensor, settings: Settings) -> Tensor:
    """Check the targets of all volumes before the first one is explained."""
    canonical = _form(model, volumes[:1], settings)
    first = next(canonical.network.parameters(), volumes)
    with torch.no_grad():
        outputs = canonical.network(volumes[:1].to(first.device, first.dtype))
    return resolve_target(outputs.expand(len(volumes), -1), target)


def _one(model: nn.Module, volume: Tensor, target: Tensor | None, settings: Settings) -> Attribution:
    """Return the attribution of one volume [1, C, D, H, W]."""
    canonical = _form(model, volume, settings)
    first = next(canonical.network.parameters(), volume)
    # A caller's no_grad, inference_mode or autocast must not reach the backward pass.
    with torch.inference_mode(False), torch.enable_grad(), full_precision(first.device):
        leaf = volume.detach().to(first.device, first.dtype, copy=True).requires_grad_()
        ledger = Ledger(settings.layer_sums)
        outputs = _propagation(canonical, settings, ledger).run(leaf)
        indices = resolve_target(outputs, target)
        start = start_of(outputs.detach(), indices, settings)
        with differentiating("the volumes"):
            # As grad_outputs=start, for which torch.autograd imports sympy: half a second, and 40 MB.
            (relevance,) = torch.autograd.grad((outputs * start).sum(), leaf)
    _check_finite(relevance)
    explained = outputs.detach().gather(1, indices[:, None])[:, 0]
    return Attribution(
        relevance=relevance.detach().to(device=volume.device, dtype=torch.float32),
        output=explained.to(device=volume.device, dtype=torch.float32),
        target=indices.to(volume.device),
        details=[_details(ledger, relevance, float(start.double().sum()), float(explained))],
    )


def _form(model: nn.Module, volumes: Tensor, settings: Settings) -> Canonical:
    if settings.is_original:
        # Whatever it has no rule for passes the gradient there.
        return canonical_form(model, volumes, passed=("*",), merge_norms=False)
    return canonical_form(model, volumes, passed_layers(settings))


def _propagation(canonical: Canonical, settings: Settings, ledger: Ledger) -> Propagation:
    if settings.is_original:
        return OriginalPropagation(canonical, original_rules(canonical, settings), ledger)
    return Propagation(canonical, rules_of(canonical, settings), ledger)


def check_model(model: nn.Module, volumes: Tensor, settings: Settings) -> None:
    """Refuse a network that cannot be explained with these settings, without explaining it.

    Raises:
        InputError: Why not.
    """
    canonical = _form(model, volumes, settings)
    first = next(canonical.network.parameters(), volumes)
    with torch.no_grad():
        outputs = _propagation(canonical, settings, Ledger(layers=False)).run(volumes.to(first.device, first.dtype))
    other = settings.contrast + 1 if isinstance(settings.contrast, int) else 0  # any but the one to contrast with
    start_of(outputs, torch.full((len(outputs),), other % outputs.shape[1], device=outputs.device), settings)


def _check_finite(relevance: Tensor) -> None:
    if not bool(torch.isfinite(relevance).all()):
        raise InputError(
            "LRP: the relevance overflows: a denominator is too near to zero. Raise epsilon, or choose the "
            "composite epsilon-plus."
        )


def _details(ledger: Ledger, relevance: Tensor, start: float, output: float) -> dict[str, Any]:
    total = float(relevance.double().sum())
    bias, epsilon = ledger.stayed("bias"), ledger.stayed("epsilon")
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
        found["layers"] = ledger.of_layers()
    return {"conservation": found}
