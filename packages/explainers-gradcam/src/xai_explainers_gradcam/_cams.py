"""Class activation maps: Grad-CAM on Captum's LayerGradCam, Grad-CAM++ and Layer-CAM."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from captum.attr import LayerAttribution, LayerGradCam
from torch import Tensor, nn

from xai_core import Attribution
from xai_core.engine.requests import Explained, as_attribution, differentiating, explaining, unwrapped

from ._batches import each_volume
from ._layers import Layer, find_layer

__all__ = ["Method", "attribute", "cam", "grad_cam_plus_plus", "layer_cam"]

Method = Literal["gradcam", "gradcam-plus-plus", "layer-cam"]

_GRID = (2, 3, 4)


def attribute(
    model: nn.Module, volumes: Tensor, target: Tensor | None, *, method: Method, layer: str | None, max_batch: int
) -> Attribution:
    """Return the class activation map of each volume; see the classes in ``plugin_cam``."""
    with explaining(model, volumes, target) as explained:
        relevance, details = cam(unwrapped(model), explained, method, layer, max_batch)
        return as_attribution(explained, relevance, [details] * len(volumes))


def cam(
    model: nn.Module, explained: Explained, method: Method, layer: str | None, max_batch: int
) -> tuple[Tensor, Mapping[str, Any]]:
    """Return the map L [N, C, D, H, W] on the volumes' grid, and what there is to say of its layer.

    Raises:
        InputError: The layer cannot be used.
    """
    found = find_layer(model, explained.volumes, layer)
    if found.grid == (1, 1, 1):
        warnings.warn(
            f"The feature map of {found.name!r} is a single voxel, so its class activation map is the same "
            "everywhere and says nothing of where the network looks. Name an earlier layer.",
            stacklevel=4,
        )
    with differentiating(f"the layer {found.name!r}"):
        coarse = each_volume(explained, _method(explained, found, method), max_batch)
    # Captum leaves align_corners at its default, which is False for trilinear.
    fine: Tensor = LayerAttribution.interpolate(coarse, tuple(explained.volumes.shape[2:]), "trilinear")
    return fine.expand_as(explained.volumes), {"layer": found.name, "grid": list(found.grid)}


def grad_cam_plus_plus(activation: Tensor, gradient: Tensor) -> Tensor:
    """Return Chattopadhay's map [N, 1, d, h, w] of feature maps and gradients [N, K, d, h, w].

    With Y = exp(S) the derivatives of the paper's equation 19 are powers of g = dS/dA times exp(S), and
    a_ij = g_ij^2 / (2 g_ij^2 + g_ij^3 sum(A)) = 1 / (2 + g_ij sum(A)). The common factor exp(S) > 0 is left out.
    The paper has A >= 0; sum(max(A, 0)) is the same there and keeps a_ij in (0, 1/2] for a layer of any sign.
    """
    positive = gradient.relu()  # where it is 0, the weight is 0 whatever a is
    alpha = 1 / (2 + positive * activation.relu().sum(_GRID, keepdim=True))
    weights = (alpha * positive).sum(_GRID, keepdim=True)
    return (weights * activation).sum(1, keepdim=True).relu()


def layer_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Return Jiang's map [N, 1, d, h, w] of feature maps and gradients [N, K, d, h, w]."""
    return (gradient.relu() * activation).sum(1, keepdim=True).relu()


def _method(explained: Explained, layer: Layer, method: Method) -> Callable[[Tensor, Tensor], Tensor]:
    """Return what maps volumes and targets to the map on the layer's grid, [n, 1, d, h, w]."""
    if method == "gradcam":
        captum = LayerGradCam(explained.forward, layer.module)
        return lambda volumes, target: captum.attribute(
            volumes.requires_grad_(), target=target, relu_attributions=True
        ).detach()
    formula = grad_cam_plus_plus if method == "gradcam-plus-plus" else layer_cam
    return lambda volumes, target: formula(*_activation_and_gradient(explained, layer, volumes, target))


def _activation_and_gradient(
    explained: Explained, layer: Layer, volumes: Tensor, target: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the layer's feature maps and the gradient of the explained output there, both [n, K, d, h, w]."""
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()  # what follows may work in place, on the clone

    hook = layer.module.register_forward_hook(keep)
    try:
        outputs = explained.forward(volumes.requires_grad_())
    finally:
        hook.remove()
    (gradient,) = torch.autograd.grad(outputs.gather(1, target[:, None]).sum(), kept[0])
    return kept[0].detach(), gradient
