"""The plain formulas of class activation maps, in double precision."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_core import Explainer

from ._cams import Method
from ._checks import assert_close, double_copy, generic

__all__ = ["check_cam", "plain_cam"]


def check_cam(explainer: Explainer, method: Method, model: nn.Module, volumes: Tensor) -> str:
    """Compare a map with its plain formula; see ``Explainer.self_check``."""
    at = generic(volumes)
    found = explainer.explain(model, at, None)
    assert found.details is not None, "the map does not say of which layer it is"
    expected = plain_cam(double_copy(model), str(found.details[0]["layer"]), at.double(), found.target, method)
    return assert_close(found.relevance, expected, f"the formula at {found.details[0]['layer']}")


def plain_cam(model: nn.Module, layer: str, volumes: Tensor, target: Tensor, method: Method) -> Tensor:
    """Return a class activation map [N, C, D, H, W], one volume and one feature map at a time.

    The network is split at the layer: its feature maps are taken out and put back as inputs of what follows.
    """
    maps = []
    for volume, index in zip(volumes.split(1), target.tolist(), strict=True):
        activation, gradient = _split(model, layer, volume, index)
        total = torch.zeros_like(activation[0])
        for a, g in zip(activation, gradient, strict=True):
            total += _summand(a, g, method)
        fine = F.interpolate(total.clamp(min=0)[None, None], size=volume.shape[2:], mode="trilinear")
        maps.append(fine.expand_as(volume))
    return torch.cat(maps)


def _summand(a: Tensor, g: Tensor, method: Method) -> Tensor:
    if method == "gradcam":
        return g.sum() / g.numel() * a
    if method == "layer-cam":
        return torch.where(g > 0, g * a, 0)
    up = g > 0
    alpha = g[up] ** 2 / (2 * g[up] ** 2 + g[up] ** 3 * a[a > 0].sum())
    return (alpha * g[up]).sum() * a


def _split(model: nn.Module, layer: str, volume: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """Return the layer's feature maps and the output's gradient there, both [K, d, h, w]."""
    kept: list[Tensor] = []

    def exchange(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        kept.append(output.detach().clone().requires_grad_())
        return kept[0].clone()

    hook = model.get_submodule(layer).register_forward_hook(exchange)
    try:
        with torch.enable_grad():
            output = model(volume.clone())[0, target]
        (gradient,) = torch.autograd.grad(output, kept[0])
    finally:
        hook.remove()
    return kept[0].detach()[0], gradient[0]
