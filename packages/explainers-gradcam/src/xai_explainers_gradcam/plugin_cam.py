"""Class activation maps. Light: torch and Captum load when ``explain`` is called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from xai_core import Attribution, Explainer

from .parameters import LAYER, MAX_BATCH

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["GradCAM", "GradCAMPlusPlus", "LayerCAM"]


class _ClassActivationMap(Explainer):
    """Base: a map on a layer's grid, brought to the input's grid by trilinear interpolation (align_corners False)."""

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"layer": LAYER, "max_batch": MAX_BATCH},
    }
    _method: ClassVar[Literal["gradcam", "gradcam-plus-plus", "layer-cam"]]

    def __init__(self, *, layer: str | None = None, max_batch: int = 4) -> None:
        self.layer = layer
        self.max_batch = max_batch

    def explain(self, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
        """Return L [N, C, D, H, W] >= 0; see ``Explainer.explain``.

        Raises:
            InputError: The volumes, the target or the model's output cannot be explained; the layer is
                unknown, is not run exactly once, gives no feature map [N, K, d, h, w] or does not lead to the
                output; without a ``layer``: the model has no Conv3d. Of Grad-CAM: the layer's mean gradients cancel.
        """
        from ._cams import attribute

        return attribute(model, volumes, target, method=self._method, layer=self.layer, max_batch=self.max_batch)

    def check_model(self, model: nn.Module, volumes: Tensor) -> None:
        """Explain one volume, and so refuse a layer that is not there or has no feature map; see ``Explainer``."""
        self.explain(model, volumes, None)

    def self_check(self, model: nn.Module, volumes: Tensor) -> str:
        """Compare with the plain formula in double precision, with the layer's gradient from the split network."""
        from ._checks_cam import check_cam

        return check_cam(self, self._method, model, volumes)


class GradCAM(_ClassActivationMap):
    """Grad-CAM in 3D: a layer's feature maps, each weighted by its mean gradient.

    L = ReLU(sum_k a_k A_k), where a_k is the mean of d output / d A_k over all three spatial axes of the
    feature map A_k [d, h, w]; L is brought to the input's grid by trilinear interpolation (align_corners
    False). L >= 0, and L = 0 everywhere if the layer speaks only against the explained output. A volume of
    several channels gets the same L in each of them, because Grad-CAM does not tell them apart. ``details``
    holds the layer and its grid. A layer is refused whose a_k are all zero although its gradients are not, as before
    an instance normalisation, which does not see a feature map's mean: of it rounding errors only would be left.

    Source: Selvaraju et al., Grad-CAM, ICCV 2017.

    Args:
        layer: Dotted name of the layer, as in ``model.named_modules()``; None: the last convolution in the
            order of execution, or rather the last one of the network's longest chain of convolutions: not the
            one in the last residual block's shortcut, which stands beside the block.
        max_batch: Volumes that are computed at once.
    """

    _method = "gradcam"


class GradCAMPlusPlus(_ClassActivationMap):
    """Grad-CAM++ in 3D: feature maps weighted by their positive gradients, however small their area is.

    L = ReLU(sum_k w_k A_k) with w_k = sum_ijl a_ijl ReLU(g_ijl), where g = d output / d A_k and
    a_ijl = g_ijl^2 / (2 g_ijl^2 + g_ijl^3 sum(A_k)): the derivatives of exp(output), written as powers of the
    first one, which is exact for a network that is piecewise linear behind the layer. The factor exp(output), the
    same for all k, is left out. The formula is meant for A_k >= 0 (a layer that ends in a ReLU); for other layers
    sum(max(A_k, 0)) stands in its denominator. Unlike Grad-CAM's, the weights depend on the unit of the output.

    Source: Chattopadhay et al., Grad-CAM++, WACV 2018, equations 11 to 19.

    Args:
        layer: As for ``gradcam``.
        max_batch: Volumes that are computed at once.
    """

    _method = "gradcam-plus-plus"


class LayerCAM(_ClassActivationMap):
    """Layer-CAM in 3D: each voxel of a feature map weighted by its own positive gradient; fine on early layers too.

    L = ReLU(sum_k ReLU(g_k) * A_k), voxel by voxel, where g_k = d output / d A_k.

    Source: Jiang et al., LayerCAM, IEEE TIP 2021.

    Args:
        layer: As for ``gradcam``.
        max_batch: Volumes that are computed at once.
    """

    _method = "layer-cam"
