"""Class activation maps: Grad-CAM, Grad-CAM++ and Layer-CAM."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import torch
from captum.attr import LayerAttribution
from torch import Tensor, nn

from xai_core import Attribution, InputError
from xai_core.canonical.isolation import isolated_copy
from xai_core.engine.batching import is_out_of_memory
from xai_core.engine.requests import Explained, as_attribution, differentiating, explaining, logits, unwrapped

from ._batches import each_volume
from ._layers import Layer, find_layer

__all__ = ["Method", "attribute", "cam", "grad_cam", "grad_cam_plus_plus", "layer_cam"]

Method = Literal["gradcam", "gradcam-plus-plus", "layer-cam"]

_GRID = (2, 3, 4)

# What a mean gradient is of the gradient's mean magnitude: below the first, it is looked at in double precision; below
# the second, it is zero there. Rounding leaves up to 5e-4 in single precision, and 1e-13 in double.
_SUSPECT = 1e-2
_ZERO = 1e-8


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
        coarse = each_volume(explained, _method(model, explained, found, method), max_batch)
    # Captum leaves align_corners at its default, which is False for trilinear.
    fine: Tensor = LayerAttribution.interpolate(coarse, tuple(explained.volumes.shape[2:]), "trilinear")
    return fine.expand_as(explained.volumes), {"layer": found.name, "grid": list(found.grid)}


def grad_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Return Selvaraju's map [N, 1, d, h, w] of feature maps and gradients [N, K, d, h, w]."""
    return (gradient.mean(_GRID, keepdim=True) * activation).sum(1, keepdim=True).relu()


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


def _method(model: nn.Module, explained: Explained, layer: Layer, method: Method) -> Callable[[Tensor, Tensor], Tensor]:
    """Return what maps volumes and targets to the map on the layer's grid, [n, 1, d, h, w]."""
    if method == "gradcam":
        return partial(_checked_grad_cam, model, explained, layer)
    formula = grad_cam_plus_plus if method == "gradcam-plus-plus" else layer_cam
    return lambda volumes, target: formula(*_activation_and_gradient(explained.forward, layer.module, volumes, target))


def _checked_grad_cam(model: nn.Module, explained: Explained, layer: Layer, volumes: Tensor, target: Tensor) -> Tensor:
    """Return ``grad_cam`` of volumes [n, C, D, H, W], unless its weights are rounding only.

    Raises:
        InputError: The gradient's mean is zero in each feature map.
    """
    activation, gradient = _activation_and_gradient(explained.forward, layer.module, volumes, target)
    suspect = _left_by_mean(gradient) < _SUSPECT
    if bool(suspect.any()) and _cancels(model, layer, volumes.detach()[suspect], target[suspect]):
        such = f', such as params: {{layer: "{layer.following}"}}' if layer.following else ""
        raise InputError(
            f"The gradient at {layer.name!r} has the mean zero in each of its feature maps, so Grad-CAM's weights are "
            "rounding errors: what follows does not see the mean of a feature map, as before an instance "
            f"normalisation or a softmax over the voxels. Name a layer behind it{such}, or use an explainer that needs "
            "no layer (input-x-gradient, occlusion)."
        )
    return grad_cam(activation, gradient)


def _left_by_mean(gradient: Tensor) -> Tensor:
    """Return what taking the mean leaves of gradients [n, K, d, h, w], in [0, 1], [n]; 1 where they are 0."""
    means, sizes = gradient.mean(_GRID).abs().amax(1), gradient.abs().mean(_GRID).amax(1)
    return torch.where(sizes > 0, means / sizes, 1)


def _cancels(model: nn.Module, layer: Layer, volumes: Tensor, target: Tensor) -> bool:
    """Whether the mean gradient of any of the volumes is zero in double precision, where that can be computed."""
    try:
        exact = isolated_copy(model).double()
        module = exact.get_submodule(layer.name)
        gradients = [
            _activation_and_gradient(partial(logits, exact), module, volume.double(), index)[1]
            for volume, index in zip(volumes.split(1), target.split(1), strict=True)
        ]
    except (InputError, RuntimeError, TypeError) as error:  # it cannot be copied, or has no double precision
        if is_out_of_memory(error):
            raise
        return False
    return bool((_left_by_mean(torch.cat(gradients)) < _ZERO).any())


def _activation_and_gradient(
    forward: Callable[[Tensor], Tensor], layer: nn.Module, volumes: Tensor, target: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the layer's feature maps and the gradient of the explained output there, both [n, K, d, h, w]."""
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()  # what follows may work in place, on the clone

    hook = layer.register_forward_hook(keep)
    try:
        outputs = forward(volumes.requires_grad_())
    finally:
        hook.remove()
    # Several where the network is run on each volume by itself.
    gradients = torch.autograd.grad(outputs.gather(1, target[:, None]).sum(), kept)
    return torch.cat(kept).detach(), torch.cat(gradients)
