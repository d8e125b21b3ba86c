"""One explainer on one batch, and the checks of what it returns and leaves behind."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .. import registry
from ..errors import InputError, PluginError, RunError
from ..types import Attribution
from .calls import at_work
from .seeding import seeded

__all__ = ["attribute", "check_explainers", "check_untouched", "fingerprint"]

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def fingerprint(model: nn.Module) -> dict[str, Any]:
    """Return what a component that uses a network must leave as it was: weights, training flags, hooks, modules."""
    # A tensor's version counts the changes made to it in place; a tensor put in its place has another identity.
    tensors = (*model.named_parameters(), *model.named_buffers())
    modules = list(model.named_modules())
    return {
        "weights": {name: (id(tensor), tensor._version) for name, tensor in tensors},
        "training flags": {name: module.training for name, module in modules},
        "hooks": {name: [tuple(getattr(module, kind)) for kind in _HOOKS] for name, module in modules},
        "modules": {name: (id(module), module.__dict__.get("forward")) for name, module in modules},
    }


def check_untouched(model: nn.Module, before: Mapping[str, Any], where: str) -> None:
    """Refuse what was computed by a component that changed the network: everything after it would be wrong too.

    Raises:
        PluginError: The network is not as ``before``, a ``fingerprint``, says.
    """
    after = fingerprint(model)
    changed = [what for what, state in before.items() if after[what] != state]
    if changed:
        raise PluginError(f"{where} changed the network's {' and '.join(changed)}. Its results cannot be trusted.")


def check_explainers(slots: Sequence[Mapping[str, Any]], model: nn.Module, scan: Tensor) -> None:
    """Ask every explainer before training whether it can explain this network.

    Args:
        slots: ``{id, name, params}`` of each.
        model: Freshly built; left as it is.
        scan: One prepared volume [C, D, H, W].

    Raises:
        InputError: One of them cannot; the message says why.
        PluginError: One of them failed, or changed the network.
    """
    flags = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        for slot in slots:
            explainer = registry.create("explainer", slot["name"], **slot["params"])
            before = fingerprint(model)
            try:
                with seeded(0), at_work("explainer", slot["name"], "checking the network before training"):
                    explainer.check_model(model, scan[None])
            except InputError as error:
                raise type(error)(f"explainer {slot['id']}: {error}") from error
            check_untouched(model, before, f"The explainer {slot['name']}")
    finally:
        for module, training in flags:
            module.training = training


def attribute(
    model: nn.Module,
    slot: Mapping[str, Any],
    volumes: Tensor,
    target: Tensor | None,
    seed: int,
    scan: str,
    controls: Tensor | None = None,
) -> Attribution:
    """Run one explainer on a batch and check what it returns.

    Args:
        model: The network, in evaluation mode.
        slot: ``{id, name, params}`` of the explainer.
        volumes: float32 [N, C, D, H, W].
        target: int64 [N], or None for the predicted class or the regression output.
        seed: Seed of the unit.
        scan: Whom it explains, for messages.
        controls: Mean of the training part's controls, for explainers that ask for it.

    Raises:
        PluginError: The explainer failed, returned what it must not, or changed the network.
        RunError: The relevance is not finite.
        InputError: The explainer asks for the mean of the controls and there is none.
    """
    explainer = registry.create("explainer", slot["name"], **slot["params"])
    if explainer.uses_controls():
        if controls is None:
            raise InputError("it compares with the mean of the controls, which this run has not saved. Run 'xai run'.")
        explainer.set_controls(controls)
    where = f"The explainer {slot['name']}"
    before = fingerprint(model)
    with seeded(seed), at_work("explainer", slot["name"], f"explaining {scan}"):
        result = explainer.explain(model, volumes, target)
    if not isinstance(result, Attribution):
        raise PluginError(f"{where} returned a {type(result).__name__}, not an xai_core.Attribution.")
    _check_relevance(result, volumes, where)
    _check_target(result, len(volumes), target, where)
    _check_details(result, len(volumes), where)
    check_untouched(model, before, where)
    if not bool(torch.isfinite(result.relevance).all()) or not bool(torch.isfinite(result.output).all()):
        raise RunError(f"{where} returned relevance or an output that is NaN or infinite for {scan}.")
    return result


def _check_relevance(result: Attribution, volumes: Tensor, where: str) -> None:
    if not isinstance(result.relevance, Tensor):
        raise PluginError(f"{where} returned relevance as {type(result.relevance).__name__}, not as a torch.Tensor.")
    if result.relevance.shape != volumes.shape or result.relevance.dtype != torch.float32:
        shapes = f"{tuple(result.relevance.shape)} {result.relevance.dtype} for {tuple(volumes.shape)} torch.float32"
        raise PluginError(f"{where} returned relevance of another shape or type: {shapes}.")


def _check_target(result: Attribution, count: int, asked: Tensor | None, where: str) -> None:
    for name in ("output", "target"):
        value = getattr(result, name)
        if not isinstance(value, Tensor) or tuple(value.shape) != (count,):
            found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise PluginError(f"{where} returned {name} {found}; it must be a tensor of shape ({count},).")
    if result.target.is_floating_point() or result.target.is_complex():
        raise PluginError(f"{where} returned target as {result.target.dtype}; it must be int64, the outputs' indices.")
    if asked is not None and result.target.tolist() != asked.tolist():
        raise PluginError(f"{where} explained output {result.target.tolist()} where {asked.tolist()} was asked for.")


def _check_details(result: Attribution, count: int, where: str) -> None:
    if result.details is None:
        return
    try:
        json.dumps([dict(detail) for detail in result.details], allow_nan=False)
    except (TypeError, ValueError) as error:
        raise PluginError(f"{where} returned details that JSON cannot hold: {error}.") from error
    if len(result.details) != count:
        raise PluginError(f"{where} returned {len(result.details)} details for {count} volumes.")
