"""Grad-CAM on Captum's LayerGradCam."""

from __future__ import annotations

import warnings

from captum.attr import LayerAttribution, LayerGradCam
from torch import Tensor, nn

from xai_core import Attribution

from ._forward import as_attribution, differentiating, explaining
from ._layers import find_layer

__all__ = ["attribute"]


def attribute(model: nn.Module, volumes: Tensor, target: Tensor | None, layer: str | None) -> Attribution:
    """Return the Grad-CAM of ``layer`` for each volume; see ``plugin.GradCAM``."""
    with explaining(model, volumes, target) as explained:
        found = find_layer(model, explained.volumes, layer)
        if found.grid == (1, 1, 1):
            warnings.warn(
                f"The feature map of {found.name!r} is a single voxel, so its Grad-CAM is the same "
                "everywhere and says nothing of where the network looks. Name an earlier layer.",
                stacklevel=3,
            )
        with differentiating(f"the layer {found.name!r}"):
            coarse = LayerGradCam(explained.forward, found.module).attribute(
                explained.volumes, target=explained.target, relu_attributions=True
            )
        # Captum leaves align_corners at its default, which is False for trilinear.
        fine = LayerAttribution.interpolate(coarse.detach(), tuple(volumes.shape[2:]), "trilinear")
        relevance = fine.expand_as(volumes)
        details = [{"layer": found.name, "grid": list(found.grid)} for _ in range(len(volumes))]
        return as_attribution(explained, relevance, details)
